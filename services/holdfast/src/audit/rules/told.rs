//! What follows from events: messages, the view, the outboxes.

use std::collections::HashMap;

use listing::domain::HoldState;
use mesh::store::Id;
use mesh::value::format_name;
use message::{State as Delivery, Topic};
use payment::domain::State as Paid;
use reservation::domain::State;
use view::audit::Trip;

use super::{Finding, reservation_name};
use crate::audit::facts::Facts;

const TOPICS: [Topic; 4] =
    [Topic::ReservationConfirmed, Topic::ReservationCancelled, Topic::MileageIncreased, Topic::MileageDecreased];

/// For each reservation: one message for each thing that its customer is told of, none twice.
pub(super) fn messages_once(facts: &Facts) -> Finding {
    let mut told: HashMap<(Id, Topic), usize> = HashMap::new();
    for message in facts.messages.iter().filter(|message| message.state != Delivery::Pending) {
        *told.entry((message.reservation, message.topic)).or_default() += 1;
    }
    let mut due: HashMap<(Id, Topic), usize> = HashMap::new();
    for row in &facts.miles {
        let topic = if row.points > 0 { Topic::MileageIncreased } else { Topic::MileageDecreased };
        *due.entry((row.reservation, topic)).or_default() += 1;
    }
    let mut finding = Finding::own(0, &facts.message_rules);
    for reservation in facts.reservations.values() {
        let confirmed_once = reservation.deal.is_some();
        due.insert((reservation.id, Topic::ReservationConfirmed), usize::from(confirmed_once));
        if confirmed_once || reservation.state != State::Cancelled {
            due.insert(
                (reservation.id, Topic::ReservationCancelled),
                usize::from(reservation.state == State::Cancelled),
            );
        } else {
            // Cancelled before it was confirmed: whether that was told depends on how far it had come.
            let count = told.get(&(reservation.id, Topic::ReservationCancelled)).copied().unwrap_or(0);
            due.insert((reservation.id, Topic::ReservationCancelled), count.min(1));
        }
        for topic in TOPICS {
            let expected = due.get(&(reservation.id, topic)).copied().unwrap_or(0);
            let found = told.remove(&(reservation.id, topic)).unwrap_or(0);
            let wrong = (found != expected)
                .then(|| format!("{}: {expected} {topic:?} due, {found} told", reservation_name(reservation.id)));
            finding.check(wrong);
        }
    }
    for (reservation, topic) in told.into_keys() {
        finding.check(Some(format!("{}, which does not exist: {topic:?} told", reservation_name(reservation))));
    }
    finding
}

/// State by state, and in numbers.
pub(super) fn view_is_fold(facts: &Facts) -> Finding {
    let mut finding = Finding::own(0, &facts.view_rules);
    let expected = Expected::of(facts);
    for reservation in facts.reservations.values() {
        let wrong = expected.difference(facts, reservation.id);
        finding.check(wrong.map(|wrong| format!("{}: {wrong}", format_name("trips", reservation.id))));
    }
    for trip in facts.trips.keys().filter(|trip| !facts.reservations.contains_key(trip)) {
        finding.check(Some(format!("{} shows a reservation that does not exist", format_name("trips", *trip))));
    }
    let mut confirmed: HashMap<Id, i64> = HashMap::new();
    for reservation in facts.reservations.values().filter(|reservation| reservation.state == State::Confirmed) {
        *confirmed.entry(reservation.listing).or_default() += 1;
    }
    for listing in confirmed.keys().chain(facts.confirmed.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (is, shown) = (confirmed.get(listing).unwrap_or(&0), facts.confirmed.get(listing).unwrap_or(&0));
        let wrong = (is != shown).then(|| {
            format!("{}: {is} reservations are confirmed, {shown} shown", format_name("listingViews", *listing))
        });
        finding.check(wrong);
    }
    finding
}

/// What trips should show, by reservation. Numbers are those of the contracts' enums.
struct Expected {
    payments: HashMap<Id, i16>,
    miles: HashMap<Id, i64>,
    messages: HashMap<Id, i32>,
}

impl Expected {
    fn of(facts: &Facts) -> Self {
        let mut expected = Self { payments: HashMap::new(), miles: HashMap::new(), messages: HashMap::new() };
        for payment in &facts.payments {
            let number = match payment.state {
                // Nothing has been told of it yet.
                Paid::Waiting => 0,
                Paid::Approved => 2,
                Paid::Declined => 3,
                Paid::Cancelled => 4,
            };
            expected.payments.insert(payment.reservation, number);
        }
        for row in &facts.miles {
            *expected.miles.entry(row.reservation).or_default() += row.points;
        }
        for message in facts.messages.iter().filter(|message| message.state == Delivery::Sent) {
            *expected.messages.entry(message.reservation).or_default() += 1;
        }
        expected
    }

    fn difference(&self, facts: &Facts, id: Id) -> Option<String> {
        let nothing = Trip {
            reservation: id,
            listing: None,
            reservation_state: 0,
            hold_state: 0,
            payment_state: 0,
            mileage_points: 0,
            message_count: 0,
        };
        let trip = facts.trips.get(&id).unwrap_or(&nothing);
        let reservation = facts.reservations.get(&id)?;
        let number = match reservation.state {
            // Told only once the synchronous part has succeeded; a refusal never is.
            State::Requested | State::Rejected => 0,
            State::Confirmed => 2,
            State::CancelRequested => 3,
            State::Cancelled => 4,
        };
        let unconfirmed = reservation.deal.is_none();
        if trip.reservation_state != number && !(unconfirmed && trip.reservation_state == 0) {
            return Some(format!("the reservation is {number}, shown as {}", trip.reservation_state));
        }
        let hold = facts.holds.get(&id).map_or(0, |hold| match hold.state {
            HoldState::Held => 1,
            HoldState::Committed => 2,
            HoldState::Released => 3,
        });
        let listing_shown = trip.listing.is_none_or(|listing| listing == reservation.listing);
        let number_of = |map: &HashMap<Id, i64>| map.get(&id).copied().unwrap_or(0);
        [
            ("listing", i64::from(!listing_shown), 0),
            ("hold", i64::from(trip.hold_state), hold),
            ("payment", i64::from(trip.payment_state), i64::from(self.payments.get(&id).copied().unwrap_or(0))),
            ("miles", trip.mileage_points, number_of(&self.miles)),
            ("messages", i64::from(trip.message_count), i64::from(self.messages.get(&id).copied().unwrap_or(0))),
        ]
        .into_iter()
        .find(|(_, shown, is)| shown != is)
        .map(|(what, shown, is)| format!("{what} {is}, shown as {shown}"))
    }
}

/// Outboxes are empty, or what waits in them has only just come.
pub(super) fn everything_published(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for unsent in &facts.unsent {
        let waits = unsent.oldest.filter(|_| unsent.count > 0);
        finding.check(waits.map(|since| format!("{}: events wait since {} µs", unsent.service, since.0)));
    }
    finding
}
