//! Independent stand-ins for Stripe, as child processes, and a line to them that can be cut.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use mesh::deadline;
use mesh::nats_server::tools_dir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A child process that ends with the test, also when that fails.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    output: Option<Lines<BufReader<ChildStdout>>>,
}

impl Server {
    /// Stripe's own stand-in: checks requests against the published API, keeps no state.
    pub(crate) async fn stripe_mock() -> Self {
        let mut command = Command::new(tool("bin/stripe-mock"));
        // Unless told otherwise it also serves HTTPS, on every address and always on the same port.
        command.args(["-http-addr", "127.0.0.1:", "-https-addr", "127.0.0.1:", "-strict-version-check=false"]);
        Self::start(command, "Listening for HTTP at address: ").await
    }

    /// A stand-in that keeps intents and refunds.
    pub(crate) async fn localstripe() -> Self {
        let mut command = Command::new(tool("python/bin/python"));
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contract-tests/python/stripe_server.py"));
        Self::start(command, "http://").await
    }

    /// Starts a program that prints a line with its address after this prefix. It chooses its port itself, so that no two tests take the same.
    async fn start(mut command: Command, prefix: &'static str) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let start = move || {
            let mut child = command.spawn().expect("the program starts");
            let output = BufReader::new(child.stdout.take().expect("piped"));
            // Made before the address is looked at, so that the child ends in any case.
            let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), output: None };
            let mut lines = output.lines();
            let address =
                lines.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix(prefix)?.trim().parse().ok());
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

fn tool(path: &str) -> PathBuf {
    let program = tools_dir().join(path);
    assert!(program.exists(), "{} is missing: run `cargo verify --only test`, which installs it", program.display());
    program
}

/// A line to a server. While it is cut, connections end and new ones are closed at once.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    up: watch::Sender<bool>,
}

impl Line {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (up, is_up) = watch::channel(true);
        drop(deadline::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut is_up = is_up.clone();
                if !*is_up.borrow() {
                    continue;
                }
                drop(deadline::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = is_up.wait_for(|up| !up) => {}
                    }
                }));
            }
        }));
        Self { address, up }
    }

    pub(crate) fn cut(&self) {
        self.up.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.up.send_replace(true);
    }
}
