//! What a publisher's test needs of the services that would listen to it: a consumer of the whole stream.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{NO_MIGRATIONS, eventually};
use crate::bus::Bus;
use crate::consumer::{self, ConsumerSpec, HandlerError, Repeats};
use crate::deadline;
use crate::event::Received;
use crate::store::{Conn, DatabaseUrl, Store};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Gathers every event of a stream, those before it included. One for a stream: two would share it.
pub struct Subscriber {
    received: Arc<Mutex<Vec<Received>>>,
    _shutdown: DropGuard,
    _dir: TempDir,
}

impl Subscriber {
    /// Begins to listen.
    ///
    /// # Panics
    /// When there is no room for temporary files.
    #[must_use]
    pub fn new(bus: Bus, stream: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let url = DatabaseUrl::Sqlite(dir.path().join("subscriber.db"));
        let store = Store::open(&url, "subscriber", NO_MIGRATIONS).expect("a fresh database");
        let received = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&received);
        let handler = move |_: &mut Conn, events: &[Received]| {
            sink.lock().expect("not poisoned").extend_from_slice(events);
            Ok::<_, HandlerError>(())
        };
        let spec =
            ConsumerSpec { stream, durable: "test", subjects: Vec::new(), batch: 256, repeats: Repeats::Dropped };
        let shutdown = CancellationToken::new();
        drop(deadline::spawn(consumer::run(spec, bus, store, handler, shutdown.clone())));
        Self { received, _shutdown: shutdown.drop_guard(), _dir: dir }
    }

    /// All events, as soon as there are so many.
    ///
    /// # Panics
    /// When there are fewer after 30 s.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        self.enough(count, |_| true).await
    }

    /// The events of one aggregate, as soon as there are so many.
    ///
    /// # Panics
    /// When there are fewer after 30 s.
    pub async fn wait_about(&self, aggregate: &str, count: usize) -> Vec<Received> {
        self.enough(count, |event| event.aggregate == aggregate).await
    }

    /// The events of one aggregate until now, in the order of the stream.
    #[must_use]
    pub fn about(&self, aggregate: &str) -> Vec<Received> {
        self.matching(|event| event.aggregate == aggregate)
    }

    async fn enough(&self, count: usize, wanted: impl Fn(&Received) -> bool) -> Vec<Received> {
        eventually(TIMEOUT, || async { Some(self.matching(&wanted)).filter(|events| events.len() >= count) }).await
    }

    fn matching(&self, wanted: impl Fn(&Received) -> bool) -> Vec<Received> {
        self.received.lock().expect("not poisoned").iter().filter(|event| wanted(event)).cloned().collect()
    }
}
