//! What every node answers an operator, and measures, of its own part of the mesh: the outbox, the dead letters of its consumers, and its calls
//! to other services.

mod breakers;
mod dead_letters;
mod gauges;
mod injected_faults;
mod outbox;

use std::sync::Arc;
use std::time::Duration;

use proto::mesh::v1::breaker_service_server::{self, BreakerServiceServer};
use proto::mesh::v1::dead_letter_service_server::{self, DeadLetterServiceServer};
use proto::mesh::v1::injected_fault_service_server::{self, InjectedFaultServiceServer};
use proto::mesh::v1::outbox_service_server::{self, OutboxServiceServer};
use tokio_util::sync::CancellationToken;

use crate::bus::Bus;
use crate::client::Calls;
use crate::consumer::Worker;
use crate::fault::{Chain, Fault};
use crate::server::Routes;
use crate::store::{Id, Store, StoreError};
use crate::value::Page;

/// The gRPC services of every node.
pub(crate) const SERVICES: [&str; 4] = [
    outbox_service_server::SERVICE_NAME,
    dead_letter_service_server::SERVICE_NAME,
    breaker_service_server::SERVICE_NAME,
    injected_fault_service_server::SERVICE_NAME,
];

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
    calls: Calls,
}

impl Admin {
    pub(crate) fn new(
        service: &'static str,
        store: Store,
        bus: Bus,
        consumers: Vec<Arc<Worker>>,
        calls: Calls,
    ) -> Self {
        Self(Arc::new(Parts { service, store, bus, consumers, calls }))
    }

    /// The routes with those of every node.
    pub(crate) fn routes(&self, routes: Routes) -> Routes {
        routes
            .add_service(OutboxServiceServer::new(self.clone()))
            .add_service(DeadLetterServiceServer::new(self.clone()))
            .add_service(BreakerServiceServer::new(self.clone()))
            .add_service(InjectedFaultServiceServer::new(self.clone()))
    }

    /// Measures outbox and dead letters until `shutdown`, where metrics are exported.
    pub(crate) async fn measure(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(gauges::record(&self.0)).await;
    }
}

/// One page of a list that is all in memory, and the token of the next. The place in the list is what a token holds.
fn page_of<T>(page: &Page, all: Vec<T>) -> (Vec<T>, String) {
    let limit = usize::try_from(page.limit()).unwrap_or(usize::MAX);
    let after = page.after().map_or(0, number_of);
    let numbered = (1..).zip(all).filter(|(number, _)| *number > after);
    let mut found: Vec<(u64, T)> = numbered.take(limit).collect();
    let next = page.cut(&mut found, |(number, _)| id_of(*number));
    (found.into_iter().map(|(_, item)| item).collect(), next)
}

/// A page token holds an id; the number is its end.
fn id_of(number: u64) -> Id {
    Id::from_bytes(u128::from(number).to_be_bytes())
}

fn number_of(id: Id) -> u64 {
    u64::try_from(u128::from_be_bytes(*id.as_bytes())).unwrap_or(u64::MAX - 1)
}

/// As the wire has it.
fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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
