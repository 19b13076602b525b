//! What a service needs around it in a test: keys, an issuer, a data folder, a broker, and callers.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use proto::contract::{METHODS, Role};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Broker, Publisher, Subscriber, chosen_database, free_port};
use crate::{
    bus::Bus,
    client::{self, Channel, Credentials},
    config::{BusArgs, CallArgs, DataArgs, DrainArgs, HealthArgs, IdentityArgs, LimitArgs},
    identity::{ISSUER, Issuer, KeyDirectory, ServiceIdentity},
    node::{NodeArgs, NodeError},
    store::DatabaseUrl,
};

/// The surroundings of services under test. Dropping it ends the broker and removes every file.
pub struct TestMesh {
    dir: TempDir,
    issuer: Issuer,
    broker: Option<Broker>,
    database: Option<DatabaseUrl>,
}

impl TestMesh {
    /// With a broker of its own and the [chosen database](chosen_database).
    ///
    /// # Panics
    /// When there is no room for temporary files, or no nats-server.
    pub async fn start() -> Self {
        Self { broker: Some(Broker::start().await), ..Self::without_broker() }
    }

    /// With the [chosen database](chosen_database) and no broker: services publish nothing and consume nothing.
    ///
    /// # Panics
    /// When there is no room for temporary files.
    #[must_use]
    pub fn without_broker() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let issuer = Issuer::create(dir.path().join("keys"), &services()).expect("fresh keys");
        Self { dir, issuer, broker: None, database: chosen_database() }
    }

    /// With this database for every service.
    #[must_use]
    pub fn on(mut self, database: DatabaseUrl) -> Self {
        self.database = Some(database);
        self
    }

    /// The broker.
    ///
    /// # Panics
    /// When it was made without one.
    #[must_use]
    pub fn broker(&mut self) -> &mut Broker {
        self.broker.as_mut().expect("made with a broker")
    }

    /// Publishes on the broker, in the place of any service.
    ///
    /// # Panics
    /// When it was made without a broker.
    pub async fn publisher(&self) -> Publisher {
        Publisher::new(self.bus().await)
    }

    /// Gathers what is published to a stream, e.g. `E::STREAM` of one of its events.
    ///
    /// # Panics
    /// When it was made without a broker.
    pub async fn subscriber(&self, stream: &'static str) -> Subscriber {
        Subscriber::new(self.bus().await, stream)
    }

    async fn bus(&self) -> Bus {
        self.broker.as_ref().expect("made with a broker").bus().await
    }

    /// A folder for whatever else a test writes.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// The configuration of any service in these surroundings.
    #[must_use]
    pub fn node(&self) -> NodeArgs {
        let nowhere = "nats://127.0.0.1:1";
        NodeArgs {
            data: DataArgs { data_dir: self.dir.path().join("data"), database_url: self.database.clone() },
            bus: BusArgs::at(self.broker.as_ref().map_or_else(|| nowhere.to_owned(), Broker::url)),
            identity: IdentityArgs { keys_dir: self.dir.path().join("keys"), issuer: ISSUER.to_owned(), tls_dir: None },
            calls: CallArgs::default(),
            health: HealthArgs::default(),
            limits: LimitArgs::default(),
            drain: DrainArgs { lame_duck_ms: 0, drain_limit_ms: 5_000, hurry: CancellationToken::new() },
        }
    }

    /// A token of a user with these roles.
    #[must_use]
    pub fn token(&self, subject: &str, roles: &[Role]) -> String {
        self.issuer.token(subject, roles, Duration::from_secs(600))
    }

    /// A channel to `service` as a user with one role.
    #[must_use]
    pub fn user(&self, service: &'static str, address: SocketAddr, subject: &str, role: Role) -> Channel {
        client::connect(service, &address.into(), Credentials::token(&self.token(subject, &[role])))
    }

    /// A channel to `service` as another service.
    ///
    /// # Panics
    /// When there is no service named `caller`.
    #[must_use]
    pub fn service(&self, service: &'static str, address: SocketAddr, caller: &str) -> Channel {
        let keys = KeyDirectory::new(self.dir.path().join("keys"));
        client::connect(service, &address.into(), ServiceIdentity::open(&keys, caller).expect("a key of that name"))
    }
}

/// Every service of the contract: `holdfast.<service>.v1`. What all of them serve is nobody's own.
fn services() -> Vec<&'static str> {
    let mut names: Vec<_> = METHODS.iter().filter_map(|method| method.path.split('.').nth(1)).collect();
    names.dedup();
    names.retain(|name| *name != "mesh");
    names
}

/// A service that runs in a task of the test.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), NodeError>>,
}

impl Running {
    /// Serves on a free port, where it may be started again: `start(|listener, shutdown| service::serve(…, listener, shutdown))`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start<F, S>(serve: F) -> Self
    where
        F: FnOnce(TcpListener, CancellationToken) -> S,
        S: Future<Output = Result<(), NodeError>> + Send + 'static,
    {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], free_port())), serve).await
    }

    /// Serves on a given address, e.g. that of a service that was stopped.
    ///
    /// # Panics
    /// When the address is taken.
    pub async fn start_at<F, S>(address: SocketAddr, serve: F) -> Self
    where
        F: FnOnce(TcpListener, CancellationToken) -> S,
        S: Future<Output = Result<(), NodeError>> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shutdown = CancellationToken::new();
        let task = crate::deadline::spawn(serve(listener, shutdown.clone()));
        Self { address, shutdown, task }
    }

    /// Drains and ends it.
    ///
    /// # Panics
    /// When it failed.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("the service does not panic").expect("the service ends well");
    }
}
