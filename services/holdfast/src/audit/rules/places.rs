//! Holds and sagas.

use listing::audit::HoldRecord;
use listing::domain::HoldState;
use reservation::domain::{Reservation, State};

use super::{Finding, reservation_name};
use crate::audit::facts::Facts;

/// A confirmed reservation has its places for good; one that ended has none; no place is held for nobody.
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
        let live = hold.state != HoldState::Released;
        finding.check(
            live.then(|| format!("places are held for {}, which does not exist", reservation_name(hold.reservation))),
        );
    }
    finding
}

fn what_is_wrong(reservation: &Reservation, hold: Option<&HoldRecord>) -> Option<String> {
    let state = hold.map(|hold| hold.state);
    match (reservation.state, state) {
        (State::Requested | State::CancelRequested, _)
        | (State::Cancelled | State::Rejected, None | Some(HoldState::Released)) => None,
        (State::Confirmed, Some(HoldState::Committed)) => {
            let same = hold.is_some_and(|hold| {
                hold.listing == reservation.listing
                    && hold.units == reservation.units
                    && hold.check_in == reservation.stay.check_in
                    && hold.check_out == reservation.stay.check_out
            });
            if same { None } else { Some("and other places are held for it".to_owned()) }
        }
        (State::Confirmed, state) => Some(format!("and its hold is {state:?}")),
        (State::Cancelled | State::Rejected, Some(state)) => Some(format!("and its hold is still {state:?}")),
    }
}

/// Every saga ends, done or undone.
pub(super) fn no_saga_stuck(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for (reservation, since) in &facts.sagas {
        let stuck = *since < facts.settled_before;
        finding.check(stuck.then(|| format!("the saga of {} does not end", reservation_name(*reservation))));
    }
    finding
}
