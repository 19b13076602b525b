use mesh::value::Currency;
use proto::listing::v1::reservation_policy::Payment;

use super::*;

const NOW: Micros = Micros(20_000 * 86_400_000_000 + 1);

fn draft() -> Draft {
    Draft {
        display_name: "Hanok".to_owned(),
        description: String::new(),
        kind: Some(Kind::Room),
        region: "Jeju".to_owned(),
        company: String::new(),
        grade: String::new(),
        max_persons: 2,
        language_code: "ko".to_owned(),
        price: Some(Ok(won(38_000))),
        default_capacity: 2,
        time_zone: "Asia/Seoul".to_owned(),
        policy: ReservationPolicy::default(),
        dates: Vec::new(),
    }
}

fn won(amount: i64) -> Money {
    Money::from_minor(amount, Currency::KRW)
}

fn registered(draft: Draft) -> Listing {
    draft.register(Id::generate(), "hana", NOW).expect("valid").listing
}

#[track_caller]
fn check(change: impl FnOnce(&mut Draft), expected: &[(&str, &str)]) {
    let mut draft = draft();
    change(&mut draft);
    let found = draft.register(Id::generate(), "hana", NOW).map(|_| ()).err().unwrap_or_default();
    let found: Vec<_> = found.iter().map(|violation| (violation.field.as_str(), violation.reason)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_listing_needs_what_the_contract_requires() {
    check(|_| {}, &[]);
    check(|draft| draft.price = Some(Ok(won(0))), &[]);
    check(|draft| draft.display_name = "  ".to_owned(), &[("listing.display_name", "REQUIRED")]);
    check(|draft| draft.kind = None, &[("listing.kind", "REQUIRED")]);
    check(|draft| draft.price = None, &[("listing.price", "REQUIRED")]);
    check(|draft| draft.price = Some(Ok(won(-1))), &[("listing.price", "MONEY_NEGATIVE")]);
    check(|draft| draft.price = Some(Err(MoneyError::TooFine)), &[("listing.price", "MONEY_TOO_FINE")]);
    check(|draft| draft.price = Some(Ok(won(i64::MAX))), &[("listing.price", "MONEY_OVERFLOW")]);
    check(|draft| draft.time_zone = String::new(), &[("listing.time_zone", "REQUIRED")]);
    check(|draft| draft.time_zone = "Asia/Soul".to_owned(), &[("listing.time_zone", "TIME_ZONE_UNKNOWN")]);
    check(
        |draft| (draft.display_name, draft.price) = (String::new(), None),
        &[("listing.display_name", "REQUIRED"), ("listing.price", "REQUIRED")],
    );
    check(|draft| draft.policy.set_payment(Payment::OnApproval), &[("listing.policy.payment", "POLICY_CONTRADICTORY")]);
}

#[test]
fn only_dates_may_be_closed_by_default() {
    for (kind, expected) in [
        (Kind::Room, [("listing.default_capacity", "REQUIRED")].as_slice()),
        (Kind::Taxi, &[("listing.default_capacity", "REQUIRED")]),
        (Kind::Resort, &[]),
    ] {
        check(|draft| (draft.kind, draft.default_capacity) = (Some(kind), 0), expected);
    }
}

#[test]
fn a_listing_begins_with_capacities_of_its_own_dates() {
    let day = |offset| Ok(Day::from_number(20_000 + offset));
    let dates = vec![(day(5), 7), (day(0), 0)];
    let made = Draft { dates, ..draft() }.register(Id::generate(), "hana", NOW).expect("valid");
    assert_eq!(made.dates, [(Day::from_number(20_000), 0), (Day::from_number(20_005), 7)]);
    check(
        |draft| draft.dates = vec![(day(1), 1), (day(1), 2)],
        &[("listing.date_capacities[1].date", "DATE_REPEATED")],
    );
    check(|draft| draft.dates = vec![(day(-1), 1)], &[("listing.date_capacities[0].date", "DATE_IN_PAST")]);
    check(|draft| draft.dates = vec![(Err(DayError), 1)], &[("listing.date_capacities[0].date", "DATE_INVALID")]);
    check(
        |draft| (draft.kind, draft.dates) = (Some(Kind::Taxi), vec![(day(1), 1)]),
        &[("listing.date_capacities", "SLOT_MISMATCH")],
    );
}

#[test]
fn a_change_touches_only_the_named_fields() {
    let before = registered(draft());
    let other = Draft {
        display_name: "Villa".to_owned(),
        default_capacity: 9,
        price: None,
        grade: "prime".to_owned(),
        ..draft()
    };
    let platform = Platform::default();
    let after = before.modify(&other, &[Field::DisplayName, Field::Grade], &platform, Micros(2)).expect("valid");
    let expected = Listing {
        display_name: "Villa".to_owned(),
        grade: "prime".to_owned(),
        version: 2,
        updated_at: Micros(2),
        ..before.clone()
    };
    assert_eq!(after, expected);
    let refused = before.modify(&other, &[Field::Price], &platform, Micros(2)).expect_err("no price");
    assert_eq!(refused[0].field, "listing.price");
}

#[test]
fn a_change_that_changes_nothing_is_none() {
    let platform = Platform { max_per_person: 10, min_price: Some(won(3_800)), ..Platform::default() };
    let before = registered(draft());
    assert_eq!(before.modify(&draft(), Field::ALL, &platform, Micros(2)).expect("valid"), before);
    let shown = Draft { policy: before.under(&platform).policy.message().clone(), ..draft() };
    assert_eq!(before.modify(&shown, Field::ALL, &platform, Micros(2)).expect("valid"), before);
}

#[test]
fn what_is_counted_never_changes() {
    let before = registered(draft());
    let change = |capacity| {
        let mut other = draft();
        other.policy.set_capacity(capacity);
        before.modify(&other, &[Field::Policy], &Platform::default(), Micros(2))
    };
    let refused = change(Capacity::Stock).expect_err("another");
    assert_eq!((refused[0].field.as_str(), refused[0].reason), ("listing.policy.capacity", "IMMUTABLE"));
    assert_eq!(change(Capacity::Nightly).expect("the same"), before);
    let mut stock = draft();
    stock.policy.set_capacity(Capacity::Stock);
    let stock = registered(stock);
    let left_open = stock.modify(&draft(), &[Field::Policy], &Platform::default(), Micros(2)).expect("left open");
    assert_eq!(left_open.policy.capacity(), Capacity::Stock);
}

#[test]
fn a_price_must_go_with_the_policy_that_stays() {
    let mut host = draft();
    host.policy.min_price = Some(won(3_800).into());
    let before = registered(host);
    let euro = Money::from_minor(100, Currency::from_code("EUR").expect("a currency"));
    let dearer = Draft { price: Some(Ok(euro)), ..draft() };
    let refused =
        before.modify(&dearer, &[Field::Price], &Platform::default(), Micros(2)).expect_err("another currency");
    assert_eq!((refused[0].field.as_str(), refused[0].reason), ("listing.policy.min_price", "CURRENCY_MISMATCH"));
}
