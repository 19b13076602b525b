//! Health by the standard gRPC protocol: each service's name and `""` follow the dependencies, `liveness` only says that the process runs.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthRpc, HealthServer};
use tonic_health::server::{HealthReporter, HealthService};

/// How often dependencies are looked at.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How soon again while one is missing.
const PROBE_AGAIN: Duration = Duration::from_millis(50);
/// A dependency that takes longer to answer is not there.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// The name that never depends on anything else.
pub const LIVENESS: &str = "liveness";

type Probe = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// A dependency without which the service cannot do its work.
#[derive(Clone)]
pub struct Readiness {
    name: &'static str,
    probe: Probe,
}

impl Readiness {
    /// `probe` answers whether the dependency `name` can be used now. It is dropped if it takes longer than two seconds.
    #[must_use]
    pub fn new<F, R>(name: &'static str, probe: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = bool> + Send + 'static,
    {
        Self { name, probe: Arc::new(move || Box::pin(probe())) }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a server says about itself.
#[derive(Clone)]
pub(crate) struct Health {
    reporter: HealthReporter,
    names: Vec<&'static str>,
}

impl Health {
    /// Not serving, until the first look at the dependencies.
    pub(crate) async fn new(services: &[&'static str]) -> Self {
        let names = services.iter().copied().chain([""]).collect();
        let health = Self { reporter: HealthReporter::new(), names };
        health.set(ServingStatus::NotServing).await;
        health.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        health
    }

    pub(crate) fn service(&self) -> HealthServer<impl HealthRpc> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    async fn set(&self, status: ServingStatus) {
        for name in &self.names {
            self.reporter.set_service_status(name, status).await;
        }
    }

    /// Follows the dependencies until dropped.
    pub(crate) async fn follow(self, dependencies: Vec<Readiness>) -> Infallible {
        let mut before = None;
        loop {
            let missing = missing(&dependencies).await;
            let pause = if missing.is_empty() { PROBE_EVERY } else { PROBE_AGAIN };
            if before.as_ref() != Some(&missing) {
                if missing.is_empty() {
                    tracing::info!("ready");
                    self.set(ServingStatus::Serving).await;
                } else {
                    tracing::warn!(?missing, "not ready");
                    self.set(ServingStatus::NotServing).await;
                }
                before = Some(missing);
            }
            sleep(pause).await;
        }
    }

    /// Sends new calls elsewhere; those that still come are served.
    pub(crate) async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// Ends every `Watch`, which otherwise would keep its connection open for ever.
    pub(crate) async fn clear(&mut self) {
        for name in self.names.iter().copied().chain([LIVENESS]) {
            self.reporter.clear_service_status(name).await;
        }
    }
}

async fn missing(dependencies: &[Readiness]) -> Vec<&'static str> {
    let mut missing = Vec::new();
    for dependency in dependencies {
        if !timeout(PROBE_LIMIT, (dependency.probe)()).await.unwrap_or(false) {
            missing.push(dependency.name);
        }
    }
    missing
}
