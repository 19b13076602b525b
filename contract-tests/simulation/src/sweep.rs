//! Many seeds, a process for each, several at a time; and what they came to in all.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::mutants::Mutant;
use crate::world::{Figures, Outcome};

/// Which seeds to run, and how.
#[derive(Clone)]
pub(crate) struct Sweep {
    pub(crate) seeds: Range<u64>,
    pub(crate) jobs: usize,
    /// No seed begins after so long.
    pub(crate) limit: Duration,
    /// Where the databases of each are copied from.
    pub(crate) databases: PathBuf,
}

impl Sweep {
    /// Runs the seeds and prints what they came to; answers whether all held.
    pub(crate) fn run(&self) -> Result<bool> {
        let began = Instant::now();
        let outcomes = self.each(self.seeds.clone().collect(), |seed| self.simulate(*seed, None))?;
        let mut sum = Figures::default();
        let mut failed = 0;
        for outcome in &outcomes {
            sum.add(&outcome.figures);
            if !outcome.violations.is_empty() {
                failed += 1;
                println!("seed {} (again: simulate --seed {0} --trace)", outcome.seed);
                outcome.violations.iter().for_each(|violation| println!("  {violation}"));
            }
        }
        let seeds = outcomes.len();
        println!("{seeds} seeds in {:.0} s, {failed} with violations; {sum}", began.elapsed().as_secs_f64());
        Ok(failed == 0 && seeds > 0)
    }

    /// Runs each mutant over the seeds until one notices it, first the seed that is known to; answers whether all are noticed.
    pub(crate) fn hunt(&self, mutants: Vec<&'static Mutant>) -> Result<bool> {
        let began = Instant::now();
        let all = mutants.len();
        let noticed = self.each(mutants.into(), |mutant| self.is_noticed(mutant, began))?;
        let killed = noticed.into_iter().filter(|noticed| *noticed).count();
        println!("{killed} of {all} mutants killed in {:.0} s", began.elapsed().as_secs_f64());
        Ok(killed == all)
    }

    fn is_noticed(&self, mutant: &Mutant, began: Instant) -> Result<bool> {
        let name = mutant.name;
        let mut tried = 0;
        for seed in std::iter::once(mutant.seed).chain(self.seeds.clone()) {
            if tried > 0 && began.elapsed() > self.limit {
                break;
            }
            tried += 1;
            if let Some(violation) = self.simulate(seed, Some(name))?.violations.into_iter().next() {
                println!("killed by seed {seed:>3}, the {tried:>2}. tried: {name}\n    {violation}");
                return Ok(true);
            }
        }
        println!("ALIVE after {tried:>3} seeds: {name}");
        Ok(false)
    }

    /// Does the work on all of them, as far as the time suffices; the answers in the order of the work.
    fn each<W: Send, A: Send>(&self, work: VecDeque<W>, run: impl Fn(&W) -> Result<A> + Sync) -> Result<Vec<A>> {
        let deadline = Instant::now() + self.limit;
        let work = Mutex::new(work.into_iter().enumerate().collect::<VecDeque<_>>());
        let worker = || {
            let mut answers = Vec::new();
            while Instant::now() < deadline {
                let next = work.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some((number, next)) = next else { break };
                answers.push((number, run(&next)));
            }
            answers
        };
        let mut answers: Vec<(usize, Result<A>)> = thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("a worker does not panic")).collect()
        });
        answers.sort_by_key(|(number, _)| *number);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// One seed in a process of its own.
    fn simulate(&self, seed: u64, mutant: Option<&str>) -> Result<Outcome> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--seed").arg(seed.to_string()).arg("--databases").arg(&self.databases).stderr(Stdio::null());
        if let Some(mutant) = mutant {
            command.arg("--mutant").arg(mutant);
        }
        let output = command.output()?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("seed {seed} ended with {} and no outcome", output.status))
    }
}
