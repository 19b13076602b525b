//! What listing hears: reservations that were confirmed commit their holds, those that came to nothing release them, completed ones end them.
//!
//! The order does not matter: a hold that has ended is never committed again, so a confirmation that comes late changes nothing.

use std::collections::HashMap;

use mesh::consumer::{ConsumerSpec, HandlerError, Repeats};
use mesh::crash_point;
use mesh::event::{Received, filter};
use mesh::store::{Conn, Micros};
use mesh::value::id_of;
use proto::contract::Event;
use proto::reservation::v1::{
    ReservationCancelled, ReservationCompleted, ReservationConfirmed, ReservationExpired, ReservationForceCancelled,
    ReservationRejected,
};

use crate::announce::Origin;
use crate::app::holds;
use crate::domain::HoldState;
use crate::wire::RESERVATIONS;

/// Events in one transaction at most.
const BATCH: usize = 256;

/// The durable consumer of reservation's events.
#[must_use]
pub fn subscription() -> ConsumerSpec {
    ConsumerSpec {
        stream: ReservationConfirmed::STREAM,
        durable: "listing-on-reservation",
        subjects: vec![
            filter::<ReservationConfirmed>(),
            filter::<ReservationCancelled>(),
            filter::<ReservationRejected>(),
            filter::<ReservationExpired>(),
            filter::<ReservationForceCancelled>(),
            filter::<ReservationCompleted>(),
        ],
        batch: BATCH,
        repeats: Repeats::Dropped,
    }
}

/// Handles a batch in a few statements: all commits, then all ends. Of equal events the first counts; handling an event again changes nothing.
///
/// # Errors
/// [`HandlerError::Poison`] for an event about no reservation, [`HandlerError::Retry`] when the database refuses.
pub fn handle(conn: &mut Conn, events: &[Received]) -> Result<(), HandlerError> {
    let now = Micros::now();
    let (mut confirmed, mut released, mut completed) = (HashMap::new(), HashMap::new(), HashMap::new());
    for event in events {
        let reservations = match event.kind.as_str() {
            ReservationConfirmed::TYPE => &mut confirmed,
            ReservationCompleted::TYPE => &mut completed,
            ReservationCancelled::TYPE
            | ReservationRejected::TYPE
            | ReservationExpired::TYPE
            | ReservationForceCancelled::TYPE => &mut released,
            _ => continue,
        };
        let reservation = id_of(RESERVATIONS, &event.aggregate)
            .ok_or_else(|| HandlerError::Poison("the event is about no reservation".to_owned()))?;
        reservations.entry(reservation).or_insert_with(|| Origin::event(event, now));
    }
    holds::commit(conn, &confirmed, now)?;
    crash_point!("listing.events.half.uncommitted");
    holds::end(conn, &completed, HoldState::Completed, now)?;
    holds::end(conn, &released, HoldState::Released, now)?;
    Ok(())
}
