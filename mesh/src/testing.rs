//! Real brokers and databases for tests, each test its own. Everything listens on 127.0.0.1 and ends with the test process.

mod authority;
mod broker;
mod mesh;
mod observed;
mod ports;
mod postgres;
mod program;
mod publisher;
mod release;
mod streams;
mod subscriber;

use std::time::{Duration, Instant};

use diesel_migrations::EmbeddedMigrations;
use tempfile::TempDir;

pub use self::authority::Authority;
pub use self::broker::{Broker, Cluster};
pub use self::mesh::{Running, TestMesh};
pub(crate) use self::observed::observed;
pub use self::observed::{Batch, Handle, observe_consumers};
pub use self::ports::free_port;
pub use self::postgres::{Postgres, PostgresServer, Session, postgres};
pub use self::program::{Program, tool};
pub use self::publisher::Publisher;
pub use self::release::first_release;
pub use self::streams::{DeadLetter, Streams, forget_inbox};
pub use self::subscriber::Subscriber;
use crate::store::{DatabaseUrl, Migrations};

/// Outbox and inbox, and no service's tables.
const NO_MIGRATIONS: Migrations =
    Migrations { sqlite: EmbeddedMigrations::new(&[]), postgres: EmbeddedMigrations::new(&[]) };

/// The test's own database, of the kind that this run of the tests has [chosen](chosen_database); keep the folder as long as it is used.
///
/// # Panics
/// When there is no room for temporary files, or PostgreSQL is wanted and missing.
#[must_use]
pub fn database() -> (TempDir, DatabaseUrl) {
    let (dir, file) = sqlite();
    (dir, chosen_database().unwrap_or(file))
}

/// An SQLite file whatever is chosen, for tests of what only a file has; keep the folder as long as it is used.
///
/// # Panics
/// When there is no room for temporary files.
#[must_use]
pub fn sqlite() -> (TempDir, DatabaseUrl) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let url = DatabaseUrl::Sqlite(dir.path().join("test.db"));
    (dir, url)
}

/// Every suite runs twice, on either database: `HOLDFAST_TEST_DATABASE=postgres` gives a test one of PostgreSQL's, anything else SQLite files,
/// which is `None`.
///
/// # Panics
/// When PostgreSQL is wanted and is not installed or does not start.
#[must_use]
pub fn chosen_database() -> Option<DatabaseUrl> {
    (std::env::var_os("HOLDFAST_TEST_DATABASE")? == "postgres").then(|| postgres().url)
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

/// What is on all pages of a list; `page` answers those of a token, and the next token.
pub async fn all_pages<T>(mut page: impl AsyncFnMut(String) -> (Vec<T>, String)) -> Vec<T> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let (items, next) = page(token).await;
        all.extend(items);
        if next.is_empty() {
            return all;
        }
        token = next;
    }
}
