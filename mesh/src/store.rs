//! A service's database: SQLite or PostgreSQL behind one set of diesel statements.
//!
//! Diesel blocks, so connections live on threads of their own ([`Store::write`] and [`Store::read`] send them closures). A write closure is one
//! transaction: all of it is stored, or nothing. Load and decide first, then write once, guarded by the version that was read; never wait for
//! anything but the database inside a closure. There is no connection pool to configure and no query builder beside diesel's.

mod job;
#[cfg_attr(feature = "simulation", path = "store/inline.rs")]
mod lanes;
mod late;
mod open;
mod signal;
mod sql;
mod statement;
mod transaction;
mod types;
mod worker;

use std::fmt;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use diesel::ConnectionError;
use diesel_migrations::EmbeddedMigrations;

use self::job::Task;
use self::lanes::Lanes;
use self::open::FileLock;
#[cfg(feature = "testing")]
pub(crate) use self::open::MESH_MIGRATIONS;
pub(crate) use self::signal::note_append;
pub use self::signal::{ChangeWatch, CommitSignal, CommitWatch, note_change};
pub use self::sql::{Conn, Exec, Fetch};
#[doc(hidden)]
pub use self::statement::expect_binds;
pub use self::statement::{Bind, Statement, upsert};
pub use self::types::{Id, InvalidId, InvalidInstant, Micros};
use self::worker::Queued;
use crate::telemetry::Carried;
use crate::waits::Waits;

/// Connections of a service to PostgreSQL, so that seven services leave over forty of a PostgreSQL server's default hundred to others.
pub const POSTGRES_CONNECTIONS: usize = 8;

/// Where a service keeps its rows: `sqlite:<path>` or `postgres://…`.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file, created if missing, for one process at a time.
    Sqlite(PathBuf),
    /// A server; each service has a schema named after it.
    Postgres(String),
}

/// The text names no database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected sqlite:<path> or postgres://…")]
pub struct InvalidDatabaseUrl;

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        match text.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(PathBuf::from(path))),
            _ => Err(InvalidDatabaseUrl),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    /// Without the credentials a PostgreSQL URL may carry.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => write!(f, "postgres://…@{}", url.rsplit(['@', '/']).nth(1).unwrap_or_default()),
        }
    }
}

/// A service's own tables, as `embed_migrations!` of one folder per database. The folders' names must not begin with `mesh`.
pub struct Migrations {
    /// For SQLite.
    pub sqlite: EmbeddedMigrations,
    /// For PostgreSQL.
    pub postgres: EmbeddedMigrations,
}

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the file open.
    #[error("{} is in use by another process: stop that one first, or give this one a database of its own", .0.display())]
    InUse(PathBuf),
    /// The file or its folder cannot be made.
    #[error("cannot use {}", .path.display())]
    File {
        /// What could not be made.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No connection.
    #[error("cannot connect to the database")]
    Connect(#[from] ConnectionError),
    /// The tables cannot be brought to this version.
    #[error("cannot migrate the database")]
    Migrate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A later release has been here. What its tables mean this one cannot know, and guessing could corrupt them.
    #[error(
        "the database was upgraded by a later release (to {0}, unknown to this one): run that release, or restore the backup from before it"
    )]
    Newer(String),
    /// No thread for a connection.
    #[error("cannot start a connection thread")]
    Thread(#[source] std::io::Error),
}

/// The closure's work was not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Too many closures wait already. Worth repeating a little later.
    #[error("the database has too much work waiting")]
    Busy,
    /// The store is shutting down.
    #[error("the database is closed")]
    Closed,
    /// The caller's deadline passed first; everything was rolled back.
    #[error("the deadline passed before the database was done")]
    Deadline,
    /// The database refused, or cannot be reached.
    #[error("the database failed")]
    Database(#[from] diesel::result::Error),
}

/// A handle to the database; clones share it. When the last one is dropped, waiting closures are finished and the connections closed.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    lanes: Lanes,
    signal: Arc<CommitSignal>,
    waits: Waits,
    #[expect(dead_code, reason = "released when the store is gone, after the connections")]
    lock: Option<FileLock>,
}

impl Store {
    /// Opens the database and brings its tables up to date: first those of this crate, then the service's. Blocks; call it at start-up.
    ///
    /// # Errors
    /// When the database cannot be reached or migrated, was upgraded by a later release, or the SQLite file belongs to another process.
    pub fn open(url: &DatabaseUrl, service: &'static str, migrations: Migrations) -> Result<Self, OpenError> {
        let lock = match url {
            DatabaseUrl::Sqlite(path) => Some(open::lock(path)?),
            DatabaseUrl::Postgres(_) => None,
        };
        open::migrate(url, service, migrations)?;
        let signal = Arc::new(CommitSignal::new());
        let lanes = Lanes::open(url, service, &signal)?;
        Ok(Self(Arc::new(Inner { lanes, signal, waits: Waits::default(), lock })))
    }

    /// Opens the database only to read it, beside the process that owns it: for an operator's tools. Nothing is migrated; [`Store::write`] answers
    /// [`StoreError::Closed`].
    ///
    /// # Errors
    /// When the database cannot be reached, or the file is not there.
    pub fn open_read_only(url: &DatabaseUrl, service: &'static str) -> Result<Self, OpenError> {
        if let DatabaseUrl::Sqlite(path) = url {
            // SQLite would make a missing file.
            std::fs::metadata(path).map_err(|source| OpenError::File { path: path.clone(), source })?;
        }
        let signal = Arc::new(CommitSignal::new());
        let lanes = Lanes::open_read_only(url, service, &signal)?;
        Ok(Self(Arc::new(Inner { lanes, signal, waits: Waits::default(), lock: None })))
    }

    /// Runs `work` as one transaction and answers what it answers, after the commit. An error or a panic in it undoes all it wrote and reaches
    /// only this caller.
    ///
    /// # Errors
    /// The closure's own, and [`StoreError`] when it was not stored for another reason. After a lost connection during the commit, and only
    /// then, an error can also mean that it was stored; that is what request ids are for.
    ///
    /// # Cancel safety
    /// A dropped call leaves all or nothing: if the closure has not begun it never will, otherwise it runs to its end.
    pub async fn write<T, E>(&self, work: impl FnOnce(&mut Conn) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + From<diesel::result::Error> + Send + 'static,
    {
        self.send(Queued::Write, work).await
    }

    /// Runs `work`, which only reads, beside the writers. Each statement sees the last commit; there is no common snapshot of several.
    ///
    /// # Errors
    /// As for [`Store::write`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn read<T, E>(&self, work: impl FnOnce(&mut Conn) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + From<diesel::result::Error> + Send + 'static,
    {
        self.send(Queued::Read, work).await
    }

    /// Fires after each commit made through this store: workers need not poll for what their own process wrote.
    #[must_use]
    pub fn committed(&self) -> &CommitSignal {
        &self.0.signal
    }

    /// How long closures wait for a connection.
    pub(crate) fn waits(&self) -> &Waits {
        &self.0.waits
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// When it gives none.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read(|conn| {
            diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1"))
                .one(conn)
                .map(|_: Option<i32>| ())
                .map_err(StoreError::from)
        })
        .await
    }

    async fn send<F, T, E>(&self, wrap: fn(Box<dyn job::Job>) -> Queued, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let deadline = crate::deadline::current();
        if deadline.is_some_and(crate::deadline::Deadline::has_passed) {
            return Err(StoreError::Deadline.into());
        }
        // The closure runs on another thread; the events it makes belong to the caller's trace all the same.
        let carried = Carried::current();
        let (waits, queued) = (self.0.waits.clone(), Instant::now());
        let work = move |conn: &mut Conn| {
            waits.note(queued.elapsed());
            carried.run(|| work(conn))
        };
        let (task, answer) = Task::new(work, deadline);
        self.0.lanes.send(wrap(Box::new(task))).await?;
        match answer.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(StoreError::Closed.into()),
        }
    }
}
