//! The committed baseline, and baselines that must not be believed.

use std::{fs, path::PathBuf};

use contract::{
    SetError,
    baseline::{self, BaselineError},
    report,
};
use prost::Message;
use prost_types::FileDescriptorSet;
use proto::contract::FILE_DESCRIPTOR_SET;
use tempfile::TempDir;

/// A74: a change that would break somebody fails plain `cargo test`.
#[test]
fn todays_contracts_break_nobody() {
    let findings = baseline::check(&baseline::default_path()).unwrap();
    assert_eq!(report::breaking(&findings), 0, "\n{}", report::write(&findings, report::Format::Text));
}

fn baseline(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("contracts.binpb");
    baseline::accept(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn what_was_accepted_is_compared_with() {
    let (_folder, path) = baseline(FILE_DESCRIPTOR_SET);
    assert_eq!(baseline::check(&path).unwrap(), []);
}

#[test]
fn a_missing_baseline_or_sum_fails() {
    let (_folder, path) = baseline(FILE_DESCRIPTOR_SET);
    fs::remove_file(path.with_extension("binpb.sha256")).unwrap();
    assert!(matches!(baseline::check(&path), Err(BaselineError::Missing { .. })));
    let nowhere = path.with_file_name("nowhere.binpb");
    assert!(matches!(baseline::check(&nowhere), Err(BaselineError::Missing { .. })));
}

#[test]
fn a_truncated_baseline_fails() {
    let (_folder, path) = baseline(FILE_DESCRIPTOR_SET);
    let first = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let first = FileDescriptorSet { file: first.file[..1].to_vec() }.encode_to_vec();
    fs::write(&path, first).unwrap();
    assert!(matches!(baseline::check(&path), Err(BaselineError::Altered { .. })));
}

#[test]
fn an_empty_or_corrupt_baseline_fails_even_with_a_right_sum() {
    let (_folder, path) = baseline(b"");
    assert!(matches!(baseline::check(&path), Err(BaselineError::Unusable(SetError::Empty))));
    let (_folder, path) = baseline(b"not a descriptor set");
    assert!(matches!(baseline::check(&path), Err(BaselineError::Unusable(SetError::Malformed(_)))));
}

#[test]
fn a_baseline_without_rpcs_fails() {
    let mut set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    set.file.iter_mut().for_each(|file| file.service.clear());
    let (_folder, path) = baseline(&set.encode_to_vec());
    assert!(matches!(baseline::check(&path), Err(BaselineError::Hollow)));
}

#[test]
fn a_baseline_stripped_of_its_options_fails() {
    // Decoded and encoded again, a set loses the extensions that the program does not know.
    let stripped = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().encode_to_vec();
    let (_folder, path) = baseline(&stripped);
    assert!(matches!(baseline::check(&path), Err(BaselineError::Stripped { .. })));
}

#[test]
fn an_edition_is_refused() {
    let mut set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let file = set.file.iter_mut().find(|file| file.name().starts_with("holdfast/")).unwrap();
    file.syntax = Some("editions".to_owned());
    let (_folder, path) = baseline(&set.encode_to_vec());
    assert!(matches!(baseline::check(&path), Err(BaselineError::Unusable(SetError::Edition { .. }))));
}
