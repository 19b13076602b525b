//! In English.

use mesh::value::{Day, Money};

use super::{Length, date, grouped, other_year};
use crate::news::{Audience, Awaits, Booking, Change, Kind, Lapse, Miles, Movement, Price, Refund, Refusal, Slot};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(super) fn of_reservation(length: Length, audience: Audience, booking: &Booking<'_>, change: Change<'_>) -> String {
    let subject = subject(length, audience, booking, change);
    let told = match audience {
        Audience::Customer => to_customer(length, change),
        Audience::Host => to_host(change),
    };
    format!("{subject} {told}")
}

pub(super) fn of_miles(miles: Miles) -> String {
    let (moved, left) = (count(miles.points.into(), "mile"), count(miles.balance.into(), "mile"));
    match miles.movement {
        Movement::Increased => format!("You earned {moved} for your reservation. Your balance is now {left}."),
        Movement::Decreased => format!("{moved} of your cancelled reservation went back. Your balance is now {left}."),
    }
}

fn to_customer(length: Length, change: Change<'_>) -> String {
    match change {
        Change::Requested(awaits) => match awaits {
            Awaits::Nothing => "is requested.".to_owned(),
            Awaits::Approval { paid: None } => "is requested and awaits approval.".to_owned(),
            Awaits::Approval { paid: Some(paid) } => {
                let paid = amount(paid);
                let promise = if length == Length::Full { ", which is refunded if it is not approved" } else { "" };
                format!("is requested and awaits approval. You paid {paid}{promise}.")
            }
            Awaits::Payment(due) => format!("is reserved. {}", please_pay(due)),
            Awaits::Charge => "is reserved. Your payment is in progress.".to_owned(),
        },
        Change::Approved(awaits) => match awaits {
            Awaits::Nothing | Awaits::Approval { .. } => "is approved.".to_owned(),
            Awaits::Payment(due) => format!("is approved. {}", please_pay(due)),
            Awaits::Charge => "is approved. Your payment is in progress.".to_owned(),
        },
        Change::Rejected(Refusal::Declined) => "is not confirmed: the payment was declined.".to_owned(),
        Change::Rejected(Refusal::Host(words, refund)) => {
            let reason = length.reason(words).map(|words| format!(" Reason: {words}")).unwrap_or_default();
            format!("is not approved.{}{reason}", back(refund))
        }
        Change::Confirmed(Price::Unsaid) => "is confirmed.".to_owned(),
        Change::Confirmed(Price::Free) => "is confirmed, free of charge.".to_owned(),
        Change::Confirmed(Price::Paid(paid)) => format!("is confirmed. You paid {}.", amount(paid)),
        Change::Cancelled(refund) => format!("is cancelled.{}", back(refund)),
        Change::ForceCancelled(refund) => format!("is cancelled: it is no longer offered.{}", back(refund)),
        Change::Expired(lapse, refund) => format!("{}{}", expired(lapse), back(refund)),
        Change::Completed => "is completed. Thank you.".to_owned(),
    }
}

fn to_host(change: Change<'_>) -> String {
    match change {
        Change::Requested(awaits) => match awaits {
            Awaits::Nothing => "is requested.".to_owned(),
            Awaits::Approval { paid: None } => "is requested. Please approve or reject it.".to_owned(),
            Awaits::Approval { paid: Some(paid) } => {
                format!("is requested. {} is paid. Please approve or reject it.", amount(paid))
            }
            Awaits::Payment(_) | Awaits::Charge => "is reserved and awaits its payment.".to_owned(),
        },
        Change::Approved(awaits) => match awaits {
            Awaits::Nothing | Awaits::Approval { .. } => "is approved.".to_owned(),
            Awaits::Payment(_) | Awaits::Charge => "is approved and awaits its payment.".to_owned(),
        },
        Change::Rejected(Refusal::Declined) => "is not confirmed: the payment was declined.".to_owned(),
        Change::Rejected(Refusal::Host(..)) => "is rejected.".to_owned(),
        Change::Confirmed(Price::Unsaid | Price::Free) => "is confirmed.".to_owned(),
        Change::Confirmed(Price::Paid(paid)) => format!("is confirmed. {} is paid.", amount(paid)),
        Change::Cancelled(_) => "is cancelled by the customer.".to_owned(),
        Change::ForceCancelled(_) => "is cancelled: its listing was deleted.".to_owned(),
        Change::Expired(lapse, _) => expired(lapse).to_owned(),
        Change::Completed => "is completed.".to_owned(),
    }
}

fn subject(length: Length, audience: Audience, booking: &Booking<'_>, change: Change<'_>) -> String {
    let article = match (audience, change) {
        (Audience::Customer, _) => "Your",
        (Audience::Host, Change::Requested(_)) => "A",
        (Audience::Host, _) => "The",
    };
    let what = match (length.title(booking.title), booking.kind) {
        (Some(title), Kind::Room) => format!("stay at {title}"),
        (Some(title), Kind::Resort) => format!("resort stay at {title}"),
        (Some(title), Kind::Taxi) => format!("ride with {title}"),
        (Some(title), Kind::Hospital) => format!("screening at {title}"),
        (None, _) => "reservation".to_owned(),
    };
    let day = |day| on_day(length, day, booking.year);
    let when = match (length, booking.slot) {
        (Length::Full, Slot::Nights { check_in, check_out }) => {
            format!(" from {} to {}", day(check_in), day(check_out))
        }
        (Length::Short, Slot::Nights { check_in, check_out }) => format!(" ({}–{})", day(check_in), day(check_out)),
        (Length::Full, Slot::Date(date)) => format!(" on {}", day(date)),
        (Length::Short, Slot::Date(date)) => format!(" ({})", day(date)),
        (_, Slot::Open) => String::new(),
    };
    let persons = match length {
        Length::Full => format!(" for {}", count(booking.persons.into(), "person")),
        Length::Short => String::new(),
    };
    format!("{article} {what}{when}{persons}")
}

fn on_day(length: Length, day: Day, year: i32) -> String {
    let date = date(day);
    let month = usize::try_from(date.month - 1).ok().and_then(|month| MONTHS.get(month)).expect("a day has a month");
    let month = if length == Length::Short { &month[..3] } else { month };
    let year = other_year(date, year).map(|year| format!(" {year}")).unwrap_or_default();
    format!("{} {month}{year}", date.day)
}

fn please_pay(due: Option<Money>) -> String {
    let due = due.map(|due| format!(" {}", amount(due))).unwrap_or_default();
    format!("Please pay{due} to confirm it.")
}

fn back(refund: Refund) -> String {
    match refund {
        Refund::Nothing => String::new(),
        Refund::Amount(paid) => format!(" {} is refunded.", amount(paid)),
        Refund::Any => " Payments are refunded.".to_owned(),
    }
}

fn expired(lapse: Lapse) -> &'static str {
    match lapse {
        Lapse::Approval => "has expired: not approved in time.",
        Lapse::Payment => "has expired: not paid in time.",
        Lapse::Either => "has expired: not approved or paid in time.",
    }
}

/// `KRW 120,000`.
fn amount(money: Money) -> String {
    let (currency, number) = grouped(money);
    format!("{currency} {number}")
}

fn count(number: i128, unit: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural}")
}
