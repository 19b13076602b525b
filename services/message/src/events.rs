//! Incoming events to messages: whose they are and what they tell. The words are the domain's.

use mesh::consumer::HandlerError;
use mesh::event::Received;
use mesh::store::{Conn, Micros};
use mesh::value::{Day, Money, id_of};
use proto::contract::Event;
use proto::mileage::v1::{MileageDecreased, MileageEntry, MileageIncreased};
use proto::reservation::v1::{Reservation, ReservationCancelled, ReservationConfirmed};

use crate::domain::{Booking, Message, Miles, News};
use crate::store;

/// Writes the messages that a batch of events asks for: one statement, in the caller's transaction.
///
/// # Errors
/// [`HandlerError::Poison`] for an event that lacks what a message needs; [`HandlerError::Retry`] when the database refuses.
pub(crate) fn record(conn: &mut Conn, events: &[Received]) -> Result<(), HandlerError> {
    let now = Micros::now();
    let mut new = Vec::with_capacity(events.len());
    for event in events {
        new.extend(message_for(event, now)?);
    }
    if !new.is_empty() {
        store::insert(conn, new)?;
    }
    Ok(())
}

/// The message for an event; `None` for a kind that nobody is told of.
fn message_for(event: &Received, now: Micros) -> Result<Option<Message>, HandlerError> {
    let message = if event.is::<ReservationConfirmed>() {
        let told = decode::<ReservationConfirmed>(event)?.reservation;
        about_booking(event, told.as_ref(), News::Confirmed, now)
    } else if event.is::<ReservationCancelled>() {
        let told = decode::<ReservationCancelled>(event)?.reservation;
        about_booking(event, told.as_ref(), News::Cancelled, now)
    } else if event.is::<MileageIncreased>() {
        let told = decode::<MileageIncreased>(event)?.mileage_entry;
        about_miles(event, told.as_ref(), News::Increased, now)
    } else if event.is::<MileageDecreased>() {
        let told = decode::<MileageDecreased>(event)?.mileage_entry;
        about_miles(event, told.as_ref(), News::Decreased, now)
    } else {
        return Ok(None);
    };
    message
        .map(Some)
        .ok_or_else(|| HandlerError::Poison(format!("{} {} lacks what a message needs", event.kind, event.id)))
}

fn decode<E: Event>(event: &Received) -> Result<E, HandlerError> {
    event.decode().map_err(|error| HandlerError::Poison(format!("{} {}: {error}", event.kind, event.id)))
}

fn about_booking<'a>(
    event: &Received,
    told: Option<&'a Reservation>,
    news: fn(Booking<'a>) -> News<'a>,
    now: Micros,
) -> Option<Message> {
    let reservation = told?;
    let id = id_of("reservations", &reservation.name)?;
    let stay = reservation.stay.as_ref()?;
    let booking = Booking {
        title: &reservation.listing_display_name,
        check_in: Day::try_from(stay.check_in_date.as_ref()?).ok()?,
        check_out: Day::try_from(stay.check_out_date.as_ref()?).ok()?,
        persons: reservation.persons,
        total: Money::try_from(reservation.total.as_ref()?).ok()?,
    };
    Some(Message::new(event.id, user(&reservation.customer)?, id, &news(booking), now))
}

fn about_miles(
    event: &Received,
    told: Option<&MileageEntry>,
    news: fn(Miles) -> News<'static>,
    now: Micros,
) -> Option<Message> {
    let entry = told?;
    // `users/{user}/mileageEntries/{entry}`.
    let recipient = user(entry.name.split("/mileageEntries/").next()?)?;
    let id = id_of("reservations", &entry.reservation)?;
    let miles = Miles { points: entry.points.unsigned_abs(), balance: entry.balance };
    Some(Message::new(event.id, recipient, id, &news(miles), now))
}

fn user(name: &str) -> Option<String> {
    mesh::value::user_of(name).map(|_| name.to_owned())
}
