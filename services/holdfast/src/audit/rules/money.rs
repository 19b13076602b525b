//! Reservations, payments, the provider's books, miles.

use std::collections::HashMap;

use mesh::store::Id;
use mesh::value::format_name;
use payment::audit::PaymentRow;
use payment::domain::{Mileage, State as Paid};
use payment::provider::simulator::EntryKind;
use reservation::domain::{Reservation, State};

use super::{Finding, reservation_name};
use crate::audit::facts::Facts;

fn payment_name(id: Id) -> String {
    format_name("payments", id)
}

fn by_reservation(facts: &Facts) -> HashMap<Id, Vec<&PaymentRow>> {
    let mut found: HashMap<Id, Vec<&PaymentRow>> = HashMap::new();
    for payment in &facts.payments {
        found.entry(payment.reservation).or_default().push(payment);
    }
    found
}

/// A CONFIRMED reservation with a price has exactly one APPROVED payment of that amount, without a price none.
pub(super) fn confirmed_is_paid(facts: &Facts) -> Finding {
    let payments = by_reservation(facts);
    let mut finding = Finding::default();
    for reservation in facts.reservations.values().filter(|reservation| reservation.state == State::Confirmed) {
        let approved: Vec<&PaymentRow> = payments
            .get(&reservation.id)
            .into_iter()
            .flatten()
            .copied()
            .filter(|payment| payment.state == Paid::Approved)
            .collect();
        let wrong = what_is_wrong(reservation, &approved);
        finding.check(wrong.map(|wrong| format!("{} is confirmed, {wrong}", reservation_name(reservation.id))));
    }
    finding
}

fn what_is_wrong(reservation: &Reservation, approved: &[&PaymentRow]) -> Option<String> {
    let Some(deal) = &reservation.deal else { return Some("without a deal".to_owned()) };
    let total = deal.total;
    match approved {
        [] if total.is_zero() => None,
        [] => Some(format!("costs {total} and has no approved payment")),
        [payment] if total.is_zero() => Some(format!("costs nothing and is paid by {}", payment_name(payment.id))),
        [payment] if payment.amount_minor != total.minor() || payment.currency != total.currency().code() => {
            Some(format!("costs {total} and {} took another amount", payment_name(payment.id)))
        }
        [payment] if reservation.payment != Some(payment.id) => {
            Some(format!("does not name its payment {}", payment_name(payment.id)))
        }
        [_] => None,
        several => Some(format!("is paid {} times", several.len())),
    }
}

/// Every APPROVED payment belongs to a reservation that is confirmed, is being confirmed or is being undone.
pub(super) fn paid_is_confirmed(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for payment in facts.payments.iter().filter(|payment| payment.state == Paid::Approved) {
        let state = facts.reservations.get(&payment.reservation).map(|reservation| reservation.state);
        let wrong = match state {
            Some(State::Requested | State::Confirmed | State::CancelRequested) => None,
            Some(state) => Some(format!("is {}", state.as_str())),
            None => Some("does not exist".to_owned()),
        };
        let name =
            || format!("{} is approved, but its {}", payment_name(payment.id), reservation_name(payment.reservation));
        finding.check(wrong.map(|wrong| format!("{} {wrong}", name())));
    }
    finding
}

/// None charged twice, none lost, none kept after a refund. Nothing to compare with when another provider moves the money.
pub(super) fn books_are_payments(facts: &Facts) -> Finding {
    #[derive(Default)]
    struct Account {
        charges: u32,
        refunds: u32,
        charged_minor: i64,
    }
    let mut finding = Finding::default();
    if facts.books.is_empty() {
        return finding;
    }
    let mut accounts: HashMap<&str, Account> = HashMap::new();
    for entry in &facts.books {
        let account = accounts.entry(&entry.key).or_default();
        match entry.kind {
            EntryKind::Charge => {
                account.charges += 1;
                account.charged_minor += entry.amount_minor;
            }
            EntryKind::Refund => account.refunds += 1,
            EntryKind::Void => {}
        }
    }
    for payment in &facts.payments {
        let account = accounts.remove(payment.id.to_string().as_str()).unwrap_or_default();
        let (charges, refunds) = (account.charges, account.refunds);
        let right = match payment.state {
            // Not known yet: either.
            Paid::Waiting => charges <= 1,
            Paid::Approved => charges == 1 && refunds == 0 && account.charged_minor == payment.amount_minor,
            Paid::Declined => charges == 0,
            Paid::Cancelled => charges <= 1 && refunds == charges,
        };
        let wrong = || {
            format!(
                "{} is {:?} over {} minor units, the provider charged {} ({charges} times) and refunded it {refunds} times",
                payment_name(payment.id),
                payment.state,
                payment.amount_minor,
                account.charged_minor
            )
        };
        finding.check(if right { None } else { Some(wrong()) });
    }
    for (key, account) in accounts {
        let owed = account.charges > account.refunds;
        finding.check(owed.then(|| format!("the provider charged {key}, which is no payment")));
    }
    finding
}

/// One accrual for each approved payment with miles, one reversal for each refunded one, nothing without a payment.
pub(super) fn miles_follow_payments(facts: &Facts) -> Finding {
    let mut entries: HashMap<Id, Vec<i64>> = HashMap::new();
    for row in &facts.miles {
        entries.entry(row.payment).or_default().push(row.points);
    }
    let mut finding = Finding::default();
    for payment in &facts.payments {
        let found = entries.remove(&payment.id).unwrap_or_default();
        let earned: Vec<i64> = found.iter().copied().filter(|points| *points > 0).collect();
        let returned: Vec<i64> = found.iter().copied().filter(|points| *points < 0).map(|points| -points).collect();
        let due = payment.points > 0 && payment.accrual != Mileage::None;
        let right = match payment.state {
            Paid::Waiting => earned.len() <= 1 && returned.len() <= earned.len(),
            Paid::Approved if due => earned == [payment.points] && returned.is_empty(),
            Paid::Approved | Paid::Declined => found.is_empty(),
            Paid::Cancelled => earned.len() <= 1 && earned == returned,
        };
        let wrong = || {
            format!(
                "{} is {:?} and should have {} miles: earned {earned:?}, given back {returned:?}",
                payment_name(payment.id),
                payment.state,
                payment.points
            )
        };
        finding.check(if right { None } else { Some(wrong()) });
    }
    for payment in entries.into_keys() {
        finding.check(Some(format!("{} earned miles and does not exist", payment_name(payment))));
    }
    finding
}
