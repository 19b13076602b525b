//! Use cases: earn, take back, read.

use mesh::crash_point;
use mesh::event::NewEvent;
use mesh::outbox;
use mesh::store::{Conn, Id, Micros, Store};
use mesh::value::Page;
use proto::contract::Event;
use proto::mileage::v1::{MileageDecreased, MileageIncreased};

use crate::NAME;
use crate::domain::{Accrual, Entry, Error, Reverse};
use crate::rpc::convert;
use crate::store;

/// A race over one payment is over after one round: its entries are only ever added, and there are two.
const ROUNDS: usize = 4;

/// Everything a use case needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Miles(Store);

impl Miles {
    pub(crate) fn new(store: Store) -> Self {
        Self(store)
    }

    /// Earns miles once for a payment; a repeat answers the same entry.
    ///
    /// # Cancel safety
    /// Safe: one transaction.
    pub(crate) async fn accrue(&self, accrual: Accrual) -> Result<Entry, Error> {
        let wanted = accrual.clone();
        match self.0.write(move |conn| accrue(conn, &accrual, None, Micros::now())).await {
            // It lost against an entry that is stored: that is the answer.
            Err(Error::Raced) => {
                let payment = wanted.payment;
                let history = self.0.write(move |conn| Ok::<_, Error>(store::history(conn, payment)?)).await?;
                history.answer(&wanted).unwrap_or(Err(Error::Raced))
            }
            done => {
                crash_point!("mileage.accrual.committed");
                done
            }
        }
    }

    /// Takes back what a payment earned, once; `None` if it earned nothing, and now never will.
    ///
    /// # Cancel safety
    /// Safe: one transaction.
    pub(crate) async fn reverse(&self, payment: Id) -> Result<Option<Entry>, Error> {
        for _ in 1..ROUNDS {
            match self.0.write(move |conn| reverse(conn, payment, None, Micros::now())).await {
                Err(Error::Raced) => {}
                done => return done,
            }
        }
        self.0.write(move |conn| reverse(conn, payment, None, Micros::now())).await
    }

    /// A customer's balance and when it last changed.
    pub(crate) async fn account(&self, customer: String) -> Result<(i64, Option<Micros>), Error> {
        let found = self.0.read(move |conn| Ok::<_, Error>(store::account(conn, &customer)?)).await?;
        Ok(found.map_or((0, None), |(balance, at)| (balance, Some(at))))
    }

    /// A page of a customer's entries; with one more row if there is a next page.
    pub(crate) async fn list(&self, customer: String, page: Page) -> Result<Vec<Entry>, Error> {
        self.0.read(move |conn| Ok(store::list(conn, &customer, &page)?)).await
    }
}

/// Earns miles, with the event. After an error the transaction must be rolled back: [`Error::Raced`] means that the ledger has an entry of
/// this payment.
pub(crate) fn accrue(conn: &mut Conn, accrual: &Accrual, cause: Option<Id>, now: Micros) -> Result<Entry, Error> {
    let entry = store::accrue(conn, accrual, Id::generate(), now)?.ok_or(Error::Raced)?;
    let increased = MileageIncreased { mileage_entry: Some(convert::entry(&entry)) };
    outbox::push(conn, NAME, &event(&increased, &entry, cause))?;
    crash_point!("mileage.accrual.uncommitted");
    Ok(entry)
}

/// Takes back what a payment earned, with the event, or sees to it that it never earns. After an error the transaction must be rolled back.
pub(crate) fn reverse(conn: &mut Conn, payment: Id, cause: Option<Id>, now: Micros) -> Result<Option<Entry>, Error> {
    match store::history(conn, payment)?.reverse() {
        Reverse::Done(entry) => Ok(entry),
        Reverse::Close => store::close(conn, payment, Id::generate(), now)?.then_some(None).ok_or(Error::Raced),
        Reverse::TakeBack(earned) => {
            let entry = store::take_back(conn, &earned, Id::generate(), now)?.ok_or(Error::Raced)?;
            let decreased = MileageDecreased { mileage_entry: Some(convert::entry(&entry)) };
            outbox::push(conn, NAME, &event(&decreased, &entry, cause))?;
            crash_point!("mileage.reversal.uncommitted");
            Ok(Some(entry))
        }
    }
}

/// An event about an entry: its first and only version, in the reservation's thread of events.
fn event<E: Event>(event: &E, entry: &Entry, cause: Option<Id>) -> NewEvent {
    NewEvent::of(event, Id::generate(), 1, &entry.reservation.to_string(), cause, entry.created_at)
}
