//! SIGKILL at random times, under load: what no table of points foresees.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _};
use rand::{Rng as _, SeedableRng as _};
use world::{SERVICES, World};

use crate::field::{self, Database};
use crate::report;
use crate::scenarios::Scenario;
use crate::scene::Scene;
use crate::trial;

/// Between two kills, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 100..1_500;
/// How often two die at once.
const TWO: f64 = 0.25;

/// Kills for so long while so many callers go about their business; what is wrong afterwards is an error.
pub(crate) async fn run(database: Database, time: Duration, callers: usize, seed: u64) -> Result<()> {
    println!("{database:?}: random kills for {time:?} under {callers} callers, seed {seed}");
    let mut world = field::prepare(database).await;
    world.begin_all().await;
    let until = Instant::now() + time;
    let scene = |caller| Scene::new(world.host(), world.customer(&format!("caller-{caller}")));
    let scenes: Vec<Scene> = (0..callers).map(scene).collect();
    let load = join_all((1..).zip(&scenes).map(|(caller, scene)| journeys(scene, until, seed ^ caller)));
    let (kills, journeys) = tokio::join!(kill(&mut world, until, seed), load);
    world.begin_all().await;
    let journeys = journeys.into_iter().sum::<Result<usize>>()?;
    ensure!(journeys > 0, "nobody got anything done");
    trial::audit(&world).await?;
    println!("{database:?}: {kills} kills, {journeys} journeys, 0 violations{}", report::bound(kills, 0));
    Ok(())
}

/// One caller's, one after the other; how many.
async fn journeys(scene: &Scene, until: Instant, seed: u64) -> Result<usize> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut count = 0;
    while Instant::now() < until {
        let scenario = *Scenario::EVERYDAY.choose(&mut chance).expect("there are some");
        let listing = scenario.prepare(scene).await?;
        scenario.play(scene, &listing).await.with_context(|| format!("{scenario:?}"))?;
        count += 1;
    }
    Ok(count)
}

/// Kills services and starts them again at once; how many died.
async fn kill(world: &mut World, until: Instant, seed: u64) -> usize {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut count = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(chance.random_range(PAUSE_MS))).await;
        let victims = if chance.random_bool(TWO) { 2 } else { 1 };
        let victims = SERVICES.iter().copied().choose_multiple(&mut chance, victims);
        victims.iter().for_each(|victim| world.kill(victim));
        victims.iter().for_each(|victim| world.launch(victim, &[]));
        count += victims.len();
    }
    count
}
