//! Findings as text for people and as JSON and annotations for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    Finding, Tier,
    explain::explain,
    gate::{Judged, Judgement},
    waivers,
};

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people; a last line counts.
    Text,
    /// One document: `{"findings": […], "breaking": 1, "notices": 0}`.
    Json,
    /// GitHub's workflow commands: each finding is shown at its line of the change.
    Github,
}

/// How many of the findings fail the gate.
#[must_use]
pub fn breaking(findings: &[Finding]) -> usize {
    findings.iter().filter(|finding| finding.rule.tier.breaks()).count()
}

/// Writes the findings, a line each.
#[must_use]
pub fn write(findings: &[Finding], format: Format) -> String {
    let breaking = breaking(findings);
    let notices = findings.len() - breaking;
    let count = format!("breaking: {breaking}, notices: {notices}\n");
    match format {
        Format::Text => lines(findings.iter().map(ToString::to_string)) + &count,
        Format::Github => {
            lines(findings.iter().map(|finding| annotation(finding, finding.rule.tier.breaks(), ""))) + &count
        }
        Format::Json => {
            let findings: Vec<Value> = findings.iter().map(json).collect();
            format!("{:#}\n", json!({ "findings": findings, "breaking": breaking, "notices": notices }))
        }
    }
}

/// Writes what the gate says, the ways out included.
#[must_use]
pub fn judgement(judgement: &Judgement, format: Format) -> String {
    let (open, waived, notices) = judgement.counts();
    let complaints = &judgement.complaints;
    let count = format!("breaking: {open}, waived: {waived}, notices: {notices}; least version: {}\n", judgement.least);
    match format {
        Format::Text => {
            let findings: String = judgement.findings.iter().map(|judged| text(judged, judgement)).collect();
            findings
                + &lines(complaints.iter().map(|complaint| format!("waivers: {complaint}")))
                + &lines(judgement.unmet.iter().map(|unmet| format!("consumers: {unmet}")))
                + &lines(judgement.events.iter().map(|fault| format!("events: {fault}")))
                + &count
        }
        Format::Github => {
            let findings =
                judgement.findings.iter().map(|judged| annotation(&judged.finding, judged.is_open(), &remark(judged)));
            let others = complaints.iter().chain(&judgement.unmet).chain(&judgement.events);
            lines(findings) + &lines(others.map(|it| format!("::error::{}", escaped(it)))) + &count
        }
        Format::Json => {
            let findings: Vec<Value> = judgement.findings.iter().map(judged_json).collect();
            let least = judgement.least.to_string();
            let report = json!({
                "findings": findings, "complaints": complaints, "unmet": judgement.unmet, "events": judgement.events,
                "breaking": open, "waived": waived, "notices": notices, "least_version": least,
            });
            format!("{report:#}\n")
        }
    }
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| line + "\n").collect()
}

/// A finding in full if it stops the gate; one line of it if it does not.
fn text(judged: &Judged, judgement: &Judgement) -> String {
    let finding = &judged.finding;
    if !judged.is_open() {
        return format!("{finding}{}\n", remark(judged));
    }
    let guide = explain(finding.rule);
    let mut text = format!("{finding}\n");
    let mut line =
        |what: &str, rest: &str| writeln!(text, "  {what:<9} {rest}").expect("writing to a String cannot fail");
    line("against", &judged.release.to_string());
    judged.released.iter().for_each(|released| line("released", released));
    judged.now.iter().for_each(|now| line("now", now));
    line("hurts", guide.hurts);
    if !judged.hurt.consumers.is_empty() {
        line("consumers", &judged.hurt.consumers.join(", "));
    }
    line("ways out", &guide.ways_out.join(" | "));
    match waivers::refusal(finding) {
        Some(why) => line("waive", &format!("not possible: {why}")),
        None => line(
            "waive",
            &format!("contract waive {} --reason … --owner … --expires {}", finding.id(), judgement.least),
        ),
    }
    line("explain", &format!("contract explain {}", finding.rule.id));
    text
}

/// Why it does not stop the gate, or whom it hurts.
fn remark(judged: &Judged) -> String {
    let consumers = judged.hurt.consumers.join(", ");
    match &judged.waived_by {
        Some(owner) => format!(" (waived, {owner})"),
        None if judged.hurt.tolerated => format!(" (tolerated: {consumers})"),
        None if judged.is_open() && !consumers.is_empty() => format!(" (consumers: {consumers})"),
        None => String::new(),
    }
}

fn annotation(finding: &Finding, is_error: bool, remark: &str) -> String {
    let level = if is_error { "error" } else { "notice" };
    let file = finding.file.as_ref().map(|file| format!(" file=proto/{file}")).unwrap_or_default();
    let place = finding.span.map(|span| format!(",line={},col={}", span.start_line, span.start_column));
    let text = format!("{}: {}: {}{remark}", finding.rule.id, finding.symbol, finding.message);
    format!("::{level}{file}{}::{}", place.unwrap_or_default(), escaped(&text))
}

/// As workflow commands want their text.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
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

fn judged_json(judged: &Judged) -> Value {
    let mut value = json(&judged.finding);
    value["id"] = judged.finding.id().into();
    value["against"] = judged.release.to_string().into();
    value["waived_by"] = judged.waived_by.clone().into();
    value["consumers"] = judged.hurt.consumers.clone().into();
    value["tolerated"] = judged.hurt.tolerated.into();
    value["released"] = judged.released.clone().into();
    value["now"] = judged.now.clone().into();
    value
}
