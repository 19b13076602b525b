//! The invariants, each a pure function of one reading.
//!
//! A violation is one sentence that stays the same from reading to reading as long as the same thing is wrong with the same resource; numbers
//! that move (how many events wait) have no place in it.

mod limits;
mod money;
mod places;
mod told;
mod vouchers;

use mesh::store::Id;
use mesh::value::format_name;
use prost::Message as _;
use proto::listing::v1::ReservationPolicy;
use reservation::domain::Reservation;

use super::facts::Facts;

/// One invariant.
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) check: fn(&Facts) -> Finding,
}

/// What a rule found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) checked: usize,
    pub(super) violations: Vec<String>,
}

impl Finding {
    /// Counts one thing that was checked, and what is wrong with it.
    fn check(&mut self, violation: Option<String>) {
        self.checked += 1;
        self.violations.extend(violation);
    }

    fn own(checked: usize, violations: &[String]) -> Self {
        Self { checked, violations: violations.to_vec() }
    }
}

/// Every invariant, in the order of a reservation's life.
pub(super) const RULES: [Rule; 17] = [
    Rule { name: "a reservation is paid once, in full, when it has to be", check: money::paid_when_due },
    Rule { name: "a payment belongs to a living reservation", check: money::payments_of_the_living },
    Rule { name: "money is the sum of its entries", check: money::entries_sum_up },
    Rule { name: "the provider's books are the payments", check: money::books_are_payments },
    Rule { name: "payments are settled", check: |facts| Finding::own(facts.payments.len(), &facts.payment_rules) },
    Rule { name: "a hold lives as long as its reservation", check: places::holds_follow_reservations },
    Rule {
        name: "live holds = held ≤ capacity, each day",
        check: |facts| Finding::own(facts.holds.len(), &facts.listing_rules),
    },
    Rule { name: "nobody has more than the limit per person", check: limits::per_person },
    Rule {
        name: "nobody waits beyond the limit, or for nothing",
        check: |facts| Finding::own(facts.reservations.len(), &facts.reservation_rules),
    },
    Rule { name: "nothing is open on a deleted listing", check: limits::deleted_listings },
    Rule { name: "the ledger of miles sums up", check: |facts| Finding::own(facts.miles.len(), &facts.mileage_rules) },
    Rule { name: "miles are earned and given back once", check: money::miles_follow_payments },
    Rule { name: "a voucher is good as long as its reservation", check: vouchers::follow_reservations },
    Rule { name: "each message is sent once", check: told::messages_once },
    Rule { name: "the view is the fold of its sources", check: told::view_is_fold },
    Rule { name: "no saga is stuck", check: places::no_saga_stuck },
    Rule { name: "every event is published", check: told::everything_published },
];

fn reservation_name(id: Id) -> String {
    format_name("reservations", id)
}

/// All of the policy a reservation was made under; nothing said where there is no deal, or one from before there were policies.
fn policy(reservation: &Reservation) -> ReservationPolicy {
    let encoded = reservation.deal.as_ref().map(|deal| deal.described.policy.as_slice()).unwrap_or_default();
    ReservationPolicy::decode(encoded).unwrap_or_default()
}

#[cfg(test)]
mod tests;
