//! Exceptions: a finding that was looked at and is let through, once, by name.
//!
//! A waiver names one symbol and one rule and what was promised of the symbol before and after, so it covers the change that
//! was looked at and no later one. One that covers nothing, or that no release shipped in time, fails the gate: exceptions
//! do not pile up. A release keeps those it ships.

use std::{fs, io, path::Path};

use serde::Deserialize;

use crate::{Finding, RULES, Rule, Surface, Tier, Version, rules};

/// One exception.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// Full name of what changed.
    pub symbol: String,
    /// The rule that it breaks.
    pub rule: String,
    /// Fingerprint of what was promised of the symbol.
    pub old: String,
    /// Fingerprint of what is promised now.
    pub new: String,
    /// Why nobody is hurt, or why it must be.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// The last release that may ship it.
    pub expires: Version,
}

/// Why exceptions cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the cause")]
pub enum WaiversError {
    /// The file cannot be read or written.
    #[error("the waivers cannot be read or written")]
    File(#[source] io::Error),
    /// It is no list of waivers.
    #[error("the waivers cannot be understood")]
    Malformed(#[source] toml::de::Error),
    /// An entry is not exact or not complete.
    #[error("the waiver of {symbol}::{rule} {fault}")]
    IllFormed { symbol: String, rule: String, fault: &'static str },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    waiver: Vec<Waiver>,
}

const HEADER: &str = "\
# Changes that break somebody and are made all the same. Written by `contract waive`, taken out by the release that ships them;
# docs/changing-a-contract.md tells which findings can be waived.
";

/// Reads the exceptions of the next release.
///
/// # Errors
///
/// The file is missing, is no list of waivers, or an entry is not exact.
pub fn read(path: &Path) -> Result<Vec<Waiver>, WaiversError> {
    let text = fs::read_to_string(path).map_err(WaiversError::File)?;
    let file: File = toml::from_str(&text).map_err(WaiversError::Malformed)?;
    for waiver in &file.waiver {
        if let Some(fault) = fault(waiver) {
            let (symbol, rule) = (waiver.symbol.clone(), waiver.rule.clone());
            return Err(WaiversError::IllFormed { symbol, rule, fault });
        }
    }
    Ok(file.waiver)
}

/// Writes the exceptions; none leaves what they are for.
///
/// # Errors
///
/// The file cannot be written.
pub fn write(path: &Path, waivers: &[Waiver]) -> Result<(), WaiversError> {
    let entries: String = waivers.iter().map(|waiver| toml("waiver", waiver)).collect();
    fs::write(path, format!("{HEADER}{entries}")).map_err(WaiversError::File)
}

impl Waiver {
    /// For a finding between two surfaces.
    #[must_use]
    pub fn of(finding: &Finding, old: &Surface, new: &Surface, reason: &str, owner: &str, expires: Version) -> Self {
        Self {
            symbol: finding.symbol.clone(),
            rule: finding.rule.id.to_owned(),
            old: old.fingerprint(&finding.symbol),
            new: new.fingerprint(&finding.symbol),
            reason: reason.to_owned(),
            owner: owner.to_owned(),
            expires,
        }
    }

    /// What identifies the finding it is for.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}::{}", self.symbol, self.rule)
    }

    /// It is for this finding, and the symbol has changed as it had when the waiver was written.
    #[must_use]
    pub fn covers(&self, finding: &Finding, old: &Surface, new: &Surface) -> bool {
        self.id() == finding.id()
            && self.old == old.fingerprint(&self.symbol)
            && self.new == new.fingerprint(&self.symbol)
    }
}

/// Why no waiver can cover a finding, if none can.
#[must_use]
pub fn refusal(finding: &Finding) -> Option<&'static str> {
    never(finding.rule).filter(|_| !finding.rule.tier.breaks() || !is_unstable(&finding.symbol))
}

/// Why no waiver can cover a rule in a stable package, if none can.
#[must_use]
pub fn never(rule: &Rule) -> Option<&'static str> {
    match rule.tier {
        Tier::Notice => Some("it stops nothing"),
        Tier::WireJson => {
            Some("programs already built would misread each other; only a package v1alpha or v1beta may do that")
        }
        _ => (rule == &rules::SEM_REMOVAL_WITHOUT_DEPRECATION).then_some("it must be deprecated first"),
    }
}

/// In a package like `v1alpha` or `v2beta1`, or a file of one.
pub(crate) fn is_unstable(symbol: &str) -> bool {
    symbol.split(['.', '/']).any(|part| {
        let behind = part.strip_prefix('v').map(|rest| rest.trim_start_matches(|it: char| it.is_ascii_digit()));
        let rest = behind.and_then(|rest| rest.strip_prefix("alpha").or(rest.strip_prefix("beta")));
        rest.is_some_and(|rest| rest.chars().all(|it| it.is_ascii_digit()))
    })
}

pub(crate) fn toml(table: &str, waiver: &Waiver) -> String {
    let Waiver { symbol, rule, old, new, reason, owner, expires } = waiver;
    format!(
        "\n[[{table}]]\nsymbol = {}\nrule = {}\nold = {}\nnew = {}\nreason = {}\nowner = {}\nexpires = \"{expires}\"\n",
        quoted(symbol),
        quoted(rule),
        quoted(old),
        quoted(new),
        quoted(reason),
        quoted(owner),
    )
}

/// A basic string of TOML: JSON's escapes are a part of TOML's.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON").replace('\u{7f}', "\\u007f")
}

/// What is wrong with an entry by itself.
fn fault(waiver: &Waiver) -> Option<&'static str> {
    let is_name = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '/');
    let is_fingerprint =
        |text: &str| text == "absent" || text.len() == 16 && text.chars().all(|it| it.is_ascii_hexdigit());
    if waiver.symbol.is_empty() || !waiver.symbol.chars().all(is_name) {
        return Some("does not name one symbol: there are no wildcards");
    }
    if !RULES.iter().any(|rule| rule.id == waiver.rule) {
        return Some("does not name a rule");
    }
    if !is_fingerprint(&waiver.old) || !is_fingerprint(&waiver.new) {
        return Some("has no fingerprints; `contract waive` writes them");
    }
    (waiver.reason.trim().is_empty() || waiver.owner.trim().is_empty()).then_some("lacks a reason or an owner")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_alpha_and_beta_versions_are_unstable() {
        for (symbol, expected) in [
            ("holdfast.voucher.v1.Voucher.host", false),
            ("holdfast.voucher.v1alpha.Voucher.host", true),
            ("holdfast.voucher.v2beta1.Voucher", true),
            ("holdfast/voucher/v1alpha1/voucher.proto", true),
            ("holdfast.voucher.v1.Voucher.valpha_", false),
            ("holdfast.alpha.v1.Voucher", false),
        ] {
            assert_eq!(is_unstable(symbol), expected, "{symbol}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("waivers.toml");
        let waiver = Waiver {
            symbol: "a.v1.B.c".to_owned(),
            rule: "FIELD_NO_DELETE".to_owned(),
            old: "0123456789abcdef".to_owned(),
            new: "absent".to_owned(),
            reason: "\"quoted\" \\ and\nbroken\u{7f}\u{1}, for people like us: 사람".to_owned(),
            owner: "mesh".to_owned(),
            expires: "1.2.3".parse().unwrap(),
        };
        write(&path, std::slice::from_ref(&waiver)).unwrap();
        assert_eq!(read(&path).unwrap(), [waiver]);
        write(&path, &[]).unwrap();
        assert_eq!(read(&path).unwrap(), []);
    }
}
