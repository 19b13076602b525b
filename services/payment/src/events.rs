//! What payment does when reservation says something: a cancelled reservation's money goes back.
//!
//! The handler only marks the rows; the commit wakes the worker, which refunds them.

use mesh::consumer::{ConsumerSpec, HandlerError, Repeats};
use mesh::event::{self, Received};
use mesh::store::{Conn, Id, Micros};
use mesh::value::{Money, id_of};
use proto::contract::Event;
use proto::reservation::v1::{Reservation, ReservationCancelRequested};

use crate::store;

/// The durable consumer of reservation's events.
pub(crate) fn spec() -> ConsumerSpec {
    ConsumerSpec {
        stream: ReservationCancelRequested::STREAM,
        durable: "payment-on-reservation",
        subjects: vec![event::filter::<ReservationCancelRequested>()],
        batch: 256,
        repeats: Repeats::Dropped,
    }
}

/// Marks the payments for refund, one prepared statement for each event: each row remembers which event asked.
///
/// A reservation that costs something and has no payment yet gets a tombstone, so that a charge arriving later is refused.
pub(crate) fn handle(conn: &mut Conn, events: &[Received]) -> Result<(), HandlerError> {
    for received in events.iter().filter(|received| received.is::<ReservationCancelRequested>()) {
        let reservation = received.decode::<ReservationCancelRequested>()?.reservation.unwrap_or_default();
        let id = id_of("reservations", &reservation.name)
            .ok_or_else(|| HandlerError::Poison(format!("{} is not the name of a reservation", reservation.name)))?;
        let now = Micros::now();
        if costs_something(&reservation)? {
            store::request_refund(conn, id, received.id, Id::generate(), now, now)?;
        } else {
            store::mark(conn, id, received.id, now, now)?;
        }
    }
    Ok(())
}

fn costs_something(reservation: &Reservation) -> Result<bool, HandlerError> {
    let Some(total) = &reservation.total else { return Ok(false) };
    let total = Money::try_from(total)
        .map_err(|error| HandlerError::Poison(format!("the total of {}: {error}", reservation.name)))?;
    Ok(!total.is_zero())
}
