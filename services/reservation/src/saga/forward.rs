//! The steps that go forward, and how each ends.

use std::sync::Arc;

use mesh::{
    crash_point,
    deadline::{self, Deadline},
    requests, safety,
    store::{Id, Micros, StoreError},
};

use super::{BACKOFF, Driver, Outcome, Stop, UNDO_BUDGET, pause, recovery::RECOVERY_BUDGET};
use crate::{
    app::Answer,
    domain::{Change, Failure, Next, Refusal, Reservation, State, Trouble},
    events,
    store::{
        self, Limits,
        sagas::{self, Overtaken, Saga, Step},
    },
};

impl Driver {
    /// Holds, then pays or registers as the policy asks for at booking.
    pub(super) async fn book(&self, reservation: &Reservation, saga: &Saga) -> Result<Outcome, Stop> {
        if reservation.state != State::Requested {
            return Err(self.why_not(reservation.id).await);
        }
        let held = self.hold(reservation, saga).await?;
        let deal = held.agreed();
        let saga = match deal.at_booking() {
            Next::Charge => saga.clone().charging(saga.payment_method.clone()),
            Next::Nothing | Next::Register => saga.clone(),
        };
        let payment = match deal.at_booking() {
            Next::Nothing => None,
            Next::Register => Some(self.callees.register(&held).await?),
            Next::Charge if deal.waits_for_payment() => match self.charge_in_time(&held, &saga).await {
                // Without the miles it insists on there is no payment to wait for.
                Err(Failure::ComeBack(trouble)) if trouble != Trouble::MileageUnavailable => {
                    let now = Micros::now();
                    let retry = saga.at(Step::Retry, None, now.plus(BACKOFF.0), now);
                    let stored = self.settle(&held, &saga, held.pending(now), Some(retry));
                    return deadline::detach(UNDO_BUDGET, stored).await;
                }
                charged => Some(charged?),
            },
            Next::Charge => Some(self.callees.charge(&held, &saga).await?),
        };
        let change = held.booked(payment, Micros::now());
        // Only what is charged on approval needs the method again.
        let method = saga.payment_method.clone().filter(|_| deal.on_approval() == Next::Charge);
        let waits = waiting(&Saga { payment_method: method, ..saga.clone() }, &change);
        self.settle(&held, &saga, change, waits).await
    }

    /// Takes the place, and makes sure that what the deal asks for is there.
    async fn hold(&self, reservation: &Reservation, saga: &Saga) -> Result<Reservation, Stop> {
        // A saga that was taken over may have got further before.
        if reservation.deal.is_some() {
            return Ok(reservation.clone());
        }
        crash_point!("reservation.hold.calling");
        let held = reservation.held(self.callees.place(reservation, saga).await?);
        crash_point!("reservation.hold.placed");
        if held.agreed().needs_method() && saga.payment_method.is_none() {
            return Err(Failure::Refused(Refusal::PaymentMethodRequired).into());
        }
        let limits =
            Limits { of_listing: held.agreed().policy.max_per_person.into(), of_all: self.max_per_person.into() };
        if limits.apply() && !safety::is_off("limit per person") {
            self.admit(&held, limits).await?;
        }
        Ok(held)
    }

    /// Counts the reservation against its customer's limits.
    async fn admit(&self, held: &Reservation, limits: Limits) -> Result<(), Stop> {
        let candidate = held.clone();
        let admitted = self.store.write(move |conn| match store::admit(conn, &candidate, limits)? {
            Some(true) => Ok(true),
            None => Ok(false),
            Some(false) => Err(Stop::Failure(Failure::Refused(Refusal::PersonLimitReached))),
        });
        let admitted = admitted.await?;
        crash_point!("reservation.admitted");
        if admitted { Ok(()) } else { Err(self.why_not(held.id).await) }
    }

    /// Charges so that there is time left to answer that the reservation waits.
    async fn charge_in_time(&self, held: &Reservation, saga: &Saga) -> Result<Id, Failure> {
        let left = deadline::remaining().unwrap_or(RECOVERY_BUDGET);
        deadline::scope(Deadline::after(left * 3 / 4), self.callees.charge(held, saga)).await
    }

    /// Charges, or registers, for a reservation that waits.
    pub(super) async fn charge(&self, reservation: &Reservation, saga: &Saga) -> Result<Outcome, Stop> {
        let awaited = if saga.step == Step::Approve { State::AwaitingApproval } else { State::AwaitingPayment };
        if reservation.state != awaited {
            return Err(self.why_not(reservation.id).await);
        }
        let registers = saga.step == Step::Approve && reservation.agreed().on_approval() == Next::Register;
        let payment = match registers {
            true => self.callees.register(reservation).await?,
            false => self.callees.charge(reservation, saga).await?,
        };
        let now = Micros::now();
        let change = match saga.step {
            Step::Approve => reservation.approved(Id::generate(), Some(payment), now),
            _ => reservation.paid(Some(payment), now),
        };
        let waits = waiting(&Saga { payment_method: None, ..saga.clone() }, &change);
        // The money is taken: however late it is, that is stored.
        deadline::detach(UNDO_BUDGET, self.settle(reservation, saga, change, waits)).await
    }

    /// Nobody acted in time.
    pub(super) async fn expire(&self, reservation: &Reservation, saga: &Saga) -> Result<Outcome, Stop> {
        if !reservation.state.awaits() {
            return Err(self.why_not(reservation.id).await);
        }
        let (change, waited) = (reservation.expired(Micros::now()), saga.clone());
        let (seen, next, events) = (reservation.version, change.next.clone(), events::of(&change));
        let expired = self.store.write(move |conn| {
            let stands =
                store::change(conn, seen, &change.next, &events)? && sagas::overtake(conn, &waited, Overtaken::Ends)?;
            crash_point!("reservation.expiry.uncommitted");
            // Approved, paid or cancelled at the last moment.
            if stands { Ok(()) } else { Err(Stop::Superseded) }
        });
        expired.await?;
        crash_point!("reservation.expiry.committed");
        Ok(Outcome::Settled(Arc::new(next)))
    }

    /// A charge for a waiting reservation came to nothing: it goes on waiting, or it is over.
    pub(super) async fn step_back(
        &self,
        reservation: &Reservation,
        saga: &Saga,
        failure: Failure,
    ) -> Result<Outcome, Stop> {
        let now = Micros::now();
        let over = reservation.expires_at.is_none_or(|until| until <= now);
        match (saga.step, &failure) {
            // With the method given at booking there is nothing else to try.
            (Step::Approve | Step::Retry, Failure::Refused(refusal)) => {
                let change = reservation.rejected(refusal.reason(), now);
                let told = Failure::Refused(Refusal::PaymentDeclined(decline_code(refusal)));
                self.settle_as(reservation, saga, change, None, Answer::Failed(told.clone())).await?;
                Ok(Outcome::Failed(told))
            }
            // Nor is there anything to try when payment has undone itself: no miles, no payment, no reservation.
            (_, Failure::ComeBack(Trouble::MileageUnavailable)) => {
                let change = reservation.rejected(failure.reason(), now);
                let saga = Saga { request: None, ..saga.clone() };
                self.settle(reservation, &saga, change, None).await?;
                Ok(Outcome::Failed(failure))
            }
            (Step::Retry, Failure::ComeBack(_)) if over => {
                self.settle(reservation, saga, reservation.expired(now), None).await
            }
            (Step::Retry, Failure::ComeBack(_)) => {
                let until = reservation.expires_at.map_or(now, |until| until.min(now.plus(pause(saga.takeovers))));
                let id = saga.reservation;
                let error = failure.reason();
                self.store.write(move |conn| Ok::<_, StoreError>(sagas::put_off(conn, id, until, error)?)).await?;
                crash_point!("reservation.retry.put.off");
                Ok(Outcome::Failed(failure))
            }
            _ => self.wait_again(reservation, saga, failure, now).await,
        }
    }

    /// Somebody may try again. A refused method is forgotten, one whose charge may have succeeded is not.
    async fn wait_again(
        &self,
        reservation: &Reservation,
        saga: &Saga,
        failure: Failure,
        now: Micros,
    ) -> Result<Outcome, Stop> {
        let refused = matches!(failure, Failure::Refused(_));
        let method = saga.payment_method.clone().filter(|_| !refused);
        let until = reservation.expires_at.unwrap_or(now);
        let waits = Saga { payment_method: method, ..saga.at(Step::Wait, None, until, now) };
        let answer = saga.request.filter(|_| refused).map(|key| (key, Answer::Failed(failure.clone()).encode()));
        let seen = saga.clone();
        let waiting = self.store.write(move |conn| {
            if !sagas::replace(conn, &seen, &waits)? {
                return Ok::<_, StoreError>(false);
            }
            if let Some((key, answer)) = answer {
                requests::complete(conn, &key, &answer)?;
            }
            crash_point!("reservation.wait.again.uncommitted");
            Ok(true)
        });
        let waits = waiting.await?;
        crash_point!("reservation.wait.again.committed");
        if waits { Ok(Outcome::Failed(failure)) } else { Err(self.why_not(reservation.id).await) }
    }

    /// Stores what a step led to; the reservation is the answer to its request.
    async fn settle(
        &self,
        seen: &Reservation,
        saga: &Saga,
        change: Change,
        waits: Option<Saga>,
    ) -> Result<Outcome, Stop> {
        let answer = Answer::of(&change.next);
        self.settle_as(seen, saga, change, waits, answer).await
    }

    /// As [`Driver::settle`], with another answer.
    async fn settle_as(
        &self,
        seen: &Reservation,
        saga: &Saga,
        change: Change,
        waits: Option<Saga>,
        answer: Answer,
    ) -> Result<Outcome, Stop> {
        let next = Arc::new(change.next.clone());
        let answer = saga.request.map(|key| (key, answer.encode()));
        let (ours, version, events) = (saga.clone(), seen.version, events::of(&change));
        let settled = self.store.write(move |conn| {
            let answer = answer.as_ref().map(|(key, answer)| (key, answer.as_slice()));
            let settled = store::settle(conn, &ours, version, &change.next, &events, waits.as_ref(), answer)?;
            crash_point!("reservation.settle.uncommitted");
            if settled { Ok(()) } else { Err(Stop::Superseded) }
        });
        let settled = settled.await;
        crash_point!("reservation.settle.committed");
        match settled {
            Ok(()) => Ok(Outcome::Settled(next)),
            Err(Stop::Superseded) => Err(self.why_not(seen.id).await),
            Err(stop) => Err(stop),
        }
    }

    /// The reservation is not as this saga left it: ended by somebody else, or carried on by another driver of the saga.
    async fn why_not(&self, id: Id) -> Stop {
        match self.store.read(move |conn| Ok::<_, StoreError>(store::find(conn, id)?)).await {
            Ok(Some(now)) if now.state.is_final() && now.state != State::Completed => Stop::Overtaken,
            Ok(Some(now)) if now.state == State::CancelRequested => Stop::Overtaken,
            Ok(_) => Stop::Superseded,
            Err(error) => Stop::Store(error),
        }
    }
}

/// What the saga waits for once this has changed, if anything.
fn waiting(saga: &Saga, change: &Change) -> Option<Saga> {
    change.next.expires_at.map(|until| saga.at(Step::Wait, None, until, change.next.updated_at))
}

/// Why the provider said no, in its own word; a host is not told of methods.
fn decline_code(refusal: &Refusal) -> String {
    match refusal {
        Refusal::PaymentDeclined(code) => code.clone(),
        other => other.reason().to_ascii_lowercase(),
    }
}
