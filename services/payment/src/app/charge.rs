//! The drive that charges: intent, provider, miles, approval.
//!
//! The intent is committed before the provider hears of it, and no transaction is open while anybody is waited for. Whatever happens in
//! between, the row says WAITING, and whoever finds it (a repeat, the worker) asks the provider again under the same key.

use std::time::Duration;

use mesh::crash_point;
use mesh::event::NewEvent;
use mesh::fault::Fault;
use mesh::outbox;
use mesh::store::Id;
use proto::payment::v1::{PaymentApproved, PaymentDeclined};
use tokio::time::Instant;

use super::{Payments, event, now, write};
use crate::NAME;
use crate::domain::{Error, METHOD_UNKNOWN, Mileage, Order, Payment};
use crate::provider::{Charge, Outcome, ProviderError};
use crate::rpc::convert;
use crate::store::{self, Opened};

/// The pause before the provider is asked again; doubles up to the limit.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// What storing an outcome came to.
enum Stored {
    Settled(Payment),
    /// Somebody else settled it, or wants the money back.
    Overtaken(Payment),
}

impl Payments {
    /// Records the intent and drives it; a repeat takes over only what nobody works on. `ask_until` ends the asking, not the drive.
    pub(super) async fn open_and_charge(self, order: Order, ask_until: Instant) -> Result<Payment, Error> {
        let intent = Payment::intent(Id::generate(), order.clone(), now());
        let opened = write(&self.store, |conn| {
            let opened = store::open(conn, intent)?;
            crash_point!("payment.intent.uncommitted");
            Ok(opened)
        });
        let opened = opened.await?;
        crash_point!("payment.intent.committed");
        let payment = match opened {
            Opened::New(payment) => payment,
            Opened::Found(payment) => match payment.answer(&order) {
                Some(answer) => return answer.map(|()| payment),
                None => match self.take_up(payment, &order).await? {
                    Opened::New(payment) => {
                        crash_point!("payment.attempt.committed");
                        payment
                    }
                    Opened::Found(payment) => {
                        return payment.answer(&order).unwrap_or(Err(Error::InProgress)).map(|()| payment);
                    }
                },
            },
        };
        self.drive(payment, ask_until).await
    }

    /// Takes over the open attempt that `order` asks for, or begins it where the one before came to nothing; unless somebody else was faster.
    async fn take_up(&self, found: Payment, order: &Order) -> Result<Opened, Error> {
        let (order, now) = (order.clone(), now());
        write(&self.store, move |conn| {
            let taken = if found.attempt == order.attempt {
                store::claim(conn, found.id, order.attempt, now)?
            } else {
                store::begin(conn, found.id, &order, now)?
            };
            match taken {
                Some(payment) => Ok(Opened::New(payment)),
                None => store::find(conn, found.id)?.map(Opened::Found).ok_or(diesel::NotFound),
            }
        })
        .await
    }

    /// Finishes a waiting payment that was left behind: the worker's way to [`Payments::charge`].
    pub(crate) async fn recover_charge(&self, payment: Payment) {
        let this = self.clone();
        let running = self.charges.join_or_start((payment.reservation, payment.attempt), || async move {
            this.drive(payment, Instant::now()).await
        });
        // Only the row matters; the drive has stored what it found.
        let _ = running.outcome().await;
    }

    async fn drive(self, payment: Payment, ask_until: Instant) -> Result<Payment, Error> {
        match self.ask(&payment, ask_until).await {
            Ok(Outcome::Approved { reference }) => self.earn_and_approve(payment, reference).await,
            Ok(Outcome::Declined { code }) => self.decline(payment, code).await,
            Ok(Outcome::UnknownMethod) => self.decline(payment, METHOD_UNKNOWN.to_owned()).await,
            Err(error) => {
                tracing::warn!(payment = %payment.id, error = &error as &dyn std::error::Error, "charge not settled yet");
                self.try_again_later(&payment).await?;
                Err(Error::ProviderUnavailable)
            }
        }
    }

    /// Asks the provider until it answers or the time is over. At least once.
    async fn ask(&self, payment: &Payment, until: Instant) -> Result<Outcome, ProviderError> {
        let charge = Charge::from(payment);
        let mut pause = FIRST_PAUSE;
        loop {
            crash_point!("payment.charge.calling");
            let answer = self.provider.charge(&charge).await;
            crash_point!("payment.charge.answered");
            let error = match answer {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            if Instant::now() + pause >= until {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn earn_and_approve(self, payment: Payment, reference: String) -> Result<Payment, Error> {
        let mileage = match payment.mileage {
            Mileage::Graceful | Mileage::Strict => match self.mileage.accrue(&payment).await {
                Ok(()) => {
                    crash_point!("payment.miles.earned");
                    Mileage::Earned
                }
                Err(status) => {
                    let fault = Fault::from_status(&status);
                    tracing::warn!(payment = %payment.id, code = ?fault.code(), reason = fault.reason(), "miles not earned");
                    if payment.mileage == Mileage::Strict {
                        return self.undo_for_want_of_miles(payment, reference).await;
                    }
                    Mileage::Pending
                }
            },
            settled => settled,
        };
        let approved = payment.clone().approved(reference.clone(), mileage, now());
        let done = event(&PaymentApproved { payment: Some(convert::payment(&approved)) }, &approved, None);
        match self.store_outcome(approved, done).await? {
            Stored::Settled(payment) => Ok(payment),
            Stored::Overtaken(found) => self.overtaken(found, payment.attempt, Some(reference)).await,
        }
    }

    async fn decline(self, payment: Payment, code: String) -> Result<Payment, Error> {
        let refusal = match code.as_str() {
            METHOD_UNKNOWN => Error::MethodUnknown,
            code => Error::Declined { payment: payment.id, code: code.to_owned() },
        };
        let attempt = payment.attempt;
        let declined = payment.declined(code, now());
        let done = event(&PaymentDeclined { payment: Some(convert::payment(&declined)) }, &declined, None);
        match self.store_outcome(declined, done).await? {
            Stored::Settled(_) => Err(refusal),
            Stored::Overtaken(found) => self.overtaken(found, attempt, None).await,
        }
    }

    async fn store_outcome(&self, settled: Payment, done: NewEvent) -> Result<Stored, Error> {
        let stored = write(&self.store, move |conn| {
            if store::settle(conn, &settled)? {
                outbox::push(conn, NAME, &done)?;
                crash_point!("payment.outcome.uncommitted");
                return Ok(Stored::Settled(settled));
            }
            store::by_reservation(conn, settled.reservation)?.map(Stored::Overtaken).ok_or(diesel::NotFound)
        })
        .await?;
        crash_point!("payment.outcome.committed");
        if let Stored::Settled(payment) = &stored {
            self.log.note(payment);
        }
        Ok(stored)
    }

    /// The row was settled while the provider was asked: by another replica, then that counts; or a refund was requested, then what was taken
    /// goes back now. (If the refund is stored already, the provider has promised that nothing is taken.)
    async fn overtaken(self, payment: Payment, attempt: i32, reference: Option<String>) -> Result<Payment, Error> {
        let outcome = payment.outcome(attempt).unwrap_or(Err(Error::InProgress));
        if payment.owes_refund() {
            // Its failure is not the caller's concern: the row is marked, so the worker tries again.
            let _ = self.undo(payment.clone(), reference).await;
        }
        outcome.map(|()| payment)
    }

    /// Strict: no miles, no payment. Unless another replica has earned them meanwhile.
    async fn undo_for_want_of_miles(self, payment: Payment, reference: String) -> Result<Payment, Error> {
        let (id, attempt, now) = (payment.id, payment.attempt, now());
        let Some(marked) = write(&self.store, move |conn| store::give_up(conn, id, attempt, now)).await? else {
            let found = write(&self.store, move |conn| store::find(conn, id)).await?.unwrap_or(payment);
            return self.overtaken(found, attempt, Some(reference)).await;
        };
        crash_point!("payment.given.up.committed");
        // Its failure is not the caller's concern: the row is marked, so the worker tries again.
        let _ = self.undo(marked, Some(reference)).await;
        Err(Error::MileageUnavailable)
    }
}
