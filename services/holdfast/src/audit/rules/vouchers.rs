//! Vouchers: one for each paid reservation whose policy says so, void when it is cancelled.

use std::collections::HashMap;

use mesh::store::Id;
use proto::listing::v1::reservation_policy;
use reservation::domain::{Reservation, State};

use super::{Finding, policy, reservation_name};
use crate::audit::facts::Facts;

/// Also that no reservation has two, and that none is for nothing.
pub(super) fn follow_reservations(facts: &Facts) -> Finding {
    let mut issued: HashMap<Id, Vec<voucher::State>> = HashMap::new();
    for voucher in &facts.vouchers {
        issued.entry(voucher.reservation).or_default().push(voucher.state);
    }
    let mut finding = Finding::own(0, &facts.voucher_rules);
    for reservation in facts.reservations.values() {
        let found = issued.remove(&reservation.id).unwrap_or_default();
        let right = match found.as_slice() {
            [] => !is_due(reservation) || !matches!(reservation.state, State::Confirmed | State::Completed),
            [state] => is_due(reservation) && fits(*state, reservation.state),
            _ => false,
        };
        finding.check((!right).then(|| {
            format!("{} is {}, its vouchers: {found:?}", reservation_name(reservation.id), reservation.state.as_str())
        }));
    }
    for reservation in issued.into_keys() {
        finding.check(Some(format!("there is a voucher for {}, which does not exist", reservation_name(reservation))));
    }
    finding
}

fn is_due(reservation: &Reservation) -> bool {
    policy(reservation).voucher() == reservation_policy::Voucher::OnPayment && reservation.payment.is_some()
}

fn fits(voucher: voucher::State, reservation: State) -> bool {
    match reservation {
        State::Confirmed | State::Completed => voucher == voucher::State::Issued,
        State::Cancelled | State::ForceCancelled => voucher == voucher::State::Cancelled,
        // On its way from one to the other.
        State::CancelRequested => true,
        State::Requested | State::AwaitingApproval | State::AwaitingPayment | State::Rejected | State::Expired => false,
    }
}
