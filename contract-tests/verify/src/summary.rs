//! What came of each step, and whether all of it together is a success.

use std::fmt;
use std::time::Duration;

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its program ran and was content.
    Passed,
    /// Its program ran and was not; the text says which, and where its output is.
    Failed(String),
    /// It could not be run; the text says what is missing and what to type.
    Unavailable(String),
}

/// One step's line in the table.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) step: &'static str,
    pub(crate) duration: Duration,
    pub(crate) outcome: Outcome,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.duration.as_secs_f64();
        match &self.outcome {
            Outcome::Passed => write!(f, "✓ {} passed in {seconds:.1} s", self.step),
            Outcome::Failed(what) => {
                write!(f, "✗ {} FAILED after {seconds:.1} s: {what}", self.step)
            }
            Outcome::Unavailable(what) => write!(f, "✗ {} COULD NOT BE RUN: {what}", self.step),
        }
    }
}

/// All reports of a run.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    may_be_unavailable: Vec<String>,
    reports: Vec<Report>,
    not_selected: Vec<&'static str>,
}

impl Summary {
    /// An empty summary. The named steps may be unavailable without failing the run.
    pub(crate) fn new(may_be_unavailable: Vec<String>) -> Self {
        Self { may_be_unavailable, ..Self::default() }
    }

    pub(crate) fn add(&mut self, report: Report) {
        self.reports.push(report);
    }

    pub(crate) fn not_selected(&mut self, step: &'static str) {
        self.not_selected.push(step);
    }

    /// Whether every step passed, those aside that were allowed to be unavailable and were. Nothing run is no success.
    pub(crate) fn is_success(&self) -> bool {
        !self.reports.is_empty() && self.reports.iter().all(|report| self.is_acceptable(report))
    }

    fn is_acceptable(&self, report: &Report) -> bool {
        match report.outcome {
            Outcome::Passed => true,
            Outcome::Failed(_) => false,
            Outcome::Unavailable(_) => self.may_be_unavailable.iter().any(|name| name == report.step),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<14} {:>9}  outcome", "step", "duration")?;
        for report in &self.reports {
            let outcome = match &report.outcome {
                Outcome::Passed => "passed",
                Outcome::Failed(_) => "FAILED",
                Outcome::Unavailable(_) if self.is_acceptable(report) => "could not be run here (allowed)",
                Outcome::Unavailable(_) => "COULD NOT BE RUN",
            };
            writeln!(f, "{:<14} {:>7.1} s  {outcome}", report.step, report.duration.as_secs_f64())?;
        }
        for step in &self.not_selected {
            writeln!(f, "{step:<14} {:>9}  not selected", "–")?;
        }
        for report in self.reports.iter().filter(|report| report.outcome != Outcome::Passed) {
            writeln!(f, "\n{report}")?;
        }
        writeln!(f, "\n{}", if self.is_success() { "verify: passed" } else { "verify: FAILED" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(allowed: &[&str], outcomes: &[(&'static str, Outcome)]) -> Summary {
        let mut summary = Summary::new(allowed.iter().map(ToString::to_string).collect());
        for (step, outcome) in outcomes {
            summary.add(Report { step, duration: Duration::from_millis(1200), outcome: outcome.clone() });
        }
        summary
    }

    fn failed() -> Outcome {
        Outcome::Failed("exit code 101".to_owned())
    }

    fn unavailable() -> Outcome {
        Outcome::Unavailable("type: apt-get install python3-venv".to_owned())
    }

    #[test]
    fn one_failed_step_fails_the_run() {
        assert!(summary(&[], &[("format", Outcome::Passed), ("test", Outcome::Passed)]).is_success());
        assert!(!summary(&[], &[("format", failed()), ("test", Outcome::Passed)]).is_success());
    }

    #[test]
    fn a_step_that_cannot_be_run_fails_the_run_unless_it_is_allowed_by_name() {
        let outcomes = [("format", Outcome::Passed), ("advisories", unavailable())];
        assert!(!summary(&[], &outcomes).is_success());
        assert!(!summary(&["format"], &outcomes).is_success());
        assert!(summary(&["advisories"], &outcomes).is_success());
    }

    #[test]
    fn a_finding_fails_the_run_although_the_step_may_be_unavailable() {
        assert!(!summary(&["advisories"], &[("advisories", failed())]).is_success());
    }

    #[test]
    fn running_nothing_is_not_success() {
        assert!(!summary(&[], &[]).is_success());
    }

    #[test]
    fn the_table_names_every_step_and_the_line_to_type() {
        let mut summary = summary(&[], &[("format", Outcome::Passed), ("test", unavailable())]);
        summary.not_selected("clippy");
        let text = summary.to_string();
        for expected in
            ["format             1.2 s  passed", "test               1.2 s  COULD NOT BE RUN", "clippy", "not selected"]
        {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
        assert!(text.contains("apt-get install python3-venv"), "{text}");
        assert!(text.ends_with("verify: FAILED\n"), "{text}");
    }
}
