//! How fast events get from a commit to a consumer: `cargo bench -p mesh --bench events`.
//!
//! Drained: events that wait in the outbox until the broker has acknowledged and the outbox marked them all. Latency: from the end of a commit
//! that wrote an event to the call of a consumer's handler, at a given rate. On SQLite and PostgreSQL (durable), with a broker that syncs before
//! it acknowledges, as ours does, and with one that syncs every two minutes, as is its own default.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use diesel_migrations::EmbeddedMigrations;
use mesh::bus::Bus;
use mesh::consumer::{self, ConsumerSpec, Repeats};
use mesh::event::{NewEvent, filter};
use mesh::nats_server::Settings;
use mesh::store::{DatabaseUrl, Id, Micros, Migrations, Store, StoreError};
use mesh::testing::{Broker, database, eventually, postgres};
use mesh::{outbox, relay};
use proto::contract::Event;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const SERVICE: &str = "bench";
const DRAINED: usize = 20_000;
const RATES: [u32; 2] = [100, 1_000];
const RUN: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone, PartialEq, prost::Message)]
struct Happened {
    #[prost(string, tag = "1")]
    name: String,
    /// About as large as what a reservation says of itself.
    #[prost(bytes = "vec", tag = "2")]
    snapshot: Vec<u8>,
}

impl Event for Happened {
    const TYPE: &'static str = "holdfast.bench.v1.Happened";
    const STREAM: &'static str = "BENCH";
    const SUBJECT: &'static str = "holdfast.evt.bench.thing.happened.v1";

    fn key(&self) -> &str {
        &self.name
    }
}

fn happened(number: usize) -> NewEvent {
    let name = format!("things/{}", number % 100);
    let event = Happened { name: name.clone(), snapshot: vec![7; 600] };
    let version = i64::try_from(number / 100).expect("few") + 1;
    NewEvent::of(&event, Id::generate(), version, &name, None, Micros::now())
}

fn open(url: &DatabaseUrl, service: &'static str) -> Store {
    let none = || EmbeddedMigrations::new(&[]);
    Store::open(url, service, Migrations { sqlite: none(), postgres: none() }).expect("the store opens")
}

async fn write(store: &Store, events: Vec<NewEvent>) {
    let written = store.write(move |conn| outbox::push_all(conn, SERVICE, &events).map_err(StoreError::from));
    written.await.expect("stored");
}

async fn drained(store: &Store) {
    let waiting = || async { store.read(|conn| outbox::backlog(conn).map_err(StoreError::from)).await };
    eventually(LIMIT, || async { waiting().await.is_ok_and(|(count, _)| count == 0) }).await;
}

/// Events per second through the relay.
async fn drain(store: &Store, bus: Bus) -> f64 {
    for chunk in (0..DRAINED).collect::<Vec<_>>().chunks(500) {
        write(store, chunk.iter().copied().map(happened).collect()).await;
    }
    let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
    let began = Instant::now();
    tasks.spawn(relay::run(store.clone(), bus, SERVICE, shutdown.clone()));
    drained(store).await;
    let seconds = began.elapsed().as_secs_f64();
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    f64::from(u32::try_from(DRAINED).expect("few")) / seconds
}

/// From commit to handler, ascending.
async fn latencies(store: &Store, consumers: &Store, bus: Bus, rate: u32) -> Vec<Duration> {
    let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
    let arrived: Arc<Mutex<Vec<(Id, Instant)>>> = Arc::default();
    let spec = ConsumerSpec {
        stream: Happened::STREAM,
        durable: "bench-on-bench",
        subjects: vec![filter::<Happened>()],
        batch: 256,
        repeats: Repeats::Dropped,
    };
    let noted = Arc::clone(&arrived);
    let handler = move |_: &mut mesh::store::Conn, events: &[mesh::event::Received]| {
        let now = Instant::now();
        noted.lock().expect("no panic").extend(events.iter().map(|event| (event.id, now)));
        Ok(())
    };
    tasks.spawn(relay::run(store.clone(), bus.clone(), SERVICE, shutdown.clone()));
    tasks.spawn(consumer::run(spec, bus, consumers.clone(), handler, shutdown.clone()));
    // Whatever was in the stream before goes first.
    let warm_up = happened(0);
    let first = warm_up.id;
    write(store, vec![warm_up]).await;
    eventually(LIMIT, || async { arrived.lock().expect("no panic").iter().any(|(id, _)| *id == first) }).await;

    let mut committed = Vec::new();
    let mut ticks = interval(Duration::from_secs(1) / rate);
    let began = Instant::now();
    let (sender, mut commits) = tokio::sync::mpsc::channel(16 * 1024);
    for number in 1.. {
        ticks.tick().await;
        if began.elapsed() >= RUN {
            break;
        }
        let (store, sender) = (store.clone(), sender.clone());
        tasks.spawn(async move {
            let event = happened(number);
            let id = event.id;
            write(&store, vec![event]).await;
            let _ = sender.send((id, Instant::now())).await;
        });
    }
    drop(sender);
    while let Some(commit) = commits.recv().await {
        committed.push(commit);
    }
    let last: Vec<Id> = committed.iter().map(|(id, _)| *id).collect();
    eventually(LIMIT, || async {
        let arrived = arrived.lock().expect("no panic");
        last.iter().rev().all(|id| arrived.iter().rev().any(|(seen, _)| seen == id))
    })
    .await;
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    let arrived: std::collections::HashMap<Id, Instant> = arrived.lock().expect("no panic").iter().copied().collect();
    let mut latencies: Vec<_> = committed.iter().map(|(id, at)| arrived[id].saturating_duration_since(*at)).collect();
    latencies.sort_unstable();
    latencies
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len() - 1);
    sorted[index].as_secs_f64() * 1e3
}

#[tokio::main]
async fn main() {
    println!("| database | broker syncs | drained events/s | rate | p50 ms | p99 ms |");
    println!("|---|---|---:|---:|---:|---:|");
    for name in ["SQLite", "PostgreSQL"] {
        for sync_interval in ["always", "2m"] {
            let (_files, file) = database();
            let (_more, consumers) = database();
            let (url, consumers) = if name == "SQLite" { (file, consumers) } else { (postgres().url, postgres().url) };
            let broker = Broker::start_with(Settings { sync_interval, ..Settings::new(0) }).await;
            let (store, consumers) = (open(&url, SERVICE), open(&consumers, "consumers"));
            let speed = drain(&store, broker.bus().await).await;
            for rate in RATES {
                let sorted = latencies(&store, &consumers, broker.bus().await, rate).await;
                println!(
                    "| {name} | {sync_interval} | {speed:.0} | {rate}/s ({}) | {:.1} | {:.1} |",
                    sorted.len(),
                    percentile(&sorted, 50),
                    percentile(&sorted, 99)
                );
            }
        }
    }
}
