//! One trial: services are armed, a journey is played, they die and come back, and everything has to end as if they had not.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use world::{SERVICES, World, send};

use crate::coverage::When;
use crate::scenarios::{Scenario, publish_poison};
use crate::scene::{PATIENCE, Scene};

const ORDERS: &str = "HOLDFAST_CRASH_POINT";
/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// What happens after the journey's end (a mark, an acknowledgement) comes within this time.
const GRACE: Duration = Duration::from_secs(20);
/// Longer than the leases of reservation (12 s after a call) and payment (5 s), and than the broker waits for an acknowledgement (10 s).
const SLEEP: Duration = Duration::from_secs(15);
/// The audit waits so long for what is still on its way.
const SETTLE: &str = "90s";

/// A service that dies at a point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arm {
    pub(crate) point: &'static str,
    pub(crate) service: &'static str,
    pub(crate) nth: u32,
}

/// Who dies where, while what is going on.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) arms: Vec<Arm>,
    pub(crate) scenario: Scenario,
    pub(crate) when: When,
    /// Tells its guest from those of other trials.
    pub(crate) number: usize,
}

/// How a trial went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    /// How many of its services died at their points.
    pub(crate) deaths: usize,
    /// From the first death to the end of the journey, where it came later.
    pub(crate) recovery: Option<Duration>,
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nth = if self.nth > 1 { format!(" #{}", self.nth) } else { String::new() };
        write!(f, "{} in {}{nth}", self.point, self.service)
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arms: Vec<_> = self.arms.iter().map(Arm::to_string).collect();
        let asleep = if self.when == When::Asleep { "asleep at " } else { "" };
        write!(f, "{asleep}{}, {:?}", arms.join(" and "), self.scenario)
    }
}

impl Arm {
    fn order(&self, action: &str) -> String {
        format!("{}:{}:{action}", self.point, self.nth)
    }

    fn check(&self, status: ExitStatus) -> Result<()> {
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        ensure!(killed, "{} was to be killed at {} and ended with {status}", self.service, self.point);
        Ok(())
    }
}

/// Runs a trial in a world in which everything runs, or nothing does yet where databases are still to be made.
pub(crate) async fn run(world: &mut World, trial: &Trial) -> Result<Course> {
    let course = match trial.when {
        When::Migrating => migrate(world, trial).await?,
        When::Serving | When::Ending => serve(world, trial).await?,
        When::Asleep => sleep(world, trial).await?,
    };
    audit(world).await?;
    Ok(course)
}

async fn migrate(world: &mut World, trial: &Trial) -> Result<Course> {
    let [arm] = trial.arms[..] else { bail!("one service migrates at a time") };
    world.launch(arm.service, &[(ORDERS, &arm.order("kill"))]);
    arm.check(death(world, &arm).await?)?;
    let died = Instant::now();
    world.begin_all().await;
    let scene = scene(world, trial.number);
    let listing = trial.scenario.prepare(&scene).await?;
    trial.scenario.play(&scene, &listing).await?;
    Ok(Course { deaths: 1, recovery: Some(died.elapsed()) })
}

async fn death(world: &mut World, arm: &Arm) -> Result<ExitStatus> {
    let began = Instant::now();
    loop {
        if let Some(status) = world.ended(arm.service) {
            return Ok(status);
        }
        ensure!(began.elapsed() < PATIENCE, "{arm} is not reached");
        tokio::time::sleep(LOOK).await;
    }
}

fn scene(world: &World, number: usize) -> Scene {
    Scene::new(world.host(), world.customer(&guest(number)))
}

fn guest(number: usize) -> String {
    format!("guest-{number}")
}

/// Who is still to die, and who is away.
struct Watch {
    armed: Vec<Arm>,
    away: Option<&'static str>,
    died: Option<Instant>,
}

impl Watch {
    /// Starts again who has died, and then whoever is away: what they miss is to be seen.
    fn look(&mut self, world: &mut World) -> Result<()> {
        let mut still = Vec::with_capacity(self.armed.len());
        for arm in std::mem::take(&mut self.armed) {
            match world.ended(arm.service) {
                None => still.push(arm),
                Some(status) => {
                    arm.check(status)?;
                    self.died.get_or_insert_with(Instant::now);
                    world.launch(arm.service, &[]);
                    self.relieve(world);
                }
            }
        }
        self.armed = still;
        Ok(())
    }

    fn relieve(&mut self, world: &mut World) {
        if let Some(away) = self.away.take() {
            world.launch(away, &[]);
        }
    }

    /// Waits until those who are armed serve, or have died of it.
    async fn begin(&mut self, world: &mut World, trial: &Trial) -> Result<()> {
        if let Some(away) = self.away {
            world.stop(away).await;
        }
        for arm in &trial.arms {
            world.stop(arm.service).await;
            world.launch(arm.service, &[(ORDERS, &arm.order("kill"))]);
        }
        for arm in &trial.arms {
            while !world.is_serving(arm.service).await {
                self.look(world)?;
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }
}

async fn serve(world: &mut World, trial: &Trial) -> Result<Course> {
    let scene = scene(world, trial.number);
    let listing = trial.scenario.prepare(&scene).await?;
    let mut watch = Watch { armed: trial.arms.clone(), away: trial.scenario.without(), died: None };
    watch.begin(world, trial).await?;
    let mut _publisher = None;
    if trial.scenario == Scenario::Poison {
        _publisher = Some(publish_poison(world).await);
    }
    let ended = follow(world, trial, &scene, &listing, &mut watch).await?;
    let deaths = trial.arms.len() - watch.armed.len();
    ensure!(deaths > 0, "not reached");
    for arm in watch.armed {
        world.kill(arm.service);
        world.launch(arm.service, &[]);
    }
    for service in SERVICES {
        world.ready(service).await;
    }
    Ok(Course { deaths, recovery: watch.died.and_then(|died| ended.checked_duration_since(died)) })
}

/// Plays the journey while the watch looks after the services; when it ended.
async fn follow(world: &mut World, trial: &Trial, scene: &Scene, listing: &str, watch: &mut Watch) -> Result<Instant> {
    let mut journey = pin!(trial.scenario.play(scene, listing));
    let mut to_end = trial.when == When::Ending;
    let mut ended: Option<Instant> = None;
    loop {
        // The journey goes on where it was; the others only wait.
        tokio::select! {
            end = &mut journey, if ended.is_none() => {
                end?;
                ended = Some(Instant::now());
            }
            () = scene.relief.notified() => watch.relieve(world),
            () = tokio::time::sleep(LOOK) => {
                if std::mem::take(&mut to_end) {
                    watch.armed.iter().for_each(|arm| world.signal(arm.service, Signal::TERM));
                }
            }
        }
        watch.look(world)?;
        if let Some(ended) = ended
            && (watch.armed.is_empty() || ended.elapsed() > GRACE)
        {
            return Ok(ended);
        }
    }
}

/// A service freezes with something in its hands, for longer than any lease, and goes on as if nothing had happened. Where replicas share a
/// database, another one of reservation (which nobody calls but people) takes over meanwhile; elsewhere its own workers find the leases run out.
async fn sleep(world: &mut World, trial: &Trial) -> Result<Course> {
    let [arm] = trial.arms[..] else { bail!("one service sleeps at a time") };
    let scene = scene(world, trial.number);
    let listing = trial.scenario.prepare(&scene).await?;
    let mut away = trial.scenario.without();
    if let Some(away) = away {
        world.stop(away).await;
    }
    world.stop(arm.service).await;
    world.begin_with(arm.service, &[(ORDERS, &arm.order("stop"))]).await;
    let mut journey = pin!(trial.scenario.play(&scene, &listing));
    while !world.is_frozen(arm.service) {
        tokio::select! {
            end = &mut journey => return end.and_then(|()| bail!("not reached")),
            () = scene.relief.notified() => {
                if let Some(away) = away.take() {
                    world.launch(away, &[]);
                }
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    let frozen = Instant::now();
    let aside = (arm.service == "reservation" && world.has_replicas()).then(|| world.replace(arm.service));
    if aside.is_some() {
        scene.meet(world.host(), world.customer(&guest(trial.number)));
    }
    let slept = async {
        tokio::time::sleep(SLEEP).await;
        if let Some(away) = away {
            world.launch(away, &[]);
        }
        aside.as_ref().map_or_else(|| world.freeze(arm.service, false), |aside| send(aside.id(), Signal::CONT));
    };
    let (end, ()) = tokio::join!(journey, slept);
    end?;
    let ended = Instant::now();
    if let Some(aside) = aside {
        let status = aside.terminate().await;
        ensure!(status.success(), "who wakes up late ends well when asked to: {status}");
    }
    Ok(Course { deaths: 1, recovery: Some(ended - frozen) })
}

/// Every invariant over every store.
pub(crate) async fn audit(world: &World) -> Result<()> {
    let mut command = tokio::process::Command::from(world.command(&["audit", "--settle", SETTLE]));
    let output = command.stdin(Stdio::null()).output().await.context("the audit cannot be run")?;
    if output.status.success() {
        return Ok(());
    }
    let (table, problem) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let violations = table.lines().filter(|line| !line.contains(" holds")).collect::<Vec<_>>().join("\n");
    bail!("{}{violations}", problem.trim())
}
