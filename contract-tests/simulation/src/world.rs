//! One simulation: seven services on hosts of their own, people on another, and a fault now and then.

use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Parser;
use holdfast::serve::ServeArgs;
use holdfast::service::Service;
use mesh::identity::Issuer;
use mesh::net::TcpListener;
use mesh::simulation::{self, Roughness, broker, note};
use proto::contract::Role;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use turmoil::Sim;

use crate::callers::{self, Watch};
use crate::machine;
use crate::mutants::Mutant;
use crate::plan::{Fault, Plan};
use crate::verdict;

/// Time passes on all hosts in steps of this size; the network delivers between them.
const TICK: Duration = Duration::from_millis(10);
/// After the last fault everything has to be in order within so long.
const SETTLE: Duration = Duration::from_secs(90);
/// It is looked at when nothing has happened for so long, and again after as long.
const QUIET: Duration = Duration::from_secs(2);
/// A safety net: no simulation lasts so long.
const LIMIT: Duration = Duration::from_secs(600);
const PORT: u16 = 7400;
/// The databases' folder, within the simulation's.
pub(crate) const DATA: &str = "data";

/// How a simulation went.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) hash: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) figures: Figures,
}

/// What a simulation has seen.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) sagas: u64,
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) crashes: u64,
    pub(crate) cuts: u64,
    pub(crate) events: u64,
    pub(crate) deliveries: u64,
    pub(crate) repeated: u64,
    pub(crate) late: u64,
    pub(crate) lost: u64,
    pub(crate) forgotten: u64,
    pub(crate) simulated_ms: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Self) {
        self.sagas += other.sagas;
        self.calls += other.calls;
        self.failures += other.failures;
        self.crashes += other.crashes;
        self.cuts += other.cuts;
        self.events += other.events;
        self.deliveries += other.deliveries;
        self.repeated += other.repeated;
        self.late += other.late;
        self.lost += other.lost;
        self.forgotten += other.forgotten;
        self.simulated_ms += other.simulated_ms;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sagas, calls, failures, crashes, cuts, events, deliveries, repeated, late, lost, forgotten, .. } =
            self;
        write!(
            f,
            "{sagas} reservations asked for in {calls} calls, {failures} of which failed; {crashes} crashes, {cuts} links cut or held up; \
             {events} events delivered {deliveries} times: {repeated} repeated, {late} late; {lost} messages to or from the broker lost, \
             {forgotten} stored ones forgotten; {:.0} s simulated",
            Duration::from_millis(self.simulated_ms).as_secs_f64()
        )
    }
}

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    serve: ServeArgs,
}

/// Where a service is found.
pub(crate) fn url(service: &str) -> String {
    format!("http://{service}:{PORT}")
}

/// Runs the simulation of a seed in a folder with keys in `keys` and databases in [`DATA`]. Once in a process: the clock never goes back.
pub(crate) fn run(seed: u64, mutant: Option<&'static Mutant>, folder: &Path, issuer: Issuer) -> Result<Outcome> {
    let plan = Rc::new(Plan::of(seed));
    machine::start(seed, plan.begins);
    simulation::begin(seed);
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(std::time::UNIX_EPOCH + plan.begins)
        .simulation_duration(LIMIT)
        .tick_duration(TICK)
        .min_message_latency(Duration::ZERO)
        .max_message_latency(plan.network)
        .tcp_capacity(4096)
        .build();
    let settings = settings(folder)?;
    for service in Service::ALL {
        let settings = settings.clone();
        sim.host(service.name(), move || host(service, settings.clone()));
    }
    let watch = Rc::new(Watch::default());
    let tokens = Rc::new(move |subject: &str| {
        let role = if subject == "hana" { Role::Host } else { Role::Customer };
        issuer.token(subject, &[role], Duration::from_secs(3600))
    });
    sim.client("callers", callers::run(plan.clone(), tokens, watch.clone()));

    let mut world = World { sim, plan, mutant, watch, settings, figures: Figures::default(), outages: Vec::new() };
    let mut violations = match world.play() {
        Ok(violations) => violations,
        Err(error) => vec![format!("a host failed: {error:#}")],
    };
    violations.append(&mut world.watch.told.borrow_mut().violations);
    Ok(Outcome { seed, hash: simulation::trace_hash(), violations, figures: world.figures() })
}

fn settings(folder: &Path) -> Result<ServeArgs> {
    let path = |name: &str| folder.join(name).display().to_string();
    let arguments = [
        "serve".to_owned(),
        "all".to_owned(),
        format!("--data-dir={}", path(DATA)),
        format!("--keys-dir={}", path("keys")),
        format!("--message-file={}", path("messages.jsonl")),
        format!("--payment-simulator-ledger={}", path("ledger.jsonl")),
        format!("--listing-url={}", url("listing")),
        format!("--payment-url={}", url("payment")),
        format!("--mileage-url={}", url("mileage")),
    ];
    Ok(Settings::try_parse_from(arguments).context("the services' settings")?.serve)
}

async fn host(service: Service, settings: ServeArgs) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    holdfast::serve::serve(service, settings, listener, CancellationToken::new()).await?;
    Ok(())
}

struct World {
    sim: Sim<'static>,
    plan: Rc<Plan>,
    mutant: Option<&'static Mutant>,
    watch: Rc<Watch>,
    settings: ServeArgs,
    figures: Figures,
    /// Hosts that crashed by themselves, and when they come back.
    outages: Vec<(Duration, &'static str)>,
}

impl World {
    /// Plays it to its end; answers what is wrong then.
    fn play(&mut self) -> Result<Vec<String>> {
        while !self.watch.opened.get() {
            self.step()?;
        }
        if let Some(mutant) = self.mutant {
            mutant.apply(&self.settings)?;
        }
        simulation::set_roughness(self.plan.roughness);
        let opened = self.sim.elapsed();
        for (at, fault) in self.plan.clone().faults.iter().copied() {
            while self.sim.elapsed() < opened + at {
                self.step()?;
            }
            self.apply(fault);
        }
        // Whoever has not made up his mind by now goes on in calm weather.
        simulation::set_roughness(Roughness::CALM);
        self.watch.calm.set(true);
        note(format_args!("calm"));
        self.settle()
    }

    /// One tick; answers whether the people have finished.
    fn step(&mut self) -> Result<bool> {
        machine::advance_to(self.sim.since_epoch());
        let finished = self.sim.step().map_err(|error| anyhow!("{error}"))?;
        self.crash_and_return();
        Ok(finished)
    }

    /// What crashed at its disk comes back after a while.
    fn crash_and_return(&mut self) {
        let now = self.sim.elapsed();
        for host in simulation::dying() {
            self.crash(host);
            self.outages.push((now + self.plan.outage, host));
        }
        let back: Vec<_> = self.outages.extract_if(.., |(until, _)| *until <= now).collect();
        back.into_iter().for_each(|(_, host)| self.restart(host));
    }

    fn crash(&mut self, host: &str) {
        if self.sim.is_host_running(host) {
            self.figures.crashes += 1;
            self.sim.crash(host);
        }
    }

    fn restart(&mut self, host: &str) {
        if !self.sim.is_host_running(host) {
            self.sim.bounce(host);
        }
    }

    fn settle(&mut self) -> Result<Vec<String>> {
        let calm = self.sim.elapsed();
        let (mut seen, mut since) = (0, calm);
        let mut violations = vec!["nothing came to rest".to_owned()];
        while self.sim.elapsed() < calm + SETTLE {
            let finished = self.step()?;
            let happened = simulation::happened();
            if happened != seen || !finished {
                (seen, since) = (happened, self.sim.elapsed());
            } else if self.sim.elapsed() >= since + QUIET {
                since = self.sim.elapsed();
                violations = verdict::violations(&self.settings, &self.watch.told.borrow())?;
                if broker::counts().dead > 0 {
                    violations.push("an event went to the dead letters".to_owned());
                }
                if violations.is_empty() && broker::pending() == 0 {
                    break;
                }
            }
        }
        Ok(violations)
    }

    fn apply(&mut self, fault: Fault) {
        note(format_args!("{fault:?}"));
        match fault {
            Fault::Crash(service) => self.crash(service.name()),
            Fault::Restart(service) => self.restart(service.name()),
            Fault::Cut(a, b) => {
                self.figures.cuts += 1;
                self.sim.partition(a, b);
            }
            Fault::Mend(a, b) => self.sim.repair(a, b),
            Fault::Hold(a, b) => {
                self.figures.cuts += 1;
                self.sim.hold(a, b);
            }
            Fault::Release(a, b) => self.sim.release(a, b),
            Fault::BrokerLeaves => broker::leave(),
            Fault::BrokerReturns(forgotten) => broker::come_back(forgotten),
        }
    }

    fn figures(&self) -> Figures {
        let (told, broker) = (self.watch.told.borrow(), broker::counts());
        Figures {
            sagas: told.requests.len() as u64 + 1,
            calls: told.calls,
            failures: told.failures,
            events: broker.stored,
            deliveries: broker.delivered,
            repeated: broker.repeated,
            late: broker.late,
            lost: broker.lost,
            forgotten: broker.forgotten,
            simulated_ms: u64::try_from(self.sim.elapsed().as_millis()).unwrap_or(u64::MAX),
            ..self.figures
        }
    }
}
