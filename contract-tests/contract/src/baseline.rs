//! The contracts as they were released, kept as bytes in the repository.
//!
//! For each release there is its descriptor set, `1.4.0.binpb`, and a listing of what it promises, `1.4.0.txt`.
//! `manifest.toml` names them with their SHA-256, and has its own beside it, as `sha256sum` writes it: half a set could
//! still be decoded, and what it lacks would seem to be new. Whatever does not fit together is an error, for a gate that
//! compares with nothing would always be open.
//!
//! Sets keep their source information: the comments of a release are compared, too.

use std::{
    ffi::OsString,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use prost_reflect::MethodDescriptor;
use serde::Deserialize;

use crate::{
    DescriptorSet, SetError, Version, Waiver,
    digest::sha256,
    waivers::{self, quoted},
};

/// Files that are ours to keep; what they import belongs to others.
pub const OURS: &str = "holdfast/";

pub(crate) const MANIFEST: &str = "manifest.toml";

const ACCESS: &str = "holdfast.options.v1.access";

/// Why the released contracts cannot be compared with.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "fields: which file, the cause")]
pub enum BaselineError {
    /// A file of the baseline cannot be read.
    #[error("the baseline's {} cannot be read", path.display())]
    Missing { path: PathBuf, source: io::Error },
    /// The bytes are not those that were released.
    #[error("the baseline's {} does not have the SHA-256 that was written when it was released", path.display())]
    Altered { path: PathBuf },
    /// The manifest is not one.
    #[error("the baseline's {} cannot be understood", path.display())]
    Malformed { path: PathBuf, source: toml::de::Error },
    /// Versions do not rise.
    #[error("the manifest names {version} after a release that is not older")]
    Disordered { version: Version },
    /// Nothing to compare with.
    #[error("the manifest names no release, or its last one is not supported")]
    Unsupported,
    /// A file that the manifest does not name: somebody took out its release.
    #[error("the manifest does not name {}", path.display())]
    Unlisted { path: PathBuf },
    /// A released set can be read but not compared with.
    #[error("the contracts of {version} cannot be compared with")]
    Unusable { version: Version, source: SetError },
    /// No RPC in it: nothing that callers could rely on.
    #[error("the contracts of {version} hold no RPC")]
    Hollow { version: Version },
    /// Its RPCs lack the options that say who may call: a compiler dropped them, and what they promise with them.
    #[error("the contracts of {version} were stripped of their options: {rpc} has no access rule")]
    Stripped { version: Version, rpc: String },
}

/// What the manifest says of a release.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Greater than those before it.
    pub version: Version,
    /// When it was released, `YYYY-MM-DD`.
    pub date: String,
    /// The git tree of `proto/` that it was compiled from.
    pub tree: String,
    /// SHA-256 of the descriptor set.
    pub descriptors: String,
    /// SHA-256 of the listing.
    pub surface: String,
    /// Whether callers of it must still be served.
    pub supported: bool,
    /// The exceptions it shipped.
    #[serde(default)]
    pub waivers: Vec<Waiver>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    #[serde(default)]
    release: Vec<Entry>,
}

/// A release and its contracts.
#[derive(Debug)]
pub struct Release {
    /// What the manifest says of it.
    pub entry: Entry,
    /// Its contracts.
    pub set: DescriptorSet,
}

/// Every release, the oldest first; the last one is supported.
#[derive(Debug)]
pub struct Baseline {
    /// Those releases.
    pub releases: Vec<Release>,
}

impl Baseline {
    /// Reads and checks all of it.
    ///
    /// # Errors
    ///
    /// A file is missing, altered or not named; a set is unusable, hollow or stripped; nothing is supported.
    pub fn read(folder: &Path) -> Result<Self, BaselineError> {
        let entries = read_manifest(folder)?;
        for pair in entries.windows(2) {
            if pair[1].version <= pair[0].version {
                return Err(BaselineError::Disordered { version: pair[1].version });
            }
        }
        if !entries.last().is_some_and(|entry| entry.supported) {
            return Err(BaselineError::Unsupported);
        }
        all_named(folder, &entries)?;
        let releases = entries.into_iter().map(|entry| read_release(folder, entry)).collect::<Result<_, _>>()?;
        Ok(Self { releases })
    }

    /// The last release.
    ///
    /// # Panics
    ///
    /// Never: one that was read holds a release.
    #[must_use]
    pub fn newest(&self) -> &Release {
        self.releases.last().expect("a baseline holds a release")
    }

    /// The releases whose callers must still be served, the newest first.
    pub fn supported(&self) -> impl Iterator<Item = &Release> {
        self.releases.iter().rev().filter(|release| release.entry.supported)
    }

    /// What the manifest says.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.releases.iter().map(|release| release.entry.clone()).collect()
    }
}

/// The manifest's releases, if nobody altered it.
pub(crate) fn read_manifest(folder: &Path) -> Result<Vec<Entry>, BaselineError> {
    let path = folder.join(MANIFEST);
    let bytes = read_file(&path)?;
    let sum_path = sum_path(&path);
    let sum = String::from_utf8_lossy(&read_file(&sum_path)?).into_owned();
    verify(&path, &bytes, sum.split_whitespace().next().unwrap_or_default())?;
    parse_manifest(&String::from_utf8_lossy(&bytes)).map_err(|source| BaselineError::Malformed { path, source })
}

pub(crate) fn parse_manifest(text: &str) -> Result<Vec<Entry>, toml::de::Error> {
    toml::from_str::<Manifest>(text).map(|manifest| manifest.release)
}

/// Writes the manifest and its sum.
///
/// # Errors
///
/// A file cannot be written.
pub(crate) fn write_manifest(folder: &Path, entries: &[Entry]) -> io::Result<()> {
    let path = folder.join(MANIFEST);
    let mut text = "# The releases of the contracts, the oldest first. Written by `contract release` and `contract retire` only.\n"
        .to_owned();
    for entry in entries {
        write!(
            text,
            "\n[[release]]\nversion = \"{}\"\ndate = {}\ntree = {}\ndescriptors = {}\nsurface = {}\nsupported = {}\n",
            entry.version,
            quoted(&entry.date),
            quoted(&entry.tree),
            quoted(&entry.descriptors),
            quoted(&entry.surface),
            entry.supported,
        )
        .expect("writing to a String cannot fail");
        for waiver in &entry.waivers {
            text += &waivers::toml("release.waivers", waiver);
        }
    }
    fs::write(sum_path(&path), format!("{}  {MANIFEST}\n", sha256(text.as_bytes())))?;
    fs::write(path, text)
}

pub(crate) fn descriptors_path(folder: &Path, version: Version) -> PathBuf {
    folder.join(format!("{version}.binpb"))
}

pub(crate) fn surface_path(folder: &Path, version: Version) -> PathBuf {
    folder.join(format!("{version}.txt"))
}

fn read_release(folder: &Path, entry: Entry) -> Result<Release, BaselineError> {
    let version = entry.version;
    for (path, sum) in
        [(descriptors_path(folder, version), &entry.descriptors), (surface_path(folder, version), &entry.surface)]
    {
        verify(&path, &read_file(&path)?, sum)?;
    }
    let bytes = read_file(&descriptors_path(folder, version))?;
    let set = DescriptorSet::decode(&bytes, OURS).map_err(|source| BaselineError::Unusable { version, source })?;
    let rpcs: Vec<_> = set.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    if rpcs.is_empty() {
        return Err(BaselineError::Hollow { version });
    }
    let has_access =
        |rpc: &MethodDescriptor| rpc.options().extensions().any(|(option, _)| option.full_name() == ACCESS);
    match rpcs.iter().find(|rpc| !has_access(rpc)) {
        Some(rpc) => Err(BaselineError::Stripped { version, rpc: rpc.full_name().to_owned() }),
        None => Ok(Release { entry, set }),
    }
}

fn all_named(folder: &Path, entries: &[Entry]) -> Result<(), BaselineError> {
    let mut named = vec![folder.join(MANIFEST), sum_path(&folder.join(MANIFEST))];
    for entry in entries {
        named.extend([descriptors_path(folder, entry.version), surface_path(folder, entry.version)]);
    }
    let unreadable = |source| BaselineError::Missing { path: folder.to_owned(), source };
    for file in fs::read_dir(folder).map_err(unreadable)? {
        let path = file.map_err(unreadable)?.path();
        if !named.contains(&path) {
            return Err(BaselineError::Unlisted { path });
        }
    }
    Ok(())
}

fn verify(path: &Path, bytes: &[u8], sum: &str) -> Result<(), BaselineError> {
    if sha256(bytes) == sum { Ok(()) } else { Err(BaselineError::Altered { path: path.to_owned() }) }
}

pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, BaselineError> {
    fs::read(path).map_err(|source| BaselineError::Missing { path: path.to_owned(), source })
}

fn sum_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".sha256");
    PathBuf::from(name)
}
