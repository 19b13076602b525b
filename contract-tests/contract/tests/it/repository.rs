//! A repository of its own for each test.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use contract::{
    Baseline, DescriptorSet, Judgement, Project, ReleaseError,
    baseline::OURS,
    consumers, judge,
    release::{self, Cut},
    waivers,
};
use tempfile::TempDir;

use crate::edits::{Edit, Tree, replace};

pub(crate) const VOUCHER: &str = "holdfast/voucher/v1/voucher.proto";
/// Refuses requests that were accepted: stops the gate, can be waived.
pub(crate) const NARROWED: Edit = replace(VOUCHER, "message ListVouchersRequest", "max_len = 512", "max_len = 100");
pub(crate) const NARROWED_ID: &str = "holdfast.voucher.v1.ListVouchersRequest.page_token::SEM_INPUT_RULE_NARROWED";
/// Renames a field: stops the gate, can never be waived.
pub(crate) const RENAMED: Edit = replace(VOUCHER, "message Voucher {", "string host = 4", "string owner = 4");
/// A field more.
pub(crate) const ADDED: Edit = replace(
    VOUCHER,
    "string ticket_number",
    "  // Whether it is good.\n",
    "  // What the desk wrote on it.\n  string desk_note = 11 [(google.api.field_behavior) = OUTPUT_ONLY];\n  // Whether it is good.\n",
);
/// A refusal more.
pub(crate) const REFUSED: Edit = replace(
    VOUCHER,
    "rpc GetVoucher(",
    "    option (holdfast.options.v1.errors)",
    "    option (holdfast.options.v1.errors) = {\n      code: FAILED_PRECONDITION\n      reason: \"VOUCHER_NOT_YET_ISSUED\"\n    };\n    option (holdfast.options.v1.errors)",
);

pub(crate) struct Repository {
    folder: TempDir,
}

impl Repository {
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// With a first release, 1.4.0.
    pub(crate) fn released(bytes: &[u8]) -> Self {
        let repository = Self::empty();
        release::first(&repository.project(), &cut(bytes, "1.4.0")).unwrap();
        repository
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn project(&self) -> Project {
        Project::at(self.path())
    }

    pub(crate) fn release(&self, bytes: &[u8], version: &str) -> Result<(), ReleaseError> {
        release::release(&self.project(), &cut(bytes, version))
    }

    pub(crate) fn judge(&self, bytes: &[u8]) -> Judgement {
        let project = self.project();
        let current = DescriptorSet::decode(bytes, OURS).unwrap();
        let (baseline, waivers) =
            (Baseline::read(&project.baseline()).unwrap(), waivers::read(&project.waivers()).unwrap());
        judge(&baseline, &waivers, &consumers::read(&project.consumers()).unwrap(), &current)
    }

    /// Saves a descriptor set for the program to read.
    pub(crate) fn save(&self, bytes: &[u8]) -> PathBuf {
        let path = self.path().join("new.binpb");
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs the program on it, which must end with this code.
    #[track_caller]
    pub(crate) fn contract(&self, arguments: &[&str], code: i32) -> String {
        let output = contract(self.path(), &[&["--root", "."], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        out + &complaint
    }
}

pub(crate) fn cut<'a>(bytes: &'a [u8], version: &str) -> Cut<'a> {
    Cut {
        bytes,
        version: version.parse().unwrap(),
        date: "2026-11-30",
        tree: "466e0494ce5a3990a380586d37d2785f75291c8d",
    }
}

pub(crate) fn contract(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_contract")).current_dir(folder).args(arguments).output().unwrap()
}

/// The repository of this test.
pub(crate) fn ours() -> Project {
    Project::at(&Project::own_root())
}

/// Compares a document with what it should be, or writes it anew.
#[track_caller]
pub(crate) fn expect_document(path: &Path, expected: &str) {
    const WRITE: &str = "HOLDFAST_WRITE";
    if env::var_os(WRITE).is_some() {
        fs::write(path, expected).unwrap();
    }
    let text = fs::read_to_string(path).unwrap();
    assert!(text == expected, "{} is out of date; write it anew with {WRITE}=1", path.display());
}

/// Our contracts with some edits.
pub(crate) fn edited(edits: &[Edit]) -> Vec<u8> {
    Tree::ours().edited(edits).compile()
}
