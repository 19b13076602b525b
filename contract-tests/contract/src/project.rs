//! Where a repository keeps what the gate reads and writes.

use std::path::{Path, PathBuf};

use crate::clients::Language;

/// A repository's root.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
}

impl Project {
    /// A repository with this root.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The repository that this program was built from.
    #[must_use]
    pub fn own_root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder with a descriptor set for each release.
    #[must_use]
    pub fn baseline(&self) -> PathBuf {
        self.root.join(BASELINE)
    }

    /// The exceptions that the next release ships.
    #[must_use]
    pub fn waivers(&self) -> PathBuf {
        self.root.join("contract-tests/waivers.toml")
    }

    /// The folder of what consumers send and read.
    #[must_use]
    pub fn consumers(&self) -> PathBuf {
        self.root.join("contract-tests/consumers")
    }

    /// The folder of the golden vectors.
    #[must_use]
    pub fn vectors(&self) -> PathBuf {
        self.root.join("contract-tests/vectors")
    }

    /// What changed from release to release.
    #[must_use]
    pub fn changelog(&self) -> PathBuf {
        self.root.join("docs/api-changelog.md")
    }

    /// The folder of the API reference.
    #[must_use]
    pub fn reference(&self) -> PathBuf {
        self.root.join("docs/api")
    }

    /// The folder of the sources, those of others in `vendor/` there.
    #[must_use]
    pub fn sources(&self) -> PathBuf {
        self.root.join(SOURCES)
    }

    /// The folder of what a language's client is generated with.
    #[must_use]
    pub fn client(&self, language: Language) -> PathBuf {
        self.root.join("contract-tests/clients").join(language.as_str())
    }
}

/// The baseline's folder, as git names it.
pub(crate) const BASELINE: &str = "contract-tests/baseline";
/// The folder of the sources, as git names it.
pub(crate) const SOURCES: &str = "proto";
