//! What payment does when reservation says something: what was paid for a reservation that came to nothing goes back, and what was not paid
//! yet never will be.
//!
//! The handler only marks the rows; the commit wakes the worker, which refunds them.

use mesh::consumer::{ConsumerSpec, HandlerError, Repeats};
use mesh::event::{self, Received};
use mesh::store::{Conn, Id, Micros};
use mesh::value::{Money, id_of};
use proto::contract::Event;
use proto::listing::v1::reservation_policy::{CancelRefund, Payment};
use proto::reservation::v1::{
    Reservation, ReservationCancelRequested, ReservationExpired, ReservationForceCancelled, ReservationRejected,
};

use crate::store::{self, Refund};

/// The durable consumer of reservation's events.
pub(crate) fn spec() -> ConsumerSpec {
    ConsumerSpec {
        stream: ReservationCancelRequested::STREAM,
        durable: "payment-on-reservation",
        subjects: vec![
            event::filter::<ReservationCancelRequested>(),
            event::filter::<ReservationRejected>(),
            event::filter::<ReservationExpired>(),
            event::filter::<ReservationForceCancelled>(),
        ],
        batch: 256,
        repeats: Repeats::Dropped,
    }
}

/// Marks the payments for refund, one prepared statement for each event: each row remembers which event asked.
///
/// A reservation that has no payment yet gets a tombstone, so that a charge arriving later is refused; one that is free of charge gets nothing.
pub(crate) fn handle(conn: &mut Conn, events: &[Received]) -> Result<(), HandlerError> {
    for received in events {
        let Some(ended) = Ended::of(received)? else { continue };
        if !costs_something(&ended.reservation)? {
            continue;
        }
        let reservation = id_of("reservations", &ended.reservation.name).ok_or_else(|| {
            HandlerError::Poison(format!("{} is not the name of a reservation", ended.reservation.name))
        })?;
        let now = Micros::now();
        let refund = Refund { reservation, by: received.id, keeps_approved: ended.keeps_approved, due_at: now, now };
        store::request_refund(conn, refund, Id::generate())?;
    }
    Ok(())
}

/// A reservation that came to nothing.
struct Ended {
    reservation: Reservation,
    /// Its policy gives a customer who cancels nothing back. What is not paid yet is void all the same.
    keeps_approved: bool,
}

impl Ended {
    fn of(received: &Received) -> Result<Option<Self>, HandlerError> {
        if received.is::<ReservationCancelRequested>() {
            let reservation = received.decode::<ReservationCancelRequested>()?.reservation.unwrap_or_default();
            let policy = reservation.policy.as_ref();
            let keeps_approved = policy.is_some_and(|policy| policy.cancel_refund() == CancelRefund::None);
            return Ok(Some(Self { reservation, keeps_approved }));
        }
        let reservation = if received.is::<ReservationRejected>() {
            received.decode::<ReservationRejected>()?.reservation
        } else if received.is::<ReservationExpired>() {
            received.decode::<ReservationExpired>()?.reservation
        } else if received.is::<ReservationForceCancelled>() {
            received.decode::<ReservationForceCancelled>()?.reservation
        } else {
            return Ok(None);
        };
        Ok(Some(Self { reservation: reservation.unwrap_or_default(), keeps_approved: false }))
    }
}

fn costs_something(reservation: &Reservation) -> Result<bool, HandlerError> {
    if reservation.policy.as_ref().is_some_and(|policy| policy.payment() == Payment::None) {
        return Ok(false);
    }
    let Some(total) = &reservation.total else { return Ok(false) };
    let total = Money::try_from(total)
        .map_err(|error| HandlerError::Poison(format!("the total of {}: {error}", reservation.name)))?;
    Ok(!total.is_zero())
}
