//! The events that the message service publishes.

use std::sync::Arc;

use mesh::consumer::{self, ConsumerSpec, HandlerError, Repeats};
use mesh::event::Received;
use mesh::store::Store;
use mesh::testing::{TestMesh, eventually};
use tokio_util::sync::CancellationToken;

use crate::harness::SOON;

/// Gathers the events that the message service publishes.
pub(crate) struct Published {
    events: Arc<std::sync::Mutex<Vec<Received>>>,
    shutdown: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Published {
    pub(crate) async fn by(mesh: &mut TestMesh) -> Self {
        let (dir, url) = mesh::testing::database();
        let store = Store::open(&url, "gather", message::MIGRATIONS).expect("a fresh database");
        let (events, shutdown) = (Arc::<std::sync::Mutex<Vec<Received>>>::default(), CancellationToken::new());
        let spec = ConsumerSpec {
            stream: "MESSAGE",
            durable: "test-on-message",
            subjects: Vec::new(),
            batch: 256,
            repeats: Repeats::Dropped,
        };
        let gathered = Arc::clone(&events);
        let handler = move |_: &mut mesh::store::Conn, batch: &[Received]| -> Result<(), HandlerError> {
            gathered.lock().expect("not poisoned").extend_from_slice(batch);
            Ok(())
        };
        drop(mesh::deadline::spawn(consumer::run(spec, mesh.broker().bus().await, store, handler, shutdown.clone())));
        Self { events, shutdown, _dir: dir }
    }

    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually(SOON, || async {
            let events = self.events.lock().expect("not poisoned").clone();
            (events.len() >= count).then_some(events)
        })
        .await
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
