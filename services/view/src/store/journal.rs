//! A rebuild's claim, and the events that were folded since it began: whatever is served then is in the streams as they were after the claim, or
//! in this journal.
//!
//! The claim is made before the streams are looked at, and a batch of events looks at the claim in its own transaction. One that does not see it
//! was delivered before it was made, so its events are in the streams. The claim is a lease: what a rebuild leaves behind that was killed ends by
//! itself.

use std::time::Duration;

use diesel::QueryableByName;
use diesel::prelude::{ExpressionMethods, Insertable, QueryResult};
use diesel::query_dsl::methods::{FilterDsl, SelectDsl};
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use mesh::event::Received;
use mesh::statement;
use mesh::store::{Conn, Exec, Fetch, Id, Micros};

use crate::schema::{rebuild_journal, rebuilds};

/// A claim that is not renewed ends after this time.
pub(crate) const LEASE: Duration = Duration::from_secs(60);
/// One that has less left is lost: clocks of several processes may differ by so much.
const SKEW: Duration = Duration::from_secs(20);

/// Claims the rebuild and empties the journal; `false` when another one is under way.
pub(crate) fn claim(conn: &mut Conn, id: Id, now: Micros) -> QueryResult<bool> {
    let claimed = statement!(
        "INSERT INTO rebuilds (singleton, id, lease_until) VALUES (1, ?, ?) \
         ON CONFLICT (singleton) DO UPDATE SET id = excluded.id, lease_until = excluded.lease_until \
         WHERE rebuilds.lease_until < ?",
        id,
        now.plus(LEASE),
        now
    )
    .exec(conn)?;
    if claimed == 1 {
        diesel::delete(rebuild_journal::table).exec(conn)?;
    }
    Ok(claimed == 1)
}

/// Renews the claim; `false` when it is lost.
pub(crate) fn renew(conn: &mut Conn, id: Id, now: Micros) -> QueryResult<bool> {
    let held = rebuilds::table.filter(rebuilds::id.eq(id)).filter(rebuilds::lease_until.gt(now.plus(SKEW)));
    Ok(diesel::update(held).set(rebuilds::lease_until.eq(now.plus(LEASE))).exec(conn)? == 1)
}

/// Gives the claim back and empties the journal, unless it was lost before.
pub(crate) fn release(conn: &mut Conn, id: Id) -> QueryResult<()> {
    if diesel::delete(rebuilds::table.filter(rebuilds::id.eq(id))).exec(conn)? == 1 {
        diesel::delete(rebuild_journal::table).exec(conn)?;
    }
    Ok(())
}

/// Ends whatever claim a process has left that was alone with this database.
pub(crate) fn reset(conn: &mut Conn) -> QueryResult<()> {
    diesel::delete(rebuilds::table).exec(conn)?;
    diesel::delete(rebuild_journal::table).exec(conn).map(|_| ())
}

#[derive(Insertable)]
#[diesel(table_name = rebuild_journal, treat_none_as_default_value = false)]
struct NewRow<'a> {
    event_id: Id,
    kind: &'a str,
    aggregate: &'a str,
    version: i64,
    at: Micros,
    causation: Option<Id>,
    traceparent: Option<&'a str>,
    payload: &'a [u8],
}

/// Keeps events while a rebuild is under way.
pub(crate) fn keep(conn: &mut Conn, events: &[Received]) -> QueryResult<()> {
    let until: Option<Micros> = rebuilds::table.select(rebuilds::lease_until).one(conn)?;
    if until.is_none_or(|until| until < Micros::now()) {
        return Ok(());
    }
    for event in events {
        let row = NewRow {
            event_id: event.id,
            kind: &event.kind,
            aggregate: &event.aggregate,
            version: event.version,
            at: event.time,
            causation: event.causation,
            traceparent: event.traceparent.as_deref(),
            payload: &event.payload,
        };
        diesel::insert_into(rebuild_journal::table).values(&row).exec(conn)?;
    }
    Ok(())
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Binary)]
    event_id: Id,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    aggregate: String,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = BigInt)]
    at: Micros,
    #[diesel(sql_type = Nullable<Binary>)]
    causation: Option<Id>,
    #[diesel(sql_type = Nullable<Text>)]
    traceparent: Option<String>,
    #[diesel(sql_type = Binary)]
    payload: Vec<u8>,
}

/// What is kept in a database that this connection knows as `schema`, as far as a fold needs it.
pub(super) fn kept(conn: &mut Conn, schema: &str) -> QueryResult<Vec<Received>> {
    let rows: Vec<Row> = diesel::sql_query(format!(
        "SELECT event_id, kind, aggregate, version, at, causation, traceparent, payload \
         FROM {schema}.rebuild_journal ORDER BY seq"
    ))
    .all(conn)?;
    Ok(rows.into_iter().map(Received::from).collect())
}

impl From<Row> for Received {
    fn from(row: Row) -> Self {
        Self {
            id: row.event_id,
            kind: row.kind,
            source: String::new(),
            subject: String::new(),
            aggregate: row.aggregate,
            version: row.version,
            correlation: String::new(),
            causation: row.causation,
            time: row.at,
            traceparent: row.traceparent,
            payload: row.payload.into(),
            delivered: 1,
        }
    }
}
