//! The drift gate: compares two sets of contracts and says what would break whom.
//!
//! [`compare`] takes the released and the new descriptor set, made by any compiler, and answers with [`Finding`]s. The
//! structural rules are those of buf's categories FILE and WIRE_JSON, under buf's names; the tests of this crate edit
//! our own contracts and require buf to find the same at the same places. The rules that begin with `SEM_` are ours: they
//! read what the options say, which buf does not. [`RULES`] lists all.
//!
//! [`Baseline`] holds the contracts as they were released, and [`judge`] compares today's with every release that is still
//! supported, and with what its [`consumers`] were recorded to send and read. Exceptions are [`Waiver`]s, exact and for one release. [`release`] moves the baseline, [`guard`] watches that
//! nothing else does, [`changelog`] and [`reference`](mod@reference) write what people read.
//!
//! [`clients`] generates what other languages call with, [`service_config`] says how their calls behave.
//!
//! Editions are refused. Of `buf.validate` the rules of fields are compared, not those of messages and oneofs, which our
//! contracts do not use. Sets need their imports and, for places, source information.

pub mod baseline;
pub mod changelog;
pub mod clients;
mod comments;
pub mod consumers;
mod digest;
mod explain;
mod finding;
mod gate;
mod git;
pub mod guard;
pub mod lint;
mod meaning;
mod project;
pub mod reference;
pub mod release;
pub mod report;
mod rules;
mod sample;
pub mod service_config;
mod set;
pub mod sources;
mod structure;
mod surface;
pub mod vectors;
mod version;
pub mod waivers;

pub use baseline::{Baseline, BaselineError, Entry, Release};
pub use consumers::{Consumer, ConsumersError};
pub use explain::{Guide, explain};
pub use finding::{Finding, Span};
pub use gate::{DEPRECATED_FOR, Judged, Judgement, WaiveError, judge, waiver};
pub use git::{Git, GitError};
pub use project::Project;
pub use release::ReleaseError;
pub use rules::{RULES, Rule, Tier};
pub use set::{DescriptorSet, SetError};
pub use surface::{Surface, Symbol, SymbolKind, type_name};
pub use version::{Step, Version, VersionError};
pub use waivers::{Waiver, WaiversError};

use finding::At;

/// What changed from `old` to `new` against the rules, sorted by file and place.
#[must_use]
pub fn compare(old: &DescriptorSet, new: &DescriptorSet) -> Vec<Finding> {
    let mut diff = Diff { old, new, findings: Vec::new() };
    structure::compare(&mut diff);
    meaning::compare(&mut diff);
    let mut findings = diff.findings;
    findings.sort_by(|a, b| {
        (&a.file, a.span, a.rule.id, &a.symbol, &a.message).cmp(&(&b.file, b.span, b.rule.id, &b.symbol, &b.message))
    });
    findings
}

/// Two sets and what has been found so far.
struct Diff<'a> {
    old: &'a DescriptorSet,
    new: &'a DescriptorSet,
    findings: Vec<Finding>,
}

impl Diff<'_> {
    fn add(&mut self, rule: &'static Rule, at: At, symbol: &str, message: impl Into<String>) {
        let (symbol, message) = (symbol.to_owned(), message.into());
        self.findings.push(Finding { rule, file: at.file, span: at.span, symbol, message });
    }
}
