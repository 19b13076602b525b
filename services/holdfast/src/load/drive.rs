//! Driving the load: callers in a closed loop, or starts on a schedule in an open one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::booking::Bookings;
use super::pace::Pace;
use super::process::cpu_time;
use super::report::{Cpu, Report};
use super::tally::Tally;

/// Calls open at once in the open loop; what should start beyond that is counted as not started.
const MOST_OPEN: usize = 20_000;

/// How the load is offered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// So many callers, each busy with one booking after the other.
    Closed { callers: u32 },
    /// So many starts a second.
    Open { rate: u32 },
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { callers } => write!(f, "closed loop, {callers} callers"),
            Self::Open { rate } => write!(f, "open loop, {rate} bookings/s"),
        }
    }
}

/// When what happens counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) warmup: Duration,
    pub(super) measured: Duration,
}

/// A booking counts when it began (closed loop: ended) within the window.
#[derive(Clone)]
struct Meter {
    tally: Arc<Mutex<Tally>>,
    from: Instant,
    to: Instant,
}

impl Meter {
    fn counts(&self, at: Instant) -> bool {
        (self.from..self.to).contains(&at)
    }

    fn record(&self, outcome: Result<(), String>, took: Duration) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).record(outcome, took);
    }

    fn record_not_started(&self, count: u64) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).not_started += count;
    }
}

/// Runs to the end of the window and until the last open call is answered.
pub(super) async fn run(
    bookings: Bookings,
    shape: Shape,
    window: Window,
    started: Instant,
    pids: Option<(Vec<u32>, Option<u32>)>,
) -> Result<Report> {
    let from = started + window.warmup;
    let meter = Meter { tally: Arc::default(), from, to: from + window.measured };
    let bookings = Arc::new(bookings);
    let driving = async {
        match shape {
            Shape::Closed { callers } => closed(&bookings, callers, &meter).await,
            Shape::Open { rate } => open(&bookings, rate, started, &meter).await?,
        }
        Ok::<_, anyhow::Error>(Instant::now())
    };
    let (ended, cpu) = tokio::join!(driving, used_cpu(&meter, pids));
    let tally = std::mem::take(&mut *meter.tally.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Report { calls: bookings.calls(), shape, measured: window.measured, tally, cpu, ended: ended? })
}

async fn closed(bookings: &Arc<Bookings>, callers: u32, meter: &Meter) {
    let mut tasks = JoinSet::new();
    for caller in 0..callers as usize {
        let (bookings, meter) = (Arc::clone(bookings), meter.clone());
        tasks.spawn(async move {
            loop {
                let begun = Instant::now();
                if begun >= meter.to {
                    break;
                }
                let outcome = bookings.book(caller).await;
                let ended = Instant::now();
                // By their end: each finished booking of the window counts once, however long it took.
                if meter.counts(ended) {
                    meter.record(outcome.result, ended - begun);
                }
                if !outcome.wait.is_zero() {
                    sleep(outcome.wait).await;
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

async fn open(bookings: &Arc<Bookings>, rate: u32, started: Instant, meter: &Meter) -> Result<()> {
    let mut pace = Pace::begin(started, rate, meter.to - started).context("cannot start the pacing thread")?;
    let mut tasks = JoinSet::new();
    let mut caller = 0;
    while let Some(intended) = pace.starts.recv().await {
        while tasks.try_join_next().is_some() {}
        if tasks.len() >= MOST_OPEN {
            meter.record_not_started(u64::from(meter.counts(intended)));
            continue;
        }
        let (bookings, meter) = (Arc::clone(bookings), meter.clone());
        tasks.spawn(async move {
            let outcome = bookings.book(caller).await;
            if meter.counts(intended) {
                meter.record(outcome.result, intended.elapsed());
            }
        });
        caller = caller.wrapping_add(1);
    }
    meter.record_not_started(pace.lost());
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// CPU time that the mesh used during the window, if its processes can be seen from here.
async fn used_cpu(meter: &Meter, pids: Option<(Vec<u32>, Option<u32>)>) -> Option<Cpu> {
    let (services, broker) = pids?;
    let broker = broker.map(|pid| vec![pid]).unwrap_or_default();
    let sample = || Some((cpu_time(&services)?, cpu_time(&broker)?));
    sleep_until(meter.from.into()).await;
    let before = sample()?;
    sleep_until(meter.to.into()).await;
    let after = sample()?;
    Some(Cpu { services: after.0.saturating_sub(before.0), broker: after.1.saturating_sub(before.1) })
}
