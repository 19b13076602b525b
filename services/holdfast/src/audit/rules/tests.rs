//! Each planted fault is found by its rule, and by no rule that should not mind.

use std::collections::{BTreeMap, HashMap, HashSet};

use listing::audit::HoldRecord;
use listing::domain::{HoldState, STOCK_DAY};
use mesh::store::{Id, Micros};
use mesh::value::{Currency, Day, Money};
use message::{Channel as By, State as Delivery, Topic};
use mileage::audit::EntryRow;
use mileage::domain::Kind;
use payment::audit::{Balance, PaymentRow};
use payment::domain::{Mileage as Accrual, State as Paid};
use payment::provider::simulator::{Entry, EntryKind};
use prost::Message as _;
use proto::listing::v1::listing::Kind as ListingKind;
use proto::listing::v1::{Notification, ReservationPolicy, notification, reservation_policy};
use reservation::domain::{
    Approval, Deal, Described, Mileage, Payment, Policy, Refund, Reservation, Slot, State, Stay,
};
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
    let deal = Deal {
        total: Money::from_minor(PRICE, Currency::KRW),
        host: "hana".to_owned(),
        policy: Policy { mileage: Mileage::Graceful(MILES), ..Policy::default() },
        described: Described { title: "Hanok".to_owned(), kind: ListingKind::Room.into(), ..Described::default() },
    };
    let reservation = Reservation {
        id: id(RESERVATION),
        listing: id(LISTING),
        customer: "alice".to_owned(),
        slot: Slot::Stay(stay),
        units: 1,
        persons: 2,
        note: String::new(),
        language: String::new(),
        state: State::Confirmed,
        deal: Some(deal),
        payment: Some(id(PAYMENT)),
        approval: None,
        expires_at: None,
        reject_reason: String::new(),
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
        voucher_state: 0,
        mileage_points: MILES,
        message_count: 2,
    };
    Facts {
        settled_before: Micros(1_000),
        reservations: HashMap::from([(id(RESERVATION), reservation)]),
        sagas: Vec::new(),
        deleted: HashSet::new(),
        holds: HashMap::from([(id(RESERVATION), hold)]),
        payments: vec![payment(Paid::Approved)],
        // What their entries say is what they say, unless a test plants another: see `violated`.
        balances: Vec::new(),
        books: vec![book(EntryKind::Charge, id(PAYMENT))],
        miles: vec![miles(Kind::Accrual, MILES)],
        messages: vec![told(10, Topic::ReservationConfirmed), told(11, Topic::MileageIncreased)],
        vouchers: Vec::new(),
        trips: HashMap::from([(id(RESERVATION), trip)]),
        confirmed: BTreeMap::from([(id(LISTING), 1)]),
        listing_rules: Vec::new(),
        reservation_rules: Vec::new(),
        payment_rules: Vec::new(),
        mileage_rules: Vec::new(),
        message_rules: Vec::new(),
        view_rules: Vec::new(),
        voucher_rules: Vec::new(),
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

/// Without miles, so that what follows is short, under this policy; everything told is told by SMS.
fn under(policy: Policy, voucher: reservation_policy::Voucher) -> Facts {
    let mut facts = sound();
    facts.miles.clear();
    facts.payments[0].points = 0;
    facts.payments[0].accrual = Accrual::None;
    facts.messages.clear();
    *trip(&mut facts) = Trip { mileage_points: 0, message_count: 0, ..*trip(&mut facts) };
    let deal = reservation(&mut facts).deal.as_mut().expect("it has one");
    deal.policy = policy;
    deal.described.kind = ListingKind::Resort.into();
    deal.described.policy =
        ReservationPolicy { voucher: voucher.into(), ..ReservationPolicy::default() }.encode_to_vec();
    facts
}

/// Paid, then given a voucher.
fn with_voucher() -> Facts {
    let mut facts =
        under(Policy { payment: Payment::Deferred, ..Policy::default() }, reservation_policy::Voucher::OnPayment);
    facts.vouchers.push(ticket(voucher::State::Issued));
    trip(&mut facts).voucher_state = 1;
    facts
}

/// Paid, and waiting for its host.
fn awaiting_approval() -> Facts {
    let policy = Policy { approval: Approval::AfterPayment, refund: Refund::Sync, ..Policy::default() };
    let mut facts = under(policy, reservation_policy::Voucher::None);
    *reservation(&mut facts) = Reservation {
        state: State::AwaitingApproval,
        expires_at: Some(Micros(5_000)),
        ..reservation(&mut facts).clone()
    };
    hold(&mut facts).state = HoldState::Held;
    *trip(&mut facts) = Trip { reservation_state: 6, hold_state: 1, ..*trip(&mut facts) };
    facts.sagas.push((id(RESERVATION), Micros(5_000)));
    facts.confirmed.clear();
    facts
}

/// Registered, and waiting for its customer.
fn awaiting_payment() -> Facts {
    let mut facts = with_voucher();
    *reservation(&mut facts) = Reservation {
        state: State::AwaitingPayment,
        expires_at: Some(Micros(5_000)),
        ..reservation(&mut facts).clone()
    };
    hold(&mut facts).state = HoldState::Held;
    facts.payments[0].state = Paid::Waiting;
    facts.books.clear();
    facts.vouchers.clear();
    *trip(&mut facts) =
        Trip { reservation_state: 7, hold_state: 1, payment_state: 0, voucher_state: 0, ..*trip(&mut facts) };
    facts.sagas.push((id(RESERVATION), Micros(5_000)));
    facts.confirmed.clear();
    facts
}

/// Ended so: refunded, released; its miles and messages are not of the story.
fn ended(state: State) -> Facts {
    let mut facts =
        under(Policy { payment: Payment::Deferred, ..Policy::default() }, reservation_policy::Voucher::None);
    let number = match state {
        State::Rejected => 5,
        State::Expired => 9,
        State::ForceCancelled => 8,
        _ => unreachable!("the others have facts of their own"),
    };
    reservation(&mut facts).state = state;
    hold(&mut facts).state = HoldState::Released;
    facts.payments[0].state = Paid::Cancelled;
    facts.books.push(book(EntryKind::Refund, id(PAYMENT)));
    *trip(&mut facts) = Trip { reservation_state: number, hold_state: 3, payment_state: 4, ..*trip(&mut facts) };
    facts.confirmed.clear();
    facts
}

/// Over: paid, and its place given back. Of a stock, told of everything by SMS.
fn completed() -> Facts {
    let mut facts = awaiting_approval();
    let tell = |channel| Notification { channel, ..Notification::default() };
    let sms = notification::Channel::Sms.into();
    let policy = ReservationPolicy { notifications: vec![tell(sms), tell(sms)], ..ReservationPolicy::default() };
    let taken = reservation(&mut facts);
    taken.deal.as_mut().expect("it has one").described.policy = policy.encode_to_vec();
    *taken = Reservation {
        state: State::Completed,
        slot: Slot::None,
        approval: Some(id(30)),
        expires_at: None,
        ..taken.clone()
    };
    *hold(&mut facts) = HoldRecord {
        state: HoldState::Completed,
        check_in: STOCK_DAY,
        check_out: STOCK_DAY.plus(1),
        ..*hold(&mut facts)
    };
    let topics = [
        Topic::ReservationRequested,
        Topic::ReservationApproved,
        Topic::ReservationConfirmed,
        Topic::ReservationCompleted,
    ];
    facts.messages = (40..).zip(topics).map(|(event, topic)| told(event, topic)).collect();
    facts.sagas.clear();
    *trip(&mut facts) = Trip { reservation_state: 10, hold_state: 4, message_count: 4, ..*trip(&mut facts) };
    facts
}

/// Confirmed on a date, free of charge.
fn free_of_charge() -> Facts {
    let policy = Policy { payment: Payment::None, refund: Refund::None, max_per_person: 1, ..Policy::default() };
    let mut facts = under(policy, reservation_policy::Voucher::None);
    let date = Day::from_number(20_000);
    let taken = reservation(&mut facts);
    taken.deal.as_mut().expect("it has one").total = Money::from_minor(0, Currency::KRW);
    *taken = Reservation { slot: Slot::Date(date), payment: None, ..taken.clone() };
    *hold(&mut facts) = HoldRecord { check_in: date, check_out: date.plus(1), ..*hold(&mut facts) };
    facts.payments.clear();
    facts.books.clear();
    trip(&mut facts).payment_state = 0;
    facts
}

fn ticket(state: voucher::State) -> voucher::audit::Entry {
    voucher::audit::Entry { reservation: id(RESERVATION), state }
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

/// As the entries of a payment in order say.
fn balance(payment: &PaymentRow) -> Balance {
    let amount = payment.amount_minor;
    let (charged_minor, refunded_minor) = match payment.state {
        Paid::Waiting | Paid::Declined => (0, 0),
        Paid::Approved => (amount, 0),
        Paid::Cancelled => (amount, -amount),
    };
    Balance {
        payment: payment.id,
        state: payment.state,
        attempt: 1,
        amount_minor: amount,
        currency: payment.currency.clone(),
        provider_answer: payment.provider_answer.clone(),
        refund_requested: payment.refund_requested,
        version: 1,
        charged_minor,
        refunded_minor,
        voids: 0,
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
    message::audit::Entry {
        event: id(event),
        recipient: "users/alice".to_owned(),
        channel: By::Message,
        topic,
        reservation: id(RESERVATION),
        state: Delivery::Sent,
    }
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
    let mut facts = facts.clone();
    if facts.balances.is_empty() {
        facts.balances = facts.payments.iter().map(balance).collect();
    }
    let facts = &facts;
    RULES.iter().filter(|rule| !(rule.check)(facts).violations.is_empty()).map(|rule| rule.name).collect()
}

#[test]
fn sound_books_violate_nothing() {
    let all = [
        sound(),
        cancelled(),
        with_voucher(),
        awaiting_approval(),
        awaiting_payment(),
        completed(),
        free_of_charge(),
        ended(State::Rejected),
        ended(State::Expired),
        ended(State::ForceCancelled),
    ];
    for facts in all {
        assert_eq!(violated(&facts), [""; 0], "{facts:#?}");
    }
}

/// T40: what its listing's deletion ends at its first step is told when all of it is undone, and must be told then.
#[test]
fn a_forced_end_is_told_once_its_saga_has_undone_it() {
    let mut facts = ended(State::ForceCancelled);
    trip(&mut facts).reservation_state = 0;
    assert_eq!(violated(&facts), ["the view is the fold of its sources"]);
    facts.sagas.push((id(RESERVATION), Micros(5_000)));
    assert_eq!(violated(&facts), [""; 0]);
}

/// `plant` breaks something in sound facts; exactly the rules that begin like `expected` must say so.
fn check(expected: &[&str], base: fn() -> Facts, plant: impl Fn(&mut Facts)) {
    let mut facts = base();
    plant(&mut facts);
    let found = violated(&facts);
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
    assert!(fits, "expected {expected:?}, found {found:?}");
}

#[test]
fn faults_with_money_are_found() {
    const PAID: &str = "a reservation is paid once";
    const LIVING: &str = "a payment belongs";
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
    // Neither one that waits for its host nor one that is over stays without its money.
    for paid in [awaiting_approval, completed] {
        check(&[PAID, BOOKS, "the view"], paid, |facts| facts.payments[0].state = Paid::Declined);
    }
    check(&[PAID, "the view"], free_of_charge, |facts| {
        facts.payments.push(PaymentRow { points: 0, ..payment(Paid::Approved) });
    });
    // A cancellation without a refund keeps the money, any other end does not.
    check(&[], kept, |_| {});
    check(&[LIVING], kept, |facts| {
        reservation(facts).deal.as_mut().expect("it has one").policy.refund = Refund::Async;
    });
    for end in [|| ended(State::Rejected), || ended(State::Expired), || ended(State::ForceCancelled)] {
        check(&[LIVING], end, |facts| {
            facts.payments[0].state = Paid::Approved;
            facts.books.truncate(1);
            trip(facts).payment_state = 2;
        });
        check(&[LIVING], end, |facts| {
            facts.payments[0].state = Paid::Waiting;
            facts.books.clear();
            trip(facts).payment_state = 0;
        });
    }
    check(&[BOOKS], sound, |facts| facts.books.push(book(EntryKind::Charge, id(PAYMENT))));
    // The second attempt took the money, and so did the first.
    check(&[BOOKS], sound, |facts| {
        let first = Entry { key: format!("{}-2", id(PAYMENT)), ..book(EntryKind::Charge, id(PAYMENT)) };
        facts.books.push(first);
    });
    check(&[BOOKS], sound, |facts| facts.books[0].key = "nobody".to_owned());
    check(&[BOOKS], sound, |facts| facts.books.push(book(EntryKind::Charge, id(99))));
    check(&[BOOKS], cancelled, |facts| facts.books.truncate(1));
    check(&[BOOKS], cancelled, |facts| facts.books.push(book(EntryKind::Refund, id(PAYMENT))));
    // The ledger: an entry that is missing, one too many, and one that neither the payment nor the provider knows.
    const ENTRIES: &str = "money is the sum";
    check(&[ENTRIES, BOOKS], sound, |facts| {
        facts.balances = vec![Balance { charged_minor: 0, ..balance(&facts.payments[0]) }];
    });
    check(&[ENTRIES, BOOKS], cancelled, |facts| {
        facts.balances = vec![Balance { refunded_minor: 0, ..balance(&facts.payments[0]) }];
    });
    check(&[ENTRIES], sound, |facts| {
        facts.balances = vec![Balance { voids: 1, ..balance(&facts.payments[0]) }];
    });
    check(&[ENTRIES], sound, |facts| {
        facts.balances = vec![Balance { payment: id(98), ..balance(&facts.payments[0]) }];
    });
    check(&[MILES_ONCE, "each message", "the view"], sound, |facts| facts.miles.push(miles(Kind::Accrual, MILES)));
    check(&[MILES_ONCE, "the view"], sound, |facts| facts.miles[0].points = 1);
    check(&[MILES_ONCE, "each message", "the view"], cancelled, |facts| facts.miles.truncate(1));
}

/// Cancelled by its customer, under a policy that gives nothing back.
fn kept() -> Facts {
    let mut facts = under(Policy { refund: Refund::None, ..Policy::default() }, reservation_policy::Voucher::None);
    reservation(&mut facts).state = State::Cancelled;
    hold(&mut facts).state = HoldState::Released;
    *trip(&mut facts) = Trip { reservation_state: 4, hold_state: 3, ..*trip(&mut facts) };
    facts.confirmed.clear();
    facts
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
    // Waiting: held, and not for good. Over: given back as COMPLETED, not as RELEASED.
    for waits in [awaiting_approval, awaiting_payment] {
        check(&[HOLDS, "the view"], waits, |facts| hold(facts).state = HoldState::Committed);
        check(&[HOLDS, "the view"], waits, |facts| facts.holds.clear());
    }
    check(&[HOLDS, "the view"], completed, |facts| hold(facts).state = HoldState::Committed);
    check(&[HOLDS, "the view"], completed, |facts| hold(facts).state = HoldState::Released);
    for end in [|| ended(State::Rejected), || ended(State::Expired), || ended(State::ForceCancelled)] {
        check(&[HOLDS, "the view"], end, |facts| hold(facts).state = HoldState::Held);
    }
    // Of another date, and of a date instead of a stock.
    check(&[HOLDS], free_of_charge, |facts| hold(facts).check_out = Day::from_number(20_002));
    check(&[HOLDS], completed, |facts| reservation(facts).slot = Slot::Date(Day::from_number(20_000)));
    check(&["live holds"], sound, |facts| facts.listing_rules.push("oversold".to_owned()));
    check(&["no saga"], sound, |facts| facts.sagas.push((id(RESERVATION), Micros(999))));
    check(&[], sound, |facts| facts.sagas.push((id(RESERVATION), Micros(1_001))));
}

#[test]
fn faults_with_limits_are_found() {
    const LIMIT: &str = "nobody has more";
    // B25: a second one of the same customer on the same listing, where one is allowed; of somebody else it is none.
    let second = |facts: &mut Facts, customer: &str| {
        let second = Reservation { id: id(60), customer: customer.to_owned(), ..reservation(facts).clone() };
        let (hold, trip) = (*hold(facts), *trip(facts));
        facts.reservations.insert(id(60), second);
        facts.holds.insert(id(60), HoldRecord { reservation: id(60), ..hold });
        facts.trips.insert(id(60), Trip { reservation: id(60), ..trip });
        facts.confirmed.insert(id(LISTING), 2);
    };
    let (mut of_one, mut of_two) = (free_of_charge(), free_of_charge());
    second(&mut of_one, "alice");
    second(&mut of_two, "bob");
    assert!(matches!(violated(&of_one).as_slice(), [only] if only.starts_with(LIMIT)), "{:?}", violated(&of_one));
    assert_eq!(violated(&of_two), [""; 0]);
    check(&["nobody waits"], awaiting_payment, |facts| facts.reservation_rules.push("waits".to_owned()));
    for open in [sound, awaiting_approval, awaiting_payment] {
        check(&["nothing is open"], open, |facts| _ = facts.deleted.insert(id(LISTING)));
    }
    for done in [completed, cancelled, || ended(State::ForceCancelled)] {
        check(&[], done, |facts| _ = facts.deleted.insert(id(LISTING)));
    }
    check(&["no saga"], awaiting_approval, |facts| facts.sagas[0].1 = Micros(999));
}

#[test]
fn faults_with_vouchers_are_found() {
    const VOUCHER: &str = "a voucher is good";
    const VIEW: &str = "the view";
    check(&[VOUCHER, VIEW], with_voucher, |facts| facts.vouchers.clear());
    check(&[VOUCHER], with_voucher, |facts| facts.vouchers.push(ticket(voucher::State::Issued)));
    check(&[VOUCHER, VIEW], with_voucher, |facts| facts.vouchers[0].state = voucher::State::Cancelled);
    check(&[VOUCHER, VIEW], sound, |facts| facts.vouchers.push(ticket(voucher::State::Issued)));
    // K26: a ticket for what nobody has paid.
    check(&[VOUCHER, VIEW], awaiting_payment, |facts| facts.vouchers.push(ticket(voucher::State::Issued)));
    // K27: cancelled, and the ticket still good.
    check(&[VOUCHER], with_voucher, |facts| {
        let seen = trip(facts).voucher_state;
        *facts = Facts { vouchers: facts.vouchers.clone(), ..kept() };
        *reservation(facts) =
            Reservation { deal: reservation(&mut with_voucher()).deal.clone(), ..reservation(facts).clone() };
        reservation(facts).deal.as_mut().expect("it has one").policy.refund = Refund::None;
        trip(facts).voucher_state = seen;
    });
    check(&[VOUCHER], sound, |facts| {
        facts.vouchers.push(voucher::audit::Entry { reservation: id(50), ..ticket(voucher::State::Issued) });
    });
    check(&[VOUCHER], with_voucher, |facts| facts.voucher_rules.push("no number".to_owned()));
}

#[test]
fn faults_with_what_is_told_are_found() {
    const ONCE: &str = "each message";
    const VIEW: &str = "the view";
    // K38: every move of a taxi is told, once.
    check(&[ONCE, VIEW], completed, |facts| _ = facts.messages.pop());
    check(&[ONCE, VIEW], completed, |facts| facts.messages.push(told(50, Topic::ReservationApproved)));
    check(&[ONCE, VIEW], completed, |facts| facts.messages.push(told(50, Topic::ReservationCancelled)));
    // A business that tells nobody.
    check(&[ONCE, VIEW], with_voucher, |facts| facts.messages.push(told(50, Topic::ReservationConfirmed)));
    for (waits, state) in [(awaiting_approval as fn() -> Facts, 2), (awaiting_payment, 6)] {
        let mut facts = waits();
        trip(&mut facts).reservation_state = state;
        assert!(matches!(violated(&facts).as_slice(), [only] if only.starts_with(VIEW)), "{:?}", violated(&facts));
    }
    check(&[VIEW], with_voucher, |facts| trip(facts).voucher_state = 2);
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
