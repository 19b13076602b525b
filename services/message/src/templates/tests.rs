use std::fmt::Write as _;

use mesh::value::Currency;

use super::*;
use crate::news::{Awaits, Kind, Lapse, Movement, Price, Refund, Refusal, Slot};

/// What people read, as it was reviewed.
const REVIEWED: &str = include_str!("texts.txt");

/// 4 October 2024.
const DAY: Day = Day::from_number(20_000);
const NIGHTS: Slot = Slot::Nights { check_in: DAY, check_out: DAY.plus(2) };
const WON: Money = Money::from_minor(120_000, Currency::KRW);
const LANGUAGES: [Language; 2] = [Language::English, Language::Korean];
const AUDIENCES: [Audience; 2] = [Audience::Customer, Audience::Host];
const KINDS: [Kind; 4] = [Kind::Room, Kind::Resort, Kind::Taxi, Kind::Hospital];

fn booking(kind: Kind, title: &str, slot: Slot) -> Booking<'_> {
    Booking { kind, title, slot, persons: 2, year: 2024 }
}

/// Every change, with every part that may be there or not.
fn changes(money: Money) -> Vec<Change<'static>> {
    vec![
        Change::Requested(Awaits::Nothing),
        Change::Requested(Awaits::Approval { paid: None }),
        Change::Requested(Awaits::Approval { paid: Some(money) }),
        Change::Requested(Awaits::Payment(Some(money))),
        Change::Requested(Awaits::Payment(None)),
        Change::Requested(Awaits::Charge),
        Change::Approved(Awaits::Nothing),
        Change::Approved(Awaits::Payment(Some(money))),
        Change::Approved(Awaits::Charge),
        Change::Rejected(Refusal::Declined),
        Change::Rejected(Refusal::Host("", Refund::Nothing)),
        Change::Rejected(Refusal::Host("We are closed.", Refund::Amount(money))),
        Change::Confirmed(Price::Unsaid),
        Change::Confirmed(Price::Free),
        Change::Confirmed(Price::Paid(money)),
        Change::Cancelled(Refund::Nothing),
        Change::Cancelled(Refund::Amount(money)),
        Change::Cancelled(Refund::Any),
        Change::ForceCancelled(Refund::Nothing),
        Change::ForceCancelled(Refund::Amount(money)),
        Change::Expired(Lapse::Approval, Refund::Amount(money)),
        Change::Expired(Lapse::Payment, Refund::Nothing),
        Change::Expired(Lapse::Either, Refund::Any),
        Change::Completed,
    ]
}

struct Table(String);

impl Table {
    fn title(&mut self, title: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.0, "{gap}# {title}");
    }

    /// One line for each language.
    fn lines(&mut self, text: impl Fn(Language) -> String) {
        for language in LANGUAGES {
            let _ = writeln!(self.0, "{}", text(language));
        }
    }
}

fn texts() -> String {
    let mut table = Table(String::new());
    let room = booking(Kind::Room, "Sea View", NIGHTS);
    for audience in AUDIENCES {
        for channel in [Channel::Message, Channel::Sms] {
            table.title(&format!("{audience:?}, {channel:?}"));
            for change in changes(WON) {
                table.lines(|language| of_reservation(language, channel, audience, &room, change, "Hello"));
            }
        }
    }
    for kind in KINDS {
        table.title(&format!("{kind:?}"));
        for slot in [NIGHTS, Slot::Date(DAY.plus(365)), Slot::Open] {
            for channel in [Channel::Message, Channel::Sms] {
                let booking = booking(kind, "Sea View", slot);
                let change = Change::Confirmed(Price::Unsaid);
                table.lines(|language| of_reservation(language, channel, Audience::Customer, &booking, change, ""));
            }
        }
    }
    table.title("Amounts");
    let euro = Currency::from_code("EUR").expect("a currency");
    for money in [1_234_567, 99].map(|minor| Money::from_minor(minor, euro)) {
        let change = Change::Confirmed(Price::Paid(money));
        table.lines(|language| of_reservation(language, Channel::Sms, Audience::Customer, &room, change, ""));
    }
    table.title("Miles");
    for movement in [Movement::Increased, Movement::Decreased] {
        for (points, balance) in [(1, 30), (30, 1)] {
            table.lines(|language| of_miles(language, Miles { movement, points, balance }));
        }
    }
    table.0
}

/// A6, B6, D10, E31: every text, for a reader to judge. Whoever changes one reviews `texts.txt`.
#[test]
fn the_words_are_the_reviewed_ones() {
    let texts = texts();
    let changed: Vec<_> = texts
        .lines()
        .zip(REVIEWED.lines())
        .filter(|(is, was)| is != was)
        .map(|(is, was)| format!("- {was}\n+ {is}"))
        .collect();
    assert!(texts == REVIEWED, "the texts have changed:\n{}\nAll of them are now:\n{texts}", changed.join("\n"));
}

/// Whatever the reservation, and however long its title.
#[test]
fn short_texts_keep_to_140_characters() {
    let title = "서울 University Hospital of ".repeat(8);
    let slot = Slot::Nights { check_in: Day::from_number(20_350), check_out: Day::from_number(20_360) };
    let most = Money::from_minor(99_999_999, Currency::KRW);
    for (language, audience, kind) in
        LANGUAGES.iter().flat_map(|l| AUDIENCES.iter().flat_map(move |a| KINDS.iter().map(move |k| (*l, *a, *k))))
    {
        let booking = booking(kind, &title, slot);
        for change in changes(most) {
            let text = of_reservation(language, Channel::Sms, audience, &booking, change, "");
            assert!(text.chars().count() <= 140, "{} characters: {text}", text.chars().count());
        }
    }
}

/// The target of a short text, where title and price are of common length.
#[test]
fn common_short_texts_keep_to_90_characters() {
    let taxi = booking(Kind::Taxi, "Black Van", Slot::Open);
    let fare = Money::from_minor(3_800, Currency::KRW);
    for language in LANGUAGES {
        for change in changes(fare) {
            let text = of_reservation(language, Channel::Sms, Audience::Customer, &taxi, change, "");
            assert!(text.chars().count() <= 90, "{} characters: {text}", text.chars().count());
        }
    }
}

/// E31: with its prefix, if it has one.
#[test]
fn an_alarm_is_a_short_text_after_its_prefix() {
    let clinic = booking(Kind::Hospital, "Clinic", Slot::Date(DAY));
    let text = |channel, prefix| {
        let change = Change::Confirmed(Price::Unsaid);
        of_reservation(Language::English, channel, Audience::Customer, &clinic, change, prefix)
    };
    let short = text(Channel::Sms, "Hello");
    assert_eq!(text(Channel::Alarm, "Hello"), format!("Hello {short}"));
    assert_eq!(text(Channel::Alarm, ""), short);
}

/// K13: what ended before it had its place has no title and no price.
#[test]
fn what_a_reservation_lacks_is_left_out() {
    let check = |language, channel, slot, expected: &str| {
        let bare = booking(Kind::Room, "", slot);
        let change = Change::Cancelled(Refund::Nothing);
        assert_eq!(of_reservation(language, channel, Audience::Customer, &bare, change, ""), expected);
    };
    use Channel::{Message, Sms};
    use Language::{English, Korean};
    check(English, Message, NIGHTS, "Your reservation from 4 October to 6 October for 2 persons is cancelled.");
    check(English, Message, Slot::Open, "Your reservation for 2 persons is cancelled.");
    check(English, Sms, NIGHTS, "Your reservation (4 Oct–6 Oct) is cancelled.");
    check(English, Sms, Slot::Open, "Your reservation is cancelled.");
    check(Korean, Message, NIGHTS, "10월 4일~10월 6일 예약(2명)이 취소되었습니다.");
    check(Korean, Message, Slot::Open, "예약(2명)이 취소되었습니다.");
    check(Korean, Sms, Slot::Date(DAY), "10월 4일 예약이 취소되었습니다.");
    check(Korean, Sms, Slot::Open, "예약이 취소되었습니다.");
}

#[test]
fn amounts_are_grouped_by_thousands() {
    let check = |code: &str, minor, expected: &str| {
        let money = Money::from_minor(minor, Currency::from_code(code).expect("a currency"));
        assert_eq!(grouped(money), (money.currency().code(), expected.to_owned()));
    };
    for (minor, expected) in
        [(0, "0"), (999, "999"), (1_000, "1,000"), (120_000, "120,000"), (-1_234_567, "-1,234,567")]
    {
        check("KRW", minor, expected);
    }
    check("EUR", 123_456_789, "1,234,567.89");
    check("EUR", 5, "0.05");
}
