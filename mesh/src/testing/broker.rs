//! A broker of the test's own.

use std::path::Path;

use tempfile::TempDir;

use super::free_port;
use crate::bus::Bus;
use crate::nats_server::{NatsServer, install};

/// A nats-server in a temporary folder, on a free port that it keeps when it is started again.
#[derive(Debug)]
pub struct Broker {
    server: Option<NatsServer>,
    port: u16,
    dir: TempDir,
}

impl Broker {
    /// Starts one, after installing nats-server if it is missing.
    ///
    /// # Panics
    /// When it cannot be installed or started.
    pub async fn start() -> Self {
        let start = || {
            install(&|step| eprintln!("{step}")).expect("nats-server can be installed");
            let dir = tempfile::tempdir().expect("a temporary folder");
            let server = NatsServer::start(dir.path(), free_port()).expect("nats-server starts");
            Self { port: server.port(), server: Some(server), dir }
        };
        tokio::task::spawn_blocking(start).await.expect("does not panic")
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A new connection to it.
    ///
    /// # Panics
    /// Never: the address is valid.
    pub async fn bus(&self) -> Bus {
        Bus::connect(&self.url()).await.expect("a valid address")
    }

    /// Stops it; what it stored stays.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }

    /// Kills it like a power cut of the process.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts it again, on the same port, with what it stored.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill();
        self.server = Some(NatsServer::start(self.dir.path(), self.port).expect("nats-server starts again"));
    }

    /// Deletes all it stored; only while it is stopped.
    ///
    /// # Panics
    /// When it is running.
    pub fn lose_everything(&mut self) {
        assert!(self.server.is_none(), "stop the broker first");
        let _ = std::fs::remove_dir_all(self.dir.path().join("jetstream"));
    }

    /// The folder it keeps everything in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}
