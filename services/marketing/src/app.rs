//! Use cases: fold what happened into the rows, ask for more where it is nearly full, read.

use diesel::QueryResult;
use mesh::event::{NewEvent, Received};
use mesh::outbox;
use mesh::store::{Conn, Id, Micros, Store, StoreError};
use mesh::value::{Day, Page, Zone, format_name};
use proto::marketing::v1::IncrementRequested;

use crate::NAME;
use crate::domain::{Demand, Fact, Slot, is_nearly_full};
use crate::store;

/// Folds a fact about a listing, then asks its host for more of what is nearly full by it.
pub(crate) fn fold(conn: &mut Conn, listing: Id, fact: &Fact, percent: u8, cause: &Received) -> QueryResult<()> {
    // First of all the listing's row: whoever has it is alone with the listing until the end of the transaction, so that of two replicas the
    // second counts what the first has added.
    let slots = match fact {
        Fact::Booked(booking) => {
            store::touch(conn, listing, Some(&booking.host))?;
            store::book(conn, listing, booking)?;
            booking.slot.into_iter().collect()
        }
        Fact::Offered { host, capacity, version } => {
            store::offer(conn, listing, host, *capacity, *version)?;
            store::booked_slots(conn, listing)?
        }
        Fact::Dated { from, to, capacity, version } => {
            store::touch(conn, listing, None)?;
            store::set_capacity(conn, listing, *from, *to, *capacity, *version)?;
            store::booked_slots(conn, listing)?
        }
    };
    let now = Micros::now();
    let today = first_day(now);
    slots
        .into_iter()
        .filter(|slot| !slot.is_past(today))
        .try_for_each(|slot| ask(conn, listing, slot, percent, cause, now))
}

/// The earliest date that it is anywhere.
fn first_day(now: Micros) -> Day {
    Zone::named("Etc/GMT+12").expect("the zone database has every hour").day_at(now)
}

/// Asks for more, once for each slot and capacity, with the event.
fn ask(conn: &mut Conn, listing: Id, slot: Slot, percent: u8, cause: &Received, now: Micros) -> QueryResult<()> {
    let Some(capacity) = store::capacity(conn, listing, slot)? else { return Ok(()) };
    let confirmed = store::confirmed_units(conn, listing, slot)?;
    if !is_nearly_full(confirmed, capacity, percent) {
        return Ok(());
    }
    let Some(version) = store::note_increment(conn, listing, slot, capacity)? else { return Ok(()) };
    let event = IncrementRequested {
        listing: format_name("listings", listing),
        date: match slot {
            Slot::Date(day) => Some(day.into()),
            Slot::Stock => None,
        },
        confirmed_units: i32::try_from(confirmed).unwrap_or(i32::MAX),
        capacity,
    };
    let event = NewEvent::of(&event, Id::generate(), version, &listing.to_string(), None, now).because_of(cause);
    outbox::push(conn, NAME, &event)
}

/// A page of the demand for a host's listings, or for all; with one more when there is another page.
pub(crate) async fn list(store: &Store, host: Option<String>, page: Page) -> Result<Vec<Demand>, StoreError> {
    store.read(move |conn| Ok(store::list(conn, host.as_deref(), &page)?)).await
}
