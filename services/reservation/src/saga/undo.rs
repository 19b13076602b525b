//! The way back: makes the turn durable, undoes, ends.

use mesh::{
    crash_point,
    fault::Fault,
    store::{Id, Micros, StoreError},
};
use tokio::sync::watch;

use super::{Driver, LEASE_MARGIN, Outcome, Progress, UNDO_BUDGET, pause, unknown};
use crate::{
    app::Answer,
    domain::{Failure, Refusal, Reservation, Trouble},
    events,
    store::{
        self,
        sagas::{self, Saga, Step},
    },
};

impl Driver {
    pub(super) async fn backward(&self, saga: &Saga, failure: Failure, progress: &watch::Sender<Progress>) -> Outcome {
        let (id, ours) = (saga.reservation, saga.clone());
        let lease = Micros::now().plus(UNDO_BUDGET + LEASE_MARGIN);
        let turned = self.store.write(move |conn| {
            let turned = sagas::turn(conn, &ours, &failure, lease)?;
            crash_point!("reservation.turn.uncommitted");
            Ok::<_, StoreError>((turned, store::find(conn, id)?))
        });
        let (failure, ended) = match turned.await {
            Ok((Some(failure), found)) => (failure, found.filter(Reservation::lacks_deal)),
            // Another driver, to whom the lease had passed, decides.
            Ok((None, _)) => return Outcome::Unknown,
            Err(error) => return unknown(saga, &error),
        };
        crash_point!("reservation.turn.committed");
        progress.send_replace(Progress::Turned(failure.clone()));

        let undone = match self.undo(saga, &failure, ended.as_ref()).await {
            Ok(taken) => self.end_undone(saga, &failure, taken).await.map_err(|error| Fault::internal(&error)),
            Err(fault) => Err(fault),
        };
        if let Err(fault) = undone {
            let until = Micros::now().plus(pause(saga.takeovers));
            let reason = fault.reason().to_owned();
            tracing::warn!(reservation = %id, reason, "undoing a reservation has to wait");
            // If this fails too, the lease runs out by itself.
            let _ = self.store.write(move |conn| Ok::<_, StoreError>(sagas::put_off(conn, id, until, &reason)?)).await;
        }
        Outcome::Failed(failure)
    }

    /// Gives back whatever may have been taken; answers the payment, if one was. `ended` is the reservation if people will
    /// be told how it ended and it lacks its deal.
    async fn undo(&self, saga: &Saga, failure: &Failure, ended: Option<&Reservation>) -> Result<Option<Id>, Fault> {
        let (held, charged) = may_have_taken(failure, saga.takeovers);
        let release = async {
            if !held {
                return Ok(());
            }
            if let Some(ended) = ended {
                self.keep_deal(saga, ended).await?;
            }
            self.callees().release(saga.reservation).await
        };
        let refund = async {
            if !charged {
                return Ok(None);
            }
            self.callees().refund(saga.reservation).await.map(|refunded| refunded.taken)
        };
        // Both, whatever becomes of the other: a place must not stay taken because payment is down.
        let (released, refunded) = tokio::join!(release, refund);
        released.and(refunded)
    }

    /// Stores the deal before the place is released: afterwards nobody can tell it. It is asked for, not handed on from the
    /// way forward, since that may have ended with its process.
    async fn keep_deal(&self, saga: &Saga, ended: &Reservation) -> Result<(), Fault> {
        let Some(deal) = self.callees().deal(ended, saga).await? else { return Ok(()) };
        let held = ended.held(deal);
        // One that has moved meanwhile was ended by another driver of the saga, with its deal.
        let kept = self.store.write(move |conn| Ok::<_, StoreError>(store::change(conn, held.version, &held, &[])?));
        kept.await.map_err(|error| Fault::internal(&error))?;
        crash_point!("reservation.deal.kept");
        Ok(())
    }

    async fn end_undone(&self, saga: &Saga, failure: &Failure, taken: Option<Id>) -> Result<(), StoreError> {
        let id = saga.reservation;
        let answer = saga
            .request
            .filter(|_| matches!(failure, Failure::Refused(_)))
            .map(|key| (key, Answer::Failed(failure.clone()).encode()));
        loop {
            let Some(seen) = self.store.read(move |conn| Ok::<_, StoreError>(store::find(conn, id)?)).await? else {
                return Ok(());
            };
            // One that never rested has told of nothing yet.
            let change = seen.undone(saga.step != Step::Book, taken, Micros::now());
            let (saga, answer) = (saga.clone(), answer.clone());
            let ended = self.store.write(move |conn| {
                let answer = answer.as_ref().map(|(key, answer)| (key, answer.as_slice()));
                let change = change.as_ref().map(|change| (&change.next, events::of(change)));
                store::end_undone(conn, &saga, seen.version, change, answer)?;
                crash_point!("reservation.undone.uncommitted");
                Ok::<_, StoreError>(())
            });
            match ended.await {
                // Cancelled meanwhile: look again.
                Err(StoreError::Database(diesel::result::Error::RollbackTransaction)) => {}
                ended => {
                    crash_point!("reservation.undone.committed");
                    return ended;
                }
            }
        }
    }
}

/// Whether a place, and whether money, may have been taken when it failed so. A saga that was taken over may have got
/// further the first time than it did now.
pub(crate) fn may_have_taken(failure: &Failure, takeovers: i32) -> (bool, bool) {
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
