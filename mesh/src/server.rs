//! A gRPC server around a service's routes.
//!
//! What happens to a call, outermost first: it is observed (span, duration, status), gets its deadline, is let in if there is room for its
//! priority, is authenticated and authorized by the contract's rule, counted against its caller's quota, and reaches the handler, whose panics and odd answers are put right. A
//! stream is a call until it ends: deadline, place and measurement are those of all of it, and a drain ends it.
//! Health and reflection are served beside the routes and need no token. HTTP/2 only, with [`Tls`] where it is switched on, else without, for one
//! machine or where a mesh proxy encrypts; gRPC-Web and JSON end at the gateway.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proto::contract::{FILE_DESCRIPTOR_SET, METHODS, MethodRule};
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;

use crate::health::{Health, Readiness};
use crate::identity::Verifier;
use crate::net::TcpListener;
use crate::telemetry::rpc::{Observer, Side};
use crate::tls::Tls;
use crate::waits::Waits;

mod access;
mod admission;
mod answers;
#[cfg(feature = "simulation")]
mod arrival;
mod connections;
mod deadlines;
mod observe;
mod quota;
mod routes;
mod rules;

#[cfg(feature = "simulation")]
use arrival::Arrival;
use connections::Connections;
pub use routes::Routes;
use rules::Rules;
/// Calls come in as they were sent, unless the network is simulated.
#[cfg(not(feature = "simulation"))]
use tower::layer::util::Identity as Arrival;

/// What a server is and what it needs.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// The short name, e.g. `listing`: the audience of tokens, the name in telemetry.
    pub service: &'static str,
    /// Full names of the gRPC services in the routes, for health, e.g. `holdfast.listing.v1.ListingService`.
    pub services: Vec<&'static str>,
    /// Who may call what and for how long. A path without a rule does not exist.
    pub rules: &'static [MethodRule],
    /// Checks the callers' tokens.
    pub verifier: Verifier,
    /// What must be there for the server to be ready.
    pub ready: Vec<Readiness>,
    /// How much it takes at once.
    pub limits: Limits,
    /// Queues inside, by which it notices that it has too much to do.
    pub(crate) queues: Vec<Waits>,
    /// How it ends.
    pub drain: Drain,
    /// Without this file the process says that it is not alive.
    pub health_file: Option<PathBuf>,
    /// Cancelled when the end must not take its time any more: what is still in progress is cut.
    pub hurry: CancellationToken,
    /// Its certificate, where callers connect with TLS.
    pub tls: Option<Tls>,
}

impl ServerSpec {
    /// A server with the contract's rules, no dependencies, and default limits.
    #[must_use]
    pub fn new(service: &'static str, services: &'static [&'static str], verifier: Verifier) -> Self {
        Self {
            service,
            services: services.to_vec(),
            rules: METHODS,
            verifier,
            ready: Vec::new(),
            limits: Limits::default(),
            queues: Vec::new(),
            drain: Drain::default(),
            health_file: None,
            hurry: CancellationToken::new(),
            tls: None,
        }
    }

    /// Adds a dependency without which the server is not ready.
    #[must_use]
    pub fn ready(mut self, dependency: Readiness) -> Self {
        self.ready.push(dependency);
        self
    }

    /// Sets how much it takes at once.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds the queue of a database.
    #[must_use]
    pub(crate) fn queue(mut self, waits: &Waits) -> Self {
        self.queues.push(waits.clone());
        self
    }

    /// Sets how it ends.
    #[must_use]
    pub fn drain(mut self, drain: Drain) -> Self {
        self.drain = drain;
        self
    }

    /// Sets the file that says the process is alive; it is made at the start.
    #[must_use]
    pub fn health_file(mut self, file: Option<PathBuf>) -> Self {
        self.health_file = file;
        self
    }
}

/// How much a server takes at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls in progress, over all connections; more are refused with `UNAVAILABLE`. Health is not counted.
    pub calls: usize,
    /// Takes fewer than `calls` while work waits long for its turn.
    pub adaptive: bool,
    /// Open connections; more wait in the listener's backlog.
    pub connections: usize,
    /// Calls in progress on one connection (HTTP/2 setting). No fewer than `calls`: a gateway has one connection, and the streams that are
    /// open on it must not keep its other calls waiting.
    pub streams_per_connection: u32,
    /// How long a connection lives; for ever if `None`.
    pub age: Option<Age>,
    /// How often a user may call.
    pub rates: Rates,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 2048,
            adaptive: true,
            connections: 4096,
            streams_per_connection: 2048,
            // On a simulated machine the clock runs too fast for it.
            age: (!cfg!(feature = "simulation")).then(Age::default),
            rates: Rates::default(),
        }
    }
}

/// How long a connection lives: callers find new servers, and new certificates are used, within this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// Then its peer is asked to open another one for further calls. Give or take a tenth, so that not all come back at once.
    pub limit: Duration,
    /// Calls in progress then have this long before streams are ended and the connection is cut.
    pub grace: Duration,
}

impl Default for Age {
    fn default() -> Self {
        Self { limit: Duration::from_mins(5), grace: Duration::from_secs(30) }
    }
}

/// How many calls a second each user may make to one server, as a burst or spread; without limit if `None`. Services and operators' calls are
/// not counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// That change something.
    pub commands: Option<NonZeroU32>,
    /// That only read.
    pub reads: Option<NonZeroU32>,
}

/// How a server ends.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// After the signal, health says `NOT_SERVING` and everything is still served for this long, so that callers can notice.
    pub lame_duck: Duration,
    /// Then streams end, and other calls in progress may take this long to finish before they are cut.
    pub limit: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { lame_duck: Duration::ZERO, limit: Duration::from_secs(20) }
    }
}

/// The server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptors in the program are not usable.
    #[error("reflection cannot be set up")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The listener is not usable.
    #[error("the listening socket is not usable")]
    Listener(#[from] std::io::Error),
    /// It cannot be made.
    #[error("the health file cannot be made")]
    HealthFile(#[source] std::io::Error),
}

/// Serves until `shutdown` is cancelled and the drain is over.
///
/// # Errors
/// The server could not be set up. Once it serves it does not fail.
///
/// # Cancel safety
/// Dropping the future closes the listener and all connections at once, without a drain.
pub async fn serve(
    spec: ServerSpec,
    listener: TcpListener,
    routes: Routes,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    let mut health = Health::new(&spec.services, spec.health_file.clone()).await.map_err(ServeError::HealthFile)?;
    let mut routes = routes.add_service(health.service());
    // Decoding the descriptors would be a sixth of a simulation.
    if !cfg!(feature = "simulation") {
        routes = routes.add_service(reflection_v1()?).add_service(reflection_v1alpha()?);
    }

    let rules = Arc::new(Rules::new(spec.rules));
    let stack = ServiceBuilder::new()
        .layer(observe::layer(Observer::new(Side::Server, Some(spec.service.to_owned()), Vec::new()), rules))
        .layer(Arrival::new())
        .layer(deadlines::layer(&opentelemetry::global::meter("holdfast"), spec.service))
        .layer(admission::layer(&spec))
        .layer(access::layer(spec.verifier))
        .layer(quota::layer(spec.limits.rates))
        .layer(answers::layer())
        .service(routes);
    let mut connections = Connections::new(stack, spec.limits, spec.tls);

    tracing::info!(service = spec.service, %address, "listening");
    tokio::select! {
        // Dropping either arm loses nothing: accepted connections are tasks of their own.
        never = connections.accept(&listener) => match never {},
        never = health.clone().follow(spec.ready) => match never {},
        () = shutdown.cancelled() => {}
    }

    health.not_serving().await;
    if !spec.drain.lame_duck.is_zero() {
        tracing::info!(
            service = spec.service,
            lame_duck_ms = spec.drain.lame_duck.as_millis(),
            "no longer ready, still serving"
        );
        // Only time or a second signal ends this; the connection accepted last is already a task.
        let lame_duck = tokio::time::timeout(spec.drain.lame_duck, connections.accept(&listener));
        let _ = spec.hurry.run_until_cancelled(lame_duck).await;
    }
    drop(listener);
    health.clear().await;
    let cut = connections.drain(spec.drain.limit, &spec.hurry).await;
    tracing::info!(service = spec.service, cut, "stopped");
    Ok(())
}

type ReflectionError = tonic_reflection::server::Error;

fn reflection_v1() -> Result<
    tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>,
    ReflectionError,
> {
    reflection().build_v1()
}

fn reflection_v1alpha() -> Result<
    tonic_reflection::server::v1alpha::ServerReflectionServer<impl tonic_reflection::server::v1alpha::ServerReflection>,
    ReflectionError,
> {
    reflection().build_v1alpha()
}

/// The descriptors stay encoded: decoding them would lose the contract's own options.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
