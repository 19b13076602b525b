//! What follows from events: messages, the view, the outboxes.

use std::collections::{HashMap, HashSet};

use listing::domain::HoldState;
use mesh::store::Id;
use mesh::value::format_name;
use message::{State as Delivery, Topic};
use payment::domain::State as Paid;
use proto::listing::v1::listing::Kind;
use proto::listing::v1::notification::{Audience, Channel, Transition};
use proto::listing::v1::{Notification, ReservationPolicy};
use reservation::domain::{Reservation, State};
use view::audit::Trip;

use super::{Finding, policy, reservation_name};
use crate::audit::facts::Facts;

/// What people are told of a reservation's own moves.
const MOVES: [(Transition, Topic); 8] = [
    (Transition::Requested, Topic::ReservationRequested),
    (Transition::Approved, Topic::ReservationApproved),
    (Transition::Rejected, Topic::ReservationRejected),
    (Transition::Confirmed, Topic::ReservationConfirmed),
    (Transition::Cancelled, Topic::ReservationCancelled),
    (Transition::ForceCancelled, Topic::ReservationForceCancelled),
    (Transition::Expired, Topic::ReservationExpired),
    (Transition::Completed, Topic::ReservationCompleted),
];
const MILES: [Topic; 2] = [Topic::MileageIncreased, Topic::MileageDecreased];

/// For each reservation: whoever is to be told of a move is told of it once by each channel; movements of miles once each.
pub(super) fn messages_once(facts: &Facts) -> Finding {
    let mut told: HashMap<(Id, Topic), usize> = HashMap::new();
    for message in facts.messages.iter().filter(|message| message.state != Delivery::Pending) {
        *told.entry((message.reservation, message.topic)).or_default() += 1;
    }
    let mut movements: HashMap<(Id, Topic), usize> = HashMap::new();
    for row in &facts.miles {
        let topic = if row.points > 0 { Topic::MileageIncreased } else { Topic::MileageDecreased };
        *movements.entry((row.reservation, topic)).or_default() += 1;
    }
    let mut finding = Finding::own(0, &facts.message_rules);
    let undoing = sagas(facts);
    for reservation in facts.reservations.values() {
        let policy = policy(reservation);
        let moves = MOVES.map(|(transition, topic)| {
            let each = audience(transition, &policy, reservation);
            let (least, most) = times(transition, reservation, undoing.contains(&reservation.id));
            (topic, least * each, most * each)
        });
        let miles = MILES.map(|topic| {
            let count = movements.get(&(reservation.id, topic)).copied().unwrap_or(0);
            (topic, count, count)
        });
        for (topic, least, most) in moves.into_iter().chain(miles) {
            let found = told.remove(&(reservation.id, topic)).unwrap_or(0);
            let wrong = !(least..=most).contains(&found);
            let name = || reservation_name(reservation.id);
            finding.check(wrong.then(|| format!("{}: {least} to {most} {topic:?} due, {found} told", name())));
        }
    }
    for (reservation, topic) in told.into_keys() {
        finding.check(Some(format!("{}, which does not exist: {topic:?} told", reservation_name(reservation))));
    }
    finding
}

/// The reservations that sagas work for.
fn sagas(facts: &Facts) -> HashSet<Id> {
    facts.sagas.iter().map(|(reservation, _)| *reservation).collect()
}

/// How many messages one move leads to. A deal from before hosts could choose has its customer told of what it came to.
fn audience(transition: Transition, policy: &ReservationPolicy, reservation: &Reservation) -> usize {
    let kind = reservation.deal.as_ref().map_or(0, |deal| deal.described.kind);
    if policy.notifications.is_empty() {
        let ends = !matches!(transition, Transition::Requested | Transition::Approved | Transition::Completed);
        return usize::from(ends && [Kind::Unspecified as i32, Kind::Room as i32].contains(&kind));
    }
    let wanted = |one: &&Notification| [Transition::Unspecified, transition].contains(&one.transition());
    let each = policy.notifications.iter().filter(wanted).map(|one| {
        let channel = if one.channel() == Channel::Unspecified { Channel::Message } else { one.channel() };
        (one.audience() == Audience::Host, channel as i32)
    });
    each.collect::<HashSet<_>>().len()
}

/// How often a reservation in its present state has made the move, at least and at most. Its state does not always tell: what was cancelled may
/// have been confirmed before, and what its listing's deletion ended at its first step is told once its saga has undone it.
fn times(transition: Transition, reservation: &Reservation, has_saga: bool) -> (usize, usize) {
    let (agreed, state) = (reservation.deal.is_some(), reservation.state);
    let certain = |made: bool| (usize::from(made), usize::from(made));
    match transition {
        Transition::Requested => match state {
            State::Requested => (0, 0),
            State::CancelRequested | State::Cancelled | State::ForceCancelled => (0, usize::from(agreed)),
            _ => certain(agreed),
        },
        Transition::Approved => certain(reservation.approval.is_some()),
        Transition::Confirmed => match state {
            State::Confirmed | State::Completed => (1, 1),
            State::CancelRequested | State::Cancelled | State::ForceCancelled => (0, usize::from(agreed)),
            _ => (0, 0),
        },
        Transition::Rejected => certain(agreed && state == State::Rejected),
        Transition::Expired => certain(state == State::Expired),
        Transition::Completed => certain(state == State::Completed),
        // One that never had a deal may have come to nothing before anybody heard of it.
        Transition::Cancelled if state == State::Cancelled => (usize::from(agreed), 1),
        Transition::ForceCancelled if state == State::ForceCancelled => (usize::from(agreed && !has_saga), 1),
        Transition::Cancelled | Transition::ForceCancelled | Transition::Unspecified => (0, 0),
    }
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
#[derive(Default)]
struct Expected {
    payments: HashMap<Id, &'static [i16]>,
    miles: HashMap<Id, i64>,
    messages: HashMap<Id, i32>,
    vouchers: HashMap<Id, i16>,
    undoing: HashSet<Id>,
}

impl Expected {
    fn of(facts: &Facts) -> Self {
        let mut expected = Self { undoing: sagas(facts), ..Self::default() };
        for payment in &facts.payments {
            let numbers: &[i16] = match payment.state {
                // Nothing has been told of it yet, or that an attempt before was declined.
                Paid::Waiting => &[0, 3],
                Paid::Approved => &[2],
                Paid::Declined => &[3],
                Paid::Cancelled => &[4],
            };
            expected.payments.insert(payment.reservation, numbers);
        }
        for voucher in &facts.vouchers {
            let number = match voucher.state {
                voucher::State::Issued => 1,
                voucher::State::Cancelled => 2,
            };
            expected.vouchers.insert(voucher.reservation, number);
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
            voucher_state: 0,
            mileage_points: 0,
            message_count: 0,
        };
        let trip = facts.trips.get(&id).unwrap_or(&nothing);
        let reservation = facts.reservations.get(&id)?;
        let numbers = state_numbers(reservation, self.undoing.contains(&id));
        if !numbers.contains(&trip.reservation_state) {
            return Some(format!("the reservation is one of {numbers:?}, shown as {}", trip.reservation_state));
        }
        let payments = self.payments.get(&id).copied().unwrap_or(&[0]);
        if !payments.contains(&trip.payment_state) {
            return Some(format!("the payment is one of {payments:?}, shown as {}", trip.payment_state));
        }
        let hold = facts.holds.get(&id).map_or(0, |hold| match hold.state {
            HoldState::Held => 1,
            HoldState::Committed => 2,
            HoldState::Released => 3,
            HoldState::Completed => 4,
        });
        let listing_shown = trip.listing.is_none_or(|listing| listing == reservation.listing);
        let number_of = |map: &HashMap<Id, i64>| map.get(&id).copied().unwrap_or(0);
        [
            ("listing", i64::from(!listing_shown), 0),
            ("hold", i64::from(trip.hold_state), hold),
            ("voucher", i64::from(trip.voucher_state), i64::from(self.vouchers.get(&id).copied().unwrap_or(0))),
            ("miles", trip.mileage_points, number_of(&self.miles)),
            ("messages", i64::from(trip.message_count), i64::from(self.messages.get(&id).copied().unwrap_or(0))),
        ]
        .into_iter()
        .find(|(_, shown, is)| shown != is)
        .map(|(what, shown, is)| format!("{what} {is}, shown as {shown}"))
    }
}

/// How a trip may show the state of its reservation; 0 is not at all: it is told only once the synchronous part has succeeded, and a refusal
/// never is.
fn state_numbers(reservation: &Reservation, has_saga: bool) -> &'static [i16] {
    let agreed = reservation.deal.is_some();
    match reservation.state {
        State::Requested => &[0],
        State::Confirmed => &[2],
        // While it is being made: its end tells both.
        State::CancelRequested => &[0, 3],
        State::Cancelled if agreed => &[4],
        State::Cancelled => &[0, 4],
        State::Rejected if agreed => &[5],
        State::Rejected => &[0],
        State::AwaitingApproval => &[6],
        State::AwaitingPayment => &[7],
        State::ForceCancelled if agreed && !has_saga => &[8],
        State::ForceCancelled => &[0, 8],
        State::Expired => &[9],
        State::Completed => &[10],
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
