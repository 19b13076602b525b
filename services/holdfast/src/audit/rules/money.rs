//! Reservations, payments, the provider's books, miles.

use std::collections::HashMap;

use mesh::store::Id;
use mesh::value::format_name;
use payment::audit::{Balance, PaymentRow};
use payment::domain::{Mileage, State as Paid};
use payment::provider::simulator::EntryKind;
use reservation::domain::{Approval, Reservation, State};

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

/// A reservation that has to be paid has exactly one APPROVED payment of that amount; one that is free of charge has none.
pub(super) fn paid_when_due(facts: &Facts) -> Finding {
    let payments = by_reservation(facts);
    let mut finding = Finding::default();
    for reservation in facts.reservations.values().filter(|reservation| has_to_be_settled(reservation)) {
        let approved: Vec<&PaymentRow> = payments
            .get(&reservation.id)
            .into_iter()
            .flatten()
            .copied()
            .filter(|payment| payment.state == Paid::Approved)
            .collect();
        let (name, state) = (reservation_name(reservation.id), reservation.state.as_str());
        finding.check(what_is_wrong(reservation, &approved).map(|wrong| format!("{name} is {state}, {wrong}")));
    }
    finding
}

/// Whether nothing about its payment is open any more: it is confirmed, or paid and only to be approved.
fn has_to_be_settled(reservation: &Reservation) -> bool {
    let approval = reservation.deal.as_ref().map(|deal| deal.policy.approval);
    match reservation.state {
        State::Confirmed | State::Completed => true,
        State::AwaitingApproval => approval == Some(Approval::AfterPayment),
        _ => false,
    }
}

fn what_is_wrong(reservation: &Reservation, approved: &[&PaymentRow]) -> Option<String> {
    let Some(deal) = &reservation.deal else { return Some("without a deal".to_owned()) };
    let (total, free) = (deal.total, deal.is_free());
    match approved {
        [] if free => None,
        [] => Some(format!("costs {total} and has no approved payment")),
        [payment] if free => Some(format!("costs nothing and is paid by {}", payment_name(payment.id))),
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

/// An APPROVED payment belongs to a reservation that may be paid: one that is open, or kept the money when it was cancelled. And no payment
/// goes on waiting for a reservation that has ended.
pub(super) fn payments_of_the_living(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for payment in &facts.payments {
        let waits = payment.state == Paid::Waiting && !payment.refund_requested;
        if !waits && payment.state != Paid::Approved {
            continue;
        }
        let wrong = match facts.reservations.get(&payment.reservation) {
            None => Some("does not exist"),
            Some(found) if waits && found.state.is_final() => Some(found.state.as_str()),
            Some(found) if !waits && !found.may_be_paid() => Some(found.state.as_str()),
            Some(_) => None,
        };
        let (name, reservation) = (payment_name(payment.id), reservation_name(payment.reservation));
        finding.check(wrong.map(|wrong| format!("{name} is {:?}, but its {reservation}: {wrong}", payment.state)));
    }
    finding
}

/// Each payment is what its entries in the ledger say.
pub(super) fn entries_sum_up(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for balance in &facts.balances {
        finding.check(balance.difference());
    }
    for payment in &facts.payments {
        let known = facts.balances.binary_search_by_key(&payment.id, |balance| balance.payment);
        finding.check(known.is_err().then(|| format!("{} is not in the ledger", payment_name(payment.id))));
    }
    finding
}

/// None charged twice, none lost, none kept after a refund; what is held is what the entries say. Nothing to compare with when another provider moves the money.
pub(super) fn books_are_payments(facts: &Facts) -> Finding {
    #[derive(Default)]
    struct Account {
        charges: u32,
        refunds: u32,
        charged_minor: i64,
        refunded_minor: i64,
    }
    let mut finding = Finding::default();
    if facts.books.is_empty() {
        return finding;
    }
    // Attempts of one payment are one account: only one of them may have taken the money.
    let mut accounts: HashMap<Id, Account> = HashMap::new();
    for entry in &facts.books {
        let Some(payment) = entry.payment() else {
            finding.check(Some(format!("the provider's books have {}, which is no payment", entry.key)));
            continue;
        };
        let account = accounts.entry(payment).or_default();
        match entry.kind {
            EntryKind::Charge => {
                account.charges += 1;
                account.charged_minor += entry.amount_minor;
            }
            EntryKind::Refund => {
                account.refunds += 1;
                account.refunded_minor += entry.amount_minor;
            }
            EntryKind::Void => {}
        }
    }
    let balances: HashMap<Id, &Balance> = facts.balances.iter().map(|balance| (balance.payment, balance)).collect();
    for payment in &facts.payments {
        let account = accounts.remove(&payment.id).unwrap_or_default();
        let kept = account.charged_minor - account.refunded_minor;
        finding.violations.extend(balances.get(&payment.id).and_then(|balance| balance.difference_from(kept)));
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
    for (payment, account) in accounts {
        let owed = account.charges > account.refunds;
        finding.check(owed.then(|| format!("the provider charged {}, which does not exist", payment_name(payment))));
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
