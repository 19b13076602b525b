//! `holdfast load`: how many bookings a running mesh takes, how fast, and whether it was right.

mod booking;
mod drive;
pub mod histogram;
mod pace;
mod process;
mod report;
mod settle;
mod tally;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use tokio::runtime::Builder;

use crate::api::{Target, TargetArgs};
use crate::audit::{self, AuditArgs};
use crate::business::Business;
use crate::duration;
use crate::terminal::{note, say};
use booking::Bookings;
use drive::{Shape, Window};
use report::Report;
use settle::Settling;

/// Books as many reservations as a running mesh takes and measures it.
///
/// Each iteration is all that a business needs until a reservation is confirmed, for airbnb one CreateReservation: place held, payment taken,
/// miles earned. Where its host approves or its customer pays later, that call is part of it. Two shapes of load:
///
///   --concurrency N   closed loop: N callers, each books again as soon as it is answered; finds the greatest throughput
///   --rate R          open loop: R bookings a second whatever the answers, started by a thread that does nothing else; latency is counted
///                     from the intended start, so a mesh that falls behind cannot hide it
///
/// Printed: bookings per second, latency percentiles, refusals by code and reason, CPU time per booking; then how long the events took to
/// settle, and the audit's verdict. Exit code 1 when the audit finds a violation or nothing was booked.
#[derive(clap::Args, Clone, Debug)]
#[command(verbatim_doc_comment)]
pub struct LoadArgs {
    /// Under which business's policy
    #[arg(long, value_enum, value_name = "BUSINESS", default_value = "airbnb")]
    pub policy: Business,
    /// Closed loop: so many callers at once [default: 64]
    #[arg(long, value_name = "N", conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub concurrency: Option<u32>,
    /// Open loop: so many bookings a second
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: Option<u32>,
    /// How long to measure
    #[arg(long, value_name = "S", default_value = "10", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// How long to run before measuring, in seconds
    #[arg(long, value_name = "S", default_value = "2", value_parser = clap::value_parser!(u64).range(0..=3_600))]
    pub warmup: u64,
    /// How many listings to book on; made for this run
    #[arg(long, value_name = "L", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub listings: u32,
    /// How many customers book
    #[arg(long, value_name = "N", default_value = "32", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub customers: u32,
    /// How many HTTP/2 connections carry the calls
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub connections: u32,
    /// Deadline of each call
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse)]
    pub deadline: Duration,
    /// How long events may take to settle afterwards
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    pub settle: Duration,
    /// Only measure: no waiting for events, no audit. For a mesh whose databases cannot be reached from here
    #[arg(long)]
    pub no_audit: bool,
    /// The mesh to load.
    #[command(flatten)]
    pub target: TargetArgs,
}

impl LoadArgs {
    fn shape(&self) -> Shape {
        match self.rate {
            Some(rate) => Shape::Open { rate },
            None => Shape::Closed { callers: self.concurrency.unwrap_or(64) },
        }
    }

    fn window(&self) -> Window {
        Window { warmup: Duration::from_secs(self.warmup), measured: Duration::from_secs(self.seconds) }
    }
}

/// Runs the command.
///
/// # Errors
/// The mesh cannot be found or used, nothing was booked, or the audit found a violation.
pub async fn run(args: &LoadArgs) -> Result<()> {
    let target = args.target.open()?;
    let stores = if args.no_audit { None } else { Some(audit::open(&AuditArgs::of(&args.target, args.settle))?) };
    say(format_args!(
        "{} for {} s after {} s of warm-up, on {} listings ({})",
        args.shape(),
        args.seconds,
        args.warmup,
        args.listings,
        args.policy.name()
    ));
    let settling = match &stores {
        Some(stores) => Some(Settling::begin(stores).await?),
        None => None,
    };
    let report = measure(&target, args)?;
    report.print();
    if let (Some(stores), Some(settling)) = (&stores, settling) {
        note("waiting until every event has arrived everywhere …");
        settling.wait(report.ended, args.settle).await?.print();
        audit::verdict(stores, args.settle).await?;
    }
    ensure!(report.booked() > 0, "nothing was booked");
    Ok(())
}

/// The load runs on a thread and a runtime of its own, connections included, so that nothing else in this process can delay it.
fn measure(target: &Target, args: &LoadArgs) -> Result<Report> {
    let drive = || {
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
        runtime.block_on(async {
            let bookings = Bookings::prepare(target, args).await.context("cannot prepare the load")?;
            let pids = target.running.as_ref().map(|running| (running.service_pids(), running.nats_pid));
            drive::run(bookings, args.shape(), args.window(), Instant::now(), pids).await
        })
    };
    thread::scope(|scope| {
        let driving = thread::Builder::new().name("load".to_owned()).spawn_scoped(scope, drive);
        driving.context("cannot start the load's thread")?.join().map_err(|_| anyhow!("the load's thread panicked"))?
    })
}
