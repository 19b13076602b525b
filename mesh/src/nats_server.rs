//! A private nats-server: found or installed on this machine, run as a child that never outlives this process.
//!
//! For development and tests. In production the broker is somebody else's, named by its address.

mod child;
mod install;

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) use self::child::Child;
pub use self::install::{InstallError, NotFound, find, install, tools_dir};

/// A server that has not answered by then will not.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// Room for a clean end; a kill afterwards loses nothing either.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const PID_FILE: &str = "nats-server.pid";
const CONFIG_FILE: &str = "nats-server.conf";
const LOG_FILE: &str = "nats-server.log";

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No program to start.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// Its folder, or the program, cannot be used.
    #[error("cannot start nats-server in {}", .dir.display())]
    Io {
        /// The server's folder.
        dir: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// It ended, or did not answer in time.
    #[error("nats-server does not answer; its last words: {0}")]
    Silent(String),
}

/// How a server runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens on 127.0.0.1; 0 takes a free port.
    pub port: u16,
    /// When its disk is synced: `always` before an event is acknowledged, or at an interval such as `2m`, the server's own default.
    pub sync_interval: &'static str,
    /// The cluster it belongs to.
    pub cluster: Option<Membership>,
}

/// A server's place in a cluster on this machine.
#[derive(Clone, Debug)]
pub struct Membership {
    /// Its number among the servers.
    pub server: usize,
    /// Where each of the servers listens to the others.
    pub routes: Vec<u16>,
}

impl Settings {
    /// A server by itself that has synced what it acknowledges.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self { port, sync_interval: "always", cluster: None }
    }
}

/// A running server. Dropping it kills it; so does the end of this process, however sudden.
#[derive(Debug)]
pub struct NatsServer {
    child: Child,
    dir: PathBuf,
    port: u16,
}

impl NatsServer {
    /// Starts a server that keeps everything in `dir` and listens on 127.0.0.1 only; `port` 0 takes a free one. A server that an earlier process left
    /// running in the same folder is ended first. Blocks until the server answers, well under a second.
    ///
    /// # Errors
    /// When there is no program ([`install`] gets it), it cannot use the folder or the port, or does not answer.
    pub fn start(dir: &Path, port: u16) -> Result<Self, StartError> {
        Self::start_with(dir, &Settings::new(port))
    }

    /// [`NatsServer::start`], run otherwise.
    ///
    /// # Errors
    /// As for [`NatsServer::start`].
    pub fn start_with(dir: &Path, settings: &Settings) -> Result<Self, StartError> {
        let program = find()?;
        let fault = |source| StartError::Io { dir: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(fault)?;
        let dir = fs::canonicalize(dir).map_err(fault)?;
        let fault = |source| StartError::Io { dir: dir.clone(), source };
        child::end_left_over(&dir.join(PID_FILE), &dir.join(CONFIG_FILE)).map_err(fault)?;
        fs::write(dir.join(CONFIG_FILE), config(&dir, settings)).map_err(fault)?;
        remove_ports_files(&dir).map_err(fault)?;
        let log = fs::File::create(dir.join(LOG_FILE)).map_err(fault)?;
        let mut command = Command::new(program);
        command.arg("--config").arg(dir.join(CONFIG_FILE)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = Child::spawn(command).map_err(fault)?;
        let Some(port) = wait_until_it_answers(&mut child, &dir, settings.port) else {
            child.kill();
            return Err(StartError::Silent(last_words(&dir)));
        };
        Ok(Self { child, dir, port })
    }

    /// Where clients connect: `nats://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it in an orderly way, or by force when that takes too long. Blocks until it is gone.
    pub fn stop(mut self) {
        self.child.terminate(STOP_TIMEOUT);
        let _ = fs::remove_file(self.dir.join(PID_FILE));
    }
}

fn config(dir: &Path, settings: &Settings) -> String {
    let Settings { port, sync_interval, cluster } = settings;
    let port = if *port == 0 { "-1".to_owned() } else { port.to_string() };
    let quoted = |path: PathBuf| serde_json::Value::from(path.to_string_lossy()).to_string();
    let cluster = cluster.as_ref().map(Membership::config).unwrap_or_default();
    format!(
        "listen: \"127.0.0.1:{port}\"\nmax_payload: 1MB\npid_file: {pid}\nports_file_dir: {dir}\n\
         jetstream {{\n  store_dir: {store}\n  sync_interval: {sync_interval}\n  max_file_store: 64GB\n}}\n{cluster}",
        pid = quoted(dir.join(PID_FILE)),
        store = quoted(dir.join("jetstream")),
        dir = quoted(dir.to_owned()),
    )
}

impl Membership {
    fn config(&self) -> String {
        let routes: Vec<String> = self.routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        format!(
            "server_name: server-{server}\n\
             cluster {{\n  name: holdfast\n  listen: \"127.0.0.1:{own}\"\n  routes: [{routes}]\n}}\n",
            server = self.server,
            own = self.routes[self.server],
            routes = routes.join(", "),
        )
    }
}

fn ports_files(dir: &Path) -> io::Result<impl Iterator<Item = PathBuf>> {
    Ok(fs::read_dir(dir)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "ports")))
}

fn remove_ports_files(dir: &Path) -> io::Result<()> {
    ports_files(dir)?.try_for_each(fs::remove_file)
}

/// The port, once the server greets there.
fn wait_until_it_answers(child: &mut Child, dir: &Path, port: u16) -> Option<u16> {
    let started = Instant::now();
    while started.elapsed() < START_TIMEOUT && child.is_running() {
        let port = if port == 0 { chosen_port(dir) } else { Some(port) };
        if let Some(port) = port
            && greets(port)
        {
            return Some(port);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// The server writes where it listens into `<program>_<pid>.ports`: `{"nats":["nats://127.0.0.1:4222"],…}`.
fn chosen_port(dir: &Path) -> Option<u16> {
    let text = fs::read(ports_files(dir).ok()?.next()?).ok()?;
    let ports: serde_json::Value = serde_json::from_slice(&text).ok()?;
    ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
}

fn greets(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
    let mut greeting = String::new();
    let read = stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .and_then(|()| BufReader::new(stream).read_line(&mut greeting));
    read.is_ok() && greeting.starts_with("INFO ")
}

fn last_words(dir: &Path) -> String {
    let log = fs::read_to_string(dir.join(LOG_FILE)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}
