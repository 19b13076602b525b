//! A PostgreSQL server of the test process's own, started once, with a database for each test.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::sql_types::Bool;
use diesel::{Connection, RunQueryDsl};
use rustix::process::{Signal, geteuid};

use super::free_port;
use crate::nats_server::Child;
use crate::store::DatabaseUrl;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Debian's and most other systems' user without rights, for when the tests run as root: PostgreSQL refuses to.
const NOBODY: u32 = 65_534;
const MISSING: &str =
    "PostgreSQL is not installed: run `apt-get install postgresql`, or set POSTGRES_BIN to the folder of its programs";

/// A database of the test's own.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// Where it is.
    pub url: DatabaseUrl,
}

/// A server with databases of tests. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct PostgresServer {
    port: u16,
    data: PathBuf,
    /// Ends with this process.
    server: Option<Child>,
}

/// A new, empty database. The first call of a process starts its server, in about a second.
///
/// # Panics
/// When PostgreSQL is not installed or does not start.
#[must_use]
pub fn postgres() -> Postgres {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = SERVER.get_or_init(PostgresServer::start);
    server.create_database(&format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed)))
}

impl PostgresServer {
    /// A server of the test's own, for it to stop. [`postgres`] is quicker where none has to be stopped.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        let data = data_dir();
        // Tests need no durability of this server, and there are many of them.
        run_as_nobody(Command::new(programs().join("initdb")).arg("-D").arg(&data).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "--locale=C",
        ]));
        let mut server = Self { port: free_port(), data, server: None };
        server.restart();
        server
    }

    /// Starts it, on the same port and with what it stored.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.stop();
        let mut command = Command::new(programs().join("postgres"));
        command.arg("-D").arg(&self.data).args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=1000",
            "shared_buffers=64MB",
            // In the data folder, which goes with the test however the server ended.
            "dynamic_shared_memory_type=mmap",
            "fsync=off",
            "full_page_writes=off",
            "autovacuum=off",
        ] {
            command.args(["-c", setting]);
        }
        let log = fs::File::create(self.data.join("server.log")).expect("the data folder can be written");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        drop_rights(&mut command);
        self.server = Some(Child::spawn(command).expect("postgres starts"));
        let started = Instant::now();
        while self.connect("postgres").is_err() {
            assert!(
                started.elapsed() < START_TIMEOUT,
                "PostgreSQL does not answer; see {}",
                self.data.join("server.log").display()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it with every connection to it; what it stored stays.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // The "fast" shutdown: it waits for no client.
            server.end(Signal::INT, STOP_TIMEOUT);
        }
    }

    /// A new, empty database on it.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn create_database(&self, name: &str) -> Postgres {
        let mut conn = self.connect("postgres").expect("the server answers");
        conn.batch_execute(&format!("CREATE DATABASE {name}")).expect("room for a database");
        Postgres { url: DatabaseUrl::Postgres(self.url(name)) }
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    fn connect(&self, database: &str) -> Result<PgConnection, diesel::ConnectionError> {
        PgConnection::establish(&self.url(database))
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.data);
    }
}

impl Postgres {
    /// Ends every connection to the database, as a restart of the server would.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn cut_connections(&self) {
        self.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
    }

    /// Runs SQL in it, on a connection for the purpose.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn run(&self, sql: &str) {
        self.session().run(sql);
    }

    /// One more connection to it, for locks that a test holds.
    ///
    /// # Panics
    /// When the server does not answer.
    #[must_use]
    pub fn session(&self) -> Session {
        let DatabaseUrl::Postgres(url) = &self.url else { unreachable!("made as PostgreSQL") };
        Session(PgConnection::establish(url).expect("the server answers"))
    }
}

/// A connection of the test's own; what it has not committed is undone when it is dropped.
pub struct Session(PgConnection);

impl Session {
    /// Runs SQL on it.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn run(&mut self, sql: &str) {
        self.0.batch_execute(sql).expect("the server takes it");
    }

    /// Whether somebody waits for a lock that this one holds.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn blocks_somebody(&mut self) -> bool {
        // Not of pg_stat_activity: a transaction sees that as it was when it first looked.
        let blocked =
            "EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))";
        diesel::select(sql::<Bool>(blocked)).get_result(&mut self.0).expect("the server answers")
    }
}

/// `POSTGRES_BIN`, else the newest of Debian's versioned folders.
fn programs() -> PathBuf {
    find_programs().expect(MISSING)
}

fn find_programs() -> Option<PathBuf> {
    if let Some(bin) = std::env::var_os("POSTGRES_BIN").map(PathBuf::from) {
        return bin.join("initdb").is_file().then_some(bin);
    }
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let folders = fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(Result::ok).map(|entry| entry.path());
    folders
        .filter(|path| path.join("bin/initdb").is_file())
        .max_by_key(|path| version(path))
        .map(|path| path.join("bin"))
}

/// Named after this process, so that a later one can remove it: a static is never dropped.
fn data_dir() -> PathBuf {
    const PREFIX: &str = "holdfast-postgres-";
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let temp = std::env::temp_dir();
    for entry in fs::read_dir(&temp).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let dir = temp.join(format!("{PREFIX}{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).expect("a temporary folder");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("our own folder");
    if geteuid().is_root() {
        chown(&dir, Some(NOBODY), Some(NOBODY)).expect("allowed to, as root");
    }
    dir
}

fn drop_rights(command: &mut Command) {
    command.current_dir(std::env::temp_dir());
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
}

fn run_as_nobody(command: &mut Command) {
    drop_rights(command);
    let output = command.stdin(Stdio::null()).output().expect("the program can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
