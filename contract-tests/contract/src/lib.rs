//! The drift gate: compares two sets of contracts and says what would break whom.
//!
//! [`compare`] takes the released and the new descriptor set, made by any compiler, and answers with [`Finding`]s. The
//! structural rules are those of buf's categories FILE and WIRE_JSON, under buf's names; the tests of this crate edit
//! our own contracts and require buf to find the same at the same places. The rules that begin with `SEM_` are ours: they
//! read what the options say, which buf does not. [`RULES`] lists all.
//!
//! [`baseline`] holds the contracts as they were released; [`baseline::check`] compares today's with them. It fails when
//! the baseline is missing, altered or empty: a gate that compares with nothing would always be open.
//!
//! It does not compile: give it descriptor sets, with imports and, for places, with source information. Editions are
//! refused. Of `buf.validate` it compares the rules of fields, not those of messages and oneofs, which our contracts do
//! not use. It knows one released set, so it cannot say for how many releases something was deprecated before it went,
//! and it grants no exceptions.

pub mod baseline;
mod finding;
mod meaning;
pub mod report;
mod rules;
mod set;
mod structure;

pub use finding::{Finding, Span};
pub use rules::{RULES, Rule, Tier};
pub use set::{DescriptorSet, SetError};

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
