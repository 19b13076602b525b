//! Holds and sagas.

use listing::audit::HoldRecord;
use listing::domain::{HoldState, STOCK_DAY};
use mesh::value::Day;
use reservation::domain::{Reservation, Slot, State};

use super::{Finding, reservation_name};
use crate::audit::facts::Facts;

/// A reservation that waits has its places, a confirmed one for good; one that ended has none; no place is held for nobody.
pub(super) fn holds_follow_reservations(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for reservation in facts.reservations.values() {
        let hold = facts.holds.get(&reservation.id);
        let wrong = what_is_wrong(reservation, hold);
        finding.check(
            wrong.map(|wrong| {
                format!("{} is {}, {wrong}", reservation_name(reservation.id), reservation.state.as_str())
            }),
        );
    }
    for hold in facts.holds.values().filter(|hold| !facts.reservations.contains_key(&hold.reservation)) {
        finding.check(
            hold.state
                .is_live()
                .then(|| format!("places are held for {}, which does not exist", reservation_name(hold.reservation))),
        );
    }
    finding
}

fn what_is_wrong(reservation: &Reservation, hold: Option<&HoldRecord>) -> Option<String> {
    let expected = match reservation.state {
        // On its way: with its places or without.
        State::Requested | State::CancelRequested => return None,
        State::AwaitingApproval | State::AwaitingPayment => HoldState::Held,
        State::Confirmed => HoldState::Committed,
        State::Completed => HoldState::Completed,
        State::Cancelled | State::Rejected | State::ForceCancelled | State::Expired => HoldState::Released,
    };
    match hold {
        // It may never have had any.
        None if expected == HoldState::Released => None,
        None => Some("and has no hold".to_owned()),
        Some(hold) if hold.state != expected => Some(format!("and its hold is {:?}", hold.state)),
        Some(hold) if !is_of(hold, reservation) => Some("and other places are held for it".to_owned()),
        Some(_) => None,
    }
}

/// Whether the hold is of the places the reservation is for.
fn is_of(hold: &HoldRecord, reservation: &Reservation) -> bool {
    let (first, end) = days(reservation.slot);
    hold.listing == reservation.listing
        && hold.units == reservation.units
        && hold.check_in == first
        && hold.check_out == end
}

/// As listing counts them: a date like a night, a stock under a day of its own.
fn days(slot: Slot) -> (Day, Day) {
    match slot {
        Slot::Stay(stay) => (stay.check_in, stay.check_out),
        Slot::Date(date) => (date, date.plus(1)),
        Slot::None => (STOCK_DAY, STOCK_DAY.plus(1)),
    }
}

/// Every saga ends, done or undone, or when what it waits for does not come.
pub(super) fn no_saga_stuck(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for (reservation, since) in &facts.sagas {
        let stuck = *since < facts.settled_before;
        finding.check(stuck.then(|| format!("the saga of {} does not end", reservation_name(*reservation))));
    }
    finding
}
