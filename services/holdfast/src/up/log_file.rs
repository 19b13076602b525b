//! Logs go to a file, so that the terminal shows what the user asked for.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::stdio::{dup2_stderr, stderr};

use crate::terminal::note;

/// Standard error leads into a file as long as this value lives.
pub(super) struct LogFile {
    terminal: OwnedFd,
}

impl LogFile {
    /// Begins a new `holdfast.log` in `dir` and leads standard error into it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn redirect(dir: &Path) -> Result<Self> {
        let path = dir.join("holdfast.log");
        let redirect = || -> std::io::Result<OwnedFd> {
            fs::create_dir_all(dir)?;
            let file = File::create(&path)?;
            let terminal = rustix::io::fcntl_dupfd_cloexec(stderr(), 3)?;
            dup2_stderr(&file)?;
            Ok(terminal)
        };
        let terminal = redirect().with_context(|| format!("cannot write {}", path.display()))?;
        note(format_args!("logs in {}", path.display()));
        Ok(Self { terminal })
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        // If it fails, the last message is in the file.
        let _ = dup2_stderr(&self.terminal);
    }
}
