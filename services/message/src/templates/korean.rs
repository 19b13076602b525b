//! In Korean. Particles follow words of our own only, so that they fit whatever a title ends in.

use mesh::value::{Day, Money};

use super::{Length, date, grouped, other_year};
use crate::news::{Audience, Awaits, Booking, Change, Kind, Lapse, Miles, Movement, Price, Refund, Refusal, Slot};

pub(super) fn of_reservation(length: Length, audience: Audience, booking: &Booking<'_>, change: Change<'_>) -> String {
    let subject = subject(length, booking);
    match audience {
        Audience::Customer => format!("{subject}이 {}", to_customer(length, change)),
        Audience::Host => format!("{subject}이 {}", to_host(change)),
    }
}

pub(super) fn of_miles(miles: Miles) -> String {
    let Miles { movement, points, balance } = miles;
    match movement {
        Movement::Increased => format!("예약으로 {points}마일이 적립되었습니다. 현재 잔액은 {balance}마일입니다."),
        Movement::Decreased => {
            format!("취소된 예약의 {points}마일이 회수되었습니다. 현재 잔액은 {balance}마일입니다.")
        }
    }
}

fn to_customer(length: Length, change: Change<'_>) -> String {
    match change {
        Change::Requested(awaits) => match awaits {
            Awaits::Nothing => "접수되었습니다.".to_owned(),
            Awaits::Approval { paid: None } => "접수되어 승인을 기다리고 있습니다.".to_owned(),
            Awaits::Approval { paid: Some(paid) } => {
                let paid = amount(paid);
                match length {
                    Length::Full => {
                        format!("접수되어 승인을 기다리고 있습니다. 승인되지 않으면 결제 금액({paid})은 환불됩니다.")
                    }
                    Length::Short => format!("접수되어 승인을 기다리고 있습니다. 결제 금액: {paid}"),
                }
            }
            Awaits::Payment(due) => format!("접수되었습니다. {}", please_pay(due)),
            Awaits::Charge => "접수되었습니다. 결제를 처리하고 있습니다.".to_owned(),
        },
        Change::Approved(awaits) => match awaits {
            Awaits::Nothing | Awaits::Approval { .. } => "승인되었습니다.".to_owned(),
            Awaits::Payment(due) => format!("승인되었습니다. {}", please_pay(due)),
            Awaits::Charge => "승인되었습니다. 결제를 처리하고 있습니다.".to_owned(),
        },
        Change::Rejected(Refusal::Declined) => "결제 거절로 확정되지 않았습니다.".to_owned(),
        Change::Rejected(Refusal::Host(words, refund)) => {
            let reason = length.reason(words).map(|words| format!(" 사유: {words}")).unwrap_or_default();
            format!("승인되지 않았습니다.{}{reason}", back(refund))
        }
        Change::Confirmed(Price::Unsaid) => "확정되었습니다.".to_owned(),
        Change::Confirmed(Price::Free) => "확정되었습니다. 결제하실 금액은 없습니다.".to_owned(),
        Change::Confirmed(Price::Paid(paid)) => format!("확정되었습니다. 결제 금액은 {}입니다.", amount(paid)),
        Change::Cancelled(refund) => format!("취소되었습니다.{}", back(refund)),
        Change::ForceCancelled(refund) => format!("더 이상 제공되지 않아 취소되었습니다.{}", back(refund)),
        Change::Expired(lapse, refund) => format!("{}{}", expired(lapse), back(refund)),
        Change::Completed => "완료되었습니다. 이용해 주셔서 감사합니다.".to_owned(),
    }
}

fn to_host(change: Change<'_>) -> String {
    match change {
        Change::Requested(awaits) => match awaits {
            Awaits::Nothing => "접수되었습니다.".to_owned(),
            Awaits::Approval { paid: None } => "접수되었습니다. 승인 또는 거절해 주시기 바랍니다.".to_owned(),
            Awaits::Approval { paid: Some(paid) } => {
                format!("접수되었습니다. 결제 금액은 {}입니다. 승인 또는 거절해 주시기 바랍니다.", amount(paid))
            }
            Awaits::Payment(_) | Awaits::Charge => "접수되어 결제를 기다리고 있습니다.".to_owned(),
        },
        Change::Approved(awaits) => match awaits {
            Awaits::Nothing | Awaits::Approval { .. } => "승인되었습니다.".to_owned(),
            Awaits::Payment(_) | Awaits::Charge => "승인되어 결제를 기다리고 있습니다.".to_owned(),
        },
        Change::Rejected(Refusal::Declined) => "결제 거절로 확정되지 않았습니다.".to_owned(),
        Change::Rejected(Refusal::Host(..)) => "거절되었습니다.".to_owned(),
        Change::Confirmed(Price::Unsaid | Price::Free) => "확정되었습니다.".to_owned(),
        Change::Confirmed(Price::Paid(paid)) => format!("확정되었습니다. 결제 금액은 {}입니다.", amount(paid)),
        Change::Cancelled(_) => "고객의 요청으로 취소되었습니다.".to_owned(),
        Change::ForceCancelled(_) => "상품 삭제로 취소되었습니다.".to_owned(),
        Change::Expired(lapse, _) => expired(lapse).to_owned(),
        Change::Completed => "완료되었습니다.".to_owned(),
    }
}

/// Ends in 예약, or in what follows it in parentheses.
fn subject(length: Length, booking: &Booking<'_>) -> String {
    let (title, what) = match (length.title(booking.title), booking.kind) {
        (Some(title), Kind::Room) => (format!("[{title}] "), "숙박 "),
        (Some(title), Kind::Resort) => (format!("[{title}] "), "리조트 "),
        (Some(title), Kind::Taxi) => (format!("[{title}] "), "택시 "),
        (Some(title), Kind::Hospital) => (format!("[{title}] "), "검진 "),
        (None, _) => (String::new(), ""),
    };
    let day = |day| on_day(day, booking.year);
    let when = match booking.slot {
        Slot::Nights { check_in, check_out } => format!("{}~{} ", day(check_in), day(check_out)),
        Slot::Date(date) => format!("{} ", day(date)),
        Slot::Open => String::new(),
    };
    let persons = match length {
        Length::Full => format!("({}명)", booking.persons),
        Length::Short => String::new(),
    };
    format!("{title}{when}{what}예약{persons}")
}

fn on_day(day: Day, year: i32) -> String {
    let date = date(day);
    let year = other_year(date, year).map(|year| format!("{year}년 ")).unwrap_or_default();
    format!("{year}{}월 {}일", date.month, date.day)
}

fn please_pay(due: Option<Money>) -> String {
    match due {
        Some(due) => format!("예약 금액({})을 결제하시면 확정됩니다.", amount(due)),
        None => "결제하시면 확정됩니다.".to_owned(),
    }
}

fn back(refund: Refund) -> String {
    match refund {
        Refund::Nothing => String::new(),
        Refund::Amount(paid) => format!(" 결제 금액({})은 환불됩니다.", amount(paid)),
        Refund::Any => " 결제하신 금액이 있으면 환불됩니다.".to_owned(),
    }
}

fn expired(lapse: Lapse) -> &'static str {
    match lapse {
        Lapse::Approval => "기한 안에 승인되지 않아 만료되었습니다.",
        Lapse::Payment => "기한 안에 결제되지 않아 만료되었습니다.",
        Lapse::Either => "기한 안에 승인 또는 결제되지 않아 만료되었습니다.",
    }
}

/// `120,000원`, `EUR 12.34`.
fn amount(money: Money) -> String {
    match grouped(money) {
        ("KRW", number) => format!("{number}원"),
        (currency, number) => format!("{currency} {number}"),
    }
}
