//! The rows that are served beside those that were rebuilt: compared, and replaced where they differ.
//!
//! Each side is a database of its own with the same tables: a schema on PostgreSQL, a file on SQLite, which is attached to the other's
//! connection for the purpose. So one statement can see both.

use diesel::QueryableByName;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::QueryResult;
use diesel::sql_types::{BigInt, Binary, Nullable};
use mesh::consumer::HandlerError;
use mesh::event::Received;
use mesh::store::{Conn, DatabaseUrl, Fetch, Id, StoreError};

use super::journal;
use crate::events;

/// The other database, as the connection of the one knows it when it is a file.
const ATTACHED: &str = "other";
/// Events folded at once.
const BATCH: usize = 256;

/// A table and its key.
struct Table {
    name: &'static str,
    key: &'static [&'static str],
}

/// What the views consist of, in the order in which a batch writes to it.
const TABLES: [Table; 5] = [
    Table { name: "timeline", key: &["reservation", "event_id"] },
    Table { name: "trips", key: &["id"] },
    Table { name: "vouchers", key: &["reservation"] },
    Table { name: "listing_views", key: &["id"] },
    Table { name: "reviews", key: &["id"] },
];

/// The table with a row for each event that belongs to a reservation.
pub(crate) const TIMELINE: &str = TABLES[0].name;

/// A served table beside the rebuilt one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    pub(crate) table: &'static str,
    pub(crate) served: i64,
    pub(crate) rebuilt: i64,
    /// Served and not rebuilt.
    pub(crate) extra: i64,
    /// Rebuilt and not served.
    pub(crate) missing: i64,
    /// Both, with different values.
    pub(crate) different: i64,
    /// Keys of some rows that differ.
    pub(crate) samples: Vec<(String, Wrong)>,
}

/// What is wrong with a row that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It should not be there.
    Extra,
    /// It is not there.
    Missing,
    /// It has other values.
    Different,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwapError {
    /// The claim was lost: the journal may have gaps.
    #[error("the rebuild's claim was lost")]
    Lost,
    /// An event of the journal, which was folded before, cannot be folded again.
    #[error("an event cannot be folded again")]
    Fold(#[source] HandlerError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for SwapError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Folds the journal of the served rows into the rebuilt ones, then compares the two. For a connection to what was rebuilt, in a transaction in
/// which nothing was read yet: all is seen as it was at one moment.
pub(crate) fn compare(conn: &mut Conn, served: &DatabaseUrl, samples: i64) -> Result<Vec<Comparison>, SwapError> {
    let served = enter(conn, served, crate::NAME)?;
    let arrived = journal::kept(conn, served)?;
    fold(conn, &arrived)?;
    Ok(TABLES.iter().map(|table| table.compare(conn, served, samples)).collect::<QueryResult<_>>()?)
}

/// Makes the served rows those that were rebuilt, then folds the journal into them; only while the claim stands. For a connection to what
/// is served. Readers are not kept waiting; who folds events is, until this is committed.
pub(crate) fn swap(conn: &mut Conn, rebuilt: &DatabaseUrl, schema: &str, claim: Id) -> Result<(), SwapError> {
    if let Conn::Postgres(c) = conn {
        let tables = TABLES.map(|table| table.name).join(", ");
        c.batch_execute(&format!("LOCK TABLE {tables}, rebuild_journal IN EXCLUSIVE MODE"))?;
    }
    let rebuilt = enter(conn, rebuilt, schema)?;
    let own = match conn {
        Conn::Sqlite(_) => "main",
        Conn::Postgres(_) => crate::NAME,
    };
    let arrived = journal::kept(conn, own)?;
    if !journal::renew(conn, claim, mesh::store::Micros::now())? {
        return Err(SwapError::Lost);
    }
    for table in &TABLES {
        table.replace(conn, rebuilt)?;
    }
    fold(conn, &arrived)
}

/// Forgets the file that [`swap`] attached, if it was one.
pub(crate) fn leave(conn: &mut Conn) -> QueryResult<()> {
    match conn {
        Conn::Sqlite(c) => c.batch_execute(&format!("DETACH DATABASE {ATTACHED}")),
        Conn::Postgres(_) => Ok(()),
    }
}

/// Makes the other database visible; answers what it is called here.
fn enter<'a>(conn: &mut Conn, other: &DatabaseUrl, schema: &'a str) -> QueryResult<&'a str> {
    match (conn, other) {
        (Conn::Sqlite(c), DatabaseUrl::Sqlite(path)) => {
            let path = path.display().to_string().replace('\'', "''");
            c.batch_execute(&format!("ATTACH DATABASE '{path}' AS {ATTACHED}"))?;
            Ok(ATTACHED)
        }
        (Conn::Postgres(c), DatabaseUrl::Postgres(_)) => {
            c.batch_execute("SET LOCAL statement_timeout = '10min'")?;
            Ok(schema)
        }
        _ => unreachable!("both are of one kind"),
    }
}

fn fold(conn: &mut Conn, arrived: &[Received]) -> Result<(), SwapError> {
    arrived.chunks(BATCH).try_for_each(|events| events::project(conn, events)).map_err(SwapError::Fold)
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Key {
    #[diesel(sql_type = Binary)]
    first: Id,
    #[diesel(sql_type = Nullable<Binary>)]
    second: Option<Id>,
}

impl Table {
    fn compare(&self, conn: &mut Conn, served: &str, samples: i64) -> QueryResult<Comparison> {
        let (name, same) = (self.name, self.same_key());
        let all = |schema: &str| format!("SELECT * FROM {schema}{name} a");
        let alone = |of: &str, other: &str| {
            format!("SELECT * FROM {of}{name} a WHERE NOT EXISTS (SELECT 1 FROM {other}{name} b WHERE {same})")
        };
        let (here, there) = (String::new(), format!("{served}."));
        let differing = format!(
            "SELECT * FROM (SELECT * FROM {there}{name} EXCEPT SELECT * FROM {name}) a \
             WHERE EXISTS (SELECT 1 FROM {name} b WHERE {same})"
        );
        let (extra, missing) = (alone(&there, &here), alone(&here, &there));
        let mut comparison = Comparison {
            table: name,
            served: count(conn, &all(&there))?,
            rebuilt: count(conn, &all(&here))?,
            extra: count(conn, &extra)?,
            missing: count(conn, &missing)?,
            different: count(conn, &differing)?,
            samples: Vec::new(),
        };
        for (rows, wrong) in [(extra, Wrong::Extra), (missing, Wrong::Missing), (differing, Wrong::Different)] {
            comparison.samples.extend(self.keys(conn, &rows, samples)?.into_iter().map(|key| (key, wrong)));
        }
        comparison.samples.truncate(usize::try_from(samples).unwrap_or(usize::MAX));
        Ok(comparison)
    }

    /// Only rows that differ are touched.
    fn replace(&self, conn: &mut Conn, rebuilt: &str) -> QueryResult<()> {
        let (name, key) = (self.name, self.key.join(", "));
        for statement in [
            format!(
                "DELETE FROM {name} WHERE ({key}) IN \
                 (SELECT {key} FROM (SELECT * FROM {name} EXCEPT SELECT * FROM {rebuilt}.{name}) AS d)"
            ),
            format!("INSERT INTO {name} SELECT * FROM {rebuilt}.{name} EXCEPT SELECT * FROM {name}"),
        ] {
            mesh::on!(&mut *conn, c => c.batch_execute(&statement))?;
        }
        Ok(())
    }

    fn keys(&self, conn: &mut Conn, rows: &str, limit: i64) -> QueryResult<Vec<String>> {
        let (first, second) = (self.key[0], self.key.get(1).copied().unwrap_or("CAST(NULL AS BYTEA)"));
        let order = self.key.join(", ");
        let keys: Vec<Key> = diesel::sql_query(format!(
            "SELECT {first} AS first, {second} AS second FROM ({rows}) AS k ORDER BY {order} LIMIT {limit}"
        ))
        .all(conn)?;
        let text =
            |key: Key| key.second.map_or_else(|| key.first.to_string(), |second| format!("{}/{second}", key.first));
        Ok(keys.into_iter().map(text).collect())
    }

    fn same_key(&self) -> String {
        self.key.iter().map(|column| format!("a.{column} = b.{column}")).collect::<Vec<_>>().join(" AND ")
    }
}

fn count(conn: &mut Conn, rows: &str) -> QueryResult<i64> {
    let found: Option<Count> = diesel::sql_query(format!("SELECT COUNT(*) AS count FROM ({rows}) AS c")).one(conn)?;
    Ok(found.map_or(0, |row| row.count))
}
