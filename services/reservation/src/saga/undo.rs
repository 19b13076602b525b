//! The way back: makes the turn durable, undoes, ends.

use mesh::{
    fault::Fault,
    store::{Micros, StoreError},
};
use tokio::sync::watch;

use super::{Driver, LEASE_MARGIN, Outcome, Progress, UNDO_BUDGET, pause, unknown};
use crate::{
    app::Answer,
    domain::{Failure, Refusal, State, Trouble},
    events,
    store::{
        self,
        sagas::{self, Saga, Step},
    },
};

impl Driver {
    pub(super) async fn backward(&self, saga: &Saga, failure: Failure, progress: &watch::Sender<Progress>) -> Outcome {
        let id = saga.reservation;
        let lease = Micros::now().plus(UNDO_BUDGET + LEASE_MARGIN);
        let turned = self.store.write(move |conn| Ok::<_, StoreError>(sagas::turn(conn, id, &failure, lease)?)).await;
        let failure = match turned {
            Ok(failure) => failure,
            Err(error) => return unknown(saga, &error),
        };
        progress.send_replace(Progress::Turned(failure.clone()));

        let undone = match self.undo(saga, &failure).await {
            Ok(()) => self.end_undone(saga, &failure).await.map_err(|error| Fault::internal(&error)),
            Err(fault) => Err(fault),
        };
        if let Err(fault) = undone {
            let until = Micros::now().plus(pause(saga.takeovers));
            tracing::warn!(reservation = %id, reason = fault.reason(), "undoing a reservation has to wait");
            // If this fails too, the lease runs out by itself.
            let _ = self.store.write(move |conn| Ok::<_, StoreError>(sagas::put_off(conn, id, until)?)).await;
        }
        Outcome::Failed(failure)
    }

    /// Gives back whatever may have been taken.
    async fn undo(&self, saga: &Saga, failure: &Failure) -> Result<(), Fault> {
        let (held, charged) = may_have_taken(failure, saga.takeovers);
        let release = async { if held { self.callees().release(saga.reservation).await } else { Ok(()) } };
        let refund = async { if charged { self.callees().refund(saga.reservation).await.map(|_| ()) } else { Ok(()) } };
        // Both, whatever becomes of the other: a place must not stay taken because payment is down.
        let (released, refunded) = tokio::join!(release, refund);
        released.and(refunded)
    }

    async fn end_undone(&self, saga: &Saga, failure: &Failure) -> Result<(), StoreError> {
        let id = saga.reservation;
        let answer = saga
            .request
            .filter(|_| matches!(failure, Failure::Refused(_)))
            .map(|key| (key, Answer::Failed(failure.clone()).encode()));
        loop {
            let Some(seen) = self.store.read(move |conn| Ok::<_, StoreError>(store::find(conn, id)?)).await? else {
                return Ok(());
            };
            let now = Micros::now();
            let change = match seen.state {
                State::Requested => Some(seen.refused(now)),
                // One that never rested has told of nothing yet.
                State::CancelRequested => Some(seen.cancelled(saga.step != Step::Book, now)),
                _ => None,
            };
            let answer = answer.clone();
            let ended = self
                .store
                .write(move |conn| {
                    let answer = answer.as_ref().map(|(key, answer)| (key, answer.as_slice()));
                    match change {
                        Some(change) => {
                            let events = events::of(&change);
                            store::settle(conn, seen.version, &change.next, &events, None, answer)
                        }
                        None => sagas::finish(conn, id, answer).map(|()| true),
                    }
                    .map_err(StoreError::from)
                })
                .await?;
            if ended {
                return Ok(());
            }
        }
    }
}

/// Whether a place, and whether money, may have been taken when it failed so. A saga that was taken over may have got
/// further the first time than it did now.
fn may_have_taken(failure: &Failure, takeovers: i32) -> (bool, bool) {
    match failure {
        Failure::Refused(
            Refusal::PaymentDeclined(_)
            | Refusal::PaymentMethodUnknown
            | Refusal::PaymentMethodRequired
            | Refusal::PersonLimitReached,
        ) => (true, false),
        Failure::Refused(Refusal::Cancelled) => (true, true),
        Failure::Refused(_) => (false, false),
        Failure::ComeBack(Trouble::ListingUnavailable) => (true, takeovers > 0),
        Failure::ComeBack(_) => (true, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_taken_is_given_back() {
        let check =
            |failure, takeovers, expected| assert_eq!(may_have_taken(&failure, takeovers), expected, "{failure:?}");
        check(Failure::Refused(Refusal::NoAvailability), 0, (false, false));
        check(Failure::Refused(Refusal::PersonLimitReached), 0, (true, false));
        check(Failure::Refused(Refusal::PaymentDeclined(String::new())), 0, (true, false));
        check(Failure::Refused(Refusal::Cancelled), 0, (true, true));
        check(Failure::ComeBack(Trouble::ListingUnavailable), 0, (true, false));
        check(Failure::ComeBack(Trouble::ListingUnavailable), 1, (true, true));
        check(Failure::ComeBack(Trouble::OutOfTime), 0, (true, true));
    }
}
