//! Where trials take place: several worlds of each database, side by side, since most of a trial is waiting for leases.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, anyhow};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use mesh::testing::postgres;
use world::{Setup, World, program};

use crate::coverage::When;
use crate::report::Record;
use crate::trial::{self, Trial};

/// What the services keep their rows in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

/// The binary that has the points.
pub(crate) const PROGRAM: &str = "holdfast-crash";

/// A world in which nothing runs yet.
pub(crate) async fn prepare(database: Database) -> World {
    let database = match database {
        Database::Sqlite => None,
        Database::Postgres => Some(postgres().url),
    };
    World::prepare(Setup { program: program(PROGRAM), database, settings: &[], quiet: true }).await
}

async fn started(database: Database) -> World {
    let mut world = prepare(database).await;
    world.begin_all().await;
    world
}

/// Runs the trials on so many worlds; what each of them came to.
pub(crate) async fn run(database: Database, worlds: usize, trials: Vec<Trial>) -> Vec<Record> {
    let queue = Mutex::new(VecDeque::from(trials));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let worker = async || {
        let (mut world, mut records) = (None, Vec::new());
        while let Some(trial) = next() {
            let (result, left) = attempt(database, world.take(), &trial).await;
            world = left;
            records.push(Record::new(database, trial, result));
        }
        records
    };
    join_all((0..worlds).map(|_| worker())).await.into_iter().flatten().collect()
}

/// Runs a trial; the world is given back if the next trial may take place in it.
async fn attempt(database: Database, world: Option<World>, trial: &Trial) -> (Result<trial::Course>, Option<World>) {
    let mut world = match (world, trial.when) {
        (Some(world), When::Serving | When::Ending | When::Asleep) => world,
        (None, When::Serving | When::Ending | When::Asleep) => started(database).await,
        (_, When::Migrating) => prepare(database).await,
    };
    // A world's own waiting ends in a panic.
    let result = AssertUnwindSafe(trial::run(&mut world, trial)).catch_unwind().await;
    match result.unwrap_or_else(|panic| Err(anyhow!("{}", message(&*panic)))) {
        Ok(course) => (Ok(course), Some(world)),
        Err(error) => {
            world.keep();
            let log = world.log();
            (Err(error.context(format!("violation; the processes' log is {}", log.display()))), None)
        }
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}
