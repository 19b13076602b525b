//! What every node answers an operator, and measures, of its own part of the mesh: the outbox, and the dead letters of its consumers.

mod dead_letters;
mod gauges;
mod outbox;

use std::sync::Arc;
use std::time::Duration;

use proto::mesh::v1::dead_letter_service_server::{self, DeadLetterServiceServer};
use proto::mesh::v1::outbox_service_server::{self, OutboxServiceServer};
use tokio_util::sync::CancellationToken;

use crate::bus::Bus;
use crate::consumer::Worker;
use crate::fault::{Chain, Fault};
use crate::server::Routes;
use crate::store::{Store, StoreError};

/// The gRPC services of every node.
pub(crate) const SERVICES: [&str; 2] = [outbox_service_server::SERVICE_NAME, dead_letter_service_server::SERVICE_NAME];

/// When a caller may come back after what is needed did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A node as an operator sees it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Admin(Arc<Parts>);

struct Parts {
    service: &'static str,
    store: Store,
    bus: Bus,
    consumers: Vec<Arc<Worker>>,
}

impl Admin {
    pub(crate) fn new(service: &'static str, store: Store, bus: Bus, consumers: Vec<Arc<Worker>>) -> Self {
        Self(Arc::new(Parts { service, store, bus, consumers }))
    }

    /// The routes with those of every node.
    pub(crate) fn routes(&self, routes: Routes) -> Routes {
        routes
            .add_service(OutboxServiceServer::new(self.clone()))
            .add_service(DeadLetterServiceServer::new(self.clone()))
    }

    /// Measures outbox and dead letters until `shutdown`, where metrics are exported.
    pub(crate) async fn measure(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(gauges::record(&self.0)).await;
    }
}

fn store_fault(error: StoreError) -> Fault {
    match error {
        StoreError::Deadline => Fault::deadline_exceeded("the deadline passed before the database was done"),
        error => {
            tracing::warn!(error = %Chain(&error), "an operator's call cannot use the database");
            Fault::unavailable("STORE_UNAVAILABLE", "the database cannot be used now", RETRY_AFTER)
        }
    }
}
