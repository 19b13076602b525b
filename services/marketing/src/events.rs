//! What reservation and listing say, as facts about listings.

use mesh::consumer::{ConsumerSpec, HandlerError, Repeats};
use mesh::event::{Received, filter};
use mesh::store::{Conn, Id};
use mesh::value::{Day, id_of, user_of};
use proto::contract::Event;
use proto::listing::v1::{CapacityChanged, Listing, ListingModified, ListingRegistered};
use proto::reservation::v1::{
    Reservation, ReservationCancelled, ReservationCompleted, ReservationConfirmed, ReservationForceCancelled,
    reservation,
};

use crate::app;
use crate::domain::{Booking, Fact, Outcome, Slot};

/// The durable consumer of reservation's events.
pub(crate) fn reservation() -> ConsumerSpec {
    let subjects = vec![
        filter::<ReservationConfirmed>(),
        filter::<ReservationCompleted>(),
        filter::<ReservationCancelled>(),
        filter::<ReservationForceCancelled>(),
    ];
    spec(ReservationConfirmed::STREAM, "marketing-on-reservation", subjects)
}

/// The durable consumer of listing's events.
pub(crate) fn listing() -> ConsumerSpec {
    let subjects = vec![filter::<ListingRegistered>(), filter::<ListingModified>(), filter::<CapacityChanged>()];
    spec(ListingRegistered::STREAM, "marketing-on-listing", subjects)
}

fn spec(stream: &'static str, durable: &'static str, subjects: Vec<String>) -> ConsumerSpec {
    // Rows keep the version they were told with, so a repeat changes none.
    ConsumerSpec { stream, durable, subjects, batch: 64, repeats: Repeats::Harmless }
}

/// Handles a batch in its transaction, ordered by listing: two replicas that took listings' rows in different orders could wait for each other.
pub(crate) fn handle(conn: &mut Conn, events: &[Received], percent: u8) -> Result<(), HandlerError> {
    let mut facts = Vec::with_capacity(events.len());
    for event in events {
        let (listing, fact) = fact(event)?
            .ok_or_else(|| HandlerError::Poison(format!("{} {} lacks what demand needs", event.kind, event.id)))?;
        facts.push((listing, fact, event));
    }
    facts.sort_by_key(|(listing, ..)| *listing);
    facts.iter().try_for_each(|(listing, fact, event)| Ok(app::fold(conn, *listing, fact, percent, event)?))
}

/// `None` when the event lacks something.
fn fact(event: &Received) -> Result<Option<(Id, Fact)>, HandlerError> {
    let version = event.version;
    Ok(match event.kind.as_str() {
        ReservationConfirmed::TYPE => {
            booked(event.decode::<ReservationConfirmed>()?.reservation, version, Outcome::Confirmed)
        }
        ReservationCompleted::TYPE => {
            booked(event.decode::<ReservationCompleted>()?.reservation, version, Outcome::Completed)
        }
        ReservationCancelled::TYPE => {
            booked(event.decode::<ReservationCancelled>()?.reservation, version, Outcome::Cancelled)
        }
        ReservationForceCancelled::TYPE => {
            booked(event.decode::<ReservationForceCancelled>()?.reservation, version, Outcome::Cancelled)
        }
        ListingRegistered::TYPE => offered(event.decode::<ListingRegistered>()?.listing, version),
        ListingModified::TYPE => offered(event.decode::<ListingModified>()?.listing, version),
        CapacityChanged::TYPE => capacity(&event.decode::<CapacityChanged>()?, version),
        _ => None,
    })
}

fn booked(told: Option<Reservation>, version: i64, outcome: Outcome) -> Option<(Id, Fact)> {
    let told = told?;
    let slot = match &told.slot {
        Some(reservation::Slot::Stay(_)) => None,
        Some(reservation::Slot::Date(date)) => Some(Slot::Date(Day::try_from(date).ok()?)),
        None => Some(Slot::Stock),
    };
    let booking = Booking {
        reservation: id_of("reservations", &told.name)?,
        version,
        host: user_of(&told.host)?.to_owned(),
        slot,
        units: told.units,
        outcome,
    };
    Some((id_of("listings", &told.listing)?, Fact::Booked(booking)))
}

fn offered(told: Option<Listing>, version: i64) -> Option<(Id, Fact)> {
    let told = told?;
    let host = user_of(&told.host)?.to_owned();
    Some((id_of("listings", &told.name)?, Fact::Offered { host, capacity: told.default_capacity, version }))
}

fn capacity(told: &CapacityChanged, version: i64) -> Option<(Id, Fact)> {
    let dates = told.dates.as_ref()?;
    let (from, to) = (dates.start_date.as_ref()?, dates.end_date.as_ref()?);
    let (from, to) = (Day::try_from(from).ok()?, Day::try_from(to).ok()?);
    Some((id_of("listings", &told.listing)?, Fact::Dated { from, to, capacity: told.capacity, version }))
}
