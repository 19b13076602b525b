//! Brokers of the test's own.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Publisher, free_port};
use crate::bus::Bus;
use crate::nats_server::{Membership, NatsServer, Settings, install};

/// A nats-server in a temporary folder, on a free port that it keeps when it is started again.
#[derive(Debug)]
pub struct Broker {
    server: Option<NatsServer>,
    settings: Settings,
    dir: TempDir,
}

impl Broker {
    /// Starts one, after installing nats-server if it is missing.
    ///
    /// # Panics
    /// When it cannot be installed or started.
    pub async fn start() -> Self {
        Self::start_with(Settings::new(free_port())).await
    }

    /// Starts one that is run otherwise.
    ///
    /// # Panics
    /// As for [`Broker::start`].
    pub async fn start_with(settings: Settings) -> Self {
        let start = || {
            install(&|step| eprintln!("{step}")).expect("nats-server can be installed");
            let dir = tempfile::tempdir().expect("a temporary folder");
            let server = NatsServer::start_with(dir.path(), &settings).expect("nats-server starts");
            Self { settings: Settings { port: server.port(), ..settings }, server: Some(server), dir }
        };
        tokio::task::spawn_blocking(start).await.expect("does not panic")
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.settings.port)
    }

    /// A new connection to it.
    ///
    /// # Panics
    /// Never: the address is valid.
    pub async fn bus(&self) -> Bus {
        Bus::connect(&self.url()).await.expect("a valid address")
    }

    /// Publishes through it as services would.
    pub async fn publisher(&self) -> Publisher {
        Publisher::new(self.bus().await)
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
        self.server = Some(NatsServer::start_with(self.dir.path(), &self.settings).expect("nats-server starts again"));
    }

    /// Keeps a copy of what it has stored; only while it is stopped.
    ///
    /// # Panics
    /// When it is running, or there is no room.
    pub fn remember(&self) {
        assert!(self.server.is_none(), "stop the broker first");
        copy(&self.dir.path().join("jetstream"), &self.dir.path().join("remembered"));
    }

    /// Puts back what [`Broker::remember`] kept, as if all since then had never reached the disk; only while it is stopped.
    ///
    /// # Panics
    /// When it is running, or nothing was kept.
    pub fn set_back(&mut self) {
        self.lose_everything();
        copy(&self.dir.path().join("remembered"), &self.dir.path().join("jetstream"));
    }

    /// Deletes all it stored; only while it is stopped.
    ///
    /// # Panics
    /// When it is running.
    pub fn lose_everything(&mut self) {
        assert!(self.server.is_none(), "stop the broker first");
        let _ = fs::remove_dir_all(self.dir.path().join("jetstream"));
    }

    /// Stops it in its tracks, or lets it go on: it is there, and answers nothing.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self, frozen: bool) {
        let id = self.server.as_ref().expect("it runs").id();
        let id = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, if frozen { Signal::STOP } else { Signal::CONT }).expect("a child of ours");
    }

    /// The folder it keeps everything in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("room for a folder");
    for entry in fs::read_dir(from).expect("it is there").map(|entry| entry.expect("readable")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("room for a file");
        }
    }
}

/// Three servers that keep copies of each other's streams.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Option<NatsServer>>,
    settings: Vec<Settings>,
    dir: TempDir,
}

impl Cluster {
    /// Starts one, after installing nats-server if it is missing.
    ///
    /// # Panics
    /// When it cannot be installed or started.
    pub async fn start() -> Self {
        let start = || {
            install(&|step| eprintln!("{step}")).expect("nats-server can be installed");
            let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
            let member = |server| Some(Membership { server, routes: routes.clone() });
            let settings: Vec<_> =
                (0..3).map(|server| Settings { cluster: member(server), ..Settings::new(free_port()) }).collect();
            let dir = tempfile::tempdir().expect("a temporary folder");
            let mut cluster = Self { servers: Vec::new(), settings, dir };
            cluster.servers = (0..3).map(|server| Some(cluster.run(server))).collect();
            cluster
        };
        tokio::task::spawn_blocking(start).await.expect("does not panic")
    }

    fn run(&self, server: usize) -> NatsServer {
        let dir = self.dir.path().join(server.to_string());
        NatsServer::start_with(&dir, &self.settings[server]).expect("nats-server starts")
    }

    /// Where clients connect: every server, with commas between.
    #[must_use]
    pub fn url(&self) -> String {
        let urls: Vec<_> = self.settings.iter().map(|settings| format!("nats://127.0.0.1:{}", settings.port)).collect();
        urls.join(",")
    }

    /// Kills a server.
    pub fn kill(&mut self, server: usize) {
        self.servers[server] = None;
    }

    /// Starts a server that was killed, with what it stored.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self, server: usize) {
        self.servers[server] = Some(self.run(server));
    }
}
