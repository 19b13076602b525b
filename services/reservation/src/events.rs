//! Events: what reservations tell of themselves, and what payments tell of theirs.

use std::collections::HashMap;

use mesh::{
    consumer::{ConsumerSpec, HandlerError, Repeats},
    event::{self, NewEvent, Received},
    store::{Conn, Id, Micros},
    value::id_of,
};
use proto::{
    contract::Event,
    payment::v1::PaymentCancelled,
    reservation::v1::{ReservationCancelRequested, ReservationCancelled, ReservationConfirmed, ReservationRequested},
};

use crate::{
    domain::{Reservation, State},
    rpc::to_wire,
    store,
};

fn event_of<E: Event>(message: &E, reservation: &Reservation) -> NewEvent {
    let correlation = reservation.id.to_string();
    NewEvent::of(message, Id::generate(), reservation.version, &correlation, None, reservation.updated_at)
}

/// A reservation was made and is confirmed: told together, once the synchronous part has succeeded.
pub(crate) fn confirmed(requested: &Reservation, confirmed: &Reservation) -> Vec<NewEvent> {
    // What was requested, with what is known of it by now.
    let known = Reservation { deal: confirmed.deal.clone(), ..requested.clone() };
    vec![
        event_of(&ReservationRequested { reservation: Some(to_wire(&known)) }, requested),
        event_of(&ReservationConfirmed { reservation: Some(to_wire(confirmed)) }, confirmed),
    ]
}

/// Its customer cancelled.
pub(crate) fn cancel_requested(reservation: &Reservation) -> NewEvent {
    event_of(&ReservationCancelRequested { reservation: Some(to_wire(reservation)) }, reservation)
}

/// Its payment is back.
pub(crate) fn cancelled(reservation: &Reservation) -> NewEvent {
    event_of(&ReservationCancelled { reservation: Some(to_wire(reservation)) }, reservation)
}

/// Refunds end cancellations.
pub(crate) fn on_payment() -> ConsumerSpec {
    ConsumerSpec {
        stream: PaymentCancelled::STREAM,
        durable: "reservation-on-payment",
        subjects: vec![event::filter::<PaymentCancelled>()],
        batch: 256,
        repeats: Repeats::Dropped,
    }
}

/// Reservations whose payments are refunded become CANCELLED; others are left as they are.
pub(crate) fn apply_refunds(conn: &mut Conn, events: &[Received]) -> Result<(), HandlerError> {
    let mut causes = HashMap::with_capacity(events.len());
    for received in events {
        let event: PaymentCancelled =
            received.decode().map_err(|error| HandlerError::Poison(format!("not a PaymentCancelled: {error}")))?;
        let payment = event.payment.unwrap_or_default();
        let id = id_of("reservations", &payment.reservation)
            .ok_or_else(|| HandlerError::Poison("the payment names no reservation".to_owned()))?;
        causes.insert(id, received);
    }
    let ids: Vec<Id> = causes.keys().copied().collect();
    let now = Micros::now();
    for seen in store::find_all(conn, &ids)? {
        // A saga that unwinds has a reservation without payment, and ends it itself.
        if seen.state == State::CancelRequested && seen.payment.is_some() {
            let next = seen.moved(State::Cancelled, now);
            let event = cancelled(&next).because_of(causes[&seen.id]);
            if !store::change(conn, seen.version, &next, &[event])? {
                return Err(HandlerError::Retry(format!("{} changed at the same time", seen.id)));
            }
        }
    }
    Ok(())
}
