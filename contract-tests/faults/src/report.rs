//! What came of it, for people: a line for each point, scenario and database, and totals.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use crate::field::Database;
use crate::trial::{Course, Trial};

/// A trial that took place.
#[derive(Debug)]
pub(crate) struct Record {
    database: Database,
    trial: Trial,
    result: Result<Course>,
}

/// The trials of one line.
#[derive(Default)]
struct Row {
    trials: usize,
    violations: usize,
    deaths: usize,
    recoveries: Vec<Duration>,
}

impl Record {
    /// Says at once what is wrong.
    pub(crate) fn new(database: Database, trial: Trial, result: Result<Course>) -> Self {
        if let Err(error) = &result {
            println!("VIOLATION: {trial}, {database:?}\n{error:#}\n");
        }
        Self { database, trial, result }
    }
}

impl Row {
    fn add(&mut self, result: &Result<Course>) {
        self.trials += 1;
        match result {
            Ok(course) => {
                self.deaths += course.deaths;
                self.recoveries.extend(course.recovery);
            }
            Err(_) => self.violations += 1,
        }
    }

    fn recovery(&mut self) -> String {
        self.recoveries.sort_unstable();
        let at = |share: f64| {
            let last = self.recoveries.len().checked_sub(1)?;
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an index"
            )]
            let index = (last as f64 * share).round() as usize;
            self.recoveries.get(index).copied()
        };
        match (at(0.5), at(0.99)) {
            (Some(middle), Some(late)) => format!("{:>6.2} s {:>6.2} s", middle.as_secs_f64(), late.as_secs_f64()),
            _ => "      –        –".to_owned(),
        }
    }
}

/// Prints the table; how many violations there were.
pub(crate) fn print(records: &[Record]) -> usize {
    let (mut rows, mut totals): (BTreeMap<_, Row>, BTreeMap<_, Row>) = Default::default();
    for record in records {
        rows.entry((record.trial.to_string(), record.database)).or_default().add(&record.result);
        totals.entry(record.database).or_default().add(&record.result);
    }
    println!(
        "{:<72} {:<9} {:>6} {:>10} {:>8} {:>8}",
        "point, scenario", "database", "trials", "violations", "p50", "p99"
    );
    for ((trial, database), row) in &mut rows {
        let database = format!("{database:?}");
        let recovery = row.recovery();
        println!("{trial:<72} {database:<9} {:>6} {:>10} {recovery}", row.trials, row.violations);
    }
    for (database, row) in &mut totals {
        let recovery = row.recovery();
        println!(
            "{database:?}: {} trials, {} kills at points, {} violations{}; recovery p50, p99: {recovery}",
            row.trials,
            row.deaths,
            row.violations,
            bound(row.trials, row.violations),
        );
    }
    totals.values().map(|row| row.violations).sum()
}

/// The rule of three: with no violation in n independent trials, the rate is below 3/n with 95 % confidence.
pub(crate) fn bound(trials: usize, violations: usize) -> String {
    if violations > 0 || trials == 0 {
        return String::new();
    }
    #[expect(clippy::cast_precision_loss, reason = "a percentage with two digits")]
    let percent = 300.0 / trials as f64;
    format!(" (95 %: fewer than {percent:.2} % of such crashes)")
}
