//! The contracts as they were released, kept as bytes in the repository.
//!
//! Beside the descriptor set lies its SHA-256, as `sha256sum` writes it: half a set could still be decoded, and what it
//! lacks would seem to be new. Moving the baseline is a decision of its own: [`accept`] today's contracts in a commit that
//! changes nothing else.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use prost_reflect::MethodDescriptor;

use crate::{DescriptorSet, Finding, SetError, compare};

/// Files that are ours to keep; what they import belongs to others.
pub const OURS: &str = "holdfast/";

const ACCESS: &str = "holdfast.options.v1.access";

/// Why today's contracts cannot be compared with the released ones.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// A file of the baseline cannot be read.
    #[error("the baseline {} cannot be read", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        #[source]
        #[expect(missing_docs, reason = "the cause")]
        source: io::Error,
    },
    /// The bytes are not those that were released.
    #[error("the baseline does not have the SHA-256 that {} tells", path.display())]
    Altered {
        /// The file with the sum.
        path: PathBuf,
    },
    /// It can be read but not compared with.
    #[error("the baseline cannot be compared with")]
    Unusable(#[source] SetError),
    /// No RPC in it: nothing that callers could rely on.
    #[error("the baseline holds no RPC")]
    Hollow,
    /// Its RPCs lack the options that say who may call: a compiler dropped them, and what they promise with them.
    #[error("the baseline was stripped of its options: {rpc} has no access rule")]
    Stripped {
        /// The first such RPC.
        rpc: String,
    },
    /// Today's contracts cannot be compared.
    #[error("the contracts of this build cannot be compared")]
    Current(#[source] SetError),
}

/// Where the repository keeps the baseline.
#[must_use]
pub fn default_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../baseline/contracts.binpb")
}

/// Compares the contracts of this build with the baseline.
///
/// # Errors
///
/// The baseline is missing, altered, hollow or stripped of its options.
pub fn check(path: &Path) -> Result<Vec<Finding>, BaselineError> {
    let released = read(path)?;
    let current = DescriptorSet::decode(proto::contract::FILE_DESCRIPTOR_SET, OURS).map_err(BaselineError::Current)?;
    Ok(compare(&released, &current))
}

/// Reads the baseline, if it is worth comparing with.
///
/// # Errors
///
/// As [`check`].
pub fn read(path: &Path) -> Result<DescriptorSet, BaselineError> {
    let bytes = read_file(path)?;
    let sum_path = sum_path(path);
    let sum = String::from_utf8_lossy(&read_file(&sum_path)?).into_owned();
    if sum.split_whitespace().next() != Some(sha256(&bytes).as_str()) {
        return Err(BaselineError::Altered { path: sum_path });
    }
    let set = DescriptorSet::decode(&bytes, OURS).map_err(BaselineError::Unusable)?;
    let rpcs: Vec<_> = set.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    if rpcs.is_empty() {
        return Err(BaselineError::Hollow);
    }
    let has_access =
        |rpc: &MethodDescriptor| rpc.options().extensions().any(|(option, _)| option.full_name() == ACCESS);
    match rpcs.iter().find(|rpc| !has_access(rpc)) {
        Some(rpc) => Err(BaselineError::Stripped { rpc: rpc.full_name().to_owned() }),
        None => Ok(set),
    }
}

/// Makes a set the released one: writes it and its SHA-256.
///
/// # Errors
///
/// A file cannot be written.
pub fn accept(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    fs::write(path, bytes)?;
    fs::write(sum_path(path), format!("{}  {name}\n", sha256(bytes)))
}

fn read_file(path: &Path) -> Result<Vec<u8>, BaselineError> {
    fs::read(path).map_err(|source| BaselineError::Missing { path: path.to_owned(), source })
}

fn sum_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    PathBuf::from(name)
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
