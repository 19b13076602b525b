//! What git knows of a repository, by its own program.

use std::{fs, io, path::Path, process::Command};

/// Why git does not answer.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "fields: which call, what it said")]
pub enum GitError {
    /// The program cannot be started.
    #[error("git cannot be started")]
    Start(#[source] io::Error),
    /// It answers with an error.
    #[error("git {call} fails: {complaint}")]
    Failed { call: String, complaint: String },
    /// The folder is not the root of a repository.
    #[error("{folder} is not the root of a git repository")]
    NoRepository { folder: String },
}

/// A repository with a work tree.
#[derive(Debug)]
pub struct Git<'a> {
    root: &'a Path,
}

impl<'a> Git<'a> {
    /// Opens the repository that has this root; one further out is another's.
    ///
    /// # Errors
    ///
    /// There is none, or no git.
    pub fn open(root: &'a Path) -> Result<Self, GitError> {
        let git = Self { root };
        let no_repository = || GitError::NoRepository { folder: root.display().to_string() };
        let top = git.run(&["rev-parse", "--show-toplevel"]).map_err(|error| match error {
            GitError::Failed { .. } => no_repository(),
            other => other,
        })?;
        let same = fs::canonicalize(top.trim()).ok() == fs::canonicalize(root).ok();
        if same { Ok(git) } else { Err(no_repository()) }
    }

    /// What a call prints.
    ///
    /// # Errors
    ///
    /// It cannot be made, or fails.
    pub fn run(&self, arguments: &[&str]) -> Result<String, GitError> {
        let mut git = Command::new("git");
        // A hook's variables name the repository it runs for, which may be another.
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            git.env_remove(variable);
        }
        let output = git.arg("-C").arg(self.root).args(arguments).output().map_err(GitError::Start)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(GitError::Failed { call: arguments.join(" "), complaint })
    }

    /// Whether a call succeeds.
    #[must_use]
    pub fn succeeds(&self, arguments: &[&str]) -> bool {
        self.run(arguments).is_ok()
    }
}
