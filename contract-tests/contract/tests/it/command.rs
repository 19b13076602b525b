//! The program: its exit codes and what it prints.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    edits::{SHAPES, Tree, replace},
    repository::{NARROWED, NARROWED_ID, Repository, contract, edited},
};

/// A set, one with a field less, and one with a field deprecated.
fn sets() -> TempDir {
    let tree = Tree::shapes();
    let broken = replace(SHAPES, "", "  int32 small = 1;\n", "");
    let noticed = replace(SHAPES, "", "int32 small = 1", "int32 small = 1 [deprecated = true]");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("old.binpb"), tree.compile()).unwrap();
    fs::write(folder.path().join("broken.binpb"), tree.edited(&[broken]).compile()).unwrap();
    fs::write(folder.path().join("noticed.binpb"), tree.edited(&[noticed]).compile()).unwrap();
    fs::write(folder.path().join("corrupt.binpb"), "not a descriptor set").unwrap();
    folder
}

#[track_caller]
fn check(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = contract(folder, arguments);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_exit_code_tells_nothing_broken_from_something_and_from_no_comparison() {
    let folder = sets();
    let folder = folder.path();
    check(folder, &["diff", "--against", "old.binpb", "old.binpb"], 0);
    let text = check(folder, &["diff", "--against", "old.binpb", "noticed.binpb"], 0);
    assert!(text.ends_with("breaking: 0, notices: 1\n"), "{text}");
    check(folder, &["diff", "--against", "old.binpb", "broken.binpb"], 1);
    check(folder, &["diff", "--against", "corrupt.binpb", "old.binpb"], 2);
    check(folder, &["diff", "--against", "old.binpb", "corrupt.binpb"], 2);
    check(folder, &["diff", "--against", "old.binpb", "old.binpb", "--only", "nothing/"], 2);
    check(folder, &["diff", "--against", "nowhere.binpb", "old.binpb"], 2);
    check(folder, &["diff"], 2);
    check(folder, &["check"], 0);
    check(folder, &["check", "--root", "."], 2);
    check(folder, &["rules"], 0);
}

#[test]
fn verify_is_the_program_beside_it_with_its_arguments_and_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("contract");
    fs::copy(env!("CARGO_BIN_EXE_contract"), &program).unwrap();
    let verify = || Command::new(&program).args(["verify", "--address", "127.0.0.1:1", "--help"]).output().unwrap();
    let alone = verify();
    assert_eq!(alone.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&alone.stderr).contains("cargo build -p provider"), "{alone:?}");
    symlink("/bin/false", folder.path().join("provider")).unwrap();
    assert_eq!(verify().status.code(), Some(1));
    fs::remove_file(folder.path().join("provider")).unwrap();
    symlink("/bin/echo", folder.path().join("provider")).unwrap();
    assert_eq!(verify().stdout, b"--address 127.0.0.1:1 --help\n");
}

#[test]
fn a_comparison_may_be_by_some_rules_only() {
    let folder = sets();
    let diff = |rules: &str, code: i32| {
        check(folder.path(), &["diff", "--against", "old.binpb", "broken.binpb", "--rules", rules], code)
    };
    let text = diff("FIELD_NO_DELETE,FILE_NO_DELETE", 1);
    assert!(text.contains("FIELD_NO_DELETE [source]") && text.ends_with("breaking: 1, notices: 0\n"), "{text}");
    assert!(diff("wire_json", 1).ends_with("breaking: 2, notices: 0\n"));
    assert_eq!(diff("notice,meaning", 0), "breaking: 0, notices: 0\n");
    diff("FIELD_NO_DELETES", 2);
}

#[test]
fn json_and_annotations_tell_what_the_text_tells() {
    let repository = Repository::released(&edited(&[]));
    repository.save(&edited(&[NARROWED]));
    let text = repository.contract(&["check", "new.binpb", "--format", "json"], 1);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&report["breaking"], &report["waived"], &report["least_version"]),
        (&json!(1), &json!(0), &json!("2.0.0"))
    );
    let finding = &report["findings"][0];
    assert_eq!((&finding["id"], &finding["against"]), (&json!(NARROWED_ID), &json!("1.4.0")));
    let text = repository.contract(&["check", "new.binpb", "--format", "github"], 1);
    assert!(text.starts_with("::error file=proto/holdfast/voucher/v1/voucher.proto,line="), "{text}");
    assert!(text.contains("::SEM_INPUT_RULE_NARROWED: holdfast.voucher.v1.ListVouchersRequest.page_token: "), "{text}");
}

#[test]
fn json_tells_rule_tier_file_span_symbol_and_message() {
    let folder = sets();
    let text = check(folder.path(), &["diff", "--against", "old.binpb", "broken.binpb", "--format", "json"], 1);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["breaking"], 3);
    assert_eq!(report["notices"], 0);
    let expected = json!({
        "rule": "FIELD_NO_DELETE",
        "tier": "source",
        "file": SHAPES,
        "span": { "start_line": 15, "start_column": 1, "end_line": 49, "end_column": 2 },
        "symbol": "catalogue.v1.Shapes.small",
        "message": "field 1 was deleted",
    });
    assert_eq!(report["findings"][0], expected);
}
