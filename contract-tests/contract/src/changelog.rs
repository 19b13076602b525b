//! What changed from release to release, for those who call, consume and read.
//!
//! It follows from the baseline alone, so it can be written anew at any time and cannot be forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use crate::{
    Baseline, DescriptorSet, Finding, Release, Surface,
    comments::Comments,
    compare,
    gate::difference,
    rules,
    surface::{SymbolKind, parent},
};

const HEADER: &str = "\
# API changelog

Every release of the contracts, the newest first. Written by `contract release`; how releases are made is told in
[changing-a-contract.md](changing-a-contract.md), what the contracts say today in [api/](api/README.md).
";

/// Writes all of it.
#[must_use]
pub fn write(baseline: &Baseline) -> String {
    let mut sections: Vec<String> = baseline.releases.windows(2).map(|pair| later(&pair[0], &pair[1])).collect();
    sections.insert(0, baseline.releases.first().map(first).unwrap_or_default());
    sections.reverse();
    format!("{HEADER}{}", sections.concat())
}

fn heading(release: &Release) -> String {
    format!("\n## {} ({})\n", release.entry.version, release.entry.date)
}

fn first(release: &Release) -> String {
    let surface = Surface::of(&release.set);
    let count = |kind| surface.symbols().filter(|(_, symbol)| symbol.kind == kind).count();
    format!(
        "{}\nThe first release: {} services, {} RPCs, {} events.\n",
        heading(release),
        count(SymbolKind::Service),
        count(SymbolKind::Rpc),
        count(SymbolKind::Event),
    )
}

/// Titles in the order they are read, and the lines below.
struct Section(Vec<(&'static str, Vec<String>)>);

fn later(old: &Release, new: &Release) -> String {
    let findings = compare(&old.set, &new.set);
    let (was, is) = (Surface::of(&old.set), Surface::of(&new.set));
    let of = |rules: &[&'static crate::Rule]| -> Vec<String> {
        findings.iter().filter(|finding| rules.contains(&finding.rule)).map(line).collect()
    };
    let named =
        [&rules::SEM_DEPRECATED, &rules::SEM_UNDEPRECATED, &rules::SEM_DOC_CHANGED, &rules::SEM_ERROR_REASON_ADDED];
    let mut added = additions(&was, &is, &new.set);
    added.extend(of(&[&rules::SEM_ERROR_REASON_ADDED]));
    let notices = findings.iter().filter(|finding| !finding.rule.tier.breaks() && !named.contains(&finding.rule));
    let mut changed: Vec<String> = notices.map(line).collect();
    changed.extend(otherwise(&was, &is, &findings));
    Section(vec![
        ("Breaking", breaking(&findings, new)),
        ("Added", added),
        ("Deprecated", of(&[&rules::SEM_DEPRECATED, &rules::SEM_UNDEPRECATED])),
        ("Changed", changed),
        ("Said in other words", of(&[&rules::SEM_DOC_CHANGED])),
    ])
    .write(&heading(new))
}

impl Section {
    fn write(&self, heading: &str) -> String {
        let mut text = heading.to_owned();
        for (title, lines) in self.0.iter().filter(|(_, lines)| !lines.is_empty()) {
            write!(text, "\n### {title}\n\n{}", lines.concat()).expect("writing to a String cannot fail");
        }
        if self.0.iter().all(|(_, lines)| lines.is_empty()) {
            text += "\nNothing changed.\n";
        }
        text
    }
}

fn line(finding: &Finding) -> String {
    format!("- `{}`: {}\n", finding.symbol, finding.message)
}

/// What broke, with the reason it was let through.
fn breaking(findings: &[Finding], release: &Release) -> Vec<String> {
    let broken = findings.iter().filter(|finding| finding.rule.tier.breaks());
    let told = broken.map(|finding| {
        let waiver = release.entry.waivers.iter().find(|waiver| waiver.id() == finding.id());
        let why = waiver.map(|waiver| format!("; {} ({})", waiver.reason, waiver.owner)).unwrap_or_default();
        format!("- `{}`: {} ({}){why}\n", finding.symbol, finding.message, finding.rule.id)
    });
    told.collect()
}

/// New symbols, but not what came with a new one.
fn additions(old: &Surface, new: &Surface, set: &DescriptorSet) -> Vec<String> {
    let is_new = |name: &str| old.get(name).is_none() && new.get(name).is_some();
    let about = summaries(set);
    let mut added: Vec<(&str, String)> = new
        .symbols()
        .filter(|(name, symbol)| {
            is_new(name) && symbol.kind != SymbolKind::File && !symbol.lines[0].starts_with("map entry")
        })
        .filter(|(name, _)| !parent(name).is_some_and(is_new))
        .map(|(name, symbol)| {
            let about = about.get(name).filter(|about| !about.is_empty());
            let about = about.map_or_else(String::new, |about| format!(": {about}"));
            (symbol.kind.as_str(), format!("- {} `{name}`{about}\n", symbol.kind.as_str()))
        })
        .collect();
    // RPCs and services before what they are made of.
    added.sort_by_key(|(kind, _)| !kind.starts_with(char::is_uppercase));
    added.into_iter().map(|(_, line)| line).collect()
}

/// What is promised otherwise and breaks nobody, such as a rule that lets more pass.
fn otherwise(old: &Surface, new: &Surface, findings: &[Finding]) -> Vec<String> {
    let told: BTreeSet<&str> = findings.iter().map(|finding| finding.symbol.as_str()).collect();
    let mut lines = Vec::new();
    for (name, symbol) in new.symbols().filter(|(name, _)| old.get(name).is_some() && !told.contains(name)) {
        let (was, is) = difference(old.lines(name), &symbol.lines);
        lines.extend(was.iter().map(|line| format!("- `{name}`: no longer `{line}`\n")));
        lines.extend(is.iter().map(|line| format!("- `{name}`: now `{line}`\n")));
    }
    lines
}

/// The first paragraph of each comment, by full name.
fn summaries(set: &DescriptorSet) -> BTreeMap<String, String> {
    let comments = Comments::of(set);
    let summary = |(name, symbol): (String, crate::meaning::life::Symbol)| {
        let comment = comments.on(&symbol.file, &symbol.path)?;
        Some((name, comment.split("\n\n").next()?.replace('\n', " ")))
    };
    crate::meaning::life::symbols(set).into_iter().filter_map(summary).collect()
}
