//! Incoming events to messages: who is told of them, how, in which language, and what. The words are the [templates](crate::templates)'.

mod reading;

use std::collections::{BTreeMap, BTreeSet};

use mesh::consumer::HandlerError;
use mesh::event::{Received, filter};
use mesh::store::{Conn, Id, Micros};
use mesh::value::{id_of, user_of};
use proto::contract::Event;
use proto::listing::v1::notification::Transition;
use proto::mileage::v1::{MileageDecreased, MileageEntry, MileageIncreased};
use proto::reservation::v1::{
    Reservation, ReservationApproved, ReservationCancelled, ReservationCompleted, ReservationConfirmed,
    ReservationExpired, ReservationForceCancelled, ReservationRejected, ReservationRequested,
};

use crate::domain::{Channel, Language, Message, State, Topic, message_id};
use crate::news::{Audience, Miles, Movement};
use crate::{store, templates};

/// What holds where neither a user nor a listing says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Platform {
    /// What messages are written in.
    pub(crate) language: Language,
    /// What an alarm begins with.
    pub(crate) alarm_prefix: String,
}

macro_rules! moves {
    ($($event:ident => $transition:ident,)+) => {
        /// The subjects of the events of reservations that people are told of.
        pub(crate) fn reservation_subjects() -> Vec<String> {
            vec![$(filter::<$event>()),+]
        }

        /// The move of a reservation that an event tells of; `None` for one that nobody is told of.
        fn moved(event: &Received) -> Result<Option<(Transition, Reservation)>, HandlerError> {
            $(if event.is::<$event>() {
                let told = decode::<$event>(event)?.reservation.ok_or_else(|| lacking(event))?;
                return Ok(Some((Transition::$transition, told)));
            })+
            Ok(None)
        }
    };
}

moves! {
    ReservationRequested => Requested,
    ReservationApproved => Approved,
    ReservationRejected => Rejected,
    ReservationConfirmed => Confirmed,
    ReservationCancelled => Cancelled,
    ReservationForceCancelled => ForceCancelled,
    ReservationExpired => Expired,
    ReservationCompleted => Completed,
}

/// The subjects of the events of miles that people are told of.
pub(crate) fn mileage_subjects() -> Vec<String> {
    vec![filter::<MileageIncreased>(), filter::<MileageDecreased>()]
}

/// Writes the messages that events of reservations ask for: one statement, in the caller's transaction.
///
/// # Errors
/// [`HandlerError::Poison`] for an event that lacks what a message needs; [`HandlerError::Retry`] when the database refuses.
pub(crate) fn record_reservations(
    conn: &mut Conn,
    events: &[Received],
    platform: &Platform,
) -> Result<(), HandlerError> {
    let now = Micros::now();
    let mut new = Vec::with_capacity(events.len());
    let mut moves = Vec::with_capacity(events.len());
    // A microsecond apart, so that messages are delivered in the order of their events.
    for (nth, event) in (0..).zip(events) {
        if let Some((transition, told)) = moved(event)? {
            let at = Micros(now.0 + nth);
            new.extend(about_reservation(event, transition, &told, platform, at).ok_or_else(|| lacking(event))?);
            moves.push(told);
        }
    }
    if !new.is_empty() {
        store::insert(conn, new)?;
    }
    let chosen: BTreeMap<_, _> = moves
        .iter()
        .filter_map(|told| Some((told.customer.as_str(), Language::from_code(&told.language_code)?)))
        .collect();
    Ok(store::remember(conn, &chosen)?)
}

/// Writes the messages that events of miles ask for: one statement, in the caller's transaction. An event of miles does not tell the language of
/// its user; it is the one they chose for their last reservation.
///
/// # Errors
/// [`HandlerError::Poison`] for an event that lacks what a message needs; [`HandlerError::Retry`] when the database refuses.
pub(crate) fn record_miles(conn: &mut Conn, events: &[Received], platform: &Platform) -> Result<(), HandlerError> {
    let now = Micros::now();
    let mut movements = Vec::with_capacity(events.len());
    for event in events {
        if let Some((movement, entry)) = miles_moved(event)? {
            let user = owner(&entry).ok_or_else(|| lacking(event))?.to_owned();
            movements.push((event, movement, entry, user));
        }
    }
    if movements.is_empty() {
        return Ok(());
    }
    let users: BTreeSet<_> = movements.iter().map(|(.., user)| user.as_str()).collect();
    let languages = store::languages(conn, users.into_iter().collect())?;
    let mut new = Vec::with_capacity(movements.len());
    for (event, movement, entry, user) in movements {
        let language = languages.get(&user).copied().unwrap_or(platform.language);
        new.push(about_miles(event, movement, &entry, user, language, now).ok_or_else(|| lacking(event))?);
    }
    store::insert(conn, new)?;
    Ok(())
}

fn decode<E: Event>(event: &Received) -> Result<E, HandlerError> {
    event.decode().map_err(|error| HandlerError::Poison(format!("{} {}: {error}", event.kind, event.id)))
}

fn lacking(event: &Received) -> HandlerError {
    HandlerError::Poison(format!("{} {} lacks what a message needs", event.kind, event.id))
}

fn miles_moved(event: &Received) -> Result<Option<(Movement, MileageEntry)>, HandlerError> {
    let (movement, entry) = if event.is::<MileageIncreased>() {
        (Movement::Increased, decode::<MileageIncreased>(event)?.mileage_entry)
    } else if event.is::<MileageDecreased>() {
        (Movement::Decreased, decode::<MileageDecreased>(event)?.mileage_entry)
    } else {
        return Ok(None);
    };
    entry.map(|entry| Some((movement, entry))).ok_or_else(|| lacking(event))
}

/// One message for each audience and channel; `None` if the event lacks something.
fn about_reservation(
    event: &Received,
    transition: Transition,
    told: &Reservation,
    platform: &Platform,
    now: Micros,
) -> Option<Vec<Message>> {
    let reservation = id_of("reservations", &told.name)?;
    let booking = reading::booking(told, event.time)?;
    let change = reading::change(transition, told)?;
    let prefix = told.policy.as_ref().map(|policy| policy.alarm_prefix.as_str()).filter(|prefix| !prefix.is_empty());
    let prefix = prefix.unwrap_or(&platform.alarm_prefix);
    reading::audience(transition, told)
        .into_iter()
        .map(|(audience, channel)| {
            let language = reading::language(audience, told).unwrap_or(platform.language);
            let recipient = match audience {
                Audience::Customer => &told.customer,
                Audience::Host => &told.host,
            };
            user_of(recipient)?;
            let body = templates::of_reservation(language, channel, audience, &booking, change, prefix);
            let to = Recipient { user: recipient.clone(), channel, language };
            Some(message(event, reservation, change.topic(), to, body, now))
        })
        .collect()
}

fn about_miles(
    event: &Received,
    movement: Movement,
    entry: &MileageEntry,
    user: String,
    language: Language,
    now: Micros,
) -> Option<Message> {
    let reservation = id_of("reservations", &entry.reservation)?;
    let miles = Miles { movement, points: entry.points.unsigned_abs(), balance: entry.balance };
    let to = Recipient { user, channel: Channel::Message, language };
    Some(message(event, reservation, movement.topic(), to, templates::of_miles(language, miles), now))
}

/// Whose miles they are: `users/{user}/mileageEntries/{entry}`.
fn owner(entry: &MileageEntry) -> Option<&str> {
    entry.name.split("/mileageEntries/").next().filter(|user| user_of(user).is_some())
}

struct Recipient {
    user: String,
    channel: Channel,
    language: Language,
}

/// A message that waits for its first delivery.
fn message(event: &Received, reservation: Id, topic: Topic, to: Recipient, body: String, now: Micros) -> Message {
    Message {
        id: message_id(event.id, &to.user, to.channel),
        event: event.id,
        recipient: to.user,
        reservation,
        topic,
        channel: to.channel,
        language: to.language,
        body,
        state: State::Pending,
        attempts: 0,
        created_at: now,
        sent_at: None,
        traceparent: event.traceparent.clone(),
    }
}
