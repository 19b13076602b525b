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
mod machine;
mod plan;
mod verdict;
mod world;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use holdfast::service::Service;
use mesh::identity::Issuer;

/// Simulates Holdfast
#[derive(Parser)]
struct Arguments {
    /// One seed
    #[arg(long)]
    seed: u64,
    /// Print everything that happened
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    }
    match simulate(arguments.seed, arguments.trace) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// One seed, in this process.
fn simulate(seed: u64, trace: bool) -> Result<bool> {
    let memory = std::path::Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(parent).context("a folder")?;
    let issuer = Issuer::create(folder.path().join("keys"), &Service::names())?;
    let path = folder.path().to_owned();
    // On a thread of its own: hash maps are seeded once for each thread.
    let run = move || {
        let outcome = world::run(seed, &path, issuer)?;
        if trace || !outcome.violations.is_empty() {
            for line in mesh::simulation::trace() {
                eprintln!("{line}");
            }
        }
        println!("{}", serde_json::to_string(&outcome)?);
        Ok(outcome.violations.is_empty())
    };
    std::thread::spawn(run).join().map_err(|_| anyhow::anyhow!("the simulation panicked"))?
}
