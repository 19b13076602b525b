//! Programs that are not ours, for a test to talk to.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

use crate::nats_server::{Child, tools_dir};

/// A server as a child process. Dropping it kills it; so does the end of the test process, however sudden.
#[derive(Debug)]
pub struct Program {
    /// Where it listens.
    pub address: SocketAddr,
    _child: Child,
    /// Kept open: a program that cannot print may end.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts a program that chooses its port itself, so that no two tests take the same, and prints a line that ends with this text and its address.
    ///
    /// # Panics
    /// When it does not start, or ends without such a line.
    pub async fn start(mut command: Command, before_address: &'static str) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let start = move || {
            let mut child = Child::spawn(command).expect("the program starts");
            let mut lines = BufReader::new(child.take_output().expect("piped")).lines();
            let address = |line: String| line.split_once(before_address)?.1.trim().parse().ok();
            let address = lines.by_ref().map_while(Result::ok).find_map(address).expect("it says where it listens");
            Self { address, _child: child, _output: lines }
        };
        tokio::task::spawn_blocking(start).await.expect("no panic")
    }

    /// Starts a Python program, with the tools' interpreter, that prints its URL.
    ///
    /// # Panics
    /// As [`Program::start`], and when there is no interpreter.
    pub async fn python(program: impl AsRef<Path>, arguments: &[&str]) -> Self {
        let mut command = Command::new(tool("python/bin/python"));
        command.arg(program.as_ref()).args(arguments);
        Self::start(command, "://").await
    }
}

/// A program among the tools, e.g. `bin/buf`.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn tool(path: &str) -> PathBuf {
    let program = tools_dir().join(path);
    assert!(program.exists(), "{} is missing: run `cargo verify --only test`, which installs it", program.display());
    program
}
