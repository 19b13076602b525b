//! Checks a ledger while the service runs, a part at a time: what is derived against what it is derived from.
//!
//! A part is bounded, and only reads, so nobody waits for it. Nothing is put right here: a difference is somebody's mistake, and it is told by an
//! ERROR line that names the row and by the counter `holdfast.reconciliation.differences`, each difference once in the life of the process.

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::store::StoreError;
use crate::telemetry::names;

/// Differences remembered as told; beyond that they are only counted.
const TOLD_MAX: usize = 10_000;
/// While there is more to follow, a part is begun so much later than the one before, or nine times as long as that took.
const CATCH_UP: Duration = Duration::from_millis(100);
const REST: u32 = 9;

/// A ledger that can be checked.
pub trait Ledger: Send {
    /// Checks the next part: what is new since the last one, and a piece of everything else. After an error the same part comes again.
    ///
    /// # Errors
    /// Whatever keeps it from being read.
    ///
    /// # Cancel safety
    /// A dropped call has checked nothing.
    fn check(&mut self) -> impl Future<Output = Result<Part, CheckError>> + Send;
}

/// What a part showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Rows that were compared.
    pub checked: u64,
    /// What does not fit.
    pub differences: Vec<Difference>,
    /// Whether more has happened since than one part takes.
    pub more: bool,
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What was compared with what, e.g. `balance`.
    pub rule: &'static str,
    /// One sentence that names the row, the same each time it is found.
    pub what: String,
}

/// A part could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The rows.
    #[error("the ledger cannot be read")]
    Store(#[from] StoreError),
    /// What they are compared with.
    #[error("what the ledger is compared with cannot be read")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<diesel::result::Error> for CheckError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Checks `ledger` part by part, one each `every`, until `shutdown`; not at all if `every` is zero.
///
/// # Cancel safety
/// Safe: it only reads.
pub async fn run(ledger: impl Ledger, name: &'static str, every: Duration, shutdown: CancellationToken) {
    if !every.is_zero() {
        let _ = shutdown.run_until_cancelled(check_forever(ledger, name, every)).await;
    }
}

async fn check_forever(mut ledger: impl Ledger, name: &'static str, every: Duration) {
    let mut reporter = Reporter::new(name);
    loop {
        let began = Instant::now();
        let pause = match ledger.check().await {
            Ok(part) => {
                reporter.tell(part.checked, part.differences);
                if part.more { (began.elapsed() * REST).max(CATCH_UP).min(every) } else { every }
            }
            Err(error) => {
                tracing::warn!(ledger = name, error = &error as &dyn std::error::Error, "cannot reconcile now");
                every
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Tells of differences, each once.
pub struct Reporter {
    ledger: &'static str,
    told: HashSet<String>,
    checked: Counter<u64>,
    differences: Counter<u64>,
}

impl Reporter {
    /// One for this ledger.
    #[must_use]
    pub fn new(ledger: &'static str) -> Self {
        Self::on(&opentelemetry::global::meter("holdfast"), ledger)
    }

    fn on(meter: &Meter, ledger: &'static str) -> Self {
        Self {
            ledger,
            told: HashSet::new(),
            checked: meter.u64_counter(names::RECONCILIATION_CHECKED).build(),
            differences: meter.u64_counter(names::RECONCILIATION_DIFFERENCES).build(),
        }
    }

    /// Counts rows that were compared, and tells what is new of what does not fit.
    pub fn tell(&mut self, checked: u64, differences: impl IntoIterator<Item = Difference>) {
        let ledger = KeyValue::new(names::RECONCILIATION_LEDGER, self.ledger);
        self.checked.add(checked, std::slice::from_ref(&ledger));
        for Difference { rule, what } in differences {
            if self.told.contains(&what) {
                continue;
            }
            self.differences.add(1, &[ledger.clone(), KeyValue::new(names::RECONCILIATION_RULE, rule)]);
            if self.told.len() < TOLD_MAX {
                tracing::error!(ledger = self.ledger, rule, difference = what, "the books do not agree");
                self.told.insert(what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use opentelemetry::metrics::MeterProvider as _;

    use super::*;
    use crate::telemetry::exported::Exported;

    fn wrong(what: &str) -> Difference {
        Difference { rule: "balance", what: what.to_owned() }
    }

    #[test]
    fn a_difference_is_told_once_however_often_it_is_found() {
        let exported = Exported::default();
        let provider = exported.provider();
        let mut reporter = Reporter::on(&provider.meter("test"), "mileage");
        reporter.tell(3, [wrong("alice"), wrong("bob")]);
        reporter.tell(4, [wrong("bob"), wrong("alice"), wrong("carol")]);
        provider.force_flush().unwrap();
        assert_eq!(
            exported.lines(),
            [
                "holdfast.reconciliation.checked ledger=mileage 7",
                "holdfast.reconciliation.differences ledger=mileage rule=balance 3",
            ]
        );
    }

    /// Answers what it was given, and notes when it was asked.
    struct Scripted {
        parts: VecDeque<Result<Part, CheckError>>,
        asked: Arc<Mutex<Vec<Instant>>>,
    }

    impl Ledger for Scripted {
        async fn check(&mut self) -> Result<Part, CheckError> {
            self.asked.lock().unwrap().push(Instant::now());
            match self.parts.pop_front() {
                Some(part) => part,
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn parts_come_at_their_pace_and_faster_while_there_is_more() {
        let asked = Arc::default();
        let more = Part { more: true, ..Part::default() };
        let parts = [Ok(Part::default()), Ok(more), Err(CheckError::Store(StoreError::Busy)), Ok(Part::default())];
        let ledger = Scripted { parts: parts.into(), asked: Arc::clone(&asked) };
        let (every, shutdown, began) = (Duration::from_secs(60), CancellationToken::new(), Instant::now());
        let running = crate::deadline::spawn(run(ledger, "test", every, shutdown.clone()));
        tokio::time::sleep(Duration::from_secs(200)).await;
        shutdown.cancel();
        running.await.unwrap();
        let asked: Vec<_> =
            asked.lock().unwrap().iter().map(|at: &Instant| at.duration_since(began).as_millis()).collect();
        assert_eq!(asked.iter().map(|at| at / 10 * 10).collect::<Vec<_>>(), [0, 60_000, 60_100, 120_100, 180_100]);
    }

    #[tokio::test]
    async fn without_an_interval_nothing_is_checked() {
        let asked = Arc::default();
        let ledger = Scripted { parts: VecDeque::new(), asked: Arc::clone(&asked) };
        run(ledger, "test", Duration::ZERO, CancellationToken::new()).await;
        assert!(asked.lock().unwrap().is_empty());
    }
}
