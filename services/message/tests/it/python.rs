//! The independent receiving ends, as child processes: Python programs beside this file.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use mesh::nats_server::tools_dir;

/// A child process that ends with the test, also when that fails.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    output: Option<Lines<BufReader<ChildStdout>>>,
}

impl Server {
    /// Checks webhooks with the library of Standard Webhooks, by a clock that is `minutes` ahead.
    pub(crate) async fn webhook(secret: &str, minutes: u32) -> Self {
        Self::start("webhook_server.py", &[secret, &minutes.to_string()]).await
    }

    /// Writes mails to `file`, after `replies` to the first commands.
    pub(crate) async fn smtp(file: &Path, replies: &[&str]) -> Self {
        Self::start("smtp_server.py", &[&[file.to_str().expect("UTF-8")], replies].concat()).await
    }

    /// Starts a program that prints the URL where it listens. It chooses its port itself, so that no two tests take the same.
    async fn start(program: &str, arguments: &[&str]) -> Self {
        let python = tools_dir().join("python/bin/python");
        assert!(python.exists(), "{} is missing: run `cargo verify --only test`, which installs it", python.display());
        let mut command = Command::new(python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(program)).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let start = move || {
            let mut child = command.spawn().expect("the program starts");
            let output = BufReader::new(child.stdout.take().expect("piped"));
            // Made before the address is looked at, so that the child ends in any case.
            let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), output: None };
            let mut lines = output.lines();
            let address = lines.by_ref().map_while(Result::ok).find_map(|line| line.split_once("://")?.1.parse().ok());
            server.address = address.expect("it says where it listens");
            // Kept open: a program that cannot print may end.
            server.output = Some(lines);
            server
        };
        tokio::task::spawn_blocking(start).await.expect("no panic")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
