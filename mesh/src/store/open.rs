//! Opening connections: pragmas, search path, the one-process lock of an SQLite file, migrations.

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::migration::MigrationSource;
use diesel::pg::PgConnection;
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, ConnectionError, QueryResult};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::transaction::SESSION_LIMIT_MS;
use super::{Conn, DatabaseUrl, Migrations, OpenError};
use crate::crash_point;

/// The tables of this crate: outbox, inbox, requests. Their versions start with `mesh`, so they never clash with a service's.
pub(crate) const MESH_MIGRATIONS: Migrations =
    Migrations { sqlite: embed_migrations!("migrations/sqlite"), postgres: embed_migrations!("migrations/postgres") };

/// FULL: a commit survives a power cut. Group commit makes that affordable. With recursive triggers, a row that REPLACE pushes out is deleted like
/// any other.
const SQLITE_PRAGMAS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
    PRAGMA recursive_triggers = ON; \
    PRAGMA cache_size = -8192; PRAGMA mmap_size = 268435456;";

/// Knows how to open one more connection of a kind.
#[derive(Clone)]
pub(super) enum Opener {
    SqliteWriter(PathBuf),
    SqliteReader(PathBuf),
    Postgres { url: String, service: &'static str },
}

impl Opener {
    /// Of a connection that only reads.
    pub(super) fn reader(url: &DatabaseUrl, service: &'static str) -> Self {
        match url {
            DatabaseUrl::Sqlite(path) => Self::SqliteReader(path.clone()),
            DatabaseUrl::Postgres(url) => Self::Postgres { url: url.clone(), service },
        }
    }

    pub(super) fn open(&self) -> Result<Conn, ConnectionError> {
        match self {
            Self::SqliteWriter(path) => open_sqlite(path, SQLITE_PRAGMAS),
            Self::SqliteReader(path) => open_sqlite(path, &format!("{SQLITE_PRAGMAS} PRAGMA query_only = ON;")),
            Self::Postgres { url, service } => open_postgres(url, service),
        }
    }
}

impl fmt::Display for Opener {
    /// Names the database without its credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SqliteWriter(path) => write!(f, "sqlite:{} (writer)", path.display()),
            Self::SqliteReader(path) => write!(f, "sqlite:{} (reader)", path.display()),
            Self::Postgres { service, .. } => write!(f, "postgres, schema {service}"),
        }
    }
}

fn open_sqlite(path: &Path, pragmas: &str) -> Result<Conn, ConnectionError> {
    let text = path.to_str().ok_or_else(|| ConnectionError::BadConnection("the path is not UTF-8".to_owned()))?;
    let mut conn = SqliteConnection::establish(text)?;
    conn.batch_execute(pragmas).map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(Conn::Sqlite(conn))
}

/// The time limits are nets for statements without a deadline of their own and for sessions whose process hangs. Whether the process is still there
/// is looked at during a statement, from PostgreSQL 14 on: what one that has died asked for need not be finished.
fn open_postgres(url: &str, service: &str) -> Result<Conn, ConnectionError> {
    let mut conn = PgConnection::establish(&with_patience(url))?;
    conn.batch_execute(&format!(
        "SET search_path TO \"{service}\"; SET application_name TO 'holdfast-{service}'; SET synchronous_commit TO on; \
         SET statement_timeout TO {SESSION_LIMIT_MS}; SET lock_timeout TO '10s'; SET idle_in_transaction_session_timeout TO '60s'; \
         SELECT set_config(name, '1s', false) FROM pg_settings WHERE name = 'client_connection_check_interval'"
    ))
    .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(Conn::Postgres(conn))
}

/// libpq waits for ever by default, also for a host that is gone without a word, and a connection thread must not. The last four notice such a
/// host within 20 seconds.
const PATIENCE: [(&str, &str); 5] = [
    ("connect_timeout", "3"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "3"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "20000"),
];

/// Adds what the address does not say itself.
fn with_patience(url: &str) -> String {
    let missing = PATIENCE.iter().filter(|(name, _)| !url.contains(&format!("{name}=")));
    missing.fold(url.to_owned(), |url, (name, value)| {
        let separator = if url.contains('?') { '&' } else { '?' };
        format!("{url}{separator}{name}={value}")
    })
}

/// Held as long as the store is open.
pub(super) struct FileLock(#[expect(dead_code, reason = "closing the file releases the lock")] File);

/// Takes the lock beside an SQLite file: two writing processes would be correct but slow, and two relays would break the order of events.
pub(super) fn lock(path: &Path) -> Result<FileLock, OpenError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| OpenError::File { path: folder.to_owned(), source })?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let fault = |source| OpenError::File { path: name.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&name).map_err(fault)?;
    match file.try_lock() {
        Ok(()) => Ok(FileLock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::File { path: name, source }),
    }
}

/// Brings the database to this program's tables. Several processes may start at once on an empty PostgreSQL database; they take turns.
pub(super) fn migrate(url: &DatabaseUrl, service: &'static str, migrations: Migrations) -> Result<(), OpenError> {
    match url {
        DatabaseUrl::Sqlite(path) => {
            let Conn::Sqlite(mut conn) = open_sqlite(path, SQLITE_PRAGMAS)? else { unreachable!("opened as SQLite") };
            run(&mut conn, [MESH_MIGRATIONS.sqlite, migrations.sqlite])?;
        }
        DatabaseUrl::Postgres(url) => {
            let Conn::Postgres(mut conn) = open_postgres(url, service)? else { unreachable!("opened as PostgreSQL") };
            prepare_schema(&mut conn, service).map_err(|source| OpenError::Migrate(Box::new(source)))?;
            // The session, and with it the lock, ends when this function returns.
            run(&mut conn, [MESH_MIGRATIONS.postgres, migrations.postgres])?;
            crash_point!("mesh.migration.unlocking");
        }
    }
    Ok(())
}

fn prepare_schema(conn: &mut PgConnection, service: &str) -> QueryResult<()> {
    conn.batch_execute(
        "SET statement_timeout TO '5min'; SET lock_timeout TO '5min'; SELECT pg_advisory_lock(hashtext('holdfast migrations'))",
    )?;
    conn.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS \"{service}\""))
}

/// Each migration is a transaction: a process that is killed leaves whole ones behind, and the next one goes on.
fn run<C>(conn: &mut C, sources: [EmbeddedMigrations; 2]) -> Result<(), OpenError>
where
    C: MigrationHarness<C::Backend> + Connection + 'static,
    EmbeddedMigrations: MigrationSource<C::Backend>,
{
    let mut known = HashSet::new();
    for source in &sources {
        let migrations = source.migrations().map_err(OpenError::Migrate)?;
        known.extend(migrations.iter().map(|migration| migration.name().version().as_owned()));
    }
    let applied = conn.applied_migrations().map_err(OpenError::Migrate)?;
    if let Some(unknown) = applied.into_iter().filter(|version| !known.contains(version)).max() {
        return Err(OpenError::Newer(unknown.to_string()));
    }
    for source in sources {
        for migration in conn.pending_migrations(source).map_err(OpenError::Migrate)? {
            crash_point!("mesh.migration.pending");
            conn.run_migration(&migration).map_err(OpenError::Migrate)?;
            crash_point!("mesh.migration.applied");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_what_it_says_and_waits_for_nothing_for_ever() {
        let all =
            "connect_timeout=3&keepalives_idle=10&keepalives_interval=3&keepalives_count=3&tcp_user_timeout=20000";
        assert_eq!(with_patience("postgres://db/x"), format!("postgres://db/x?{all}"));
        let own = "postgres://db/x?sslmode=disable&connect_timeout=9";
        let rest = all.trim_start_matches("connect_timeout=3");
        assert_eq!(with_patience(own), format!("{own}{rest}"));
    }
}
