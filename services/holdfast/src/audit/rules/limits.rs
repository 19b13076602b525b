//! How much one customer may have, and what deletion ends.

use std::collections::HashMap;

use mesh::store::Id;
use mesh::value::format_name;
use reservation::domain::Reservation;

use super::{Finding, reservation_name};
use crate::audit::facts::Facts;

/// Each open reservation was admitted when there were no more than its policy's limit. Policies change, so the greatest limit among those
/// that are open holds for all of them.
pub(super) fn per_person(facts: &Facts) -> Finding {
    let mut open: HashMap<(Id, &str), Vec<i32>> = HashMap::new();
    for reservation in facts.reservations.values().filter(|reservation| reservation.state.has_place()) {
        let limit = reservation.deal.as_ref().map_or(0, |deal| deal.policy.max_per_person);
        open.entry((reservation.listing, &reservation.customer)).or_default().push(limit);
    }
    let mut finding = Finding::default();
    for ((listing, customer), limits) in open {
        let greatest = limits.iter().max().copied().unwrap_or(0);
        let unlimited = limits.iter().any(|limit| *limit <= 0);
        let over = !unlimited && i64::try_from(limits.len()).is_ok_and(|count| count > i64::from(greatest));
        let name = || format_name("listings", listing);
        finding.check(over.then(|| {
            format!(
                "users/{customer} has {} open reservations of {}, where {greatest} are allowed",
                limits.len(),
                name()
            )
        }));
    }
    finding
}

/// Deleting a listing force-cancels what is open on it.
pub(super) fn deleted_listings(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let of_deleted = |reservation: &&Reservation| facts.deleted.contains(&reservation.listing);
    for reservation in facts.reservations.values().filter(of_deleted) {
        let open = reservation.state.has_place();
        finding.check(open.then(|| {
            let (name, listing) = (reservation_name(reservation.id), format_name("listings", reservation.listing));
            format!("{name} is {}, and {listing} is deleted", reservation.state.as_str())
        }));
    }
    finding
}
