//! A running service: its database, its broker, its identity, its background work, its server.
//!
//! A service starts a [`Node`], hands it consumers and workers, and lets it serve. The node adds what every service needs:
//! the relay that publishes its outbox, readiness, what operators ask of outbox, dead letters and its calls to others, and an
//! order of ending in which calls finish first and background work after them.

use std::{
    future::Future,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::Args;
use proto::contract::METHODS;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin::{self, Admin},
    bus::{Bus, InvalidBrokerUrl},
    client::{self, Address, Calls, Channel},
    config::{BusArgs, CallArgs, DataArgs, DrainArgs, HealthArgs, IdentityArgs, LimitArgs},
    consumer::{self, ConsumerSpec, HandlerError, RetryPolicy, Worker},
    crash_point, deadline,
    event::Received,
    health::Readiness,
    identity::{IssuerError, ServiceIdentity, Verifier},
    net::TcpListener,
    relay,
    server::{self, Drain, Limits, Routes, ServeError, ServerSpec},
    store::{Conn, DatabaseUrl, Migrations, OpenError, Store, StoreError},
    tls::{Tls, TlsError},
};

/// Background work ends within this time after the last call, or is cut.
const WORKERS_LIMIT: Duration = Duration::from_secs(10);

/// What every service is configured with.
#[derive(Args, Clone, Debug)]
pub struct NodeArgs {
    /// Where rows are kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Where events go.
    #[command(flatten)]
    pub bus: BusArgs,
    /// Whose tokens count.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// How it calls others.
    #[command(flatten)]
    pub calls: CallArgs,
    /// How much it takes.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// How it ends.
    #[command(flatten)]
    pub drain: DrainArgs,
    /// How it says that it is alive.
    #[command(flatten)]
    pub health: HealthArgs,
}

/// The service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its database.
    #[error("the database cannot be opened")]
    Open(#[from] OpenError),
    /// A query at start-up.
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    /// The address of the broker.
    #[error("the address of the broker is not usable")]
    Bus(#[from] InvalidBrokerUrl),
    /// Its key.
    #[error("the service has no identity")]
    Identity(#[from] IssuerError),
    /// Its certificate.
    #[error("the service has no certificate")]
    Tls(#[from] TlsError),
    /// Its server.
    #[error("the server cannot be set up")]
    Serve(#[from] ServeError),
    /// Anything a single service needs besides.
    #[error("the service cannot be set up")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A service that is being set up, or runs.
pub struct Node {
    name: &'static str,
    store: Store,
    bus: Bus,
    identity: ServiceIdentity,
    verifier: Verifier,
    calls: Calls,
    limits: Limits,
    drain: Drain,
    health_file: Option<PathBuf>,
    hurry: CancellationToken,
    tls: Option<Tls>,
    alone: bool,
    needs_bus: bool,
    shutdown: CancellationToken,
    /// Cancelled once the last call has ended: only then may background work stop.
    stop_workers: CancellationToken,
    workers: TaskTracker,
    consumers: Mutex<Vec<Arc<Worker>>>,
}

impl Node {
    /// Opens the database and begins to connect to the broker, which need not be there yet.
    ///
    /// # Errors
    /// When the database, the keys or the addresses are not usable.
    pub async fn start(
        name: &'static str,
        args: &NodeArgs,
        migrations: Migrations,
        shutdown: CancellationToken,
    ) -> Result<Self, NodeError> {
        let url = args.data.database(name);
        let identity = args.identity.identity(name)?;
        // Opening blocks; nothing else runs on this runtime yet.
        let store = Store::open(&url, name, migrations)?;
        crash_point!("mesh.node.opened");
        let bus = Bus::connect(&args.bus.nats_url).await?.with_limits(args.bus.limits());
        Ok(Self {
            name,
            store,
            bus,
            identity,
            verifier: args.identity.verifier(name),
            calls: Calls::new(args.calls.settings()),
            limits: args.limits.limits(),
            drain: args.drain.drain(),
            health_file: args.health.health_file.clone(),
            hurry: args.drain.hurry.clone(),
            tls: args.identity.tls()?,
            alone: matches!(url, DatabaseUrl::Sqlite(_)),
            needs_bus: false,
            shutdown,
            stop_workers: CancellationToken::new(),
            workers: TaskTracker::new(),
            consumers: Mutex::default(),
        })
    }

    /// Its database.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its connection to the broker.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Whether no other process can be using the database: true of an SQLite file.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Makes the service not ready before it has reached the broker once: for services that have nothing to say without events. What they
    /// know already they go on telling while the broker is away.
    #[must_use]
    pub fn needs_bus(mut self) -> Self {
        self.needs_bus = true;
        self
    }

    /// Cancelled when background work has to end.
    #[must_use]
    pub fn shutdown(&self) -> CancellationToken {
        self.stop_workers.clone()
    }

    /// A channel to another service, as this one; with TLS if this one has a certificate.
    #[must_use]
    pub fn connect(&self, service: &'static str, address: &Address) -> Channel {
        let address = &address.clone().secured(self.tls.as_ref());
        client::connect_as(service, address, self.identity.clone(), METHODS, &self.calls)
    }

    /// Consumes events in the background; see [`consumer::run`] for what the handler may do.
    pub fn consume<H>(&self, spec: ConsumerSpec, handler: H)
    where
        H: Fn(&mut Conn, &[Received]) -> Result<(), HandlerError> + Send + Sync + 'static,
    {
        let (bus, store) = (self.bus.clone(), self.store.clone());
        let handler: consumer::Handler = Arc::new(handler);
        #[cfg(feature = "testing")]
        let handler = crate::testing::observed(self.name, &spec, handler);
        let worker = Arc::new(Worker::new(spec, RetryPolicy::default(), bus, store, handler));
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&worker));
        let shutdown = self.shutdown();
        self.run(async move { consumer::run_worker(&worker, &shutdown).await });
    }

    /// Runs `worker` in the background. It must end soon after [`Node::shutdown`] is cancelled.
    pub fn run(&self, worker: impl Future<Output = ()> + Send + 'static) {
        drop(deadline::spawn(self.workers.track_future(worker)));
    }

    /// Serves until the shutdown given to [`Node::start`], drains, then ends the background work.
    ///
    /// # Errors
    /// When the server cannot be set up.
    pub async fn serve(
        self,
        listener: TcpListener,
        routes: Routes,
        services: &'static [&'static str],
    ) -> Result<(), NodeError> {
        self.run(relay::run(self.store.clone(), self.bus.clone(), self.name, self.shutdown()));
        let admin = self.admin();
        self.run(admin.clone().measure(self.shutdown()));
        let routes = admin.routes(routes);

        let mut spec = ServerSpec::new(self.name, services, self.verifier.clone())
            .limits(self.limits)
            .queue(self.store.waits())
            .drain(self.drain)
            .health_file(self.health_file.clone())
            .ready(store_ready(&self.store));
        spec.services.extend(admin::SERVICES);
        (spec.hurry, spec.tls) = (self.hurry.clone(), self.tls.clone());
        if self.needs_bus {
            spec = spec.ready(bus_ready(&self.bus));
        }
        let served = server::serve(spec, listener, routes, self.shutdown.clone()).await;

        crash_point!("mesh.node.drained");
        self.stop_workers.cancel();
        self.workers.close();
        if tokio::time::timeout(WORKERS_LIMIT, self.workers.wait()).await.is_err() {
            tracing::warn!(service = self.name, "background work did not end in time and is cut");
        }
        crash_point!("mesh.node.ended");
        Ok(served?)
    }

    fn admin(&self) -> Admin {
        let consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Admin::new(self.name, self.store.clone(), self.bus.clone(), consumers, self.calls.clone())
    }
}

impl Drop for Node {
    /// A service that is dropped takes its background work along.
    fn drop(&mut self) {
        self.stop_workers.cancel();
    }
}

fn store_ready(store: &Store) -> Readiness {
    let store = store.clone();
    Readiness::new("store", move || {
        let store = store.clone();
        async move { store.ping().await.is_ok() }
    })
}

fn bus_ready(bus: &Bus) -> Readiness {
    let (bus, reached) = (bus.clone(), Arc::new(AtomicBool::new(false)));
    Readiness::new("broker", move || {
        let ready = reached.load(Ordering::Relaxed) || bus.is_connected();
        reached.store(ready, Ordering::Relaxed);
        std::future::ready(ready)
    })
}
