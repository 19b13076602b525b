//! Kills services at every crash point, in every journey that reaches it, on both databases, and checks that nobody notices but those who wait:
//! no double booking, no double charge, no lost charge, miles or event, and everybody learns the truth.
//!
//! A trial arms a point in one service (or two), plays a journey (`scenarios`), sees the process die by SIGKILL there, starts it again, goes on
//! as a caller should, waits until all of it has settled, audits every store, and asks again for every answer that was given. With `--random`,
//! processes then die at random times under load.

mod coverage;
mod field;
mod random;
mod report;
mod scenarios;
mod scene;
mod trial;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use world::program;

use coverage::{REACHES, Reach, When};
use field::{Database, PROGRAM};
use scenarios::Scenario;
use trial::{Arm, Trial};

/// Kills services of a mesh at its crash points and at random, and checks that nothing is lost, doubled or told wrong.
#[derive(Parser)]
struct Arguments {
    /// Only points whose name begins so
    #[arg(long, default_value = "")]
    point: String,
    /// Only this database
    #[arg(long, value_enum)]
    database: Option<Database>,
    /// Trials of each point, scenario and database; 0 for none
    #[arg(long, default_value_t = 1)]
    repetitions: usize,
    /// Trials with two services armed at once, chosen by the seed, for each database
    #[arg(long, default_value_t = 0)]
    pairs: usize,
    /// Seconds of kills at random times under load, for each database, after the trials
    #[arg(long, default_value_t = 0)]
    random: u64,
    /// Callers under random kills
    #[arg(long, default_value_t = 12)]
    callers: usize,
    /// Worlds side by side, for each database
    #[arg(long, default_value_t = 6)]
    worlds: usize,
    /// What is chosen at random; another one each time, unless given
    #[arg(long)]
    seed: Option<u64>,
}

/// On the main thread, so that the processes it starts end with it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let points = points()?;
    let gaps = coverage::gaps(&points);
    ensure!(gaps.is_empty(), "points and scenarios do not fit:\n{}", gaps.join("\n"));
    let seed = arguments.seed.unwrap_or_else(|| rand::rng().random());
    println!("{} crash points, seed {seed}", points.len());
    let databases = match arguments.database {
        Some(database) => vec![database],
        None => vec![Database::Sqlite, Database::Postgres],
    };
    let began = Instant::now();
    let fields =
        databases.iter().map(|&database| field::run(database, arguments.worlds, trials(arguments, database, seed)));
    let records: Vec<_> = futures_util::future::join_all(fields).await.into_iter().flatten().collect();
    let violations = if records.is_empty() { 0 } else { report::print(&records) };
    println!("{} trials in {:.0?}, seed {seed}", records.len(), began.elapsed());
    ensure!(violations == 0, "{violations} violations");
    if arguments.random > 0 {
        for database in databases {
            random::run(database, Duration::from_secs(arguments.random), arguments.callers, seed).await?;
        }
    }
    Ok(())
}

/// All points, as the binary lists them.
fn points() -> Result<Vec<String>> {
    let output = Command::new(program(PROGRAM)).arg("crash-points").output().context("the binary cannot be run")?;
    ensure!(output.status.success(), "the binary does not list its points: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

/// What is to be tried, in an order that the seed decides: long and short ones mixed.
fn trials(arguments: &Arguments, database: Database, seed: u64) -> Vec<Trial> {
    let mut chance = StdRng::seed_from_u64(seed);
    let reaches = || REACHES.iter().filter(|reach| !reach.postgres_only || database == Database::Postgres);
    let wanted = reaches().filter(|reach| reach.point.starts_with(&arguments.point));
    let single =
        wanted.flat_map(|reach| reach.scenarios.iter().map(move |&scenario| (vec![arm(reach)], scenario, reach.when)));
    let single: Vec<_> = single.collect();
    let mut all: Vec<_> = (0..arguments.repetitions).flat_map(|_| single.clone()).collect();
    let candidates: Vec<(Arm, Scenario)> = reaches()
        .filter(|reach| reach.when == When::Serving)
        .flat_map(|reach| reach.scenarios.iter().map(move |&scenario| (arm(reach), scenario)))
        .collect();
    while all.len() < single.len() * arguments.repetitions + arguments.pairs {
        let (first, scenario) = *candidates.choose(&mut chance).expect("there are points");
        let others: Vec<_> =
            candidates.iter().filter(|(arm, of)| *of == scenario && arm.service != first.service).collect();
        if let Some((second, _)) = others.choose(&mut chance) {
            all.push((vec![first, *second], scenario, When::Serving));
        }
    }
    all.shuffle(&mut chance);
    let trial = |(number, (arms, scenario, when))| Trial { arms, scenario, when, number };
    all.into_iter().enumerate().map(trial).collect()
}

fn arm(reach: &Reach) -> Arm {
    Arm { point: reach.point, service: reach.service, nth: reach.nth }
}
