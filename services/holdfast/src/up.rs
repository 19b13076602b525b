//! `holdfast up`: the whole mesh on this computer, ready to be called, with one command.

mod banner;
mod broker;
mod children;
mod log_file;
mod runner;
mod seed;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args as _, FromArgMatches as _};
use mesh::identity::Issuer;
use mesh::store::DatabaseUrl;
use tokio::time::sleep;

use crate::api::Target;
use crate::duration::readable;
use crate::health;
use crate::home::{Endpoint, Home, HomeArgs, Lock, Occupant, Running};
use crate::serve::ServeArgs;
use crate::service::{PORT_BASE, Service};
use crate::signals::Signals;
use crate::terminal::{Style, done, note, paint, say};
use broker::Broker;
use log_file::LogFile;
use runner::Runner;

/// A service that is not healthy by then never will be.
const HEALTH_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked whether another `up` is ready, or gone.
const LOCK_PERIOD: Duration = Duration::from_millis(100);

/// Starts everything on this computer and keeps it running until Ctrl-C.
///
/// Finds (or installs) a NATS server and runs it privately, makes fresh keys, starts all services, waits until they are healthy, seeds a
/// listing of each business, and prints addresses, tokens and calls to try. Everything listens on 127.0.0.1 only and is kept in one folder;
/// start it again and the data is still there. Run it a second time while it runs, and it says where.
///
/// Options of `holdfast serve` may follow after --, e.g. `holdfast up -- --drain-limit-ms 5000`.
#[derive(clap::Args, Clone, Debug)]
#[command(verbatim_doc_comment)]
pub struct UpArgs {
    /// Start over: deletes data, events and keys of this folder (not of a database or NATS server of your own)
    #[arg(long)]
    pub fresh: bool,
    /// One process per service instead of one for all
    #[arg(long)]
    pub processes: bool,
    /// PostgreSQL for all services instead of SQLite files: postgres://user:password@host/database, a schema per service
    #[arg(long, value_name = "URL", env = "HOLDFAST_DATABASE_URL", hide_env_values = true, value_parser = postgres_url)]
    pub database: Option<String>,
    /// A NATS server of your own, 2.10 or newer with JetStream, instead of a private one
    #[arg(long, value_name = "URL", env = "NATS_URL", hide_env_values = true)]
    pub nats_url: Option<String>,
    /// Services listen on this port plus 1 to 7, the private NATS server on it plus 22
    #[arg(long, value_name = "PORT", env = "HOLDFAST_PORT_BASE", default_value_t = PORT_BASE, value_parser = clap::value_parser!(u16).range(1..=65_500))]
    pub port_base: u16,
    /// Print the services' logs here instead of into the folder's logs/
    #[arg(long)]
    pub logs: bool,
    /// Where everything is kept.
    #[command(flatten)]
    pub home: HomeArgs,
    /// Options of `holdfast serve`
    #[arg(last = true, value_name = "SERVE OPTIONS")]
    pub serve: Vec<String>,
}

/// Runs the command. Blocks the thread it is called on, which must be the main one: child processes are tied to it.
///
/// # Errors
/// Something cannot be started (what was started has ended then), or a service failed.
pub async fn run(args: &UpArgs) -> Result<()> {
    let home = args.home.open()?;
    let mut signals = Signals::listen()?;
    let lock = tokio::select! {
        lock = lock_or_find(&home) => lock?,
        () = signals.next() => return Ok(()),
    };
    let Some(lock) = lock else { return Ok(()) };
    let started = Instant::now();
    // Whatever is started lives in here: when this function ends, by error or by signal, it ends with it.
    let starting = start(args, &home);
    let mut mesh = tokio::select! {
        mesh = starting => mesh?,
        () = signals.next() => {
            note("stopped while starting");
            return Ok(());
        }
    };
    done(format_args!("ready in {}", readable(started.elapsed())));
    lock.publish(&mesh.running)?;
    banner::print(&home, &mesh.running);
    let outcome = stay(&mut mesh, &mut signals, &lock, args).await;
    drop(lock);
    outcome
}

/// What `up` has started.
struct Mesh {
    running: Running,
    // Fields are dropped in this order: services first, then what they use.
    runner: Runner,
    broker: Broker,
    _log: Option<LogFile>,
    _telemetry: Option<mesh::telemetry::Guard>,
}

async fn start(args: &UpArgs, home: &Home) -> Result<Mesh> {
    say(format_args!("{} in {}", paint(Style::Strong, "Holdfast"), home.path().display()));
    if args.fresh {
        start_over(home)?;
    }
    let serve = ServeCommand::new(args, home)?;
    let tls = serve.parsed.node.identity.tls_dir.as_deref().map(std::path::absolute).transpose()?;
    let listeners = runner::take_ports(&serve.parsed).await?;
    let broker = Broker::start(args, home).await?;
    let issuer = Issuer::create(home.keys(), &Service::names()).context("cannot make keys")?;
    done(format_args!("fresh keys in {}", home.keys().display()));

    let log = if args.logs || args.processes { None } else { Some(LogFile::redirect(&home.logs())?) };
    let telemetry = if args.processes {
        None
    } else {
        Some(mesh::telemetry::init("holdfast").context("telemetry cannot be set up")?)
    };
    let mut runner = Runner::start(args, home, serve, listeners)?;
    let endpoints = Service::ALL.map(|service| Endpoint {
        service,
        address: service.address(args.port_base),
        pid: Some(runner.pid(service)),
    });
    let mut running = Running {
        pid: std::process::id(),
        services: endpoints.to_vec(),
        nats_url: broker.url().to_owned(),
        nats_pid: broker.pid(),
        database: args.database.clone(),
        keys: home.keys(),
        tls,
        listing: String::new(),
    };
    let target = Target::of_running(home.clone(), issuer, running.clone())?;
    wait_until_healthy(&target, &mut runner).await?;
    running.listing = seed::run(&target).await.context("cannot seed the listings")?;
    Ok(Mesh { running, runner, broker, _log: log, _telemetry: telemetry })
}

/// Waits for all at once, and no longer for one that has ended.
async fn wait_until_healthy(target: &Target, runner: &mut Runner) -> Result<()> {
    let healthy = async {
        for service in Service::ALL {
            health::serving(target.channel(service)?, HEALTH_LIMIT)
                .await
                .with_context(|| format!("{service} does not get healthy"))?;
            done(format_args!("{service:<11} {}", target.url(service)));
        }
        Ok(())
    };
    tokio::select! {
        healthy = healthy => healthy,
        (service, result) = runner.next_end() => Err(died(service, result)),
    }
}

fn died(service: Service, result: Result<()>) -> anyhow::Error {
    match result {
        Ok(()) => anyhow!("{service} ended unasked"),
        Err(error) => error.context(format!("{service} failed")),
    }
}

/// Until a signal, or until a service ends that was not asked to.
async fn stay(mesh: &mut Mesh, signals: &mut Signals, lock: &Lock, args: &UpArgs) -> Result<()> {
    let mut failure = None;
    while failure.is_none() {
        tokio::select! {
            () = signals.next() => break,
            (service, result) = mesh.runner.next_end() => {
                let problem = died(service, result);
                if args.processes && mesh.runner.is_anything_left() {
                    crate::terminal::failed(format_args!("{}; the others stay", crate::failure::describe(&problem)));
                    mesh.running.services[service as usize].pid = None;
                    lock.publish(&mesh.running)?;
                } else {
                    failure = Some(problem);
                }
            }
            ended = mesh.broker.ended() => crate::terminal::failed(format_args!("{ended}; bookings go on, events wait in the outboxes")),
        }
    }
    note("ending: calls in progress finish first (Ctrl-C again: at once)");
    tokio::select! {
        () = mesh.runner.stop() => {}
        () = signals.next() => bail!("ended at once, by a second signal"),
    }
    mesh.broker.stop();
    match failure {
        None => {
            done("ended; the data is kept");
            Ok(())
        }
        Some(problem) => Err(problem),
    }
}

fn start_over(home: &Home) -> Result<()> {
    for dir in [home.data(), home.nats(), home.keys()] {
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot delete {}", dir.display()));
            }
            _ => {}
        }
    }
    done("started over: data, events and keys are deleted");
    Ok(())
}

/// Takes the lock, or says where the mesh is that another `up` runs here, waiting for one that has only just begun.
async fn lock_or_find(home: &Home) -> Result<Option<Lock>> {
    let mut told = false;
    loop {
        if let Some(lock) = home.lock()? {
            return Ok(Some(lock));
        }
        match home.occupant()? {
            Occupant::Mesh(running) => {
                let (name, dir) = (paint(Style::Strong, "Holdfast"), home.path().display());
                say(format_args!("{name} already runs (process {}) in {dir}", running.pid));
                banner::print(home, &running);
                return Ok(None);
            }
            Occupant::Starting if !told => {
                note("another `up` is starting here");
                told = true;
            }
            Occupant::Starting | Occupant::Nobody => {}
        }
        sleep(LOCK_PERIOD).await;
    }
}

/// The `serve` command that runs the services: parsed here for one process, as words and variables for many.
struct ServeCommand {
    words: Vec<String>,
    /// Options that may carry passwords, which must not show in a list of processes: option, variable, value.
    secrets: Vec<(&'static str, &'static str, String)>,
    parsed: ServeArgs,
}

impl ServeCommand {
    fn new(args: &UpArgs, home: &Home) -> Result<Self> {
        let mut words = Vec::new();
        let mut option = |name: String, value: String| words.push(format!("--{name}={value}"));
        for service in Service::ALL {
            option(format!("{service}-listen"), service.address(args.port_base).to_string());
        }
        for callee in [Service::Listing, Service::Payment, Service::Mileage] {
            option(format!("{callee}-url"), format!("http://{}", callee.address(args.port_base)));
        }
        option("data-dir".to_owned(), text(&home.data())?);
        option("keys-dir".to_owned(), text(&home.keys())?);
        option("payment-simulator-ledger".to_owned(), text(&home.ledger(args.database.as_deref()))?);
        option("message-file".to_owned(), text(&home.path().join("messages.jsonl"))?);
        words.extend(args.serve.iter().cloned());
        let mut secrets = vec![("--nats-url", "NATS_URL", Broker::url_of(args))];
        if let Some(url) = &args.database {
            secrets.push(("--database-url", "HOLDFAST_DATABASE_URL", url.clone()));
        }
        let options = secrets.iter().map(|(option, _, value)| format!("{option}={value}"));
        let line: Vec<String> =
            ["serve", "all"].into_iter().map(str::to_owned).chain(options).chain(words.iter().cloned()).collect();
        let parse = || {
            ServeArgs::from_arg_matches(
                &ServeArgs::augment_args(clap::Command::new("serve")).try_get_matches_from(line)?,
            )
        };
        let parsed =
            parse().map_err(|error: clap::Error| anyhow!("the options for serve are not right: {}", error.render()))?;
        Ok(Self { words, secrets, parsed })
    }
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
}

/// One SQLite file for all services would make each wait for the others.
fn postgres_url(text: &str) -> Result<String, String> {
    match text.parse() {
        Ok(DatabaseUrl::Postgres(url)) => Ok(url),
        Ok(DatabaseUrl::Sqlite(_)) => {
            Err("SQLite needs no option: every service has a file of its own in the data folder".to_owned())
        }
        Err(error) => Err(format!("{error}, here postgres://user:password@host/database")),
    }
}
