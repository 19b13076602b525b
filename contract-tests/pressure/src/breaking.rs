//! A callee falls ill under customers who book, its breaker leaves it alone, and finds it well again (A35, B20, C25, E28).
//!
//! The sources limited requests at the proxy; here it is the breaker in reservation that opens, before payment's charges. Payment is made ill by a
//! fault that an operator injects: the breaker sees it as payment's doing, and what gets past the breaker is counted.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mesh::client::Channel;
use proto::contract::Role;
use proto::mesh::v1::breaker::State;
use proto::mesh::v1::breaker_service_client::BreakerServiceClient;
use proto::mesh::v1::injected_fault_service_client::InjectedFaultServiceClient;
use proto::mesh::v1::{Breaker, ListBreakersRequest, ListInjectedFaultsRequest};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use world::{Setup, World, holdfast};

use crate::load::{Load, Phase};
use crate::table::Table;

const CALLER: &str = "reservation";
const METHOD: &str = "holdfast.payment.v1.ChargeService/ChargePayment";
const FAULT: &str = "payment/ChargePayment=abort:UNAVAILABLE";
/// Nothing takes nearly as long; it keeps a broken run from hanging.
const PATIENCE: Duration = Duration::from_secs(90);

const BEFORE: &str = "before";
const ILL: &str = "payment is ill";
const MENDING: &str = "payment is well, the breaker not closed";
const AFTER: &str = "after";

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Customers who book all the while
    #[arg(long, default_value_t = 16)]
    callers: usize,
    /// Seconds of each phase
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { callers: 16, seconds: 5 }
    }
}

/// What was seen of the breaker.
struct Seen {
    opened: Duration,
    closed: Duration,
    /// Time watched in which it was open from end to end.
    open: Duration,
    /// Charges that passed it in that time.
    passed_open: i64,
    /// Charges that passed it while payment was ill.
    passed: i64,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let mut world = World::prepare(Setup { program: holdfast(), database: None, settings: &[], quiet: true }).await;
    world.begin_all().await;
    let listing = world.host().offer(100_000).await;
    let load = Load::bookings(&world, arguments.callers, &listing, BEFORE);
    let seen = play(&world, &load, Duration::from_secs(arguments.seconds)).await?;
    let phases = load.end().await;
    println!("{METHOD} under {} customers, {FAULT}", arguments.callers);
    println!("{}", table(&phases));
    println!(
        "open {:.2} s after payment fell ill, closed {:.2} s after it was well; {} charges got past the breaker while it was ill, {} in {:.1} s of \
         watching it open",
        seen.opened.as_secs_f64(),
        seen.closed.as_secs_f64(),
        seen.passed,
        seen.passed_open,
        seen.open.as_secs_f64(),
    );
    world.audit();
    println!("the audit finds no violation");
    check(&phases, &seen)
}

async fn play(world: &World, load: &Load, length: Duration) -> Result<Seen> {
    let operator = Operator(world.user(CALLER, "olga", Role::Operator));
    sleep(length).await;
    load.phase(ILL);
    let struck = Instant::now();
    command(world, &["inject", "set", FAULT, "--for", "10m", "--yes"]).await?;
    operator.until(State::Open).await?;
    let opened = struck.elapsed();
    let (mut open, mut passed_open) = (Duration::ZERO, 0);
    let watching = Instant::now();
    while watching.elapsed() < length {
        let (time, passed) = operator.watch().await?;
        open += time;
        passed_open += passed;
    }
    let passed = operator.passed().await?;
    load.phase(MENDING);
    let mended = Instant::now();
    command(world, &["inject", "clear", "--yes"]).await?;
    operator.until(State::Closed).await?;
    let closed = mended.elapsed();
    load.phase(AFTER);
    sleep(length).await;
    Ok(Seen { opened, closed, open, passed_open, passed })
}

fn check(phases: &[Phase], seen: &Seen) -> Result<()> {
    for phase in phases {
        ensure!(phase.failures() == 0, "{}: {:?}", phase.name, phase.failed);
    }
    let confirmed = |name: &str| phases.iter().filter(|phase| phase.name == name).map(|phase| phase.done).sum::<u64>();
    ensure!(confirmed(BEFORE) > 0 && confirmed(AFTER) > 0, "nobody could book while all was well");
    ensure!(confirmed(ILL) == 0 || seen.passed > 0, "nothing was ill");
    ensure!(seen.open > Duration::ZERO, "it was never watched while open");
    ensure!(seen.passed_open == 0, "{} calls were made while it was open", seen.passed_open);
    Ok(())
}

/// A command of the binary that has to do well, while the customers go on.
pub(crate) async fn command(world: &World, line: &[&str]) -> Result<()> {
    let mut command = world.command(line);
    let output = spawn_blocking(move || command.output()).await.context("no panic")?.context("the binary runs")?;
    ensure!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Who looks at reservation's breakers and faults.
struct Operator(Channel);

impl Operator {
    async fn breaker(&self) -> Result<Option<Breaker>> {
        let request = ListBreakersRequest { callee: "payment".to_owned(), ..ListBreakersRequest::default() };
        let breakers = BreakerServiceClient::new(self.0.clone()).list_breakers(request).await?.into_inner().breakers;
        Ok(breakers.into_iter().find(|breaker| breaker.method == METHOD))
    }

    /// How many charges met the fault, so passed the breaker.
    async fn passed(&self) -> Result<i64> {
        let request = ListInjectedFaultsRequest::default();
        let mut client = InjectedFaultServiceClient::new(self.0.clone());
        let faults = client.list_injected_faults(request).await?.into_inner().injected_faults;
        Ok(faults.iter().map(|fault| fault.call_count).sum())
    }

    async fn until(&self, state: State) -> Result<()> {
        let reached = async {
            while self.breaker().await?.is_none_or(|breaker| breaker.state() != state) {
                sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, reached).await.with_context(|| format!("it never was {}", state.as_str_name()))?
    }

    /// A short while; how much of it the breaker was open from end to end, and what passed then.
    async fn watch(&self) -> Result<(Duration, i64)> {
        let before = self.breaker().await?;
        let (began, passed) = (Instant::now(), self.passed().await?);
        sleep(Duration::from_millis(50)).await;
        let (time, passed) = (began.elapsed(), self.passed().await? - passed);
        let after = self.breaker().await?;
        let since = |breaker: &Option<Breaker>| {
            breaker
                .as_ref()
                .filter(|breaker| breaker.state() == State::Open)
                .and_then(|breaker| breaker.next_probe_time)
        };
        // Another opening has another time to probe; times that are reckoned anew with each answer differ by less than a probe takes.
        let same = since(&before).zip(since(&after)).is_some_and(|(one, other)| near(one, other));
        Ok(if same { (time, passed) } else { (Duration::ZERO, 0) })
    }
}

fn near(one: prost_types::Timestamp, other: prost_types::Timestamp) -> bool {
    let ms = |time: prost_types::Timestamp| time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000;
    ms(one).abs_diff(ms(other)) < 20
}

fn table(phases: &[Phase]) -> Table {
    let mut table = Table::new(&["", "calls/s", "confirmed", "pending", "come back", "failed", "p50 ms", "p99 ms"]);
    for phase in phases {
        let ms = |quantile: f64| {
            format!("{:.1}", Duration::from_micros(phase.latency.quantile(quantile)).as_secs_f64() * 1e3)
        };
        table.row([
            phase.name.clone(),
            format!("{:.0}", phase.asked() as f64 / phase.lasted.as_secs_f64()),
            phase.done.to_string(),
            phase.pending.to_string(),
            phase.refused().to_string(),
            phase.failures().to_string(),
            ms(0.5),
            ms(0.99),
        ]);
    }
    table
}
