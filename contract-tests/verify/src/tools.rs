//! The programs that the checks need: fetched once, pinned, kept in one folder.
//!
//! The folder is `.holdfast/tools`, or the one named by `HOLDFAST_TOOLS_DIR`; every step gets that variable, so that a
//! test finds there what was fetched here, and `bin` in front of its `PATH`:
//!
//! | Path | What |
//! |---|---|
//! | `bin/{buf,cargo-deny,grpcurl,node,protoc-gen-es,protoc-gen-go,protoc-gen-go-grpc,stripe-mock}` | links to the programs |
//! | `python/bin/python` | an interpreter with the packages of `contract-tests/python/requirements.txt` |
//! | `python-client/bin/python` | one with the packages of `contract-tests/clients/python/requirements.txt` |
//! | `protoc-gen-es/node_modules` | what the TypeScript client's `package-lock.json` names |
//! | `java-client/repository` | what compiles the Java client, as Maven keeps it |
//! | `<tool>/stamp` | what is installed there; written last, so that an interrupted installation does not count |
//!
//! Nothing is installed outside the folder, but for Debian packages where this runs as root. PostgreSQL is such a
//! package, and so are faketime and Maven. The NATS server is not fetched here: the program under test does that, for its users too, into the same folder.

mod debian;
mod recipe;

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::progress::Progress;
use recipe::Recipe;

/// The variable that names the folder of the tools.
const TOOLS_DIR: &str = "HOLDFAST_TOOLS_DIR";

/// Something a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Linter and formatter of the contracts.
    Buf,
    /// Checks the dependency tree.
    CargoDeny,
    /// A library that gives processes another clock.
    Faketime,
    /// The generators of Go clients.
    GoClient,
    /// A gRPC client that knows nothing of Rust.
    Grpcurl,
    /// What compiles Java clients.
    JavaClient,
    /// The servers that tests start privately.
    Postgres,
    /// Servers that are not ours: a payment provider that keeps state, a mail server, a verifier of webhooks.
    Python,
    /// The generators of Python clients, and what these need.
    PythonClient,
    /// A payment provider that knows every request's shape and keeps nothing.
    StripeMock,
    /// The generator of TypeScript clients, Node.js, and what these need.
    TypeScriptClient,
}

/// The folder of the tools.
#[derive(Debug)]
pub struct ToolBox {
    repository: PathBuf,
    folder: PathBuf,
}

impl ToolBox {
    /// The folder of this repository, or the one that the environment names.
    ///
    /// # Errors
    ///
    /// The folders cannot be created.
    pub fn open(repository: &Path) -> anyhow::Result<Self> {
        let folder = env::var_os(TOOLS_DIR).map_or_else(|| repository.join(".holdfast/tools"), PathBuf::from);
        Self::at(repository, &folder)
    }

    /// A folder of the caller's choice.
    ///
    /// # Errors
    ///
    /// The folders cannot be created.
    pub fn at(repository: &Path, folder: &Path) -> anyhow::Result<Self> {
        // Absolute, because the steps' programs run in folders of their own.
        let folder = std::path::absolute(folder)?;
        let tools = Self { repository: repository.to_owned(), folder };
        for needed in [tools.folder.join("bin"), tools.logs()] {
            fs::create_dir_all(&needed).with_context(|| format!("cannot create {}", needed.display()))?;
        }
        Ok(tools)
    }

    /// A file of a tool, by its path below the folder.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Where the output of a step is kept until the next run.
    #[must_use]
    pub fn log_path(&self, step: &str) -> PathBuf {
        self.logs().join(format!("{step}.log"))
    }

    /// Gives a command what every step gets: the tools, and none of the variables that cargo set for this program alone.
    pub fn prepare<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for (name, _) in env::vars_os() {
            let ours =
                name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
            if ours {
                command.env_remove(name);
            }
        }
        let mut path = self.folder.join("bin").into_os_string();
        if let Some(rest) = env::var_os("PATH") {
            path.push(":");
            path.push(rest);
        }
        command.env("PATH", path).env(TOOLS_DIR, &self.folder).current_dir(&self.repository)
    }

    /// Makes sure that the tool is there, and fetches it if not.
    ///
    /// # Errors
    ///
    /// It cannot be had. The text ends with the line to type.
    pub fn ensure(&self, tool: Tool) -> anyhow::Result<()> {
        match tool {
            Tool::Buf => self.keep(&recipe::buf(&self.repository)?),
            Tool::CargoDeny => self.keep(&recipe::cargo_deny()),
            Tool::Faketime => debian::ensure_faketime(&self.fetch_progress("faketime")),
            Tool::GoClient => {
                self.keep(&recipe::protoc_gen_go())?;
                self.keep(&recipe::protoc_gen_go_grpc())
            }
            Tool::Grpcurl => self.keep(&recipe::grpcurl()),
            Tool::JavaClient => {
                debian::ensure_maven(&self.fetch_progress("maven"))?;
                self.keep(&recipe::java_client(&self.repository)?)
            }
            Tool::Postgres => debian::ensure_postgres(&self.fetch_progress("postgresql")),
            Tool::Python => self.keep(&recipe::python(&self.repository)?),
            Tool::PythonClient => self.keep(&recipe::python_client(&self.repository)?),
            Tool::StripeMock => self.keep(&recipe::stripe_mock()),
            Tool::TypeScriptClient => {
                self.keep(&recipe::node(&self.repository)?)?;
                self.keep(&recipe::protoc_gen_es(&self.repository)?)
            }
        }
    }

    /// Installs what the recipe says unless exactly that is installed already. Two programs may do so at once.
    fn keep(&self, recipe: &Recipe) -> anyhow::Result<()> {
        // Released when the file is dropped, also when this program is killed.
        let lock = File::create(self.folder.join(".lock"))?;
        lock.lock().context("cannot lock the folder of the tools")?;

        let folder = self.folder.join(recipe.name);
        let stamp = folder.join("stamp");
        // The folder belongs to it: a virtual environment that was moved does not work.
        let identity = format!("{}\n{}\n", recipe.identity, folder.display());
        let program = folder.join(recipe.program);
        let is_current = fs::read_to_string(&stamp).is_ok_and(|installed| installed == identity) && program.exists();
        if !is_current {
            println!("   fetching {}", recipe.title);
            remove_if_there(fs::remove_dir_all(&folder))?;
            fs::create_dir_all(&folder)?;
            recipe
                .install(&folder, &self.fetch_progress(recipe.name))
                .with_context(|| format!("cannot fetch {}; type: {}", recipe.title, recipe.line_to_type(&folder)))?;
            anyhow::ensure!(program.exists(), "{} was installed without {}", recipe.title, program.display());
            fs::write(&stamp, identity)?;
        }
        if recipe.is_linked {
            let link = self.folder.join("bin").join(recipe.name);
            remove_if_there(fs::remove_file(&link))?;
            symlink(&program, &link).with_context(|| format!("cannot link {}", link.display()))?;
        }
        Ok(())
    }

    fn fetch_progress(&self, tool: &str) -> Progress {
        Progress::new(tool, &self.log_path(&format!("fetch-{tool}")))
    }

    fn logs(&self) -> PathBuf {
        self.repository.join(".holdfast/verify")
    }
}

fn remove_if_there(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
