//! Whether all is well in the end: the operator's audit over the stores, and whether everything people were told is true there.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use holdfast::serve::ServeArgs;
use mesh::store::Store;
use mesh::value::format_name;
use proto::reservation::v1::reservation::State as Wire;
use reservation::domain::{Reservation, State};

use crate::callers::{Told, Told1};

/// What changed so shortly before may still be on its way.
const GRACE: Duration = Duration::from_secs(1);

/// What is wrong.
pub(crate) fn violations(settings: &ServeArgs, told: &Told) -> Result<Vec<String>> {
    // With a clock of its own that jumps: a simulated disk takes simulated time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let data = settings.node.data.clone();
        let ledger = settings.payment.ledger(&data);
        let store = Store::open_read_only(&data.database(reservation::NAME), reservation::NAME)?;
        let stored = reservation::audit::read(&store).await?.reservations;
        let mut violations = holdfast::audit::violations(data, ledger, GRACE).await?;
        violations.extend(untrue(&stored, &told.requests));
        Ok(violations)
    })
}

/// Answers that the store knows nothing of.
fn untrue(stored: &[Reservation], requests: &[Told1]) -> Vec<String> {
    let by_name: HashMap<String, &Reservation> =
        stored.iter().map(|reservation| (format_name("reservations", reservation.id), reservation)).collect();
    let mut violations = Vec::new();
    for request in requests {
        let Some(name) = &request.name else { continue };
        match by_name.get(name) {
            None => violations.push(format!("{name} was promised and is not there")),
            Some(found) if found.customer != request.customer => {
                violations.push(format!("{name} was promised to {} and is somebody else's", request.customer));
            }
            Some(found) => {
                let broken = request.states.iter().filter(|told| !may_follow(**told, found.state));
                violations
                    .extend(broken.map(|told| format!("{name} was told to be {told:?} and is {:?}", found.state)));
            }
        }
    }
    violations.extend(unasked(stored, requests));
    violations
}

/// Nobody has more reservations than requests that were not refused: no request makes two, and none that was refused makes any.
fn unasked(stored: &[Reservation], requests: &[Told1]) -> Vec<String> {
    let mut open: HashMap<&str, i64> = HashMap::new();
    for request in requests {
        *open.entry(&request.customer).or_default() += i64::from(!request.refused);
    }
    for reservation in stored.iter().filter(|reservation| lives(reservation.state)) {
        if let Some(open) = open.get_mut(reservation.customer.as_str()) {
            *open -= 1;
        }
    }
    let mut violations: Vec<_> = open
        .into_iter()
        .filter(|(_, left)| *left < 0)
        .map(|(customer, _)| format!("{customer} has more reservations than requests that were not refused"))
        .collect();
    violations.sort();
    violations
}

fn lives(state: State) -> bool {
    matches!(
        state,
        State::AwaitingApproval | State::AwaitingPayment | State::Confirmed | State::CancelRequested | State::Completed
    )
}

/// Whether a reservation that somebody was told to be in one state may have come to be in the other.
fn may_follow(told: Wire, found: State) -> bool {
    let ended_by_customer = matches!(found, State::CancelRequested | State::Cancelled | State::ForceCancelled);
    match told {
        Wire::Confirmed => matches!(found, State::Confirmed | State::Completed) || ended_by_customer,
        Wire::CancelRequested => ended_by_customer,
        Wire::Cancelled => found == State::Cancelled,
        Wire::Rejected => found == State::Rejected,
        Wire::ForceCancelled => found == State::ForceCancelled,
        Wire::Expired => found == State::Expired,
        Wire::Completed => found == State::Completed,
        Wire::AwaitingApproval | Wire::AwaitingPayment => found != State::Requested,
        Wire::Requested | Wire::Unspecified => true,
    }
}
