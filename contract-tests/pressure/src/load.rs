//! Callers in a closed loop, and what they were told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holdfast::load::histogram::Histogram;
use mesh::deadline;
use mesh::fault::retry_delay_of;
use proto::reservation::v1::Reservation;
use proto::reservation::v1::reservation::State;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use world::World;
use world::caller::{Caller, reason, wish_from};

/// A caller told to come back later waits as told, but not longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Slots begin within so many days.
const HORIZON_DAYS: u64 = 300;

/// What a caller was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Done.
    Done,
    /// Accepted; the end of it comes later.
    Pending,
    /// Come back later, and when: `UNAVAILABLE`, `RESOURCE_EXHAUSTED`, `DEADLINE_EXCEEDED`, or `ABORTED` for a request that is still under way,
    /// with `RetryInfo`.
    ComeBack(String),
    /// Anything else: code and reason.
    Failed(String),
}

impl Told {
    /// What an error answer tells.
    pub(crate) fn of(status: &Status) -> Self {
        let polite = matches!(
            status.code(),
            Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Aborted
        );
        let text = format!("{:?}/{}", status.code(), reason(status));
        if polite && retry_delay_of(status).is_some() { Self::ComeBack(text) } else { Self::Failed(text) }
    }

    /// What came of a booking.
    pub(crate) fn booking(answer: &Result<Reservation, Status>) -> Self {
        match answer {
            Ok(reservation) => match reservation.state() {
                State::Confirmed => Self::Done,
                State::Requested | State::AwaitingPayment => Self::Pending,
                other => Self::Failed(format!("OK, but {}", other.as_str_name())),
            },
            Err(status) => Self::of(status),
        }
    }
}

/// What was told in one stretch of time.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) done: u64,
    pub(crate) pending: u64,
    /// By code and reason.
    pub(crate) come_back: BTreeMap<String, u64>,
    /// By code and reason.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Microseconds, of all calls.
    pub(crate) latency: Histogram,
    pub(crate) lasted: Duration,
    begun: Instant,
}

impl Phase {
    fn begin(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            done: 0,
            pending: 0,
            come_back: BTreeMap::new(),
            failed: BTreeMap::new(),
            latency: Histogram::default(),
            lasted: Duration::ZERO,
            begun: Instant::now(),
        }
    }

    fn count(&mut self, told: Told, took: Duration) {
        self.latency.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        match told {
            Told::Done => self.done += 1,
            Told::Pending => self.pending += 1,
            Told::ComeBack(text) => *self.come_back.entry(text).or_default() += 1,
            Told::Failed(text) => *self.failed.entry(text).or_default() += 1,
        }
    }

    /// All that was asked.
    pub(crate) fn asked(&self) -> u64 {
        self.latency.count()
    }

    /// How many were told to come back.
    pub(crate) fn refused(&self) -> u64 {
        self.come_back.values().sum()
    }

    /// How many were told neither yes nor when.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

type Phases = Arc<Mutex<Vec<Phase>>>;

fn lock(phases: &Phases) -> MutexGuard<'_, Vec<Phase>> {
    phases.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Callers that ask again as soon as they are told, until the end.
pub(crate) struct Load {
    callers: Vec<JoinHandle<()>>,
    phases: Phases,
    stop: CancellationToken,
}

impl Load {
    /// So many callers of `ask`, which is given the caller's number and how often it has asked.
    pub(crate) fn begin<F, Fut>(callers: usize, first_phase: &str, ask: F) -> Self
    where
        F: Fn(usize, u64) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = (Told, Duration)> + Send,
    {
        let phases: Phases = Arc::new(Mutex::new(vec![Phase::begin(first_phase)]));
        let stop = CancellationToken::new();
        let caller = |number| {
            let (ask, phases, stop) = (ask.clone(), Arc::clone(&phases), stop.clone());
            deadline::spawn(async move {
                for time in 0.. {
                    if stop.is_cancelled() {
                        break;
                    }
                    let begun = Instant::now();
                    let (told, wait) = ask(number, time).await;
                    let took = begun.elapsed();
                    if let Some(phase) = lock(&phases).last_mut() {
                        phase.count(told, took);
                    }
                    // Whoever is to stop need not wait.
                    let _ = stop.run_until_cancelled(sleep(wait)).await;
                }
            })
        };
        Self { callers: (0..callers).map(caller).collect(), phases, stop }
    }

    /// Callers that book a room of `listing`, each as a customer of its own.
    pub(crate) fn bookings(world: &World, callers: usize, listing: &str, first_phase: &str) -> Self {
        let customers = (0..callers).map(|number| world.customer(&format!("caller-{number}"))).collect();
        Self::bookings_of(customers, listing, first_phase)
    }

    /// These customers book a room of `listing`.
    pub(crate) fn bookings_of(customers: Vec<Caller>, listing: &str, first_phase: &str) -> Self {
        let (customers, listing): (Arc<[Caller]>, Arc<str>) = (customers.into(), listing.into());
        Self::begin(customers.len(), first_phase, move |number, time| {
            let (customers, listing) = (Arc::clone(&customers), Arc::clone(&listing));
            async move {
                let day = i32::try_from(1 + time % HORIZON_DAYS).expect("a small number");
                let answer = customers[number].reserve(&wish_from(&listing, day)).await;
                (Told::booking(&answer), wait(&answer))
            }
        })
    }

    /// What is told from now on belongs to another phase.
    pub(crate) fn phase(&self, name: &str) {
        let mut phases = lock(&self.phases);
        end(&mut phases);
        phases.push(Phase::begin(name));
    }

    /// How many have been told anything but yes.
    pub(crate) fn unserved(&self) -> u64 {
        lock(&self.phases).iter().map(|phase| phase.refused() + phase.failures()).sum()
    }

    /// Waits until every caller has been told.
    pub(crate) async fn end(self) -> Vec<Phase> {
        self.stop.cancel();
        for caller in self.callers {
            caller.await.expect("no panic");
        }
        let mut phases = std::mem::take(&mut *lock(&self.phases));
        end(&mut phases);
        phases
    }
}

fn end(phases: &mut [Phase]) {
    if let Some(phase) = phases.last_mut() {
        phase.lasted = phase.begun.elapsed();
    }
}

/// What a polite answer asks to wait.
pub(crate) fn wait<T>(answer: &Result<T, Status>) -> Duration {
    answer.as_ref().err().and_then(retry_delay_of).unwrap_or_default().min(LONGEST_WAIT)
}
