//! The invariants, each a pure function of one reading.
//!
//! A violation is one sentence that stays the same from reading to reading as long as the same thing is wrong with the same resource; numbers
//! that move (how many events wait) have no place in it.

mod money;
mod places;
mod told;

use super::facts::Facts;
use mesh::value::format_name;

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
pub(super) const RULES: [Rule; 12] = [
    Rule { name: "a confirmed reservation is paid once, in full", check: money::confirmed_is_paid },
    Rule { name: "a payment taken belongs to a living reservation", check: money::paid_is_confirmed },
    Rule { name: "the provider's books are the payments", check: money::books_are_payments },
    Rule { name: "payments are settled", check: |facts| Finding::own(facts.payments.len(), &facts.payment_rules) },
    Rule { name: "a hold lives as long as its reservation", check: places::holds_follow_reservations },
    Rule {
        name: "live holds = held ≤ capacity, each night",
        check: |facts| Finding::own(facts.holds.len(), &facts.listing_rules),
    },
    Rule { name: "the ledger of miles sums up", check: |facts| Finding::own(facts.miles.len(), &facts.mileage_rules) },
    Rule { name: "miles are earned and given back once", check: money::miles_follow_payments },
    Rule { name: "each message is sent once", check: told::messages_once },
    Rule { name: "the view is the fold of its sources", check: told::view_is_fold },
    Rule { name: "no saga is stuck", check: places::no_saga_stuck },
    Rule { name: "every event is published", check: told::everything_published },
];

fn reservation_name(id: mesh::store::Id) -> String {
    format_name("reservations", id)
}

#[cfg(test)]
mod tests;
