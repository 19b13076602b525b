//! Processes of the mesh, and what they need.

use std::{
    collections::HashMap,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use mesh::{
    client::{self, Address, Channel, Credentials},
    health::LIVENESS,
    identity::{Issuer, KeyDirectory, ServiceIdentity},
    store::DatabaseUrl,
    testing::{Broker, chosen_database, eventually, free_port},
    tls::Tls,
};
use proto::contract::Role;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{caller::Caller, tables::Tables};

/// Every service of the mesh.
pub const SERVICES: [&str; 7] = ["listing", "reservation", "payment", "mileage", "message", "view", "voucher"];
/// Services that others have added: they run where a test [begins](World::begin) them.
pub const ADDED: [&str; 1] = ["marketing"];
/// Nothing here takes so long on a busy machine unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The `holdfast` binary that was built with these tests.
pub fn holdfast() -> PathBuf {
    program("holdfast")
}

/// A binary of package `holdfast` that was built with this program: beside it, or above where it is a test.
pub fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a program has a path");
    let found = this.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is missing: cargo build -p holdfast --bin {name}"))
}

const LOG: &str = "log";

/// A process that is killed when it is dropped.
pub struct Process(Child);

impl Process {
    pub fn spawn(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().expect("the process starts"))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.end();
    }

    /// SIGTERM, and its exit status.
    pub async fn terminate(mut self) -> ExitStatus {
        send(self.id(), Signal::TERM);
        self.wait().await
    }

    pub async fn wait(&mut self) -> ExitStatus {
        eventually(PATIENCE, || {
            let status = self.ended();
            async move { status }
        })
        .await
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("a child of ours")
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl From<Child> for Process {
    fn from(child: Child) -> Self {
        Self(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

pub fn send(process: u32, signal: Signal) {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process id");
    let _ = kill_process(process, signal);
}

/// Whether a thread is stopped, or has ended meanwhile.
fn is_stopped(thread: &Path) -> bool {
    std::fs::read_to_string(thread.join("stat")).map_or(true, |state| state.contains(") T "))
}

/// What a world is made of.
pub struct Setup<'a> {
    /// The binary of its processes.
    pub program: PathBuf,
    /// SQLite files, if none.
    pub database: Option<DatabaseUrl>,
    /// More environment for every process.
    pub settings: &'a [(&'a str, &'a str)],
    /// Whether the processes write what they have to say into a file, [`World::log`], and not to the terminal.
    pub quiet: bool,
}

/// A mesh of processes.
pub struct World {
    pub broker: Broker,
    program: PathBuf,
    output: Option<File>,
    processes: HashMap<&'static str, Process>,
    ports: HashMap<&'static str, u16>,
    issuer: Issuer,
    settings: Vec<(String, String)>,
    database: Option<DatabaseUrl>,
    dir: TempDir,
}

impl World {
    /// Every service as a process of its own, on the [chosen database](chosen_database), ready.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more environment for every process.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_on(chosen_database(), settings).await
    }

    /// On this database, or on SQLite files.
    pub async fn start_on(database: Option<DatabaseUrl>, settings: &[(&str, &str)]) -> Self {
        let mut world = Self::without_services(database, settings).await;
        world.begin_all().await;
        world
    }

    /// A broker, keys and ports; no service runs yet.
    pub async fn prepare(setup: Setup<'_>) -> Self {
        let Setup { program, database, settings, quiet } = setup;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let issuer = Issuer::create(dir.path().join("keys"), &[&SERVICES[..], &ADDED].concat()).expect("fresh keys");
        Self {
            broker: Broker::start().await,
            program,
            output: quiet.then(|| File::create(dir.path().join(LOG)).expect("room for a file")),
            processes: HashMap::new(),
            ports: SERVICES.into_iter().chain(ADDED).map(|service| (service, free_port())).collect(),
            issuer,
            settings: settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
            database,
            dir,
        }
    }

    /// Starts every service that does not run, and waits for all.
    pub async fn begin_all(&mut self) {
        for service in SERVICES {
            if !self.processes.contains_key(service) {
                self.launch(service, &[]);
            }
        }
        for service in SERVICES {
            self.ready(service).await;
        }
    }

    /// As [`World::start_on`], and nobody runs yet.
    pub async fn without_services(database: Option<DatabaseUrl>, settings: &[(&str, &str)]) -> Self {
        Self::prepare(Setup { program: holdfast(), database, settings, quiet: false }).await
    }

    /// The environment of every process: addresses, keys, data, broker.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut environment = vec![
            ("NATS_URL".to_owned(), self.broker.url()),
            ("HOLDFAST_DATA_DIR".to_owned(), self.data().display().to_string()),
            ("HOLDFAST_KEYS_DIR".to_owned(), self.keys().display().to_string()),
        ];
        environment.extend(self.ports.iter().flat_map(|(service, port)| listening(service, *port)));
        if let Some(DatabaseUrl::Postgres(url)) = &self.database {
            environment.push(("HOLDFAST_DATABASE_URL".to_owned(), url.clone()));
        }
        environment.extend(self.settings.iter().cloned());
        environment
    }

    /// What the processes of a quiet world say.
    pub fn log(&self) -> PathBuf {
        self.dir.path().join(LOG)
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    /// Runs `holdfast` with these arguments in this world.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).envs(self.environment()).current_dir(self.dir.path());
        command
    }

    /// A process of a service, which ends with this test, even if the test is killed.
    pub fn serve(&self, service: &'static str) -> Command {
        let mut command = self.command(&["serve", service, "--parent", &std::process::id().to_string()]);
        if let Some(output) = &self.output {
            let copy = || output.try_clone().expect("an open file");
            command.stdout(copy()).stderr(copy());
        }
        command
    }

    /// Starts a service that was stopped, with settings of its own, and does not wait for it.
    pub fn launch(&mut self, service: &'static str, settings: &[(&str, &str)]) {
        let process = Process::spawn(self.serve(service).envs(settings.iter().copied()));
        self.processes.insert(service, process);
    }

    /// Starts a service that was stopped.
    pub async fn begin(&mut self, service: &'static str) {
        self.begin_with(service, &[]).await;
    }

    /// Drains and ends a service.
    pub async fn stop(&mut self, service: &'static str) {
        let process = self.processes.remove(service).expect("it runs");
        let status = process.terminate().await;
        assert!(status.success(), "{service} ends well when asked to: {status}");
    }

    /// How a service has ended, if it has; then it may be begun again.
    pub fn ended(&mut self, service: &'static str) -> Option<ExitStatus> {
        let status = self.processes.get_mut(service).expect("it was begun").ended()?;
        self.processes.remove(service);
        Some(status)
    }

    /// Whether several processes of a service can share its database.
    pub fn has_replicas(&self) -> bool {
        self.database.is_some()
    }

    /// Sets a service's process aside, and starts another at an address of its own; its callers have to be made anew.
    pub fn replace(&mut self, service: &'static str) -> Process {
        let aside = self.processes.remove(service).expect("it runs");
        self.ports.insert(service, free_port());
        self.launch(service, &[]);
        aside
    }

    /// Whether a service was stopped in its tracks: each of its threads, for they stop one by one.
    pub fn is_frozen(&self, service: &'static str) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.processes[service].id()));
        threads.is_ok_and(|threads| threads.flatten().all(|thread| is_stopped(&thread.path())))
    }

    /// Sends a signal to a service.
    pub fn signal(&self, service: &'static str, signal: Signal) {
        send(self.processes[service].id(), signal);
    }

    /// Kills a service.
    pub fn kill(&mut self, service: &'static str) {
        self.processes.remove(service).expect("it runs").kill();
    }

    pub fn address(&self, service: &str) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[service]))
    }

    /// Waits until a service says that it serves.
    pub async fn ready(&self, service: &'static str) {
        ready(service, self.address(service).into()).await;
    }

    /// As [`ready`](Self::ready), of a service that is reached with this certificate.
    pub async fn ready_over(&self, service: &'static str, tls: &Tls) {
        ready(service, Address::from(self.address(service)).secured(Some(tls))).await;
    }

    pub fn token(&self, subject: &str, role: Role) -> String {
        self.issuer.token(subject, &[role], Duration::from_secs(3600))
    }

    /// A caller with one role.
    pub fn caller(&self, subject: &str, role: Role) -> Caller {
        self.caller_with(subject, &self.token(subject, role))
    }

    pub fn customer(&self, subject: &str) -> Caller {
        self.caller(subject, Role::Customer)
    }

    pub fn host(&self) -> Caller {
        self.caller("hana", Role::Host)
    }

    /// Leaves its files behind when it is dropped.
    pub fn keep(&mut self) {
        self.dir.disable_cleanup(true);
    }

    /// A service's tables, beside the service.
    pub fn tables(&self, service: &str) -> Tables {
        Tables::new(&self.database(service), service)
    }

    /// A channel to a service as another service.
    pub fn peer(&self, service: &'static str, caller: &str) -> Channel {
        let identity = ServiceIdentity::open(&KeyDirectory::new(self.keys()), caller).expect("a key of that name");
        client::connect(service, &self.address(service).into(), identity)
    }

    /// A channel to a service as a user.
    pub fn user(&self, service: &'static str, subject: &str, role: Role) -> Channel {
        client::connect(service, &self.address(service).into(), Credentials::token(&self.token(subject, role)))
    }

    /// The invariants over every store, as an operator checks them.
    pub fn audit(&self) {
        let output = self.command(&["audit", "--settle", "30"]).output().expect("the audit runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts a service that was stopped, with settings of its own.
    pub async fn begin_with(&mut self, service: &'static str, settings: &[(&str, &str)]) {
        self.launch(service, settings);
        self.ready(service).await;
    }

    /// Starts a service that was stopped, as a process whose files [can be limited](Self::limit_files): without this, the signal that tells of the
    /// limit would end it.
    pub async fn begin_limitable(&mut self, service: &'static str) {
        let parent = std::process::id().to_string();
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(holdfast());
        command.args(["serve", service, "--parent", &parent]).envs(self.environment()).current_dir(self.dir.path());
        self.processes.insert(service, Process::spawn(&mut command));
        self.ready(service).await;
    }

    /// How long files may become that a service writes, or any length. A write beyond that fails, as on a full disk.
    pub fn limit_files(&self, service: &'static str, bytes: Option<u64>) {
        let process = i32::try_from(self.processes[service].id()).ok().and_then(Pid::from_raw);
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(process.expect("a process id")), Resource::Fsize, limit).expect("a child of ours");
    }

    /// Whether its process is there.
    pub fn runs(&mut self, service: &'static str) -> bool {
        self.processes.get_mut(service).is_some_and(|process| matches!(process.0.try_wait(), Ok(None)))
    }

    /// Where a service keeps its rows.
    pub fn database(&self, service: &str) -> DatabaseUrl {
        self.database.clone().unwrap_or_else(|| DatabaseUrl::Sqlite(self.data().join(format!("{service}.db"))))
    }

    /// A caller with a token from elsewhere.
    pub fn caller_with(&self, subject: &str, token: &str) -> Caller {
        let channel = |service: &'static str| -> Channel {
            client::connect(service, &self.address(service).into(), Credentials::token(token))
        };
        Caller::new(subject, channel)
    }

    /// Stops a process in its tracks, or lets it go on: it is there, and answers nothing.
    pub fn freeze(&self, service: &'static str, frozen: bool) {
        self.signal(service, if frozen { Signal::STOP } else { Signal::CONT });
    }

    /// Whether a service says of itself, now, that it can serve.
    pub async fn is_serving(&self, service: &'static str) -> bool {
        self.says_of_itself(service, "").await
    }

    /// Whether a service says of itself, now, that it is alive.
    pub async fn is_alive(&self, service: &'static str) -> bool {
        self.says_of_itself(service, LIVENESS).await
    }

    async fn says_of_itself(&self, service: &'static str, what: &str) -> bool {
        let channel = client::connect(service, &self.address(service).into(), Credentials::Anonymous);
        let answer = HealthClient::new(channel).check(HealthCheckRequest { service: what.to_owned() }).await;
        answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
    }
}

/// Where a service listens, and where the others find it.
pub(crate) fn listening(service: &str, port: u16) -> [(String, String); 2] {
    let service = service.to_uppercase();
    [
        (format!("HOLDFAST_{service}_LISTEN"), format!("127.0.0.1:{port}")),
        (format!("HOLDFAST_{service}_URL"), format!("http://127.0.0.1:{port}")),
    ]
}

/// Waits until the service at this address says that it serves.
pub async fn ready(service: &'static str, address: Address) {
    let channel = client::connect(service, &address, Credentials::Anonymous);
    eventually(PATIENCE, || {
        let mut health = HealthClient::new(channel.clone());
        async move {
            let answer = health.check(HealthCheckRequest::default()).await;
            answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
        }
    })
    .await;
}
