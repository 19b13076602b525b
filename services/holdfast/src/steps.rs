//! Steps that say how they went.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use tokio::time::sleep;

use crate::duration::readable;
use crate::terminal::{Style, done, failed, paint};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Runs steps, prints each.
pub(crate) struct Steps {
    patience: Duration,
    started: Instant,
    count: usize,
}

impl Steps {
    /// `patience` is how long [`Steps::eventually`] waits.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, started: Instant::now(), count: 0 }
    }

    /// How long to wait for what follows from events.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Something that must hold at once.
    pub(crate) async fn step<T>(&mut self, title: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.act(title, work, |_| String::new()).await
    }

    /// Something somebody does, printed with what `told` says of the answer.
    pub(crate) async fn act<T>(
        &mut self,
        title: &str,
        work: impl Future<Output = Result<T>>,
        told: impl FnOnce(&T) -> String,
    ) -> Result<T> {
        let started = Instant::now();
        let result = work.await;
        self.count += 1;
        let time = paint(Style::Faint, readable(started.elapsed()));
        match result.as_ref().map(told) {
            Ok(outcome) if outcome.is_empty() => done(format_args!("{title}  {time}")),
            Ok(outcome) => done(format_args!("{title} → {outcome}  {time}")),
            Err(_) => failed(format_args!("{title}  {time}")),
        }
        result.with_context(|| format!("failed at the step {title:?}"))
    }

    /// Something that must come to hold: `probe` is asked until it answers, or an error, or patience is at its end. It answers what it saw
    /// instead (`Err` inside) to be asked again.
    pub(crate) async fn eventually<T, F>(&mut self, title: &str, mut probe: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<Result<T, String>>>,
    {
        let limit = self.patience;
        self.step(title, async {
            let started = Instant::now();
            let mut pause = FIRST_PAUSE;
            loop {
                match probe().await? {
                    Ok(value) => return Ok(value),
                    Err(seen) if started.elapsed() >= limit => {
                        return Err(anyhow!("still {seen} after {}", readable(limit)));
                    }
                    Err(_) => sleep(pause).await,
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        })
        .await
    }

    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// How many steps in which time.
    pub(crate) fn summary(&self) -> String {
        format!("{} steps in {}", self.count, readable(self.started.elapsed()))
    }
}
