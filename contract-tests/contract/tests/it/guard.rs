//! The baseline's history: real git, in repositories of the test's own.

use std::{fs, path::Path, process::Command};

use contract::{
    guard::{self, Outcome},
    release::{self, Cut},
    sources::{Sources, without_source_info},
};
use proto::contract::FILE_DESCRIPTOR_SET;

use crate::{
    edits::ours_on_disk,
    repository::{Repository, contract, cut, ours},
};

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn commit(repository: &Repository, message: &str) {
    git(repository.path(), &["add", "--all"]);
    git(repository.path(), &["commit", "--quiet", "--message", message]);
}

/// A repository with our contracts committed.
fn committed() -> Repository {
    let repository = Repository::empty();
    git(repository.path(), &["init", "--quiet"]);
    for (path, text) in ours_on_disk() {
        let path = repository.path().join("proto").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.as_bytes()).unwrap();
    }
    commit(&repository, "contracts");
    repository
}

/// And released.
fn released() -> Repository {
    let repository = committed();
    repository.contract(&["release", "0.1.0", "--first"], 0);
    commit(&repository, "release 0.1.0");
    repository
}

fn append(repository: &Repository, path: &str, text: &str) {
    let path = repository.path().join(path);
    let whole = fs::read_to_string(&path).unwrap() + text;
    fs::write(path, whole).unwrap();
}

fn guarded(repository: &Repository) -> Outcome {
    guard::guard(&repository.project()).unwrap()
}

#[track_caller]
fn offends(outcome: &Outcome, how: &str) {
    assert!(outcome.offences.iter().any(|offence| offence.contains(how)), "{outcome:?}");
}

/// A74: the history of this repository, as far as git has it.
#[test]
fn nothing_but_a_release_moved_our_baseline() {
    let outcome = guard::guard(&ours()).unwrap();
    assert!(outcome.offences.is_empty(), "{outcome:?}");
    println!("{outcome:?}");
}

#[test]
fn sources_compile_to_what_the_build_compiled() {
    let mut sources = Sources::default();
    ours_on_disk().iter().for_each(|(path, text)| sources.add(path, text));
    let compiled = sources.compile().unwrap();
    assert!(without_source_info(&compiled).unwrap() == without_source_info(FILE_DESCRIPTOR_SET).unwrap());
    assert!(without_source_info(&compiled).unwrap().len() < compiled.len() / 2);
}

#[test]
fn a_release_is_made_again_from_what_git_has() {
    let repository = released();
    let outcome = guarded(&repository);
    assert_eq!((outcome.commits, outcome.rebuilt), (1, 1), "{outcome:?}");
    assert!(outcome.offences.is_empty() && outcome.unknown.is_empty(), "{outcome:?}");
    let text = repository.contract(&["guard", "--require-history"], 0);
    assert_eq!(text, "offences: 0, commits: 1, releases rebuilt: 1\n");
}

#[test]
fn a_release_that_is_not_what_its_sources_compile_to_is_found() {
    let repository = committed();
    append(&repository, "proto/holdfast/voucher/v1/voucher.proto", "message More {}\n");
    commit(&repository, "other contracts than those of the build");
    let tree = git(repository.path(), &["rev-parse", "HEAD:proto"]);
    let forged = Cut { tree: tree.trim(), ..cut(FILE_DESCRIPTOR_SET, "0.1.0") };
    release::first(&repository.project(), &forged).unwrap();
    commit(&repository, "release 0.1.0");
    offends(&guarded(&repository), "0.1.0 is not what its sources, the tree ");
}

#[test]
fn contracts_that_are_not_committed_are_not_released() {
    let repository = committed();
    append(&repository, "proto/holdfast/voucher/v1/voucher.proto", "message More {}\n");
    commit(&repository, "other contracts than those of the build");
    let text = repository.contract(&["release", "0.1.0", "--first"], 2);
    assert!(text.contains("commit them"), "{text}");
}

#[test]
fn contracts_and_baseline_may_not_move_in_one_commit() {
    let repository = released();
    append(&repository, "proto/holdfast/voucher/v1/voucher.proto", "// Not a release.\n");
    commit(&repository, "a change is fine");
    assert!(guarded(&repository).offences.is_empty());
    repository.release(FILE_DESCRIPTOR_SET, "0.2.0").unwrap();
    append(&repository, "proto/holdfast/voucher/v1/voucher.proto", "// Nor this.\n");
    commit(&repository, "both");
    offends(&guarded(&repository), "moves the baseline and changes proto/holdfast/voucher/v1/voucher.proto");
    repository.contract(&["guard"], 1);
}

#[test]
fn what_was_released_may_not_change() {
    let repository = released();
    // Sum and manifest fit, so only the history knows.
    fs::remove_dir_all(repository.project().baseline()).unwrap();
    git(repository.path(), &["commit", "--quiet", "--all", "--message", "away with it"]);
    repository.contract(&["release", "0.1.0", "--first", "--date", "2020-01-01"], 0);
    commit(&repository, "another 0.1.0");
    let outcome = guarded(&repository);
    offends(&outcome, "contract-tests/baseline/0.1.0.binpb, which is released");
    offends(&outcome, "rewrites what manifest.toml says of 0.1.0");
}

#[test]
fn the_manifest_may_not_be_rewritten_but_support_may_end() {
    let repository = released();
    repository.release(FILE_DESCRIPTOR_SET, "0.1.1").unwrap();
    commit(&repository, "release 0.1.1");
    repository.contract(&["retire", "0.1.0"], 0);
    commit(&repository, "retire 0.1.0");
    let outcome = guarded(&repository);
    // The second was released with a made-up tree: git knows no such sources.
    assert_eq!(
        outcome.offences,
        ["git has not the sources of 0.1.1, the tree 466e0494ce5a3990a380586d37d2785f75291c8d"]
    );
    let manifest = "contract-tests/baseline/manifest.toml";
    let text = fs::read_to_string(repository.path().join(manifest)).unwrap();
    fs::write(repository.path().join(manifest), text.replace("2026-11-30", "2026-12-01")).unwrap();
    commit(&repository, "history rewritten");
    fs::write(repository.path().join(manifest), text).unwrap();
    offends(&guarded(&repository), "rewrites what manifest.toml says of 0.1.1");
}

#[test]
fn a_shallow_clone_or_none_says_what_it_cannot_judge() {
    let repository = released();
    let shallow = Repository::empty();
    let url = format!("file://{}", repository.path().display());
    git(shallow.path(), &["clone", "--quiet", "--depth", "1", &url, "."]);
    let outcome = guarded(&shallow);
    assert_eq!((outcome.commits, outcome.offences.len(), outcome.unknown.len()), (0, 0, 1), "{outcome:?}");
    shallow.contract(&["guard"], 0);
    shallow.contract(&["guard", "--require-history"], 2);
    let bare = Repository::released(FILE_DESCRIPTOR_SET);
    assert!(guarded(&bare).unknown[0].contains("not the root of a git repository"));
    let output = contract(bare.path(), &["--root", ".", "release", "1.5.0"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
