//! Versions of the contracts, and by how much a release must raise one.

use std::{fmt, str::FromStr};

use serde::Deserialize;

/// `X.Y.Z`, without anything behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// What a release holds decides what it must raise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Nothing that a program could notice.
    Patch,
    /// Something was added, or is promised otherwise without breaking anybody.
    Minor,
    /// A waiver ships.
    Breaking,
}

/// The text is no `X.Y.Z`.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no version: three numbers are, as in 1.4.0")]
pub struct VersionError(String);

impl Version {
    /// The least version that may follow this one.
    ///
    /// What breaks raises the first number, but before 1.0.0 the second, as <https://semver.org> has it; an addition raises
    /// the second, there too.
    #[must_use]
    pub const fn next(self, step: Step) -> Self {
        let Self { major, minor, patch } = self;
        match step {
            Step::Patch => Self { major, minor, patch: patch + 1 },
            Step::Breaking if major > 0 => Self { major: major + 1, minor: 0, patch: 0 },
            Step::Minor | Step::Breaking => Self { major, minor: minor + 1, patch: 0 },
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let numbers: Option<Vec<u32>> = text.split('.').map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            // One spelling each: the text is a file's name.
            Some(&[major, minor, patch]) if Self { major, minor, patch }.to_string() == text => {
                Ok(Self { major, minor, patch })
            }
            _ => Err(VersionError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn what_a_release_holds_decides_the_next_version() {
        for (released, step, next) in [
            ("0.3.1", Step::Patch, "0.3.2"),
            ("0.3.1", Step::Minor, "0.4.0"),
            ("0.3.1", Step::Breaking, "0.4.0"),
            ("1.3.1", Step::Patch, "1.3.2"),
            ("1.3.1", Step::Minor, "1.4.0"),
            ("1.3.1", Step::Breaking, "2.0.0"),
        ] {
            assert_eq!(version(released).next(step), version(next), "{released} {step:?}");
        }
    }

    #[test]
    fn versions_are_ordered_by_their_numbers_and_spelt_in_one_way() {
        assert!(version("0.10.0") > version("0.9.9"));
        for text in ["", "1", "1.2", "1.2.3.4", "01.2.3", "+1.2.3", "v1.2.3", "1.2.3-rc", "1.2.*"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
