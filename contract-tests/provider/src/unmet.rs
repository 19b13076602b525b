//! What is declared and met by no call of ours: listed, each with the reason why, so that neither a gap nor an excuse that holds no longer goes
//! unseen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::failure::Failure;

/// What of the contracts no call meets, and why.
///
/// A paragraph begins with the reason, in lines with `#`; below is what it excuses, a line each: an RPC and a reason that it declares, or an event,
/// then, where there is one, a test that meets it. Behind `?` is what chance decides.
#[derive(Clone, Debug, Default)]
pub struct Unmet {
    entries: BTreeMap<String, Entry>,
    /// Where the tests are.
    root: PathBuf,
}

#[derive(Clone, Debug)]
struct Entry {
    may_be_met: bool,
    test: Option<String>,
}

/// The list cannot be understood.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "fields: which line")]
pub enum UnmetError {
    /// It cannot be read.
    #[error("the list cannot be read")]
    File(#[from] io::Error),
    /// A line is no entry.
    #[error("{line:?} is no entry")]
    Malformed { line: String },
    /// Nothing says why.
    #[error("{line:?} has no reason above it")]
    Unexplained { line: String },
    /// A line is there twice.
    #[error("{line:?} is listed already")]
    Repeated { line: String },
}

impl Unmet {
    /// Reads a list; the paths of its tests are below `root`.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub fn read(list: &Path, root: &Path) -> Result<Self, UnmetError> {
        Self::parse(&fs::read_to_string(list)?, root)
    }

    fn parse(text: &str, root: &Path) -> Result<Self, UnmetError> {
        let mut unmet = Self { root: root.to_owned(), ..Self::default() };
        let mut is_explained = false;
        for line in text.lines() {
            if line.is_empty() {
                is_explained = false;
            } else if line.starts_with('#') {
                is_explained = true;
            } else if is_explained {
                let (name, entry) = entry(line).ok_or_else(|| UnmetError::Malformed { line: line.to_owned() })?;
                if unmet.entries.insert(name, entry).is_some() {
                    return Err(UnmetError::Repeated { line: line.to_owned() });
                }
            } else {
                return Err(UnmetError::Unexplained { line: line.to_owned() });
            }
        }
        Ok(unmet)
    }

    /// Holds the list against what was declared, and whether it was met.
    pub(crate) fn check(&self, declared: &BTreeMap<String, bool>) -> Result<(), Failure> {
        let found: Vec<String> = [self.unexcused(declared), self.idle(declared), self.untested()].concat();
        if found.is_empty() {
            return Ok(());
        }
        Err(Failure::of("a call meets what is declared, or unmet.txt says why none does", found.join("\n            ")))
    }

    fn unexcused(&self, declared: &BTreeMap<String, bool>) -> Vec<String> {
        let unexcused = declared.iter().filter(|(name, met)| !**met && !self.entries.contains_key(*name));
        unexcused.map(|(name, _)| format!("{name} is never met, and not listed")).collect()
    }

    fn idle(&self, declared: &BTreeMap<String, bool>) -> Vec<String> {
        let idle = |(name, entry): (&String, &Entry)| match declared.get(name) {
            None => Some(format!("{name} is listed, and no contract declares it")),
            Some(true) if !entry.may_be_met => Some(format!("{name} is listed, and met after all")),
            Some(_) => None,
        };
        self.entries.iter().filter_map(idle).collect()
    }

    /// Tests that do not speak of what they are said to meet.
    fn untested(&self) -> Vec<String> {
        let tests = self.entries.iter().filter_map(|(name, entry)| Some((name, entry.test.as_ref()?)));
        let silent = tests.filter(|(name, test)| {
            let what = name.rsplit([' ', '.']).next().unwrap_or_default();
            !fs::read_to_string(self.root.join(test)).is_ok_and(|text| text.contains(what))
        });
        silent.map(|(name, test)| format!("{name} is listed as met in {test}, which does not name it")).collect()
    }
}

fn entry(line: &str) -> Option<(String, Entry)> {
    let (may_be_met, rest) = line.strip_prefix("? ").map_or((false, line), |rest| (true, rest));
    let (name, test) = match rest.split(' ').collect::<Vec<_>>()[..] {
        [rpc, reason] if rpc.contains('/') => (format!("{rpc} {reason}"), None),
        [rpc, reason, test] if rpc.contains('/') => (format!("{rpc} {reason}"), Some(test)),
        [event] => (event.to_owned(), None),
        [event, test] => (event.to_owned(), Some(test)),
        _ => return None,
    };
    Some((name, Entry { may_be_met, test: test.map(str::to_owned) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RPC: &str = "a.v1.A/Do";

    fn list(text: &str) -> Result<Unmet, UnmetError> {
        Unmet::parse(text, Path::new(env!("CARGO_MANIFEST_DIR")))
    }

    #[track_caller]
    fn check(text: &str, declared: &[(&str, bool)], expected: &str) {
        let declared = declared.iter().map(|(name, met)| ((*name).to_owned(), *met)).collect();
        let found = list(text).unwrap().check(&declared).map_err(|failure| failure.server).err().unwrap_or_default();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_met_is_listed_and_what_is_listed_is_not_met() {
        let text = "# Nobody is down.\na.v1.A/Do AWAY src/unmet.rs\n? a.v1.A/Do LATE\n\n# It is late.\na.v1.Done\n";
        let (away, late) = (format!("{RPC} AWAY"), format!("{RPC} LATE"));
        check(text, &[(&away, false), (&late, false), ("a.v1.Done", false)], "");
        check(text, &[(&away, false), (&late, true), ("a.v1.Done", false), ("a.v1.Other", true)], "");
        check(
            text,
            &[(&away, true), (&late, true), ("a.v1.Done", false)],
            "a.v1.A/Do AWAY is listed, and met after all",
        );
        check(
            text,
            &[(&away, false), (&late, true), ("a.v1.Done", false), ("a.v1.Other", false)],
            "a.v1.Other is never met, and not listed",
        );
        check(text, &[(&away, false), (&late, true)], "a.v1.Done is listed, and no contract declares it");
        check(
            "# Why.\na.v1.Done Cargo.toml",
            &[("a.v1.Done", false)],
            "a.v1.Done is listed as met in Cargo.toml, which does not name it",
        );
    }

    #[test]
    fn an_entry_has_a_reason_and_is_there_once() {
        assert!(matches!(list("a.v1.Done\n"), Err(UnmetError::Unexplained { .. })));
        assert!(matches!(list("# Why.\n\na.v1.Done\n"), Err(UnmetError::Unexplained { .. })));
        assert!(matches!(list("# Why.\na.v1.Done\na.v1.Done\n"), Err(UnmetError::Repeated { .. })));
        assert!(matches!(list("# Why.\na.v1.A/Do AWAY a b\n"), Err(UnmetError::Malformed { .. })));
    }
}
