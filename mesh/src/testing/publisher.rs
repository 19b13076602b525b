//! What a consumer's test needs of the services it listens to: an outbox and a relay of each, on the test's broker.

use std::collections::HashMap;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::NO_MIGRATIONS;
use crate::bus::Bus;
use crate::event::NewEvent;
use crate::store::{DatabaseUrl, Store, StoreError};
use crate::{deadline, outbox, relay};

/// Publishes events as their services would.
pub struct Publisher {
    dir: TempDir,
    bus: Bus,
    outboxes: HashMap<&'static str, Store>,
    shutdown: CancellationToken,
}

impl Publisher {
    /// On this connection.
    ///
    /// # Panics
    /// When there is no room for temporary files.
    #[must_use]
    pub fn new(bus: Bus) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self { dir, bus, outboxes: HashMap::new(), shutdown: CancellationToken::new() }
    }

    /// Puts the events into the outboxes of their services; the relays publish them.
    ///
    /// # Panics
    /// When an event is not named `holdfast.<service>.v1.<Event>`, or cannot be stored.
    pub async fn publish(&mut self, events: Vec<NewEvent>) {
        let mut of: HashMap<&'static str, Vec<NewEvent>> = HashMap::new();
        for event in events {
            of.entry(event.kind.split('.').nth(1).expect("holdfast.<service>.v1.<Event>")).or_default().push(event);
        }
        for (service, events) in of {
            let store = self.outbox(service).clone();
            store
                .write(move |conn| outbox::push_all(conn, service, &events).map_err(StoreError::from))
                .await
                .expect("stored");
        }
    }

    fn outbox(&mut self, service: &'static str) -> &Store {
        self.outboxes.entry(service).or_insert_with(|| {
            let url = DatabaseUrl::Sqlite(self.dir.path().join(format!("{service}.db")));
            let store = Store::open(&url, service, NO_MIGRATIONS).expect("a fresh database");
            let shutdown = self.shutdown.clone();
            drop(deadline::spawn(relay::run(store.clone(), self.bus.clone(), service, shutdown)));
            store
        })
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
