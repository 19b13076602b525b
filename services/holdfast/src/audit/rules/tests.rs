//! Each planted fault is found by its rule, and by no rule that should not mind.

use std::collections::{BTreeMap, HashMap};

use listing::audit::HoldRecord;
use listing::domain::HoldState;
use mesh::store::{Id, Micros};
use mesh::value::{Currency, Day, Money};
use message::{State as Delivery, Topic};
use mileage::audit::EntryRow;
use mileage::domain::Kind;
use payment::audit::PaymentRow;
use payment::domain::{Mileage as Accrual, State as Paid};
use payment::provider::simulator::{Entry, EntryKind};
use reservation::domain::{Deal, Mileage, Reservation, State, Stay};
use view::audit::Trip;

use super::RULES;
use crate::audit::facts::{Facts, Unsent};
use crate::service::Service;

const PRICE: i64 = 38_000;
const MILES: i64 = 7;

fn id(number: u8) -> Id {
    Id::from_bytes([number; 16])
}

const RESERVATION: u8 = 1;
const LISTING: u8 = 2;
const PAYMENT: u8 = 3;

/// One confirmed, paid reservation with miles, and everything that follows from it.
fn sound() -> Facts {
    let stay = Stay { check_in: Day::from_number(20_000), check_out: Day::from_number(20_002) };
    let total = Money::from_minor(PRICE, Currency::KRW);
    let deal =
        Deal { total, host: "hana".to_owned(), listing_title: "Hanok".to_owned(), mileage: Mileage::Graceful(MILES) };
    let reservation = Reservation {
        id: id(RESERVATION),
        listing: id(LISTING),
        customer: "alice".to_owned(),
        stay,
        units: 1,
        persons: 2,
        state: State::Confirmed,
        deal: Some(deal),
        payment: Some(id(PAYMENT)),
        version: 2,
        created_at: Micros(0),
        updated_at: Micros(0),
    };
    let hold = HoldRecord {
        reservation: id(RESERVATION),
        listing: id(LISTING),
        state: HoldState::Committed,
        units: 1,
        check_in: stay.check_in,
        check_out: stay.check_out,
    };
    let trip = Trip {
        reservation: id(RESERVATION),
        listing: Some(id(LISTING)),
        reservation_state: 2,
        hold_state: 2,
        payment_state: 2,
        mileage_points: MILES,
        message_count: 2,
    };
    Facts {
        settled_before: Micros(1_000),
        reservations: HashMap::from([(id(RESERVATION), reservation)]),
        sagas: Vec::new(),
        holds: HashMap::from([(id(RESERVATION), hold)]),
        payments: vec![payment(Paid::Approved)],
        books: vec![book(EntryKind::Charge, id(PAYMENT))],
        miles: vec![miles(Kind::Accrual, MILES)],
        messages: vec![told(10, Topic::ReservationConfirmed), told(11, Topic::MileageIncreased)],
        trips: HashMap::from([(id(RESERVATION), trip)]),
        confirmed: BTreeMap::from([(id(LISTING), 1)]),
        listing_rules: Vec::new(),
        payment_rules: Vec::new(),
        mileage_rules: Vec::new(),
        message_rules: Vec::new(),
        view_rules: Vec::new(),
        unsent: vec![Unsent { service: Service::Listing, count: 0, oldest: None }],
    }
}

/// The same, cancelled, refunded and released.
fn cancelled() -> Facts {
    let mut facts = sound();
    reservation(&mut facts).state = State::Cancelled;
    hold(&mut facts).state = HoldState::Released;
    facts.payments = vec![payment(Paid::Cancelled)];
    facts.books.push(book(EntryKind::Refund, id(PAYMENT)));
    facts.miles.push(miles(Kind::Reversal, -MILES));
    facts.messages.extend([told(12, Topic::ReservationCancelled), told(13, Topic::MileageDecreased)]);
    *trip(&mut facts) = Trip {
        reservation_state: 4,
        hold_state: 3,
        payment_state: 4,
        mileage_points: 0,
        message_count: 4,
        ..*trip(&mut facts)
    };
    facts.confirmed = BTreeMap::from([(id(LISTING), 0)]);
    facts
}

fn payment(state: Paid) -> PaymentRow {
    PaymentRow {
        id: id(PAYMENT),
        reservation: id(RESERVATION),
        customer: "alice".to_owned(),
        amount_minor: PRICE,
        currency: "KRW".to_owned(),
        state,
        points: MILES,
        accrual: Accrual::Earned,
        refund_requested: state == Paid::Cancelled,
        provider_answer: Some("sim".to_owned()),
        updated_at: Micros(0),
    }
}

fn book(kind: EntryKind, payment: Id) -> Entry {
    Entry {
        kind,
        key: payment.to_string(),
        amount_minor: PRICE,
        currency: "KRW".to_owned(),
        reference: "sim".to_owned(),
    }
}

fn miles(kind: Kind, points: i64) -> EntryRow {
    EntryRow { id: id(20), payment: id(PAYMENT), reservation: id(RESERVATION), user: "alice".to_owned(), kind, points }
}

fn told(event: u8, topic: Topic) -> message::audit::Entry {
    message::audit::Entry { event: id(event), topic, reservation: id(RESERVATION), state: Delivery::Sent }
}

fn reservation(facts: &mut Facts) -> &mut Reservation {
    facts.reservations.get_mut(&id(RESERVATION)).expect("it is there")
}

fn hold(facts: &mut Facts) -> &mut HoldRecord {
    facts.holds.get_mut(&id(RESERVATION)).expect("it is there")
}

fn trip(facts: &mut Facts) -> &mut Trip {
    facts.trips.get_mut(&id(RESERVATION)).expect("it is there")
}

fn violated(facts: &Facts) -> Vec<&'static str> {
    RULES.iter().filter(|rule| !(rule.check)(facts).violations.is_empty()).map(|rule| rule.name).collect()
}

#[test]
fn sound_books_violate_nothing() {
    assert_eq!(violated(&sound()), [""; 0]);
    assert_eq!(violated(&cancelled()), [""; 0]);
}

/// `plant` breaks something in sound facts; exactly the rules that begin like `expected` must say so.
fn check(expected: &[&str], base: fn() -> Facts, plant: fn(&mut Facts)) {
    let mut facts = base();
    plant(&mut facts);
    let found = violated(&facts);
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
    assert!(fits, "expected {expected:?}, found {found:?}");
}

#[test]
fn faults_with_money_are_found() {
    const PAID: &str = "a confirmed reservation is paid";
    const LIVING: &str = "a payment taken belongs";
    const BOOKS: &str = "the provider's books";
    const MILES_ONCE: &str = "miles are earned";
    check(&[PAID], sound, |facts| reservation(facts).payment = None);
    check(&[PAID, BOOKS], sound, |facts| facts.payments[0].amount_minor -= 1);
    check(&[PAID], sound, |facts| facts.payments[0].currency = "EUR".to_owned());
    check(&[LIVING], cancelled, |facts| {
        // Cancelled, but the money was never given back.
        facts.payments[0].state = Paid::Approved;
        facts.books.pop();
        facts.miles.pop();
        facts.messages.pop();
        *trip(facts) = Trip { payment_state: 2, mileage_points: MILES, message_count: 3, ..*trip(facts) };
    });
    check(&[BOOKS], sound, |facts| facts.books.push(book(EntryKind::Charge, id(PAYMENT))));
    check(&[BOOKS], sound, |facts| facts.books.push(book(EntryKind::Charge, id(99))));
    check(&[BOOKS], cancelled, |facts| facts.books.truncate(1));
    check(&[BOOKS], cancelled, |facts| facts.books.push(book(EntryKind::Refund, id(PAYMENT))));
    check(&[MILES_ONCE, "each message", "the view"], sound, |facts| facts.miles.push(miles(Kind::Accrual, MILES)));
    check(&[MILES_ONCE, "the view"], sound, |facts| facts.miles[0].points = 1);
    check(&[MILES_ONCE, "each message", "the view"], cancelled, |facts| facts.miles.truncate(1));
}

#[test]
fn faults_with_places_are_found() {
    const HOLDS: &str = "a hold lives as long";
    check(&[HOLDS, "the view"], sound, |facts| hold(facts).state = HoldState::Released);
    check(&[HOLDS], sound, |facts| hold(facts).units = 2);
    check(&[HOLDS, "the view"], cancelled, |facts| hold(facts).state = HoldState::Committed);
    check(&[HOLDS, "the view"], sound, |facts| facts.holds.clear());
    check(&[HOLDS], sound, |facts| {
        let orphan = HoldRecord { reservation: id(50), ..facts.holds[&id(RESERVATION)] };
        facts.holds.insert(id(50), orphan);
    });
    check(&["live holds"], sound, |facts| facts.listing_rules.push("oversold".to_owned()));
    check(&["no saga"], sound, |facts| facts.sagas.push((id(RESERVATION), Micros(999))));
    check(&[], sound, |facts| facts.sagas.push((id(RESERVATION), Micros(1_001))));
}

#[test]
fn faults_with_what_is_told_are_found() {
    const ONCE: &str = "each message";
    const VIEW: &str = "the view";
    check(&[ONCE, VIEW], sound, |facts| facts.messages.truncate(1));
    check(&[ONCE, VIEW], sound, |facts| facts.messages.push(told(10, Topic::ReservationConfirmed)));
    check(&[ONCE, VIEW], sound, |facts| facts.messages.push(told(14, Topic::ReservationCancelled)));
    check(&[VIEW], sound, |facts| trip(facts).reservation_state = 3);
    check(&[VIEW], sound, |facts| trip(facts).message_count = 1);
    check(&[VIEW], sound, |facts| trip(facts).listing = Some(id(9)));
    check(&[VIEW], sound, |facts| facts.trips.clear());
    check(&[VIEW], sound, |facts| facts.confirmed = BTreeMap::from([(id(LISTING), 2)]));
    check(&["every event"], sound, |facts| {
        facts.unsent[0] = Unsent { count: 3, oldest: Some(Micros(5)), ..facts.unsent[0].clone() }
    });
}
