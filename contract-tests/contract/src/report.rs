//! Findings as text for people and as JSON for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{Finding, Tier};

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line each, and a last line that counts.
    Text,
    /// One document: `{"findings": […], "breaking": 1, "notices": 0}`.
    Json,
}

/// How many of the findings fail the gate.
#[must_use]
pub fn breaking(findings: &[Finding]) -> usize {
    findings.iter().filter(|finding| finding.rule.tier.breaks()).count()
}

/// Writes the findings.
#[must_use]
pub fn write(findings: &[Finding], format: Format) -> String {
    let breaking = breaking(findings);
    let notices = findings.len() - breaking;
    match format {
        Format::Text => {
            let mut text = String::new();
            for finding in findings {
                writeln!(text, "{finding}").expect("writing to a String cannot fail");
            }
            text + &format!("breaking: {breaking}, notices: {notices}\n")
        }
        Format::Json => {
            let findings: Vec<Value> = findings.iter().map(json).collect();
            format!("{:#}\n", json!({ "findings": findings, "breaking": breaking, "notices": notices }))
        }
    }
}

fn json(finding: &Finding) -> Value {
    let tier: Tier = finding.rule.tier;
    json!({
        "rule": finding.rule.id,
        "tier": tier.as_str(),
        "file": finding.file,
        "span": finding.span,
        "symbol": finding.symbol,
        "message": finding.message,
    })
}
