//! The saga: carries a reservation forward to where it rests, or undoes all it did.
//!
//! What is to be done is durable before anybody is called, every call is idempotent by the reservation's id, and one code
//! drives a saga whether its caller still waits, has gone, or died with the process: [`Driver::start`] runs it as a task of
//! its own, and [`Driver::recover`] takes over sagas whose lease ran out.
//!
//! | step | calls | leads to | when it cannot |
//! |---|---|---|---|
//! | BOOK | `PlaceHold`, then by policy nothing, `RegisterPayment` or `ChargePayment` | a state that rests | all is undone; RETRY where the policy waits |
//! | WAIT | nothing: somebody has to act | EXPIRED, when its lease ends | |
//! | APPROVE | `ChargePayment` or `RegisterPayment` | CONFIRMED, AWAITING_PAYMENT, or REJECTED if declined | WAIT |
//! | PAY | `ChargePayment` | CONFIRMED, AWAITING_APPROVAL | WAIT |
//! | RETRY | `ChargePayment`, again and again | CONFIRMED, AWAITING_APPROVAL, or REJECTED if declined | EXPIRED at its time |
//!
//! Whatever charges leads to REJECTED where the policy insists on miles and none can be earned: then there is no payment.
//!
//! Undoing is `ReleaseHold` and `RefundPayment`, the latter also when it is not known whether anything was charged. A saga
//! that has turned round never goes forward again, and its caller is told so only after that is durable. What ends a
//! reservation that rested is undone by its events instead, except while a charge is under way or its outcome unknown.

mod callees;
mod forward;
mod recovery;
mod undo;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mesh::{
    deadline::{self, Deadline},
    store::{Id, Micros, Store, StoreError},
};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

pub(crate) use self::{callees::Callees, undo::may_have_taken};
use crate::{
    domain::{Failure, Refusal, Reservation, Trouble},
    store::sagas::{Saga, Step},
};

/// Undoing, or storing what a call has led to, has this long before it is left for later.
const UNDO_BUDGET: Duration = Duration::from_secs(5);
/// A lease outlives the work under it by this much.
const LEASE_MARGIN: Duration = Duration::from_secs(2);
/// Pause before something is tried again: doubled each time, up to the second figure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Sagas that one process drives at once, those whose callers have left among them.
const FLIGHTS_MAX: usize = 2048;

/// How far a saga is.
#[derive(Clone, Debug)]
pub(crate) enum Progress {
    /// Goes forward.
    Running,
    /// Has turned round for this reason; not all is undone yet.
    Turned(Failure),
    /// Has ended its step, or is left to whoever recovers it.
    Ended(Outcome),
}

/// How a step of a saga ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The reservation rests, so.
    Settled(Arc<Reservation>),
    /// It came to nothing, for this reason.
    Failed(Failure),
    /// It is not known, or somebody else ended it; what is stored decides.
    Unknown,
}

/// Why a saga stopped going forward.
enum Stop {
    /// It cannot, for this reason.
    Failure(Failure),
    /// Its reservation was ended by somebody else: what this saga did has to be undone.
    Overtaken,
    /// Another driver, to whom the lease had passed, was faster.
    Superseded,
    /// The database failed: what is stored decides, later.
    Store(StoreError),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        match error {
            // Rolled back for lack of time: nothing was stored, so it can be undone.
            StoreError::Deadline => Self::Failure(Failure::ComeBack(Trouble::OutOfTime)),
            other => Self::Store(other),
        }
    }
}

impl From<diesel::result::Error> for Stop {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Drives sagas.
pub(crate) struct Driver {
    store: Store,
    callees: Callees,
    /// Open reservations of one customer over all listings; 0 for any number.
    max_per_person: u32,
    flights: Mutex<HashMap<Id, watch::Receiver<Progress>>>,
    tasks: TaskTracker,
}

impl Driver {
    pub(crate) fn new(store: Store, callees: Callees, max_per_person: u32) -> Self {
        Self { store, callees, max_per_person, flights: Mutex::new(HashMap::new()), tasks: TaskTracker::new() }
    }

    /// The services it calls.
    pub(crate) fn callees(&self) -> &Callees {
        &self.callees
    }

    /// The lease of a saga that goes forward until `deadline`.
    pub(crate) fn lease(deadline: Deadline, now: Micros) -> Micros {
        now.plus(deadline.remaining() + UNDO_BUDGET + LEASE_MARGIN)
    }

    /// Drives a saga in a task of its own, which ends whether or not anybody watches.
    pub(crate) fn start(
        self: &Arc<Self>,
        reservation: Reservation,
        saga: Saga,
        deadline: Deadline,
    ) -> watch::Receiver<Progress> {
        let (progress, watcher) = watch::channel(Progress::Running);
        self.flights().insert(reservation.id, watcher.clone());
        let driver = Arc::clone(self);
        let task = self.tasks.track_future(async move {
            let id = reservation.id;
            let outcome = driver.drive(reservation, saga, deadline, &progress).await;
            // First: whoever is told of the end may begin the next step.
            driver.flights().remove(&id);
            progress.send_replace(Progress::Ended(outcome));
        });
        drop(deadline::spawn(deadline::scope(deadline, task)));
        watcher
    }

    /// Whether no more should be started: what cannot be driven here should not be begun here.
    pub(crate) fn is_full(&self) -> bool {
        self.flights().len() >= FLIGHTS_MAX
    }

    /// The progress of a saga that this process drives.
    pub(crate) fn flight(&self, id: Id) -> Option<watch::Receiver<Progress>> {
        self.flights().get(&id).cloned()
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, HashMap<Id, watch::Receiver<Progress>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn drive(
        &self,
        reservation: Reservation,
        saga: Saga,
        deadline: Deadline,
        progress: &watch::Sender<Progress>,
    ) -> Outcome {
        if let Some(failure) = saga.failure.clone() {
            return deadline::detach(UNDO_BUDGET, self.backward(&saga, failure, progress)).await;
        }
        let forward = async {
            match saga.step {
                Step::Book => self.book(&reservation, &saga).await,
                Step::Wait => self.expire(&reservation, &saga).await,
                Step::Approve | Step::Pay | Step::Retry => self.charge(&reservation, &saga).await,
            }
        };
        let result = match (saga.step, deadline::scope(deadline, forward).await) {
            (Step::Book, result) => result,
            (Step::Wait, Err(Stop::Failure(_))) => Err(Stop::Superseded),
            (_, Err(Stop::Failure(failure))) => {
                match deadline::detach(UNDO_BUDGET, self.step_back(&reservation, &saga, failure)).await {
                    // Not even that could be stored: its lease runs out.
                    Err(Stop::Failure(_)) => Err(Stop::Superseded),
                    result => result,
                }
            }
            (_, result) => result,
        };
        match result {
            Ok(outcome) => outcome,
            Err(Stop::Superseded) => Outcome::Unknown,
            Err(Stop::Store(error)) => unknown(&saga, &error),
            Err(Stop::Failure(failure)) => deadline::detach(UNDO_BUDGET, self.backward(&saga, failure, progress)).await,
            Err(Stop::Overtaken) => {
                let cancelled = Failure::Refused(Refusal::Cancelled);
                deadline::detach(UNDO_BUDGET, self.backward(&saga, cancelled, progress)).await
            }
        }
    }
}

/// Before the next try, after so many.
fn pause(tries: i32) -> Duration {
    BACKOFF.0.saturating_mul(1 << tries.clamp(0, 10)).min(BACKOFF.1)
}

fn unknown(saga: &Saga, error: &StoreError) -> Outcome {
    let error = error as &dyn std::error::Error;
    tracing::warn!(reservation = %saga.reservation, error, "the database failed in a saga; it will be recovered");
    Outcome::Unknown
}
