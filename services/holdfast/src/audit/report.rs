//! What an audit found, for people and for machines.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh::reconcile::Difference;
use serde::Serialize;

use super::rules::{Finding, RULES};
use crate::duration::readable;
use crate::terminal::{Style, Table, paint, say};

/// Violations printed for each rule; the rest is counted.
const SHOWN: usize = 5;

/// One for each rule, in their order.
pub(crate) struct Report {
    findings: Vec<Finding>,
    /// Violations that stayed.
    remaining: Vec<BTreeSet<String>>,
    took: Duration,
}

/// As `--json` prints it: one object. Fields are only ever added.
#[derive(Serialize)]
struct Json<'a> {
    verdict: &'static str,
    seconds: f64,
    checked: usize,
    violations: usize,
    rules: Vec<JsonRule<'a>>,
}

#[derive(Serialize)]
struct JsonRule<'a> {
    rule: &'static str,
    verdict: &'static str,
    checked: usize,
    violations: &'a BTreeSet<String>,
}

impl Report {
    pub(super) fn new(findings: Vec<Finding>, remaining: Vec<BTreeSet<String>>, took: Duration) -> Self {
        Self { findings, remaining, took }
    }

    /// How many violations there are.
    pub(super) fn violations(&self) -> usize {
        self.remaining.iter().map(BTreeSet::len).sum()
    }

    /// How many things were checked.
    pub(super) fn checked(&self) -> usize {
        self.findings.iter().map(|finding| finding.checked).sum()
    }

    pub(super) fn took(&self) -> Duration {
        self.took
    }

    /// Each violation under its rule.
    pub(super) fn differences(&self) -> impl Iterator<Item = Difference> {
        let rules = RULES.iter().zip(&self.remaining);
        rules.flat_map(|(rule, violations)| {
            violations.iter().map(|what| Difference { rule: rule.name, what: what.clone() })
        })
    }

    pub(super) fn json(&self) -> String {
        let verdict = |violations: usize| if violations == 0 { "holds" } else { "violated" };
        let rules = RULES.iter().zip(&self.findings).zip(&self.remaining);
        let json = Json {
            verdict: verdict(self.violations()),
            seconds: self.took.as_secs_f64(),
            checked: self.checked(),
            violations: self.violations(),
            rules: rules
                .map(|((rule, finding), violations)| JsonRule {
                    rule: rule.name,
                    verdict: verdict(violations.len()),
                    checked: finding.checked,
                    violations,
                })
                .collect(),
        };
        serde_json::to_string(&json).expect("text and numbers are JSON")
    }

    pub(super) fn print(&self) {
        let mut table = Table::new(["invariant", "checked", "violations", "verdict"]).right(&[1, 2]);
        for ((rule, finding), violations) in RULES.iter().zip(&self.findings).zip(&self.remaining) {
            let verdict = if violations.is_empty() { "holds" } else { "VIOLATED" };
            table.row([
                rule.name.to_owned(),
                finding.checked.to_string(),
                violations.len().to_string(),
                verdict.to_owned(),
            ]);
        }
        say("");
        table.print();
        let broken = RULES.iter().zip(&self.remaining).filter(|(_, violations)| !violations.is_empty());
        for (rule, violations) in broken {
            say(format_args!("\n{}", paint(Style::Bad, rule.name)));
            for violation in violations.iter().take(SHOWN) {
                say(format_args!("  {violation}"));
            }
            if violations.len() > SHOWN {
                say(format_args!("  and {} more", violations.len() - SHOWN));
            }
        }
        say("");
        if self.violations() == 0 {
            let took = paint(Style::Faint, format_args!("({})", readable(self.took)));
            say(format_args!("{} {took}", paint(Style::Good, "every invariant holds")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_read_rules_counts_violations_and_a_verdict() {
        let findings = RULES.iter().map(|_| Finding { checked: 2, violations: Vec::new() }).collect();
        let mut remaining: Vec<BTreeSet<String>> = RULES.iter().map(|_| BTreeSet::new()).collect();
        remaining[1].insert("payments/x is lost".to_owned());
        let report = Report::new(findings, remaining, Duration::from_millis(1_500));
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!((&json["verdict"], &json["seconds"]), (&"violated".into(), &1.5.into()));
        assert_eq!((&json["checked"], &json["violations"]), (&(2 * RULES.len()).into(), &1.into()));
        let rules = json["rules"].as_array().expect("a list");
        assert_eq!(rules.len(), RULES.len());
        assert_eq!((&rules[0]["rule"], &rules[0]["verdict"]), (&RULES[0].name.into(), &"holds".into()));
        assert_eq!((&rules[1]["verdict"], &rules[1]["checked"]), (&"violated".into(), &2.into()));
        assert_eq!(rules[1]["violations"], serde_json::json!(["payments/x is lost"]));
    }
}
