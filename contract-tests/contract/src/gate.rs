//! The gate: today's contracts against every supported release, and the exceptions.

use std::collections::BTreeSet;

use crate::{
    Baseline, Consumer, DescriptorSet, Finding, Release, Rule, Step, Surface, Version, Waiver, compare,
    consumers::{self, Hurt, Index},
    lint, rules,
    waivers::{self, is_unstable},
};

/// For so many releases, the last included, something must have been deprecated before it may go.
pub const DEPRECATED_FOR: usize = 2;

/// A finding and what is made of it.
#[derive(Debug)]
pub struct Judged {
    /// What is found.
    pub finding: Finding,
    /// The release it was found against.
    pub release: Version,
    /// Who answers for letting it through, if somebody does.
    pub waived_by: Option<String>,
    /// Whom of the recorded consumers it hurts.
    pub hurt: Hurt,
    /// What that release promises of the symbol and today does not.
    pub released: Vec<String>,
    /// What is promised of it today and was not then.
    pub now: Vec<String>,
}

impl Judged {
    /// It fails the gate.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.breaks() && self.waived_by.is_none()
    }

    /// It hurts somebody, waived or not.
    #[must_use]
    pub fn breaks(&self) -> bool {
        self.finding.rule.tier.breaks() && !self.hurt.tolerated
    }
}

/// What the gate says.
#[derive(Debug)]
pub struct Judgement {
    /// Against the newest release first; each symbol and rule is told of the newest only.
    pub findings: Vec<Judged>,
    /// What is wrong with the exceptions.
    pub complaints: Vec<String>,
    /// What recorded consumers expect and is not there.
    pub unmet: Vec<String>,
    /// What is wrong with how events are declared, whatever was released.
    pub events: Vec<String>,
    /// The least version that may be released now.
    pub least: Version,
}

impl Judgement {
    /// Nothing breaks that is not waived, no waiver is idle, every consumer finds what it expects, and events are declared as they
    /// should.
    #[must_use]
    pub fn passes(&self) -> bool {
        let nothing_else = self.complaints.is_empty() && self.unmet.is_empty() && self.events.is_empty();
        nothing_else && !self.findings.iter().any(Judged::is_open)
    }

    /// How many findings fail the gate, are waived, and are notices.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let open = self.findings.iter().filter(|judged| judged.is_open()).count();
        let waived = self.findings.iter().filter(|judged| judged.waived_by.is_some()).count();
        (open, waived, self.findings.len() - open - waived)
    }
}

/// Compares a set with the supported releases, and with what its consumers expect; its events are held to the lint.
#[must_use]
pub fn judge(baseline: &Baseline, waivers: &[Waiver], consumers: &[Consumer], current: &DescriptorSet) -> Judgement {
    let now = Surface::of(current);
    let mut findings: Vec<Judged> = Vec::new();
    let mut used = BTreeSet::new();
    let newest = baseline.newest().entry.version;
    for release in baseline.supported() {
        let then = Surface::of(&release.set);
        let index = Index::of_consumers(consumers, &release.set, current);
        let mut found = compare(&release.set, current);
        if release.entry.version == newest {
            found.extend(removals(baseline, &found));
        } else {
            found.retain(|finding| finding.rule.tier.breaks());
        }
        let told: BTreeSet<String> = findings.iter().map(|judged| judged.finding.id()).collect();
        for finding in found.into_iter().filter(|finding| !told.contains(&finding.id())) {
            let waiver = waivers.iter().position(|waiver| waiver.covers(&finding, &then, &now));
            let waiver = waiver.filter(|_| waivers::refusal(&finding).is_none());
            used.extend(waiver);
            let waived_by = waiver
                .map(|index| waivers[index].owner.clone())
                .or_else(|| shipped(baseline, release.entry.version, &finding));
            let (released, now) = difference(then.lines(&finding.symbol), now.lines(&finding.symbol));
            let hurt = consumers::hurt(&index, &finding, consumers, current);
            findings.push(Judged { finding, release: release.entry.version, waived_by, hurt, released, now });
        }
    }
    let complaints = complaints(waivers, &used, &findings, newest);
    let least = newest.next(step(baseline.newest(), &findings, &now));
    Judgement {
        findings,
        complaints,
        unmet: consumers::unmet(consumers, current),
        events: lint::events(current),
        least,
    }
}

/// Why an exception cannot be made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "fields: what they name")]
pub enum WaiveError {
    /// Nothing of that name is found.
    #[error("nothing is found that is called {id}; `contract check` tells what is")]
    Unknown { id: String },
    /// Not even a waiver covers it.
    #[error("{id} cannot be waived: {why}")]
    Refused { id: String, why: &'static str },
    /// No release could ship it.
    #[error("{expires} is not after {newest}, which is released")]
    Late { expires: Version, newest: Version },
}

/// An exception for what [`judge`] finds under this name.
///
/// # Errors
///
/// Nothing is found under it, it cannot be waived, or it would have expired.
pub fn waiver(
    baseline: &Baseline,
    current: &DescriptorSet,
    id: &str,
    (reason, owner): (&str, &str),
    expires: Version,
) -> Result<Waiver, WaiveError> {
    let newest = baseline.newest().entry.version;
    if expires <= newest {
        return Err(WaiveError::Late { expires, newest });
    }
    let judgement = judge(baseline, &[], &[], current);
    let judged = judgement.findings.iter().find(|judged| judged.finding.id() == id);
    let judged = judged.ok_or_else(|| WaiveError::Unknown { id: id.to_owned() })?;
    if let Some(why) = waivers::refusal(&judged.finding) {
        return Err(WaiveError::Refused { id: id.to_owned(), why });
    }
    let release = baseline.releases.iter().find(|release| release.entry.version == judged.release);
    let then = Surface::of(&release.expect("a finding is against a release of the baseline").set);
    Ok(Waiver::of(&judged.finding, &then, &Surface::of(current), reason, owner, expires))
}

/// The exception of a later release: what it let through is promised to nobody since, and what changed after it is found
/// against that release.
fn shipped(baseline: &Baseline, against: Version, finding: &Finding) -> Option<String> {
    let later = baseline.releases.iter().filter(|release| release.entry.version > against);
    let mut waivers = later.flat_map(|release| &release.entry.waivers);
    waivers.find(|waiver| waiver.id() == finding.id()).map(|waiver| waiver.owner.clone())
}

static REMOVALS: [&Rule; 10] = [
    &rules::FILE_NO_DELETE,
    &rules::MESSAGE_NO_DELETE,
    &rules::ENUM_NO_DELETE,
    &rules::SERVICE_NO_DELETE,
    &rules::EXTENSION_NO_DELETE,
    &rules::FIELD_NO_DELETE,
    &rules::ONEOF_NO_DELETE,
    &rules::ENUM_VALUE_NO_DELETE,
    &rules::RPC_NO_DELETE,
    &rules::SEM_EVENT_LOST,
];

/// What went without having been deprecated for long enough.
fn removals(baseline: &Baseline, found: &[Finding]) -> Vec<Finding> {
    let last: Vec<Surface> =
        baseline.releases.iter().rev().take(DEPRECATED_FOR).map(|release| Surface::of(&release.set)).collect();
    let deprecated_in =
        |finding: &Finding| last.iter().take_while(|surface| surface.is_deprecated(&finding.symbol)).count();
    let removed = found.iter().filter(|finding| REMOVALS.contains(&finding.rule) && !is_unstable(&finding.symbol));
    removed
        .map(|finding| (finding, deprecated_in(finding)))
        .filter(|(_, releases)| *releases < DEPRECATED_FOR)
        .map(|(finding, releases)| Finding {
            rule: &rules::SEM_REMOVAL_WITHOUT_DEPRECATION,
            message: format!("was deprecated in {releases} of the {DEPRECATED_FOR} releases it must be before it goes"),
            ..finding.clone()
        })
        .collect()
}

fn complaints(waivers: &[Waiver], used: &BTreeSet<usize>, findings: &[Judged], newest: Version) -> Vec<String> {
    let mut complaints = Vec::new();
    for (index, waiver) in waivers.iter().enumerate() {
        let id = waiver.id();
        let refusal = findings.iter().map(|judged| &judged.finding).find(|finding| finding.id() == id);
        if let Some(why) = refusal.and_then(waivers::refusal) {
            complaints.push(format!("{id} cannot be waived: {why}"));
        } else if waiver.expires <= newest {
            complaints.push(format!("the waiver of {id} expired with {}: {newest} is released", waiver.expires));
        } else if !used.contains(&index) {
            complaints
                .push(format!("the waiver of {id} covers nothing: take it out, or waive the change as it is now"));
        }
    }
    complaints
}

/// What a release of today's contracts must raise.
fn step(newest: &Release, findings: &[Judged], now: &Surface) -> Step {
    let breaks = |judged: &Judged| judged.release == newest.entry.version && judged.breaks();
    if findings.iter().any(breaks) {
        Step::Breaking
    } else if Surface::of(&newest.set).to_string() == now.to_string() {
        Step::Patch
    } else {
        Step::Minor
    }
}

/// The lines that only one side has.
pub(crate) fn difference(old: &[String], new: &[String]) -> (Vec<String>, Vec<String>) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    (only(old, new), only(new, old))
}
