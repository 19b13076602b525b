//! What hangs, dies, or says it is ill, is replaced, while customers go on booking.
//!
//! A watcher stands for the kubelet: it asks for `liveness` by the standard health protocol, and replaces the process after so many failures in a
//! row. Customers are told "confirmed", "pending" or "come back", and in the end everything they were told is so.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::{sleep, timeout};
use world::{Setup, World, holdfast};

use crate::load::{Load, Phase};
use crate::table::Table;

/// Who is taken away: charges need it.
const VICTIM: &str = "payment";

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Customers who book all the while
    #[arg(long, default_value_t = 8)]
    callers: usize,
    /// Milliseconds between two looks of the watcher
    #[arg(long, default_value_t = 1_000)]
    period_ms: u64,
    /// Milliseconds that an answer may take
    #[arg(long, default_value_t = 1_000)]
    timeout_ms: u64,
    /// Failures in a row after which the process is replaced
    #[arg(long, default_value_t = 3)]
    failures: u32,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { callers: 8, period_ms: 1_000, timeout_ms: 1_000, failures: 3 }
    }
}

/// What befalls the victim.
#[derive(Clone, Copy, Debug)]
enum Illness {
    Hangs,
    Dies,
    LosesItsFile,
}

impl Illness {
    const ALL: [Self; 3] = [Self::Hangs, Self::Dies, Self::LosesItsFile];

    fn name(self) -> &'static str {
        match self {
            Self::Hangs => "hangs (SIGSTOP)",
            Self::Dies => "dies (SIGKILL)",
            Self::LosesItsFile => "its health file is removed",
        }
    }

    fn strike(self, world: &mut World) {
        match self {
            Self::Hangs => world.freeze(VICTIM, true),
            Self::Dies => world.kill(VICTIM),
            Self::LosesItsFile => std::fs::remove_file(world.data().join(FILE)).expect("the file is there"),
        }
    }
}

/// In the world's folder for data.
const FILE: &str = "healthy";

/// When what happened, from the strike.
struct Healed {
    noticed: Duration,
    serving: Duration,
}

/// A38, A69, B23, C27, D35: self-healing, with its threshold shown.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let mut world = World::prepare(Setup { program: holdfast(), database: None, settings: &[], quiet: true }).await;
    world.begin_all().await;
    let file = world.data().join(FILE).display().to_string();
    replace(&mut world, &file).await;
    let listing = world.host().offer(100_000).await;
    let load = Load::bookings(&world, arguments.callers, &listing, "all well");
    sleep(Duration::from_secs(2)).await;
    let mut healed = Vec::new();
    for illness in Illness::ALL {
        load.phase(illness.name());
        illness.strike(&mut world);
        healed.push(watch(&mut world, &file, arguments).await);
        load.phase("healed");
        sleep(Duration::from_secs(2)).await;
    }
    let phases = load.end().await;
    println!(
        "{VICTIM} under {} customers; replaced after {} failures, asked every {} ms, {} ms to answer",
        arguments.callers, arguments.failures, arguments.period_ms, arguments.timeout_ms
    );
    println!("{}", table(&phases, &healed));
    world.audit();
    println!("the audit finds no violation");
    for phase in &phases {
        ensure!(phase.failures() == 0, "while {}: {:?}", phase.name, phase.failed);
    }
    for phase in phases.iter().filter(|phase| phase.name == "healed") {
        ensure!(phase.done > 0, "nobody could book after it was healed");
    }
    Ok(())
}

/// Watches until the victim has been replaced and serves again.
async fn watch(world: &mut World, file: &str, arguments: &Arguments) -> Healed {
    let (period, limit) = (Duration::from_millis(arguments.period_ms), Duration::from_millis(arguments.timeout_ms));
    let struck = Instant::now();
    let mut failures = 0;
    while failures < arguments.failures {
        sleep(period).await;
        let alive = timeout(limit, world.is_alive(VICTIM)).await.unwrap_or(false);
        failures = if alive { 0 } else { failures + 1 };
    }
    let noticed = struck.elapsed();
    replace(world, file).await;
    Healed { noticed, serving: struck.elapsed() }
}

/// Kills the victim if it is still there, and starts it again.
async fn replace(world: &mut World, file: &str) {
    if world.runs(VICTIM) {
        world.kill(VICTIM);
    }
    world.begin_with(VICTIM, &[("HOLDFAST_HEALTH_FILE", file)]).await;
}

fn table(phases: &[Phase], healed: &[Healed]) -> Table {
    let mut table =
        Table::new(&["", "replaced", "serving", "asked", "confirmed", "pending", "come back", "failed", "p99 ms"]);
    let mut healed = healed.iter();
    for phase in phases {
        let ill = Illness::ALL.iter().any(|illness| illness.name() == phase.name);
        let healed = if ill { healed.next() } else { None };
        let after =
            |time: Option<Duration>| time.map(|time| format!("{:.1} s", time.as_secs_f64())).unwrap_or_default();
        table.row([
            phase.name.clone(),
            after(healed.map(|healed| healed.noticed)),
            after(healed.map(|healed| healed.serving)),
            phase.asked().to_string(),
            phase.done.to_string(),
            phase.pending.to_string(),
            phase.refused().to_string(),
            phase.failures().to_string(),
            (phase.latency.quantile(0.99) / 1000).to_string(),
        ]);
    }
    table
}
