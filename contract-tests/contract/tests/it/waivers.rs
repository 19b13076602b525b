//! Exceptions: what they let through, and what they do not.

use std::{fs, sync::LazyLock};

use contract::{DescriptorSet, Judgement, Surface, Waiver, baseline, report, waivers};

use crate::repository::{ADDED, NARROWED, NARROWED_ID, RENAMED, Repository, edited};

static OURS: LazyLock<Vec<u8>> = LazyLock::new(|| edited(&[]));
static NARROWED_OURS: LazyLock<Vec<u8>> = LazyLock::new(|| edited(&[NARROWED]));
static RENAMED_OURS: LazyLock<Vec<u8>> = LazyLock::new(|| edited(&[RENAMED]));

/// A repository with a change that breaks callers, and a waiver for it.
fn waived() -> (Repository, &'static [u8]) {
    let (repository, new) = (Repository::released(&OURS), NARROWED_OURS.as_slice());
    repository.save(new);
    repository.contract(&["check", "new.binpb"], 1);
    waive(&repository, NARROWED_ID, "1.6.0", 0);
    (repository, new)
}

#[track_caller]
fn waive(repository: &Repository, id: &str, expires: &str, code: i32) -> String {
    let arguments = ["waive", id, "--reason", "no token is longer", "--owner", "voucher", "--expires", expires];
    repository.contract(&[&arguments[..], &["--new", "new.binpb"]].concat(), code)
}

#[track_caller]
fn complains(judgement: &Judgement, of: &str) {
    assert!(!judgement.passes());
    assert!(judgement.complaints.iter().any(|complaint| complaint.contains(of)), "{:?}", judgement.complaints);
}

fn rewrite(repository: &Repository, from: &str, to: &str) {
    let path = repository.project().waivers();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// A74: what was looked at passes, by name; the report goes on telling of it.
#[test]
fn a_waived_finding_passes_and_is_told_as_waived() {
    let (repository, new) = waived();
    let judgement = repository.judge(new);
    assert!(judgement.passes(), "{}", report::judgement(&judgement, report::Format::Text));
    assert_eq!(judgement.counts(), (0, 1, 0));
    let text = repository.contract(&["check", "new.binpb"], 0);
    assert!(
        text.contains("(waived, voucher)\n")
            && text.ends_with("breaking: 0, waived: 1, notices: 0; least version: 2.0.0\n"),
        "{text}"
    );
}

#[test]
fn a_waiver_covers_the_change_that_was_looked_at_and_no_other() {
    let (repository, _) = waived();
    let further = edited(&[
        NARROWED,
        crate::edits::replace(
            crate::repository::VOUCHER,
            "message ListVouchersRequest",
            "max_len = 100",
            "max_len = 50",
        ),
    ]);
    let judgement = repository.judge(&further);
    complains(&judgement, "covers nothing");
    assert_eq!(judgement.counts(), (1, 0, 0));
    // Waived again, the new form takes the place of the old.
    repository.save(&further);
    waive(&repository, NARROWED_ID, "1.6.0", 0);
    assert!(repository.judge(&further).passes());
}

#[test]
fn a_waiver_that_covers_nothing_fails() {
    let (repository, _) = waived();
    complains(&repository.judge(&OURS), "covers nothing");
    repository.save(&OURS);
    repository.contract(&["check", "new.binpb"], 1);
}

#[test]
fn an_expired_waiver_fails() {
    let (repository, new) = waived();
    rewrite(&repository, "expires = \"1.6.0\"", "expires = \"1.4.0\"");
    complains(&repository.judge(new), "expired with 1.4.0");
    // Nor can one be made that would have expired.
    let text = waive(&repository, NARROWED_ID, "1.4.0", 2);
    assert!(text.contains("1.4.0 is not after 1.4.0"), "{text}");
}

#[test]
fn what_makes_programs_misread_each_other_is_never_waived() {
    let repository = Repository::released(&OURS);
    repository.save(&RENAMED_OURS);
    let id = "holdfast.voucher.v1.Voucher.owner::FIELD_SAME_NAME";
    let text = waive(&repository, id, "1.6.0", 2);
    assert!(text.contains("cannot be waived"), "{text}");
    // Written by hand, fingerprints and all, it helps no more.
    let judgement = repository.judge(&RENAMED_OURS);
    let judged = judgement.findings.iter().find(|judged| judged.finding.id() == id).unwrap();
    let surface = |bytes: &[u8]| Surface::of(&DescriptorSet::decode(bytes, baseline::OURS).unwrap());
    let (old, new) = (surface(&OURS), surface(&RENAMED_OURS));
    let waiver = Waiver::of(&judged.finding, &old, &new, "why not", "voucher", "1.6.0".parse().unwrap());
    assert!(waiver.covers(&judged.finding, &old, &new));
    waivers::write(&repository.project().waivers(), &[waiver]).unwrap();
    let judgement = repository.judge(&RENAMED_OURS);
    complains(&judgement, "cannot be waived");
    assert_eq!(judgement.counts(), (2, 0, 0));
}

#[test]
fn ill_formed_waivers_are_no_waivers() {
    for (from, to) in [
        ("v1.ListVouchersRequest.page_token", "v1.*"),
        ("holdfast.voucher.v1.ListVouchersRequest.page_token", ""),
        ("SEM_INPUT_RULE_NARROWED", "SEM_*"),
        ("SEM_INPUT_RULE_NARROWED", "SEM_INPUT"),
        ("no token is longer", " "),
        ("owner = \"voucher\"", "owner = \"\""),
        ("owner = \"voucher\"\n", ""),
        ("old = \"", "old = \"*"),
        ("1.6.0", "next"),
        ("[[waiver]]", "[[waiver]]\nevery = true"),
        ("[[waiver]]", "[[waivers]]"),
        ("[[waiver]]", "[[waiver"),
    ] {
        let (repository, _) = waived();
        rewrite(&repository, from, to);
        let text = repository.contract(&["check", "new.binpb"], 2);
        assert!(text.contains("waiver"), "{from} to {to}: {text}");
    }
    let (repository, _) = waived();
    fs::remove_file(repository.project().waivers()).unwrap();
    repository.contract(&["check", "new.binpb"], 2);
}

#[test]
fn what_is_not_found_cannot_be_waived() {
    let repository = Repository::released(&OURS);
    repository.save(&edited(&[ADDED]));
    let text = waive(&repository, NARROWED_ID, "1.6.0", 2);
    assert!(text.contains("nothing is found"), "{text}");
}
