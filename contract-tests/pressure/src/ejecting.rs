//! One of three processes of a service falls ill under customers who book: it is left out, its siblings are not, and it is let in again.
//!
//! Its callers are users, who send nothing again and have no breaker: what they are told is what it costs to find out. A link before each process
//! counts what it is sent. Who refuses is ejected; who hangs has so many calls under way, and calls that took so long, that it is given no others.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use mesh::client::{self, Address, Channel, Credentials};
use mesh::testing::postgres;
use proto::contract::Role;
use tokio::time::sleep;
use world::caller::Caller;
use world::link::Link;
use world::{Replicas, Setup, World, holdfast};

use crate::breaking::command;
use crate::load::{Load, Phase};
use crate::table::Table;

const SERVICE: &str = "reservation";
const FAULT: &str = "listing/PlaceHold=abort:UNAVAILABLE";
/// Processes besides the first; the last of them falls ill.
const MORE: usize = 2;
/// Between two looks at who is ejected.
const LOOK: Duration = Duration::from_millis(2);
/// For so long it is looked whether one is sent its share again.
const SAMPLE: Duration = Duration::from_secs(1);
/// Nothing takes nearly as long; it keeps a broken run from hanging.
const PATIENCE: Duration = Duration::from_secs(120);

const WELL: &str = "all well";
const MENDED: &str = "well again";

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Customers who book all the while
    #[arg(long, default_value_t = 12)]
    callers: usize,
    /// Seconds for which it is ill; the first ejection takes five
    #[arg(long, default_value_t = 8)]
    seconds: u64,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { callers: 12, seconds: 8 }
    }
}

/// What befalls one of them.
#[derive(Clone, Copy, Debug)]
enum Illness {
    Refuses,
    Hangs,
}

impl Illness {
    const ALL: [Self; 2] = [Self::Refuses, Self::Hangs];

    fn name(self) -> &'static str {
        match self {
            Self::Refuses => "answers UNAVAILABLE",
            Self::Hangs => "hangs (SIGSTOP)",
        }
    }
}

/// What one illness cost.
struct Seen {
    illness: Illness,
    /// After how long and how many calls that failed it was ejected, if it was.
    ejected: Option<(Duration, u64)>,
    /// Calls that failed while it was ill, ejected or not.
    failed: u64,
    /// How long after it was well it had its share again.
    back: Duration,
}

impl Seen {
    fn print(&self) {
        let ejected = match self.ejected {
            Some((after, failed)) => format!("ejected after {:.2} s and {failed} failed calls", after.as_secs_f64()),
            None => "not ejected".to_owned(),
        };
        let (illness, failed, back) = (self.illness.name(), self.failed, self.back.as_secs_f64());
        println!("{illness}: {ejected}; {failed} failed in all; had its share again {back:.0} s after it was well");
    }
}

/// A58: who is found is not always called.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let fleet = Fleet::start().await;
    let listing = fleet.world.host().offer(100_000).await;
    let customers = (0..arguments.callers).map(|_| Caller::new("caller", |_| fleet.channel.clone())).collect();
    let load = Load::bookings_of(customers, &listing, WELL);
    let mut watch = Watch { fleet: &fleet, load: &load, sent: fleet.bytes_sent(), shares: Vec::new() };
    watch.until_shared().await?;
    let mut seen = Vec::new();
    for illness in Illness::ALL {
        seen.push(watch.play(illness, Duration::from_secs(arguments.seconds)).await?);
    }
    watch.account();
    let shares = watch.shares;
    let phases = load.end().await;
    println!("one of {} processes of {SERVICE} falls ill, under {} customers", 1 + MORE, arguments.callers);
    println!("{}", table(&phases, &shares));
    seen.iter().for_each(Seen::print);
    fleet.world.audit();
    println!("the audit finds no violation");
    check(&phases, &seen)
}

fn check(phases: &[Phase], seen: &[Seen]) -> Result<()> {
    for phase in phases {
        ensure!(phase.failures() == 0, "{}: {:?}", phase.name, phase.failed);
        ensure!(phase.name != WELL || phase.refused() == 0, "{}: {:?}", phase.name, phase.come_back);
    }
    for Seen { illness, ejected, failed, .. } in seen {
        ensure!(*failed > 0, "nothing was ill: {}", illness.name());
        ensure!(ejected.is_some() || matches!(illness, Illness::Hangs), "it never was ejected: {}", illness.name());
    }
    Ok(())
}

/// Several processes of one service, one of the others.
struct Fleet {
    world: World,
    more: Vec<Replicas>,
    /// Before each of them, the first one's first.
    links: Vec<Link>,
    channel: Channel,
}

impl Fleet {
    async fn start() -> Self {
        let database = Some(postgres().url);
        let mut world = World::prepare(Setup { program: holdfast(), database, settings: &[], quiet: true }).await;
        world.begin_all().await;
        let (mut more, mut links) = (Vec::new(), vec![link(world.address(SERVICE)).await]);
        for _ in 0..MORE {
            let replicas = Replicas::start(&world, &[SERVICE]).await;
            links.push(link(replicas.address(&world, SERVICE)).await);
            more.push(replicas);
        }
        let list = links.iter().map(Link::url).collect::<Vec<_>>().join(",");
        let address: Address = list.parse().expect("addresses");
        let token = Credentials::token(&world.token("caller", Role::Customer));
        Self { channel: client::connect(SERVICE, &address, token), world, more, links }
    }

    fn ill(&self) -> (&Replicas, &Link) {
        (&self.more[MORE - 1], &self.links[MORE])
    }

    async fn strike(&self, illness: Illness) -> Result<()> {
        let (process, link) = self.ill();
        match illness {
            Illness::Refuses => {
                let line = ["inject", "set", FAULT, "--yes", "--reservation-url", &link.url()];
                command(&self.world, &line).await?;
            }
            Illness::Hangs => process.freeze(SERVICE, true),
        }
        Ok(())
    }

    async fn mend(&self, illness: Illness) -> Result<()> {
        let (process, link) = self.ill();
        match illness {
            Illness::Refuses => {
                command(&self.world, &["inject", "clear", "--yes", "--reservation-url", &link.url()]).await?;
            }
            Illness::Hangs => process.freeze(SERVICE, false),
        }
        Ok(())
    }

    /// Whether the one that is ill is ejected.
    ///
    /// # Errors
    /// One of its siblings is.
    fn is_ejected(&self) -> Result<bool> {
        let ill = self.ill().1.address();
        let ejected = self.channel.ejected();
        if let Some(sibling) = ejected.iter().find(|address| **address != ill) {
            bail!("{sibling} is ejected, and was well");
        }
        Ok(!ejected.is_empty())
    }

    fn bytes_sent(&self) -> Vec<u64> {
        self.links.iter().map(Link::bytes_sent).collect()
    }
}

async fn link(server: SocketAddr) -> Link {
    let link = Link::start().await;
    link.lead_to(server);
    link
}

/// Who looks on.
struct Watch<'a> {
    fleet: &'a Fleet,
    load: &'a Load,
    /// When the phase began.
    sent: Vec<u64>,
    /// What part of each phase's calls the one that is ill was sent.
    shares: Vec<f64>,
}

impl Watch<'_> {
    async fn play(&mut self, illness: Illness, length: Duration) -> Result<Seen> {
        let unserved = self.load.unserved();
        let failed = || self.load.unserved() - unserved;
        let struck = Instant::now();
        self.fleet.strike(illness).await?;
        self.begin(illness.name());
        let mut ejected = None;
        while struck.elapsed() < length {
            if self.fleet.is_ejected()? && ejected.is_none() {
                ejected = Some((struck.elapsed(), failed()));
            }
            sleep(LOOK).await;
        }
        self.fleet.mend(illness).await?;
        let (failed, mended) = (failed(), Instant::now());
        self.begin(MENDED);
        self.until_shared().await?;
        Ok(Seen { illness, ejected, failed, back: mended.elapsed() })
    }

    /// Waits until each of them is sent at least half of what would be fair.
    async fn until_shared(&self) -> Result<()> {
        let began = Instant::now();
        let mut before = self.fleet.bytes_sent();
        while began.elapsed() < PATIENCE {
            sleep(SAMPLE).await;
            self.fleet.is_ejected()?;
            let now = self.fleet.bytes_sent();
            let sent: Vec<u64> = now.iter().zip(&before).map(|(now, before)| now - before).collect();
            let fair = sent.iter().sum::<u64>() / sent.len() as u64;
            if sent.iter().all(|sent| 2 * sent >= fair) && fair > 0 {
                return Ok(());
            }
            before = now;
        }
        bail!("one is not sent its share")
    }

    fn begin(&mut self, phase: &str) {
        self.account();
        self.load.phase(phase);
    }

    /// A phase is over.
    fn account(&mut self) {
        let sent = self.fleet.bytes_sent();
        let in_phase: Vec<u64> = sent.iter().zip(&self.sent).map(|(now, before)| now - before).collect();
        let all = in_phase.iter().sum::<u64>().max(1);
        self.shares.push(in_phase[MORE] as f64 / all as f64);
        self.sent = sent;
    }
}

fn table(phases: &[Phase], shares: &[f64]) -> Table {
    let mut table =
        Table::new(&["", "s", "calls", "confirmed", "pending", "come back", "failed", "its share", "p99 ms"]);
    for (phase, share) in phases.iter().zip(shares) {
        table.row([
            phase.name.clone(),
            format!("{:.1}", phase.lasted.as_secs_f64()),
            phase.asked().to_string(),
            phase.done.to_string(),
            phase.pending.to_string(),
            phase.refused().to_string(),
            phase.failures().to_string(),
            format!("{:.0} %", share * 100.0),
            (phase.latency.quantile(0.99) / 1000).to_string(),
        ]);
    }
    table
}
