//! The independent receiving ends: Python programs beside this file.

use std::path::{Path, PathBuf};

use mesh::testing::Program;

/// Checks webhooks with the library of Standard Webhooks, by a clock that is `minutes` ahead.
pub(crate) async fn webhook(secret: &str, minutes: u32) -> Program {
    Program::python(beside("webhook_server.py"), &[secret, &minutes.to_string()]).await
}

/// Writes mails to `file`, after `replies` to the first commands.
pub(crate) async fn smtp(file: &Path, replies: &[&str]) -> Program {
    Program::python(beside("smtp_server.py"), &[&[file.to_str().expect("UTF-8")], replies].concat()).await
}

fn beside(program: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(program)
}
