//! Health by the standard gRPC protocol: each service's name and `""` follow the dependencies, `liveness` only says that the process runs.
//!
//! Where a health file is configured, `liveness` also wants it to be there: whoever removes it has the process replaced by what watches over it.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
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
    file: Option<PathBuf>,
}

impl Health {
    /// Not serving, until the first look at the dependencies. The file is made if need be: a process that starts is well.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(crate) async fn new(services: &[&'static str], file: Option<PathBuf>) -> io::Result<Self> {
        if let Some(file) = &file {
            tokio::fs::File::options().create(true).append(true).open(file).await?;
        }
        let names = services.iter().copied().chain([""]).collect();
        let health = Self { reporter: HealthReporter::new(), names, file };
        health.set(ServingStatus::NotServing).await;
        health.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        Ok(health)
    }

    pub(crate) fn service(&self) -> HealthServer<impl HealthRpc> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    async fn set(&self, status: ServingStatus) {
        for name in &self.names {
            self.reporter.set_service_status(name, status).await;
        }
    }

    /// Follows the dependencies, and the file, until dropped.
    pub(crate) async fn follow(self, dependencies: Vec<Readiness>) -> Infallible {
        let (mut before, mut alive) = (None, true);
        loop {
            alive = self.follow_file(alive).await;
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

    /// Whether the process is alive, as far as its file says; what cannot be seen says nothing.
    async fn follow_file(&self, before: bool) -> bool {
        let Some(file) = &self.file else { return true };
        let alive = tokio::fs::try_exists(file).await.unwrap_or(before);
        match (before, alive) {
            (true, false) => {
                tracing::warn!(file = %file.display(), "the health file is gone, so this process says it is not alive");
                self.reporter.set_service_status(LIVENESS, ServingStatus::NotServing).await;
            }
            (false, true) => {
                tracing::info!(file = %file.display(), "the health file is back");
                self.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
            }
            _ => {}
        }
        alive
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
