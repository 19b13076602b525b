//! Payment takes 0 to 1,000 ms at random, and its callers wait 300 ms (D16, D32, T11, T38, K39; M15).
//!
//! About three charges in ten can be done in that time, whatever the machine. Half of the callers want a taxi that is paid or not taken, half one
//! whose company waits for the payment; nobody is left without an answer, and nobody pays twice. Who is told to come back asks for the same ride
//! again, by the same `request_id`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use proto::listing::v1::reservation_policy::{Approval, PaymentWait};
use proto::reservation::v1::CreateReservationRequest;
use tokio::time::sleep;
use world::caller::{Caller, wish_now};
use world::{Setup, World, holdfast, offers};

use crate::load::{Load, Phase, Told, wait};
use crate::table::Table;

const FARE: i64 = 10_000;
const TAXIS: i32 = 100_000;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Callers at once
    #[arg(long, default_value_t = 255)]
    callers: usize,
    /// How long they call
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Milliseconds that each of them waits for an answer
    #[arg(long, default_value_t = 300)]
    limit_ms: u64,
    /// Milliseconds that the payment provider takes at most
    #[arg(long, default_value_t = 1_000)]
    provider_ms: u64,
}

impl Arguments {
    /// As one among other demonstrations.
    pub(crate) fn brief() -> Self {
        Self { callers: 64, seconds: 8, limit_ms: 300, provider_ms: 1_000 }
    }
}

pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let latency = arguments.provider_ms.to_string();
    let settings =
        [("HOLDFAST_PAYMENT_SIMULATOR_MAX_LATENCY_MS", &*latency), ("HOLDFAST_PAYMENT_SIMULATOR_SEED", "32")];
    let mut world =
        World::prepare(Setup { program: holdfast(), database: None, settings: &settings, quiet: true }).await;
    world.begin_all().await;
    let load = begin(&world, arguments).await;
    sleep(Duration::from_secs(arguments.seconds)).await;
    let phases = load.end().await;
    let phase = &phases[0];
    println!(
        "{} callers for {} s, {} ms each; the provider takes 0 to {} ms",
        arguments.callers, arguments.seconds, arguments.limit_ms, arguments.provider_ms
    );
    println!("{}", table(phase));
    for (told, count) in &phase.come_back {
        println!("come back: {count} {told}");
    }
    world.audit();
    println!("the audit finds no violation: nothing is charged twice, and what was undone is paid back");
    ensure!(phase.failures() == 0, "{:?}", phase.failed);
    ensure!(phase.done + phase.pending > 0, "nobody got a taxi");
    Ok(())
}

/// Callers who want a taxi, one half of them at a company that waits for the payment.
async fn begin(world: &World, arguments: &Arguments) -> Load {
    let mut taxis = Vec::new();
    for payment_wait in [PaymentWait::Strict, PaymentWait::Pending] {
        let offer = offers::with(offers::taxi(TAXIS, FARE), |policy| {
            policy.approval = Approval::None.into();
            policy.payment_wait = payment_wait.into();
        });
        taxis.push(world.host().offer_listing(offer).await);
    }
    let riders: Arc<[Caller]> =
        (0..arguments.callers).map(|number| world.customer(&format!("rider-{number}"))).collect();
    let wishes: Arc<[Wish]> = (0..arguments.callers).map(|number| Wish::new(&taxis[number % taxis.len()])).collect();
    let limit = Duration::from_millis(arguments.limit_ms);
    Load::begin(arguments.callers, "all of it", move |number, _| {
        let (riders, wishes) = (Arc::clone(&riders), Arc::clone(&wishes));
        async move {
            let answer = riders[number].reserve_within(&wishes[number].current(), limit).await;
            let told = Told::booking(&answer);
            if !matches!(told, Told::ComeBack(_)) {
                wishes[number].is_over();
            }
            (told, wait(&answer))
        }
    })
}

/// What one caller wants now.
struct Wish {
    taxis: String,
    current: Mutex<CreateReservationRequest>,
}

impl Wish {
    fn new(taxis: &str) -> Self {
        Self { taxis: taxis.to_owned(), current: Mutex::new(ride(taxis)) }
    }

    fn current(&self) -> CreateReservationRequest {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next ride is another one.
    fn is_over(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = ride(&self.taxis);
    }
}

fn ride(taxis: &str) -> CreateReservationRequest {
    CreateReservationRequest { payment_method: "pm_card_visa".to_owned(), ..wish_now(taxis) }
}

fn table(phase: &Phase) -> Table {
    let mut table = Table::new(&[
        "",
        "answered",
        "confirmed",
        "pending",
        "come back",
        "failed",
        "calls/s",
        "p50 ms",
        "p99 ms",
        "longest ms",
    ]);
    let asked = phase.asked();
    let share = |count: u64| format!("{count} ({:.2} %)", 100.0 * count as f64 / asked as f64);
    let ms = |micros: u64| (micros / 1_000).to_string();
    table.row([
        "here".to_owned(),
        share(asked - phase.failures()),
        share(phase.done),
        share(phase.pending),
        share(phase.refused()),
        share(phase.failures()),
        format!("{:.1}", asked as f64 / phase.lasted.as_secs_f64()),
        ms(phase.latency.quantile(0.5)),
        ms(phase.latency.quantile(0.99)),
        ms(phase.latency.max()),
    ]);
    // M15 of the sources: 255 users for 60 s.
    let source = ["source", "110 (42.31 %)", "110", "-", "-", "150 (57.69 %)", "1.85", "-", "-", "58720"];
    table.row(source.map(str::to_owned));
    table
}
