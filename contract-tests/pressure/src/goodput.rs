//! More is asked than can be done (A13, C9, D16, T23): what is let in is served as fast as before, what is not is told so at once, and what is
//! paid is finished.
//!
//! First a closed loop finds how many bookings a second the mesh confirms. Then an open loop asks for that many, and for two, five and ten times
//! as many, whatever the answers, while other customers cancel what they have paid. Once with the limit that servers find by themselves, once
//! with a fixed one. Customers, broker and seven processes share this machine: what is asked for costs time that could have served.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use holdfast::load::histogram::Histogram;
use mesh::deadline;
use proto::reservation::v1::reservation::State;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use world::caller::{Caller, wish_from};
use world::{Setup, World, holdfast};

use crate::load::{Load, Told, wait};
use crate::table::Table;

/// How much is asked, in multiples of what can be done.
const TIMES: [u32; 4] = [1, 2, 5, 10];
/// Customers who book; each has connections of its own.
const CUSTOMERS: usize = 32;
/// How long a customer waits.
const BUDGET: Duration = Duration::from_secs(5);
/// What is due is asked for this often.
const TICK: Duration = Duration::from_millis(5);
/// Answers awaited at once; what is due beyond is not asked for, and counted so.
const OPEN_MAX: usize = 20_000;
/// Cancelled during each step.
const CANCELLED: i32 = 10;
/// What was asked may take this long to come to rest.
const REST: Duration = Duration::from_secs(3);
/// Slots begin within so many days.
const HORIZON_DAYS: i32 = 300;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Seconds of each step
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// With this limit only
    #[arg(long, value_enum)]
    limit: Option<Limit>,
    /// The least that may be confirmed at the end of the adaptive run, in percent of what can be
    #[arg(long, default_value_t = 1)]
    least_percent: u64,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { seconds: 3, limit: None, least_percent: 1 }
    }
}

/// How a server decides how much it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Limit {
    /// By how long work waits.
    Adaptive,
    /// 2,048 calls.
    Fixed,
}

impl Limit {
    const ALL: [Self; 2] = [Self::Adaptive, Self::Fixed];

    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Adaptive => &[],
            Self::Fixed => &[("HOLDFAST_FIXED_LIMIT", "true")],
        }
    }
}

/// What customers were told in one step.
#[derive(Default)]
struct Tally {
    asked: u64,
    not_asked: u64,
    /// Before the step was over: what comes later is no throughput.
    confirmed: u64,
    late: u64,
    /// By code and reason.
    refused: BTreeMap<String, u64>,
    failed: Vec<String>,
    /// Microseconds.
    confirmed_after: Histogram,
    refused_after: Histogram,
}

impl Tally {
    fn count(&mut self, told: Told, took: Duration, in_time: bool) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match told {
            Told::Done | Told::Pending => {
                self.confirmed_after.record(micros);
                *(if in_time { &mut self.confirmed } else { &mut self.late }) += 1;
            }
            Told::ComeBack(text) => {
                self.refused_after.record(micros);
                *self.refused.entry(text).or_default() += 1;
            }
            Told::Failed(text) => self.failed.push(text),
        }
    }
}

pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    for limit in Limit::ALL {
        if arguments.limit.is_none_or(|only| only == limit) {
            curve(limit, arguments).await?;
        }
    }
    Ok(())
}

/// One mesh under more and more load.
async fn curve(limit: Limit, arguments: &Arguments) -> Result<()> {
    let setup = Setup { program: holdfast(), database: None, settings: limit.settings(), quiet: true };
    let mut world = World::prepare(setup).await;
    world.begin_all().await;
    let seconds = Duration::from_secs(arguments.seconds);
    let listing = world.host().offer(100_000).await;
    let customers: Arc<[Caller]> = (0..CUSTOMERS).map(|number| world.customer(&format!("customer-{number}"))).collect();
    let peak = peak(&world, &listing, seconds).await;
    println!("{limit:?} limit: {peak} bookings a second can be confirmed, with {CUSTOMERS} customers in a closed loop");

    let mut table = Table::new(&[
        "asked",
        "per second",
        "confirmed",
        "goodput",
        "p50 ms",
        "p99 ms",
        "come back",
        "p99 ms",
        "cancelled at once",
    ]);
    let mut goodput = 0;
    for times in TIMES {
        sleep(REST).await;
        let mut paid = Vec::new();
        for day in 1..=CANCELLED {
            let wish = wish_from(&listing, day);
            paid.push(until_done(|| customers[0].reserve(&wish)).await.name);
        }
        let rate = peak * times;
        let (tally, put_off) = tokio::join!(
            offer(&customers, &listing, rate, seconds),
            cancel_all(&customers[0], &paid, seconds / u32::try_from(CANCELLED).unwrap_or(1))
        );
        goodput = tally.confirmed * 100 / (u64::from(peak) * arguments.seconds).max(1);
        table.row([
            format!("{times} x"),
            (tally.asked / arguments.seconds).to_string(),
            (tally.confirmed / arguments.seconds).to_string(),
            format!("{goodput} %"),
            (tally.confirmed_after.quantile(0.5) / 1000).to_string(),
            (tally.confirmed_after.quantile(0.99) / 1000).to_string(),
            tally.refused.values().sum::<u64>().to_string(),
            (tally.refused_after.quantile(0.99) / 1000).to_string(),
            format!("{} of {}", paid.len() - put_off.len(), paid.len()),
        ]);
        if !put_off.is_empty() {
            println!("at {times} x some cancelled twice: {put_off:?}");
        }
        println!("at {times} x: {:?}", tally.refused);
        if tally.not_asked > 0 {
            println!("at {times} x: {} more were not asked for, {OPEN_MAX} answers were awaited", tally.not_asked);
        }
        ensure!(tally.failed.is_empty(), "at {times} x somebody was told neither yes nor when: {:?}", tally.failed);
        for name in &paid {
            customers[0].until(name, State::Cancelled).await;
        }
    }
    println!("{table}");
    sleep(REST).await;
    world.audit();
    println!("all that was cancelled is refunded; the audit finds no violation\n");
    let least = arguments.least_percent;
    ensure!(
        limit == Limit::Fixed || goodput >= least,
        "{goodput} % of what can be confirmed was, at least {least} % should be"
    );
    Ok(())
}

/// How many bookings a second are confirmed when nobody asks before the last answer.
async fn peak(world: &World, listing: &str, seconds: Duration) -> u32 {
    let load = Load::bookings(world, CUSTOMERS, listing, "warming up");
    sleep(Duration::from_secs(2)).await;
    load.phase("measured");
    sleep(seconds).await;
    load.phase("over");
    let phases = load.end().await;
    let measured = &phases[1];
    u32::try_from(u128::from(measured.done) * 1000 / measured.lasted.as_millis().max(1)).unwrap_or(u32::MAX).max(1)
}

/// Asks for `rate` bookings a second, whatever the answers, and waits for the last of them.
async fn offer(customers: &Arc<[Caller]>, listing: &str, rate: u32, lasts: Duration) -> Tally {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let listing: Arc<str> = listing.into();
    let mut open = JoinSet::new();
    let begun = Instant::now();
    let mut clock = interval(TICK);
    let mut next: usize = 0;
    while begun.elapsed() < lasts {
        clock.tick().await;
        while open.try_join_next().is_some() {}
        let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as usize;
        for number in mem::replace(&mut next, due)..due {
            if open.len() >= OPEN_MAX {
                tally.lock().unwrap_or_else(PoisonError::into_inner).not_asked += 1;
                continue;
            }
            let (customers, listing, tally) = (customers.clone(), listing.clone(), tally.clone());
            open.spawn(async move {
                let day = 1 + i32::try_from(number % HORIZON_DAYS as usize).unwrap_or(0);
                let asked = Instant::now();
                let answer = customers[number % CUSTOMERS].reserve_within(&wish_from(&listing, day), BUDGET).await;
                let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                tally.asked += 1;
                tally.count(Told::booking(&answer), asked.elapsed(), begun.elapsed() < lasts);
            });
        }
    }
    while open.join_next().await.is_some() {}
    mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Cancels one after the other; answers what was told of those that were not accepted the first time they were asked for.
async fn cancel_all(customer: &Caller, names: &[String], every: Duration) -> Vec<Told> {
    let mut all = JoinSet::new();
    for (number, name) in (0..).zip(names) {
        let (customer, name) = (customer.clone(), name.clone());
        all.spawn(async move {
            sleep(every * number).await;
            let refused = customer.cancel(&name).await.err()?;
            until_done(|| customer.cancel(&name)).await;
            Some(Told::of(&refused))
        });
    }
    all.join_all().await.into_iter().flatten().collect()
}

/// Asks until it is done, as often and as late as it is told.
async fn until_done<T, F>(ask: impl Fn() -> F) -> T
where
    F: Future<Output = std::result::Result<T, tonic::Status>>,
{
    loop {
        let answer = deadline::detach(BUDGET, ask()).await;
        match answer {
            Ok(done) => return done,
            Err(_) => sleep(wait(&answer).max(TICK)).await,
        }
    }
}
