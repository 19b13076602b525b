//! Golden vectors: bytes of every event, request and answer as they were released, and the JSON that they are.
//!
//! `<message>/<case>.hex` and `.json`, made from the contracts of the last release by [`release`](crate::release). Whoever reads the
//! bytes, in whatever language and at whatever version, must come to this JSON. Which bytes others write for it, protobuf does not
//! promise.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde_json::Value;

use crate::{DescriptorSet, meaning::events, sample::samples};

/// Bytes to a line of a `.hex` file.
const LINE: usize = 40;

/// One message of the vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector {
    /// The message's full name.
    pub message: String,
    /// `full`, or the member that a oneof has instead of its first.
    pub case: String,
    /// As it is sent.
    pub bytes: Vec<u8>,
    /// Canonical JSON.
    pub json: Value,
}

/// Why vectors cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "fields: which file, the cause")]
pub enum VectorsError {
    /// A file cannot be read.
    #[error("the vectors cannot be read")]
    File(#[from] io::Error),
    /// It is not what its name says.
    #[error("{file} holds no {expected}")]
    Malformed { file: String, expected: &'static str },
}

/// A vector of each case of every event, request and answer, sorted.
#[must_use]
pub fn of(set: &DescriptorSet) -> Vec<Vector> {
    let mut messages: BTreeMap<String, MessageDescriptor> = BTreeMap::new();
    let rpcs = set.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let published = set.messages().filter(|message| events::option(message).is_some());
    for message in rpcs.flat_map(|rpc| [rpc.input(), rpc.output()]).chain(published) {
        messages.insert(message.full_name().to_owned(), message);
    }
    let vectors = messages.into_iter().flat_map(|(message, descriptor)| {
        samples(&descriptor).into_iter().map(move |(case, sample)| Vector {
            message: message.clone(),
            case,
            bytes: sample.encode_to_vec(),
            json: json(&sample),
        })
    });
    vectors.collect()
}

/// Canonical JSON.
///
/// # Panics
///
/// Never: every message of ours is JSON.
#[must_use]
pub fn json(message: &DynamicMessage) -> Value {
    serde_json::to_value(message).expect("a message is JSON")
}

/// Writes the vectors of a set, and takes out others.
///
/// # Errors
///
/// The folder cannot be written.
pub fn write(folder: &Path, set: &DescriptorSet) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    for (name, text) in files(set) {
        let path = folder.join(name);
        fs::create_dir_all(path.with_file_name(""))?;
        fs::write(path, text)?;
    }
    Ok(())
}

/// The files that are not what the set says, too many or too few included.
///
/// # Errors
///
/// The folder cannot be read.
pub fn stale(folder: &Path, set: &DescriptorSet) -> io::Result<Vec<String>> {
    let files = files(set);
    let mut names = names(folder)?;
    names.extend(files.keys().cloned());
    let is_stale = |name: &String| fs::read_to_string(folder.join(name)).ok().as_ref() != files.get(name);
    Ok(names.into_iter().filter(is_stale).collect())
}

/// Reads all of them.
///
/// # Errors
///
/// A file cannot be read, or is neither hexadecimal nor JSON.
pub fn read(folder: &Path) -> Result<Vec<Vector>, VectorsError> {
    let mut vectors = Vec::new();
    for name in names(folder)? {
        let Some((message, case)) = name.strip_suffix(".hex").and_then(|name| name.split_once('/')) else { continue };
        let malformed = |expected| VectorsError::Malformed { file: name.clone(), expected };
        let hex = fs::read_to_string(folder.join(&name))?;
        let bytes = unhex(&hex).ok_or_else(|| malformed("hexadecimal digits"))?;
        let json = fs::read_to_string(folder.join(format!("{message}/{case}.json")))?;
        let json = serde_json::from_str(&json).map_err(|_| malformed("JSON beside it"))?;
        vectors.push(Vector { message: message.to_owned(), case: case.to_owned(), bytes, json });
    }
    Ok(vectors)
}

/// By their paths in the folder.
fn files(set: &DescriptorSet) -> BTreeMap<String, String> {
    let files = of(set).into_iter().flat_map(|vector| {
        let name = format!("{}/{}", vector.message, vector.case);
        [(format!("{name}.hex"), hex(&vector.bytes)), (format!("{name}.json"), format!("{:#}\n", vector.json))]
    });
    files.collect()
}

fn names(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for message in fs::read_dir(folder)? {
        let message = message?;
        let within = message.file_name().to_string_lossy().into_owned();
        for file in fs::read_dir(message.path())? {
            names.insert(format!("{within}/{}", file?.file_name().to_string_lossy()));
        }
    }
    Ok(names)
}

fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(LINE).map(line).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    digits.len().is_multiple_of(2).then(|| pairs.collect())?
}
