//! What listing hears: reservations that were confirmed commit their holds, cancelled ones release them.
//!
//! The order of the two does not matter: a released hold is never committed again, so a confirmation that comes late changes nothing.

use std::collections::HashMap;

use mesh::consumer::{ConsumerSpec, HandlerError, Repeats};
use mesh::event::{Received, filter};
use mesh::store::{Conn, Id, Micros};
use mesh::value::id_of;
use proto::contract::Event;
use proto::reservation::v1::{ReservationCancelled, ReservationConfirmed};

use crate::announce::Origin;
use crate::app::holds;
use crate::wire::RESERVATIONS;

/// Events in one transaction at most.
const BATCH: usize = 256;

/// The durable consumer of reservation's events.
#[must_use]
pub fn subscription() -> ConsumerSpec {
    ConsumerSpec {
        stream: ReservationConfirmed::STREAM,
        durable: "listing-on-reservation",
        subjects: vec![filter::<ReservationConfirmed>(), filter::<ReservationCancelled>()],
        batch: BATCH,
        repeats: Repeats::Dropped,
    }
}

/// Handles a batch in a few statements: all commits, then all releases. Of equal events the first counts; handling an event again changes nothing.
///
/// # Errors
/// [`HandlerError::Poison`] for an event that is not what it says, [`HandlerError::Retry`] when the database refuses.
pub fn handle(conn: &mut Conn, events: &[Received]) -> Result<(), HandlerError> {
    let now = Micros::now();
    let mut confirmed = HashMap::new();
    let mut cancelled = HashMap::new();
    for event in events {
        if event.is::<ReservationConfirmed>() {
            let message: ReservationConfirmed = event.decode()?;
            confirmed.entry(reservation(message.key())?).or_insert_with(|| Origin::event(event, now));
        } else if event.is::<ReservationCancelled>() {
            let message: ReservationCancelled = event.decode()?;
            cancelled.entry(reservation(message.key())?).or_insert_with(|| Origin::event(event, now));
        }
    }
    if !confirmed.is_empty() {
        holds::commit(conn, &confirmed, now)?;
    }
    if !cancelled.is_empty() {
        holds::release(conn, &cancelled, now)?;
    }
    Ok(())
}

fn reservation(name: &str) -> Result<Id, HandlerError> {
    id_of(RESERVATIONS, name).ok_or_else(|| HandlerError::Poison("the event names no reservation".to_owned()))
}
