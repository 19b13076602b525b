//! Use cases: register, charge, refund, read.
//!
//! Charging and refunding are drives ([`crate::drives`]): tasks that outlive their caller and are shared by all who ask for the same
//! attempt, or the same refund, at the same time. The recovery worker starts the same drives.

mod charge;
mod refund;
mod register;

use std::sync::Arc;
use std::time::Duration;

use mesh::deadline;
use mesh::event::NewEvent;
use mesh::store::{Conn, Id, Micros, Store};
use mesh::value::{Page, format_name};
use proto::contract::Event;
use tokio::time::Instant;

use crate::domain::{Error, Order, Payment, next_try};
use crate::drives::Drives;
use crate::log::PaymentLog;
use crate::mileage::MileageClient;
use crate::provider::Provider;
use crate::store;

/// Kept of the caller's time for the answer: 5 % of it, within these bounds.
const ANSWER_MIN: Duration = Duration::from_millis(5);
const ANSWER_MAX: Duration = Duration::from_millis(50);
/// A caller without a deadline is answered after this long.
const NO_DEADLINE: Duration = Duration::from_secs(4);

/// Everything a use case needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Payments {
    store: Store,
    provider: Arc<dyn Provider>,
    mileage: MileageClient,
    log: PaymentLog,
    /// By reservation and attempt.
    charges: Drives<(Id, i32), Result<Payment, Error>>,
    /// By payment.
    refunds: Drives<Id, Result<Payment, Error>>,
}

impl Payments {
    pub(crate) fn new(store: Store, provider: Arc<dyn Provider>, mileage: MileageClient, log: PaymentLog) -> Self {
        Self { store, provider, mileage, log, charges: Drives::new(), refunds: Drives::new() }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Charges once for a reservation; a repeat of an attempt gets the same answer.
    ///
    /// # Cancel safety
    /// Safe: the drive goes on, and a repeat or the worker finds what it did.
    pub(crate) async fn charge(&self, order: Order) -> Result<Payment, Error> {
        if self.charges.is_full() {
            return Err(Error::Overloaded);
        }
        let by = answer_by();
        let running = self.charges.join_or_start((order.reservation, order.attempt), || {
            let (this, order) = (self.clone(), order.clone());
            async move { this.open_and_charge(order, by).await }
        });
        let is_ours = running.is_ours;
        match running.outcome_by(by).await {
            // Somebody else's order may have been another one.
            Some(Ok(payment)) if !is_ours => payment.answer(&order).unwrap_or(Ok(())).map(|()| payment),
            Some(outcome) => outcome,
            None if is_ours => Err(Error::ProviderUnavailable),
            None => Err(Error::InProgress),
        }
    }

    /// Undoes the payment of a reservation, as far as the caller's time allows; the worker does the rest. `None`: there was no payment
    /// and never will be.
    ///
    /// # Cancel safety
    /// Safe: once the request is stored it is carried out.
    pub(crate) async fn refund(&self, reservation: Id) -> Result<Option<Payment>, Error> {
        let by = answer_by();
        let marked = self.request_refund(reservation).await?;
        let store::Marked::Payment(payment) = marked else { return Ok(None) };
        // Where too many are under way already, the worker finds the mark.
        if !payment.owes_refund() || self.refunds.is_full() {
            return Ok(Some(*payment));
        }
        let outcome = self.start_refund((*payment).clone()).outcome_by(by).await;
        Ok(Some(match outcome {
            Some(Ok(refunded)) => refunded,
            Some(Err(_)) | None => *payment,
        }))
    }

    /// A customer's own payment, or for an operator (`customer` is `None`) any.
    pub(crate) async fn get(&self, id: Id, customer: Option<String>) -> Result<Option<Payment>, Error> {
        let payment: Option<Payment> = self.store.read(move |conn| Ok::<_, Error>(store::find(conn, id)?)).await?;
        Ok(payment.filter(|payment| customer.is_none_or(|customer| customer == payment.customer)))
    }

    /// A page of a customer's payments, or of everybody's; with one more row if there is a next page.
    pub(crate) async fn list(&self, customer: Option<String>, page: Page) -> Result<Vec<Payment>, Error> {
        self.store.read(move |conn| Ok(store::list(conn, customer.as_deref(), &page)?)).await
    }

    /// Waits until every drive has ended; for shutdown.
    pub(crate) async fn finish(&self) {
        self.charges.finish().await;
        self.refunds.finish().await;
    }

    /// Ends the lease on what could not be settled; the worker tries again after a pause that grows with the time it was wanted already.
    async fn try_again_later(&self, payment: &Payment) -> Result<(), Error> {
        let (id, attempt, next) = (payment.id, payment.attempt, next_try(payment.updated_at, now()));
        write(&self.store, move |conn| store::release(conn, id, attempt, next)).await.map(|_| ())
    }
}

/// Until when the caller can be answered.
fn answer_by() -> Instant {
    let now = Instant::now();
    let Some(deadline) = deadline::current() else { return now + NO_DEADLINE };
    let left = deadline.at().saturating_duration_since(now);
    now + left.saturating_sub((left / 20).clamp(ANSWER_MIN, ANSWER_MAX))
}

/// An event about a payment, in the reservation's thread of events.
fn event<E: Event>(event: &E, payment: &Payment, causation: Option<Id>) -> NewEvent {
    NewEvent::of(
        event,
        Id::generate(),
        payment.version,
        &payment.reservation.to_string(),
        causation,
        payment.updated_at,
    )
}

/// The name of a payment.
pub(crate) fn name(id: Id) -> String {
    format_name("payments", id)
}

/// Runs statements as one transaction.
async fn write<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&mut Conn) -> diesel::QueryResult<T> + Send + 'static,
) -> Result<T, Error> {
    store.write(move |conn| Ok(work(conn)?)).await
}

/// The moment a decision is made.
fn now() -> Micros {
    Micros::now()
}
