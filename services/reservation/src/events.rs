//! Events: what reservations tell of themselves, and what payments and listings tell of theirs.

use std::collections::HashMap;

use mesh::{
    consumer::{ConsumerSpec, HandlerError, Repeats},
    event::{self, NewEvent, Received},
    store::{Conn, Id, Micros},
    value::id_of,
};
use proto::{
    contract::Event,
    listing::v1::ListingDeleted,
    payment::v1::PaymentCancelled,
    reservation::v1::{
        ReservationApproved, ReservationCancelRequested, ReservationCancelled, ReservationCompleted,
        ReservationConfirmed, ReservationExpired, ReservationForceCancelled, ReservationPaid, ReservationRejected,
        ReservationRequested,
    },
};

use crate::{
    domain::{Change, Fact, Reservation, State},
    rpc::convert::to_wire,
    store::{
        self,
        closures::{self, Closure},
    },
};

/// What is told of a change.
pub(crate) fn of(change: &Change) -> Vec<NewEvent> {
    change.told.iter().map(|(fact, reservation)| tell(*fact, reservation)).collect()
}

fn tell(fact: Fact, told: &Reservation) -> NewEvent {
    let reservation = Some(to_wire(told));
    match fact {
        Fact::Requested => event_of(&ReservationRequested { reservation }, told),
        Fact::Approved => event_of(&ReservationApproved { reservation }, told),
        Fact::Rejected => event_of(&ReservationRejected { reservation }, told),
        Fact::Paid => event_of(&ReservationPaid { reservation }, told),
        Fact::Confirmed => event_of(&ReservationConfirmed { reservation }, told),
        Fact::CancelRequested => event_of(&ReservationCancelRequested { reservation }, told),
        Fact::Cancelled => event_of(&ReservationCancelled { reservation }, told),
        Fact::ForceCancelled => event_of(&ReservationForceCancelled { reservation }, told),
        Fact::Expired => event_of(&ReservationExpired { reservation }, told),
        Fact::Completed => event_of(&ReservationCompleted { reservation }, told),
    }
}

fn event_of<E: Event>(message: &E, told: &Reservation) -> NewEvent {
    let correlation = told.id.to_string();
    NewEvent::of(message, Id::generate(), told.version, &correlation, None, told.updated_at)
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
        // What has no payment yet is undone by its saga, which ends it itself.
        if seen.state == State::CancelRequested && seen.payment.is_some() {
            let change = seen.cancelled(true, now);
            let events: Vec<_> = of(&change).into_iter().map(|event| event.because_of(causes[&seen.id])).collect();
            if !store::change(conn, seen.version, &change.next, &events)? {
                return Err(HandlerError::Retry(format!("{} changed at the same time", seen.id)));
            }
        }
    }
    Ok(())
}

/// Deletions of listings end their reservations.
pub(crate) fn on_listing() -> ConsumerSpec {
    ConsumerSpec {
        stream: ListingDeleted::STREAM,
        durable: "reservation-on-listing",
        subjects: vec![event::filter::<ListingDeleted>()],
        batch: 256,
        repeats: Repeats::Dropped,
    }
}

/// Notes the deletion; [`crate::closures`] does the rest, a page at a time.
pub(crate) fn note_deletions(conn: &mut Conn, events: &[Received]) -> Result<(), HandlerError> {
    for received in events {
        let event: ListingDeleted =
            received.decode().map_err(|error| HandlerError::Poison(format!("not a ListingDeleted: {error}")))?;
        let listing_id = id_of("listings", &event.listing.unwrap_or_default().name)
            .ok_or_else(|| HandlerError::Poison("the event names no listing".to_owned()))?;
        let traceparent = received.traceparent.clone();
        closures::open(conn, &Closure { listing_id, event_id: received.id, traceparent })?;
    }
    Ok(())
}
