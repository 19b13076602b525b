//! Independent stand-ins for Stripe, and a line to them that can be cut.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use mesh::deadline;
use mesh::testing::{Program, tool};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Stripe's own stand-in: checks requests against the published API, keeps no state.
pub(crate) async fn stripe_mock() -> Program {
    let mut command = Command::new(tool("bin/stripe-mock"));
    // Unless told otherwise it also serves HTTPS, on every address and always on the same port.
    command.args(["-http-addr", "127.0.0.1:", "-https-addr", "127.0.0.1:", "-strict-version-check=false"]);
    Program::start(command, "Listening for HTTP at address: ").await
}

/// A stand-in that keeps intents and refunds.
pub(crate) async fn localstripe() -> Program {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contract-tests/python/stripe_server.py");
    Program::python(program, &[]).await
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
