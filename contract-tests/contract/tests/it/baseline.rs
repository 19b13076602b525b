//! The committed baseline, and baselines that must not be believed.

use std::fs;

use contract::{
    Baseline, BaselineError, DescriptorSet, SetError, Surface, baseline::OURS, changelog, consumers, judge, report,
    waivers,
};
use prost::Message;
use prost_types::FileDescriptorSet;
use proto::contract::FILE_DESCRIPTOR_SET;

use crate::repository::{Repository, expect_document, ours};

/// A74: a change that would break somebody fails plain `cargo test`.
#[test]
fn todays_contracts_break_nobody() {
    let baseline = Baseline::read(&ours().baseline()).unwrap();
    let current = DescriptorSet::decode(FILE_DESCRIPTOR_SET, OURS).unwrap();
    let (waivers, consumers) =
        (waivers::read(&ours().waivers()).unwrap(), consumers::read(&ours().consumers()).unwrap());
    let judgement = judge(&baseline, &waivers, &consumers, &current);
    assert!(judgement.passes(), "\n{}", report::judgement(&judgement, report::Format::Text));
}

#[test]
fn the_changelog_and_the_last_listing_are_what_the_baseline_says() {
    let baseline = Baseline::read(&ours().baseline()).unwrap();
    expect_document(&ours().changelog(), &changelog::write(&baseline));
    let newest = baseline.newest();
    let listing = ours().baseline().join(format!("{}.txt", newest.entry.version));
    assert_eq!(fs::read_to_string(listing).unwrap(), Surface::of(&newest.set).to_string());
}

fn error(repository: &Repository) -> BaselineError {
    Baseline::read(&repository.project().baseline()).unwrap_err()
}

#[test]
fn what_was_released_is_compared_with() {
    let repository = Repository::released(FILE_DESCRIPTOR_SET);
    let judgement = repository.judge(FILE_DESCRIPTOR_SET);
    assert!(judgement.passes() && judgement.findings.is_empty());
    repository.contract(&["check"], 0);
}

#[test]
fn a_baseline_that_lacks_a_file_fails() {
    for name in ["manifest.toml", "manifest.toml.sha256", "1.4.0.binpb", "1.4.0.txt"] {
        let repository = Repository::released(FILE_DESCRIPTOR_SET);
        fs::remove_file(repository.project().baseline().join(name)).unwrap();
        assert!(matches!(error(&repository), BaselineError::Missing { .. }), "{name}");
        repository.contract(&["check"], 2);
    }
    let nowhere = Repository::empty();
    assert!(matches!(error(&nowhere), BaselineError::Missing { .. }));
}

#[test]
fn a_baseline_that_was_altered_fails() {
    for name in ["manifest.toml", "manifest.toml.sha256", "1.4.0.binpb", "1.4.0.txt"] {
        for text in ["", "altered"] {
            let repository = Repository::released(FILE_DESCRIPTOR_SET);
            fs::write(repository.project().baseline().join(name), text).unwrap();
            assert!(matches!(error(&repository), BaselineError::Altered { .. }), "{name}");
        }
    }
}

/// Writes a manifest as its author would, sum included.
fn manifest(repository: &Repository, edit: impl Fn(&str) -> String) {
    let folder = repository.project().baseline();
    let text = edit(&fs::read_to_string(folder.join("manifest.toml")).unwrap());
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let sum: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(folder.join("manifest.toml"), text).unwrap();
    fs::write(folder.join("manifest.toml.sha256"), format!("{sum}  manifest.toml\n")).unwrap();
}

#[test]
fn a_manifest_that_names_nothing_or_forgets_a_release_fails_even_with_a_right_sum() {
    let repository = Repository::released(FILE_DESCRIPTOR_SET);
    let whole = fs::read_to_string(repository.project().baseline().join("manifest.toml")).unwrap();
    manifest(&repository, |_| String::new());
    assert!(matches!(error(&repository), BaselineError::Unsupported));
    manifest(&repository, |_| whole.replace("supported = true", "supported = false"));
    assert!(matches!(error(&repository), BaselineError::Unsupported));
    manifest(&repository, |_| whole.replace("supported", "backed"));
    assert!(matches!(error(&repository), BaselineError::Malformed { .. }));
    manifest(&repository, |_| format!("{whole}{}", whole.lines().skip(1).collect::<Vec<_>>().join("\n")));
    assert!(matches!(error(&repository), BaselineError::Disordered { .. }));
    manifest(&repository, |_| whole.clone());
    fs::write(repository.project().baseline().join("1.3.0.binpb"), FILE_DESCRIPTOR_SET).unwrap();
    assert!(matches!(error(&repository), BaselineError::Unlisted { .. }));
}

/// The error of a release that was made of these bytes.
fn error_of(bytes: &[u8]) -> BaselineError {
    let repository = Repository::released(FILE_DESCRIPTOR_SET);
    let folder = repository.project().baseline();
    let digest = |bytes: &[u8]| -> String {
        let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    fs::write(folder.join("1.4.0.binpb"), bytes).unwrap();
    manifest(&repository, |text| text.replace(&digest(FILE_DESCRIPTOR_SET), &digest(bytes)));
    error(&repository)
}

#[test]
fn a_set_that_cannot_be_compared_with_fails_even_with_a_right_sum() {
    assert!(matches!(error_of(b""), BaselineError::Unusable { source: SetError::Empty, .. }));
    assert!(matches!(error_of(b"no set"), BaselineError::Unusable { source: SetError::Malformed(_), .. }));
    let mut set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let file = set.file.iter_mut().find(|file| file.name().starts_with(OURS)).unwrap();
    file.syntax = Some("editions".to_owned());
    assert!(matches!(error_of(&set.encode_to_vec()), BaselineError::Unusable { source: SetError::Edition { .. }, .. }));
}

#[test]
fn a_set_without_rpcs_or_without_their_options_fails() {
    // Decoded and encoded again, a set loses the extensions that the program does not know.
    let mut set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    assert!(matches!(error_of(&set.encode_to_vec()), BaselineError::Stripped { .. }));
    set.file.iter_mut().for_each(|file| file.service.clear());
    assert!(matches!(error_of(&set.encode_to_vec()), BaselineError::Hollow { .. }));
}
