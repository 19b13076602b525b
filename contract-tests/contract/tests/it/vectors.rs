//! The golden vectors: what was released is read today, what is written today is read by what was released, and others read it alike.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use contract::{
    Baseline, DescriptorSet,
    baseline::OURS,
    vectors::{self, Vector},
};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor};
use proto::contract::{FILE_DESCRIPTOR_SET, reencode};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    edits::replace,
    repository::{Repository, VOUCHER, edited, ours},
};

fn committed() -> Vec<Vector> {
    vectors::read(&ours().vectors()).unwrap()
}

fn today() -> DescriptorSet {
    DescriptorSet::decode(FILE_DESCRIPTOR_SET, OURS).unwrap()
}

/// The folder changes with a release and by nothing else.
#[test]
fn vectors_are_of_the_last_release() {
    let (folder, baseline) = (ours().vectors(), Baseline::read(&ours().baseline()).unwrap());
    let set = &baseline.newest().set;
    if !folder.exists() && env::var_os("HOLDFAST_WRITE").is_some() {
        vectors::write(&folder, set).unwrap();
    }
    let stale = vectors::stale(&folder, set).unwrap();
    assert!(stale.is_empty(), "{stale:?} are not what was released");
    let messages: BTreeMap<String, usize> = committed().into_iter().fold(BTreeMap::new(), |mut all, vector| {
        *all.entry(vector.message).or_default() += 1;
        all
    });
    for rpc in set.pool().services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        assert!(messages.contains_key(rpc.input().full_name()), "{}", rpc.full_name());
        assert!(messages.contains_key(rpc.output().full_name()), "{}", rpc.full_name());
    }
}

/// What differs between bytes and their JSON, if a set reads them.
fn misread(set: &DescriptorSet, vector: &Vector) -> Option<String> {
    let name = format!("{}/{}", vector.message, vector.case);
    let Some(message) = set.pool().get_message_by_name(&vector.message) else {
        return Some(format!("{name}: there is no such message"));
    };
    match DynamicMessage::decode(message, vector.bytes.as_slice()) {
        Err(error) => Some(format!("{name}: {error}")),
        Ok(read) if vectors::json(&read) != vector.json => Some(format!("{name}: {}", vectors::json(&read))),
        Ok(_) => None,
    }
}

/// A74: what was stored or sent under the last release reads as it did.
#[test]
fn what_was_released_is_read_today() {
    let set = today();
    let wrong: Vec<String> = committed().iter().filter_map(|vector| misread(&set, vector)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What today's contracts write, read with those of every supported release: nothing that they know is read otherwise.
#[test]
fn what_is_written_today_was_readable_in_every_release() {
    let baseline = Baseline::read(&ours().baseline()).unwrap();
    let today = vectors::of(&today());
    let mut count = 0;
    for release in baseline.supported() {
        for vector in &today {
            let Some(message) = release.set.pool().get_message_by_name(&vector.message) else { continue };
            let read = DynamicMessage::decode(message.clone(), vector.bytes.as_slice()).unwrap();
            let version = release.entry.version;
            assert_eq!(vectors::json(&read), known(&vector.json, &message), "{} in {version}", vector.message);
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

/// Of the JSON of a later message, what an earlier one has.
fn known(json: &Value, message: &MessageDescriptor) -> Value {
    // Types that everybody knows are written in ways of their own, as texts.
    let Value::Object(fields) = json else { return json.clone() };
    let kept = fields.iter().filter_map(|(name, value)| {
        let field = message.fields().find(|field| field.json_name() == name)?;
        let value = match (field.kind(), value) {
            (Kind::Message(inner), Value::Array(items)) => items.iter().map(|item| known(item, &inner)).collect(),
            (Kind::Message(inner), value) if !field.is_map() => known(value, &inner),
            _ => value.clone(),
        };
        Some((name.clone(), value))
    });
    kept.collect()
}

/// Servers and clients are made of this code. Its bytes are the vectors', but for two liberties that protobuf gives and prost takes:
/// a oneof comes where its first member is declared, and numbers of a field with options are not packed.
#[test]
fn generated_code_reads_and_writes_the_same_bytes() {
    let set = today();
    let mut equal = 0;
    for vector in vectors::of(&set).iter().chain(&committed()) {
        let again =
            reencode(&vector.message, &vector.bytes).unwrap_or_else(|| panic!("no {}", vector.message)).unwrap();
        let message = set.pool().get_message_by_name(&vector.message).unwrap();
        if !is_free(&message) {
            assert_eq!(again, vector.bytes, "{}/{}", vector.message, vector.case);
            equal += 1;
        }
        assert_eq!(misread(&set, &Vector { bytes: again, ..vector.clone() }), None);
    }
    assert!(equal > 100, "{equal}");
    assert!(reencode("holdfast.voucher.v1.Nothing", &[]).is_none());
}

/// A oneof or packed numbers are in it or below; no message of ours is within itself.
fn is_free(message: &MessageDescriptor) -> bool {
    message.oneofs().any(|oneof| !oneof.is_synthetic())
        || message.fields().any(|field| field.is_packed() || field.kind().as_message().is_some_and(is_free))
}

/// What `cargo verify` has fetched.
fn tool(path: &str) -> PathBuf {
    let tools = env::var_os("HOLDFAST_TOOLS_DIR").map_or_else(|| ours().root().join(".holdfast/tools"), PathBuf::from);
    let tool = tools.join(path);
    assert!(tool.exists(), "{} is missing: run `cargo verify --only test` once", tool.display());
    tool
}

/// Python with its own protobuf, of which it is given the descriptors.
fn python(vectors: &Path) -> Output {
    let script = ours().root().join("contract-tests/python/vectors.py");
    Command::new(tool("python-client/bin/python")).arg(script).arg(descriptors()).arg(vectors).output().unwrap()
}

/// Node.js with the packages of the TypeScript client.
fn typescript(vectors: &Path) -> Output {
    let script = ours().root().join("contract-tests/typescript/vectors.mjs");
    let mut node = Command::new(tool("bin/node"));
    node.arg(script).arg(tool("protoc-gen-es")).arg(descriptors()).arg(vectors).output().unwrap()
}

fn descriptors() -> PathBuf {
    let newest = Baseline::read(&ours().baseline()).unwrap().newest().entry.version;
    ours().baseline().join(format!("{newest}.binpb"))
}

#[track_caller]
fn reads_all(read: fn(&Path) -> Output) {
    let output = read(&ours().vectors());
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert_eq!(out.trim(), format!("vectors read: {}", committed().len()));
}

#[test]
fn python_reads_the_same_bytes_as_the_same_json() {
    reads_all(python);
}

#[test]
fn typescript_reads_the_same_bytes_as_the_same_json() {
    reads_all(typescript);
    let folder = altered();
    let output = typescript(folder.path());
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && out.contains("VoucherIssued/full"), "{out}");
}

const ALTERED: &str = "holdfast.voucher.v1.VoucherIssued/full.hex";

/// Vectors, and one letter of a voucher's number is another.
fn altered() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    vectors::write(folder.path(), &Baseline::read(&ours().baseline()).unwrap().newest().set).unwrap();
    let path = folder.path().join(ALTERED);
    let text = fs::read_to_string(&path).unwrap();
    let at = text.find("566f7563686572").unwrap();
    fs::write(&path, format!("{}57{}", &text[..at], &text[at + 2..])).unwrap();
    folder
}

#[test]
fn a_vector_that_was_altered_is_noticed() {
    let folder = altered();
    let baseline = Baseline::read(&ours().baseline()).unwrap();
    assert_eq!(vectors::stale(folder.path(), &baseline.newest().set).unwrap(), [ALTERED]);
    let set = today();
    let wrong: Vec<String> =
        vectors::read(folder.path()).unwrap().iter().filter_map(|vector| misread(&set, vector)).collect();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    let output = python(folder.path());
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && out.contains("VoucherIssued/full"), "{out}");

    fs::write(folder.path().join(ALTERED), "0a2").unwrap();
    assert!(vectors::read(folder.path()).is_err());
}

/// A field that keeps its number and gets another name or type reads otherwise, whatever else was forgotten.
#[test]
fn a_retyped_or_renamed_field_is_seen_in_the_vectors() {
    for (from, to) in [("string ticket_number", "bytes ticket_number"), ("string ticket_number", "string number")] {
        let bytes = edited(&[replace(VOUCHER, "message Voucher {", from, to)]);
        let set = DescriptorSet::decode(&bytes, OURS).unwrap();
        let wrong: Vec<String> = committed().iter().filter_map(|vector| misread(&set, vector)).collect();
        assert!(wrong.iter().any(|it| it.starts_with("holdfast.voucher.v1.VoucherIssued/full")), "{to}: {wrong:?}");
    }
}

#[test]
fn a_release_writes_its_vectors() {
    let repository = Repository::released(&edited(&[]));
    let read = || vectors::read(&repository.project().vectors()).unwrap();
    let before = read();
    assert!(before.len() > 100, "{}", before.len());
    repository.release(&edited(&[crate::repository::ADDED]), "1.5.0").unwrap();
    let voucher = |vectors: Vec<Vector>| {
        vectors.into_iter().find(|vector| vector.message == "holdfast.voucher.v1.GetVoucherResponse").unwrap().json
    };
    assert!(voucher(before)["voucher"]["deskNote"].is_null());
    assert!(voucher(read())["voucher"]["deskNote"].is_string());
}
