//! What hosts and customers do to a reservation that exists: approve, reject, pay, complete, cancel.
//!
//! A decision is made by the reservation and its saga as they were seen, and stored where both still stand; whoever loses a
//! race looks again. Approving and paying may need a call: then the decision is the saga's next step, and the caller waits
//! for what comes of it.

use std::time::Duration;

use mesh::{
    crash_point,
    deadline::{self, Deadline},
    requests::{self, Claim},
    store::{Conn, Id, Micros},
    value::check_etag,
};
use proto::reservation::v1 as wire;

use super::{Answer, App, DEFAULT_BUDGET, Error, Request};
use crate::{
    domain::{Cancellation, Change, Failure, Next, PaymentMethod, Refund, Refusal, Reservation, State, Undo},
    events,
    saga::Driver,
    store::{
        self,
        sagas::{self, Overtaken, Saga, Step},
    },
};

/// A change that loses so many races in a row gives up.
const RACES_MAX: usize = 8;
/// Kept of the caller's time, after a refund that is waited for, to store that it is done.
const REFUND_MARGIN: Duration = Duration::from_millis(50);

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// By its host.
    Approve,
    /// By its host, for this reason.
    Reject(String),
    /// By its customer, with this method.
    Pay(PaymentMethod),
    /// By its host.
    Complete,
    /// By its customer.
    Cancel,
}

impl Verb {
    /// Only the listing's host decides about it, only its customer pays and cancels.
    fn is_for(&self, caller: &str, reservation: &Reservation) -> bool {
        match self {
            Self::Approve | Self::Reject(_) | Self::Complete => reservation.host() == Some(caller),
            Self::Pay(_) | Self::Cancel => reservation.customer == caller,
        }
    }
}

/// A caller's command.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// The request it came with.
    pub(crate) request: Request,
    /// The caller's subject.
    pub(crate) caller: String,
    /// The reservation.
    pub(crate) id: Id,
    /// When given, that of the reservation as the caller knows it.
    pub(crate) etag: String,
    /// What to do.
    pub(crate) verb: Verb,
}

impl Command {
    /// Whether the caller knows the reservation as it is.
    fn is_current(&self, reservation: &Reservation) -> bool {
        check_etag(&self.etag, reservation.version).is_ok()
    }
}

/// What a command leads to.
#[derive(Clone, Debug)]
pub(super) enum Decision {
    /// Nothing changes: the answer is the reservation as it is.
    AsItIs,
    /// It is refused.
    Refuse(Refusal),
    /// The reservation changes, and so does its saga.
    Change(Box<Change>, Option<Overtaken>),
    /// The saga goes to this step.
    Drive(Box<Saga>),
    /// Its saga is at work.
    Busy,
    /// The reservation and its saga were read at different moments.
    Torn,
}

/// A reservation and its saga as they were seen.
struct Seen {
    reservation: Reservation,
    saga: Option<Saga>,
}

impl App {
    /// Carries a command out, or gives the answer of the first call with this request id.
    ///
    /// # Cancel safety
    /// Dropping it leaves all or nothing; what needs a call goes on as a saga, and a repeat learns its outcome.
    pub(crate) async fn command(&self, command: Command) -> Result<wire::Reservation, Error> {
        let deadline = deadline::current().unwrap_or_else(|| Deadline::after(DEFAULT_BUDGET));
        let mut races = 0;
        while races < RACES_MAX {
            let seen = match self.look(&command).await? {
                Ok(seen) => seen,
                Err(answer) => return answer.into_result(),
            };
            let decision = decide(&command, &seen, deadline, Micros::now());
            let current = command.is_current(&seen.reservation);
            match self.carry_out(&command, seen, decision, deadline).await {
                Err(Error::Conflict) if current => races += 1,
                Ok(None) => self.poll(deadline).await?,
                Ok(Some(answered)) => return Ok(answered),
                Err(error) => return Err(error),
            }
        }
        Err(Error::Conflict)
    }

    /// The reservation and its saga, or the answer the request has already.
    async fn look(&self, command: &Command) -> Result<Result<Seen, Answer>, Error> {
        let (id, Request { key, fingerprint }) = (command.id, command.request);
        let (found, saga, claim) = self
            .store
            .read(move |conn| {
                let (found, saga) = (store::find(conn, id)?, sagas::find(conn, id)?);
                Ok::<_, Error>((found, saga, requests::find(conn, &key, fingerprint)?))
            })
            .await?;
        let reservation = found.filter(|found| command.verb.is_for(&command.caller, found)).ok_or(Error::NotFound)?;
        match claim {
            Some(Claim::Reused) => Err(Error::RequestIdReused),
            Some(Claim::Repeat { answer: Some(answer), .. }) => Ok(Err(Answer::decode(&answer))),
            Some(Claim::Repeat { answer: None, .. } | Claim::New) | None => Ok(Ok(Seen { reservation, saga })),
        }
    }

    /// The answer, or `None` when it is worth looking again a little later.
    async fn carry_out(
        &self,
        command: &Command,
        seen: Seen,
        decision: Decision,
        deadline: Deadline,
    ) -> Result<Option<wire::Reservation>, Error> {
        let answered = match decision {
            Decision::Torn => Err(Error::Conflict),
            Decision::Busy => return self.join(command, &seen, deadline).await,
            Decision::Refuse(refusal) => self.answer(command, Answer::Failed(Failure::Refused(refusal))).await,
            Decision::AsItIs => self.end(command, seen.reservation, deadline).await,
            Decision::Change(change, overtaken) => self.change(command, seen, *change, overtaken, deadline).await,
            Decision::Drive(saga) => self.drive(command, seen, *saga, deadline).await,
        };
        answered.map(Some)
    }

    /// The saga is at work: for this very request, whose outcome is the answer, or for another one.
    async fn join(
        &self,
        command: &Command,
        seen: &Seen,
        deadline: Deadline,
    ) -> Result<Option<wire::Reservation>, Error> {
        if seen.saga.as_ref().and_then(|saga| saga.request) != Some(command.request.key) {
            return Err(Error::InProgress);
        }
        match self.driver.flight(command.id) {
            Some(flight) => self.await_outcome(flight, deadline).await.map(Some),
            None => Ok(None),
        }
    }

    /// Stores a change, unless the reservation or its saga has moved.
    async fn change(
        &self,
        command: &Command,
        seen: Seen,
        change: Change,
        overtaken: Option<Overtaken>,
        deadline: Deadline,
    ) -> Result<wire::Reservation, Error> {
        let (next, current) = (change.next.clone(), command.is_current(&seen.reservation));
        let (answer, events) = ((!refunds_first(&next)).then(|| Answer::of(&next)), events::of(&change));
        let stored = self.claimed(command, move |conn| {
            let stands = current
                && store::change(conn, seen.reservation.version, &change.next, &events)?
                && match (&seen.saga, overtaken) {
                    (Some(saga), Some(how)) => sagas::overtake(conn, saga, how)?,
                    _ => true,
                };
            crash_point!("reservation.change.uncommitted");
            if stands { Ok(answer) } else { Err(Error::Conflict) }
        });
        let answer = stored.await?;
        crash_point!("reservation.change.committed");
        match answer {
            Some(answer) => answer.into_result(),
            None => self.end(command, next, deadline).await,
        }
    }

    /// Gives the saga its next step and waits for what comes of it.
    async fn drive(
        &self,
        command: &Command,
        seen: Seen,
        next: Saga,
        deadline: Deadline,
    ) -> Result<wire::Reservation, Error> {
        self.has_room()?;
        let (before, after, current) = (seen.saga, next.clone(), command.is_current(&seen.reservation));
        let stored = self.claimed(command, move |conn| {
            let stands = match &before {
                Some(before) if current => sagas::replace(conn, before, &after)?,
                _ => false,
            };
            crash_point!("reservation.step.uncommitted");
            if stands { Ok(None) } else { Err(Error::Conflict) }
        });
        let answer = stored.await?;
        crash_point!("reservation.step.committed");
        match answer {
            Some(answer) => answer.into_result(),
            None => self.await_outcome(self.driver.start(seen.reservation, next, deadline), deadline).await,
        }
    }

    /// Answers a reservation as it is; a cancelled one, once its refund was tried if that is what its policy promises (T5).
    async fn end(
        &self,
        command: &Command,
        reservation: Reservation,
        deadline: Deadline,
    ) -> Result<wire::Reservation, Error> {
        if command.verb != Verb::Cancel || !refunds_first(&reservation) {
            return self.answer(command, Answer::of(&reservation)).await;
        }
        let limit = Deadline::new(deadline.at().checked_sub(REFUND_MARGIN).unwrap_or(deadline.at()));
        let refunded = deadline::scope(limit, self.driver.callees().refund(command.id)).await;
        if !refunded.is_ok_and(|refunded| refunded.is_back) {
            return self.answer(command, Answer::of(&reservation)).await;
        }
        crash_point!("reservation.refund.first.done");
        let change = reservation.cancelled(true, Micros::now());
        let cancelled = self.claimed(command, move |conn| {
            let changed = store::change(conn, reservation.version, &change.next, &events::of(&change))?;
            crash_point!("reservation.refund.first.uncommitted");
            if changed {
                return Ok(Some(Answer::of(&change.next)));
            }
            // The event that told of the refund was faster.
            Ok(store::find(conn, reservation.id)?.map(|now| Answer::of(&now)))
        });
        cancelled.await?.ok_or(Error::NotFound)?.into_result()
    }

    async fn answer(&self, command: &Command, answer: Answer) -> Result<wire::Reservation, Error> {
        let stored = self.claimed(command, move |_| Ok(Some(answer))).await?;
        stored.ok_or(Error::NotFound)?.into_result()
    }

    /// Runs `work` under the claim of the command's request id. What it answers is stored for repeats; `None` leaves the
    /// request open. A repeat of an answered request gets that answer, and `work` does not run.
    async fn claimed(
        &self,
        command: &Command,
        work: impl FnOnce(&mut Conn) -> Result<Option<Answer>, Error> + Send + 'static,
    ) -> Result<Option<Answer>, Error> {
        let (id, Request { key, fingerprint }) = (command.id, command.request);
        let stored = self.store.write(move |conn| {
            match requests::claim(conn, &key, fingerprint, id, Micros::now())? {
                Claim::Reused => return Err(Error::RequestIdReused),
                Claim::Repeat { answer: Some(answer), .. } => return Ok(Some(Answer::decode(&answer))),
                Claim::Repeat { answer: None, .. } | Claim::New => {}
            }
            let answer = work(conn)?;
            if let Some(answer) = &answer {
                requests::complete(conn, &key, &answer.encode())?;
            }
            Ok(answer)
        });
        stored.await
    }
}

/// Whether a refund has to be tried before its cancellation is answered.
fn refunds_first(reservation: &Reservation) -> bool {
    reservation.state == State::CancelRequested
        && reservation.payment.is_some()
        && reservation.agreed().policy.refund == Refund::Sync
}

fn decide(command: &Command, seen: &Seen, deadline: Deadline, now: Micros) -> Decision {
    let Seen { reservation, saga } = seen;
    match &command.verb {
        Verb::Approve | Verb::Reject(_) if reservation.state != State::AwaitingApproval => {
            Decision::Refuse(Refusal::NotAwaitingApproval)
        }
        Verb::Pay(_) if reservation.state != State::AwaitingPayment => Decision::Refuse(Refusal::NotAwaitingPayment),
        Verb::Approve | Verb::Reject(_) | Verb::Pay(_) => match saga {
            None => Decision::Torn,
            Some(saga) if saga.works() => Decision::Busy,
            Some(saga) => decide_waiting(command, reservation, saga, deadline, now),
        },
        Verb::Complete => match reservation.state {
            State::Confirmed => Decision::Change(Box::new(reservation.completed(now)), None),
            State::Completed => Decision::AsItIs,
            _ => Decision::Refuse(Refusal::NotConfirmed),
        },
        Verb::Cancel => decide_cancel(reservation, saga.as_ref(), now),
    }
}

/// Of a reservation that waits for just this.
fn decide_waiting(
    command: &Command,
    reservation: &Reservation,
    saga: &Saga,
    deadline: Deadline,
    now: Micros,
) -> Decision {
    let step = |step| saga.at(step, Some(command.request.key), Driver::lease(deadline, now), now);
    let drive = |saga| Decision::Drive(Box::new(saga));
    let over = |change| Decision::Change(Box::new(change), Some(Overtaken::Ends));
    match &command.verb {
        Verb::Pay(method) => drive(step(Step::Pay).charging(Some(method.clone()))),
        Verb::Reject(reason) => over(reservation.rejected(reason, now)),
        _ => match reservation.agreed().on_approval() {
            Next::Nothing => over(reservation.approved(Id::generate(), None, now)),
            Next::Register => drive(step(Step::Approve)),
            Next::Charge => drive(step(Step::Approve).charging(saga.payment_method.clone())),
        },
    }
}

pub(super) fn decide_cancel(reservation: &Reservation, saga: Option<&Saga>, now: Micros) -> Decision {
    let charging = saga.is_some_and(|saga| saga.works() || saga.is_open());
    match reservation.cancel(charging, now) {
        None => Decision::Refuse(Refusal::NotCancellable),
        Some(Cancellation::Already) => Decision::AsItIs,
        Some(Cancellation::Changes(change, undo)) => {
            // A saga that has turned already needs not be told.
            let overtaken = saga.filter(|saga| saga.failure.is_none()).map(|_| match undo {
                Undo::Saga => Overtaken::Undoes,
                Undo::Nobody | Undo::Payment => Overtaken::Ends,
            });
            Decision::Change(change, overtaken)
        }
    }
}
