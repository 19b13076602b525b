//! The outside oracle: `buf breaking` on the same pair of descriptor sets.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use contract::{Finding, Span};
use serde_json::Value;

const CONFIG: &str = r#"{"version":"v2","breaking":{"use":["FILE","WIRE_JSON"]}}"#;

/// How buf writes that it knows no place.
const NOWHERE: Span = Span { start_line: 1, start_column: 1, end_line: 1, end_column: 1 };

/// What both must agree on: rule, file, place.
pub(crate) type Claim = (String, Option<String>, Option<Span>);

pub(crate) fn claim(finding: &Finding) -> Claim {
    (finding.rule.id.to_owned(), finding.file.clone(), finding.span)
}

/// buf's findings, sorted.
pub(crate) fn breaking(old: &[u8], new: &[u8]) -> Vec<Claim> {
    let folder = tempfile::tempdir().unwrap();
    let (against, now) = (folder.path().join("old.binpb"), folder.path().join("new.binpb"));
    fs::write(&against, old).unwrap();
    fs::write(&now, new).unwrap();
    let output = Command::new(program())
        .args(["breaking", "--error-format", "json", "--config", CONFIG])
        .arg(&now)
        .arg("--against")
        .arg(&against)
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 100)), "buf failed: {complaint}");
    let mut claims: Vec<Claim> = String::from_utf8(output.stdout).unwrap().lines().map(read).collect();
    claims.sort();
    claims
}

fn read(line: &str) -> Claim {
    let finding: Value = serde_json::from_str(line).unwrap();
    let number = |name: &str| finding[name].as_i64().and_then(|number| i32::try_from(number).ok());
    let span = || {
        let span = Some(Span {
            start_line: number("start_line")?,
            start_column: number("start_column")?,
            end_line: number("end_line")?,
            end_column: number("end_column")?,
        });
        span.filter(|span| *span != NOWHERE)
    };
    let text = |name: &str| finding[name].as_str().map(str::to_owned);
    (text("type").unwrap(), text("path"), span())
}

/// The pinned buf, which `cargo verify` fetches.
fn program() -> PathBuf {
    let tools = env::var_os("HOLDFAST_TOOLS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.holdfast/tools"), PathBuf::from);
    let program = tools.join("bin/buf");
    assert!(program.exists(), "{} is missing: run `cargo verify --only contract-lint` once", program.display());
    program
}
