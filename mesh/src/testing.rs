//! Real brokers and databases for tests, each test its own. Everything listens on 127.0.0.1 and ends with the test process.

mod broker;
mod mesh;
mod postgres;
mod publisher;

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use self::broker::Broker;
pub use self::mesh::{Running, TestMesh};
pub use self::postgres::{Postgres, postgres};
pub use self::publisher::Publisher;
use crate::store::DatabaseUrl;

/// An SQLite file of the test's own; keep the folder as long as it is used.
///
/// # Panics
/// When there is no room for temporary files.
#[must_use]
pub fn database() -> (TempDir, DatabaseUrl) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let url = DatabaseUrl::Sqlite(dir.path().join("test.db"));
    (dir, url)
}

/// A port that was free a moment ago. Prefer port 0 where the listener can tell its address.
///
/// # Panics
/// When no port is free.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// What a condition may answer: not yet, or something.
pub trait Outcome {
    /// What [`eventually`] returns.
    type Value;
    /// The value, if it is there.
    fn value(self) -> Option<Self::Value>;
}

impl Outcome for bool {
    type Value = ();

    fn value(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;

    fn value(self) -> Self {
        self
    }
}

/// Asks again until the condition answers `true` or `Some`.
///
/// # Panics
/// After `timeout`.
pub async fn eventually<F, Fut>(timeout: Duration, mut condition: F) -> <Fut::Output as Outcome>::Value
where
    F: FnMut() -> Fut,
    Fut: Future<Output: Outcome>,
{
    let started = Instant::now();
    loop {
        if let Some(value) = condition().await.value() {
            return value;
        }
        assert!(started.elapsed() < timeout, "the condition did not come true within {timeout:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
