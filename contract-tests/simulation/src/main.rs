//! Runs all of Holdfast on simulated machines, many times, each time with other misfortunes.
//!
//! Seven services, their real servers, clients, sagas, relays, consumers and SQL, on [turmoil](https://docs.rs/turmoil)'s hosts: hosts crash and
//! come back, links are cut and held up, the provider declines and loses answers, the broker loses, doubles, delays and reorders. At the end the
//! faults stop, the system comes to rest, and the operator's audit must find every invariant to hold, and everything callers were told true. A
//! seed decides all of it; the same seed gives the same run, to the last event.
//!
//! The broker is simulated ([`mesh::simulation::broker`]), and so are disks and sockets; SQLite is real. The real broker, PostgreSQL and
//! processes that are really killed are the business of the other suites.

mod callers;
mod databases;
mod machine;
mod mutants;
mod plan;
mod sweep;
mod verdict;
mod world;

use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Parser;
use holdfast::service::Service;
use mesh::identity::Issuer;
use tempfile::TempDir;
use tracing_subscriber::EnvFilter;

use crate::mutants::Mutant;
use crate::sweep::Sweep;

/// Simulates Holdfast
#[derive(Parser)]
struct Arguments {
    /// One seed, in this process
    #[arg(long, conflicts_with_all = ["seeds", "mutants"])]
    seed: Option<u64>,
    /// Print everything that happened
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Without this safety mechanism
    #[arg(long, value_name = "MECHANISM", requires = "seed", value_parser = mutant)]
    mutant: Option<&'static Mutant>,
    /// Copy the databases from here, as the migrations leave them, in place of making them
    #[arg(long, value_name = "FOLDER", requires = "seed")]
    databases: Option<PathBuf>,
    /// These seeds, the last one excluded, each in a process of its own
    #[arg(long, value_name = "FROM..TO", value_parser = range, default_value = "0..10000")]
    seeds: Range<u64>,
    /// Without each of the safety mechanisms in turn, until a seed notices: first the one that is known to, then --seeds
    #[arg(long)]
    mutants: bool,
    /// Only this mechanism
    #[arg(long, value_name = "MECHANISM", requires = "mutants", value_parser = mutant)]
    only: Option<&'static Mutant>,
    /// Processes at a time
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, NonZero::get))]
    jobs: usize,
    /// Begin no further seed, or mutant, after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    limit: u64,
}

fn range(text: &str) -> Result<Range<u64>> {
    let (from, to) = text.split_once("..").context("expected FROM..TO")?;
    Ok(from.parse()?..to.parse()?)
}

fn mutant(name: &str) -> Result<&'static Mutant> {
    mutants::ALL.iter().find(|mutant| mutant.name == name).context("there is no such mechanism")
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> Result<bool> {
    if let Some(seed) = arguments.seed {
        return simulate(seed, arguments.mutant, arguments.databases.as_deref(), arguments.trace);
    }
    let Arguments { seeds, jobs, limit, .. } = arguments;
    let prepared = folder()?;
    databases::make(prepared.path())?;
    let databases = prepared.path().to_owned();
    let sweep = Sweep { seeds, jobs, limit: Duration::from_secs(limit), databases };
    if !arguments.mutants {
        return sweep.run();
    }
    sweep.hunt(arguments.only.map_or_else(|| mutants::ALL.iter().collect(), |only| vec![only]))
}

/// One in memory, if there is one.
fn folder() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(parent).context("a folder")
}

/// One seed, in this process.
fn simulate(seed: u64, mutant: Option<&'static Mutant>, databases: Option<&Path>, trace: bool) -> Result<bool> {
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    }
    let folder = folder()?;
    let data = folder.path().join(world::DATA);
    match databases {
        Some(databases) => databases::copy(databases, &data)?,
        None => databases::make(&data)?,
    }
    let issuer = Issuer::create(folder.path().join("keys"), &Service::names())?;
    let path = folder.path().to_owned();
    // On a thread of its own: hash maps take their seed once for each thread.
    let run = move || {
        let outcome = world::run(seed, mutant, &path, issuer)?;
        if trace {
            mesh::simulation::trace().iter().for_each(|line| eprintln!("{line}"));
        }
        println!("{}", serde_json::to_string(&outcome)?);
        Ok(outcome.violations.is_empty())
    };
    std::thread::spawn(run).join().map_err(|_| anyhow!("the simulation panicked"))?
}
