//! Releasing: what is refused, what is written, and what is compared with afterwards.

use std::{fs, path::Path, sync::LazyLock};

use contract::{Baseline, ReleaseError, release, waivers};

use crate::{
    edits::{Edit, replace},
    repository::{ADDED, NARROWED, NARROWED_ID, REFUSED, RENAMED, Repository, VOUCHER, cut, edited, expect_document},
};

static OURS: LazyLock<Vec<u8>> = LazyLock::new(|| edited(&[]));

const DEPRECATED: Edit = replace(
    VOUCHER,
    "message Voucher {",
    "string listing_display_name = 6 [",
    "string listing_display_name = 6 [deprecated = true, ",
);
const REMOVED: Edit = replace(
    VOUCHER,
    "message Voucher {",
    "  // The listing's title when it was reserved.\n  string listing_display_name = 6 [(google.api.field_behavior) = OUTPUT_ONLY];\n",
    "  reserved 6;\n  reserved \"listing_display_name\";\n",
);
const REMOVED_ID: &str = "holdfast.voucher.v1.Voucher.listing_display_name::FIELD_NO_DELETE";

fn waive(repository: &Repository, bytes: &[u8], id: &str, expires: &str) {
    repository.save(bytes);
    let arguments = ["waive", id, "--reason", "nobody has one", "--owner", "voucher", "--expires", expires];
    repository.contract(&[&arguments[..], &["--new", "new.binpb"]].concat(), 0);
}

#[test]
fn what_breaks_somebody_is_not_released() {
    let repository = Repository::released(&OURS);
    for edit in [NARROWED, RENAMED] {
        let refused = repository.release(&edited(&[edit]), "9.0.0");
        assert!(matches!(refused, Err(ReleaseError::Stopped(_))), "{refused:?}");
    }
    assert_eq!(Baseline::read(&repository.project().baseline()).unwrap().releases.len(), 1);
}

#[test]
fn a_version_follows_from_what_is_released() {
    let repository = Repository::released(&OURS);
    let small = |bytes: &[u8], version: &str, expected: &str| match repository.release(bytes, version) {
        Err(ReleaseError::Small { least, .. }) => assert_eq!(least.to_string(), expected),
        other => panic!("{version}: {other:?}"),
    };
    small(&OURS, "1.4.0", "1.4.1");
    small(&OURS, "1.3.9", "1.4.1");
    let added = edited(&[ADDED]);
    small(&added, "1.4.1", "1.5.0");
    let narrowed = edited(&[NARROWED]);
    waive(&repository, &narrowed, NARROWED_ID, "2.0.0");
    small(&narrowed, "1.9.0", "2.0.0");
    assert!(matches!(repository.release(&narrowed, "2.1.0"), Err(ReleaseError::Expired { .. })));
    repository.release(&narrowed, "2.0.0").unwrap();
    // It took the waiver along.
    assert_eq!(waivers::read(&repository.project().waivers()).unwrap(), []);
    assert!(repository.judge(&narrowed).passes());
}

#[test]
fn a_date_is_a_day() {
    let repository = Repository::empty();
    for date in ["", "2026-13-01", "2026-1-01", "30.11.2026", "2026-11-30T00", "2026-11-é"] {
        let refused = release::first(&repository.project(), &release::Cut { date, ..cut(&OURS, "1.4.0") });
        assert!(matches!(refused, Err(ReleaseError::Date(_))), "{date}: {refused:?}");
    }
    let repository = Repository::released(&OURS);
    let second = release::first(&repository.project(), &cut(&OURS, "1.5.0"));
    assert!(matches!(second, Err(ReleaseError::NotFirst)), "{second:?}");
}

/// The callers of every supported release are served, not only those of the last.
#[test]
fn older_releases_stay_and_are_compared_with_until_they_are_retired() {
    let repository = Repository::released(&OURS);
    let before = fs::read(repository.project().baseline().join("1.4.0.binpb")).unwrap();
    let narrowed = edited(&[NARROWED]);
    waive(&repository, &narrowed, NARROWED_ID, "2.0.0");
    repository.release(&narrowed, "2.0.0").unwrap();
    assert_eq!(fs::read(repository.project().baseline().join("1.4.0.binpb")).unwrap(), before);

    let judgement = repository.judge(&narrowed);
    let [old] = &judgement.findings[..] else { panic!("{judgement:?}") };
    assert_eq!((old.release.to_string().as_str(), old.waived_by.as_deref()), ("1.4.0", Some("voucher")));
    // What 2.0.0 did not ship is found.
    let further = edited(&[replace(VOUCHER, "message ListVouchersRequest", "max_len = 512", "max_len = 50")]);
    assert!(!repository.judge(&further).passes());

    repository.contract(&["retire", "2.0.0"], 2);
    repository.contract(&["retire", "3.0.0"], 2);
    repository.contract(&["retire", "1.4.0"], 0);
    assert!(repository.judge(&narrowed).findings.is_empty());
}

/// T31: whoever uses something is told in two releases that it will go.
#[test]
fn what_goes_was_deprecated_in_two_releases() {
    let repository = Repository::released(&OURS);
    let (deprecated, removed) = (edited(&[DEPRECATED]), edited(&[REMOVED]));
    let is_refused = || {
        let judgement = repository.judge(&removed);
        judgement.findings.iter().any(|judged| judged.finding.rule.id == "SEM_REMOVAL_WITHOUT_DEPRECATION")
    };
    assert!(is_refused());
    repository.release(&deprecated, "1.5.0").unwrap();
    assert!(is_refused());
    waive(&repository, &removed, REMOVED_ID, "2.0.0");
    assert!(!repository.judge(&removed).passes(), "a waiver is no deprecation");
    waivers::write(&repository.project().waivers(), &[]).unwrap();
    repository.release(&deprecated, "1.5.1").unwrap();
    assert!(!is_refused());
    waive(&repository, &removed, REMOVED_ID, "2.0.0");
    assert!(repository.judge(&removed).passes());
    repository.release(&removed, "2.0.0").unwrap();
}

#[test]
fn the_changelog_tells_of_every_release() {
    let repository = Repository::released(&OURS);
    let loosened = replace(VOUCHER, "message ListVouchersRequest", "max_len = 512", "max_len = 600");
    let explained = replace(VOUCHER, "message Voucher {", "// When it was issued.", "// When it was asked for.");
    repository.release(&edited(&[ADDED, REFUSED, DEPRECATED, loosened, explained]), "1.5.0").unwrap();
    let narrowed = edited(&[ADDED, REFUSED, DEPRECATED, NARROWED, explained]);
    waive(&repository, &narrowed, NARROWED_ID, "2.0.0");
    repository.release(&narrowed, "2.0.0").unwrap();
    repository.release(&narrowed, "2.0.1").unwrap();
    let changelog = fs::read_to_string(repository.project().changelog()).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixture/api-changelog.md");
    // How much our contracts hold is not this test's matter.
    let (told, first) = changelog.split_once("The first release: ").unwrap();
    assert!(first.ends_with(" events.\n"), "{first}");
    expect_document(&golden, told);
}
