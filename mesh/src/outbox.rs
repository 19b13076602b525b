//! The transactional outbox: an event is stored in the transaction of the change it tells of, and published from there ([`crate::relay`]).
//!
//! Rows stay for [`RETENTION`] after the broker acknowledged them, so that a stream which lost its tail can be refilled: the broker is transport,
//! the outbox is the truth.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use std::time::Duration;

use diesel::prelude::{BoolExpressionMethods, ExpressionMethods, Insertable, QueryDsl, QueryResult, Queryable};
use diesel::result::Error;

use crate::event::NewEvent;
use crate::schema::outbox::{self, dsl as o};
use crate::schema::outbox_progress::dsl as p;
use crate::statement;
use crate::store::{Conn, Exec, Fetch, Id, Micros, note_append};

/// How long published events are kept.
pub const RETENTION: Duration = Duration::from_hours(24);
/// A larger event could never be published (the broker's default limit is 1 MiB, headers included), so it is refused when it is written.
pub const MAX_PAYLOAD_BYTES: usize = 512 * 1024;
/// Events of another process are published once they have waited this long: it is gone, or cannot keep up.
pub(crate) const ADOPTION: Duration = Duration::from_secs(10);

/// This process among those that share a PostgreSQL database. An SQLite file has one process at a time, and its successor takes over at once.
static PROCESS: LazyLock<i64> =
    LazyLock::new(|| i64::from_be_bytes(*Id::generate().as_bytes().last_chunk().expect("16 bytes")));

pub(crate) fn origin(conn: &Conn) -> i64 {
    match conn {
        Conn::Sqlite(_) => 0,
        Conn::Postgres(_) => *PROCESS,
    }
}

#[derive(Insertable)]
#[diesel(table_name = outbox, treat_none_as_default_value = false)]
struct NewRow<'a> {
    origin: i64,
    id: Id,
    kind: &'a str,
    subject: &'a str,
    aggregate: &'a str,
    version: i64,
    correlation: &'a str,
    causation: Option<Id>,
    traceparent: Option<&'a str>,
    payload: &'a [u8],
    created_at: Micros,
}

impl<'a> NewRow<'a> {
    fn new(origin: i64, service: &str, event: &'a NewEvent) -> QueryResult<Self> {
        debug_assert!(
            event.subject.starts_with(&format!("holdfast.evt.{service}.")),
            "{} is not an event of {service}",
            event.kind
        );
        if event.payload.len() > MAX_PAYLOAD_BYTES {
            let size = event.payload.len();
            return Err(Error::SerializationError(
                format!("{} has {size} bytes, the limit is {MAX_PAYLOAD_BYTES}", event.kind).into(),
            ));
        }
        Ok(Self {
            origin,
            id: event.id,
            kind: event.kind,
            subject: &event.subject,
            aggregate: &event.aggregate,
            version: event.version,
            correlation: &event.correlation,
            causation: event.causation,
            traceparent: event.traceparent.as_deref(),
            payload: &event.payload,
            created_at: event.at,
        })
    }
}

/// Stores an event of `service`; it is published after the commit.
///
/// # Errors
/// Whatever the database refuses, and a payload above [`MAX_PAYLOAD_BYTES`].
pub fn push(conn: &mut Conn, service: &'static str, event: &NewEvent) -> QueryResult<()> {
    let row = NewRow::new(origin(conn), service, event)?;
    diesel::insert_into(o::outbox).values(&row).exec(conn)?;
    note_append();
    Ok(())
}

/// Stores several events of `service`, in this order.
///
/// # Errors
/// As for [`push`].
pub fn push_all(conn: &mut Conn, service: &'static str, events: &[NewEvent]) -> QueryResult<()> {
    match conn {
        // No round trips to save, and one row's statement is prepared once for all.
        Conn::Sqlite(_) => events.iter().try_for_each(|event| push(conn, service, event)),
        Conn::Postgres(_) => {
            let origin = origin(conn);
            let rows =
                events.iter().map(|event| NewRow::new(origin, service, event)).collect::<QueryResult<Vec<_>>>()?;
            diesel::insert_into(o::outbox).values(&rows).exec(conn)?;
            note_append();
            Ok(())
        }
    }
}

/// An event waiting to be published.
#[derive(Queryable, Debug)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) id: Id,
    pub(crate) kind: String,
    pub(crate) subject: String,
    pub(crate) aggregate: String,
    pub(crate) version: i64,
    pub(crate) correlation: String,
    pub(crate) causation: Option<Id>,
    pub(crate) traceparent: Option<String>,
    pub(crate) payload: Vec<u8>,
    pub(crate) created_at: Micros,
}

/// What a relay may publish now.
pub(crate) struct Waiting {
    /// The oldest waiting events of this process, and those another one has left behind.
    pub(crate) rows: Vec<Row>,
    /// How many more there are that have to wait for another process: it has not published what happened to their aggregate before.
    pub(crate) held_back: usize,
}

/// The next events to publish, up to `limit` with those held back.
pub(crate) fn waiting(conn: &mut Conn, now: Micros, limit: i64) -> QueryResult<Waiting> {
    let mut rows = oldest(conn, now, limit)?;
    let Some(last) = rows.last() else { return Ok(Waiting { rows, held_back: 0 }) };
    let others = waiting_elsewhere(conn, now, &rows, last.seq)?;
    let all = rows.len();
    rows.retain(|row| others.get(&row.aggregate).is_none_or(|first| row.seq < *first));
    Ok(Waiting { held_back: all - rows.len(), rows })
}

/// The first event of each aggregate of these rows that another process is about to publish, of those before `last`.
fn waiting_elsewhere(conn: &mut Conn, now: Micros, rows: &[Row], last: i64) -> QueryResult<HashMap<String, i64>> {
    if let Conn::Sqlite(_) = conn {
        // There is no other process.
        return Ok(HashMap::new());
    }
    let aggregates: HashSet<&str> = rows.iter().map(|row| row.aggregate.as_str()).collect();
    let others: Vec<(String, i64)> = o::outbox
        .filter(o::published_at.is_null())
        .filter(o::aggregate.eq_any(aggregates))
        .filter(o::origin.ne(origin(conn)).and(o::created_at.ge(now.minus(ADOPTION))))
        .filter(o::seq.lt(last))
        .order(o::seq.desc())
        .select((o::aggregate, o::seq))
        .all(conn)?;
    Ok(others.into_iter().collect())
}

fn oldest(conn: &mut Conn, now: Micros, limit: i64) -> QueryResult<Vec<Row>> {
    o::outbox
        .filter(o::published_at.is_null())
        .filter(o::origin.eq(origin(conn)).or(o::created_at.lt(now.minus(ADOPTION))))
        .order(o::seq)
        .limit(limit)
        .select((
            o::seq,
            o::id,
            o::kind,
            o::subject,
            o::aggregate,
            o::version,
            o::correlation,
            o::causation,
            o::traceparent,
            o::payload,
            o::created_at,
        ))
        .all(conn)
}

/// Marks these rows (ascending) as published.
pub(crate) fn mark(conn: &mut Conn, published: &[i64], now: Micros) -> QueryResult<()> {
    // Neighbours go into one statement that is prepared once. A gap may hide a row that was committed late and is not published yet.
    let runs: Vec<&[i64]> = published.chunk_by(|a, b| a + 1 == *b).collect();
    if runs.len() <= 8 {
        for run in runs {
            let (first, last) = (run[0], run[run.len() - 1]);
            statement!("UPDATE outbox SET published_at = ? WHERE seq BETWEEN ? AND ?", now, first, last).exec(conn)?;
        }
        return Ok(());
    }
    crate::on!(conn, c => {
        use diesel::RunQueryDsl;
        diesel::update(o::outbox.filter(o::seq.eq_any(published))).set(o::published_at.eq(now)).execute(c)
    })
    .map(|_| ())
}

/// How many events wait, and since when the oldest does.
///
/// # Errors
/// Whatever the database refuses.
pub fn backlog(conn: &mut Conn) -> QueryResult<(i64, Option<Micros>)> {
    let oldest = o::outbox.filter(o::published_at.is_null()).order(o::seq).select(o::created_at).limit(1).one(conn)?;
    let count: Option<i64> = o::outbox.filter(o::published_at.is_null()).count().one(conn)?;
    Ok((count.unwrap_or(0), oldest))
}

/// How many published events are kept.
///
/// # Errors
/// Whatever the database refuses.
pub(crate) fn kept(conn: &mut Conn) -> QueryResult<i64> {
    let count: Option<i64> = o::outbox.filter(o::published_at.is_not_null()).count().one(conn)?;
    Ok(count.unwrap_or(0))
}

/// The last number that the stream has acknowledged; 0 before the first.
///
/// # Errors
/// Whatever the database refuses.
pub(crate) fn stream_sequence(conn: &mut Conn) -> QueryResult<i64> {
    Ok(p::outbox_progress.select(p::stream_sequence).one(conn)?.unwrap_or(0))
}

/// Has every kept event that was published after this one published again, oldest first; answers how many. `None`, and an event that is not kept
/// any more, mean all. Events published up to `margin` before it go too, as replicas publish side by side; consumers drop those they know. The
/// order of the rows counts besides the times: a clock may have been set back.
pub(crate) fn resend_after(conn: &mut Conn, event: Option<Id>, margin: Duration) -> QueryResult<usize> {
    let published = o::outbox.filter(o::published_at.is_not_null());
    let last: Option<(i64, Option<Micros>)> = match event {
        Some(id) => published.filter(o::id.eq(id)).select((o::seq, o::published_at)).one(conn)?,
        None => None,
    };
    let again = o::published_at.eq(None::<Micros>);
    let count = match last {
        Some((seq, at)) => {
            let later = o::seq.gt(seq).or(o::published_at.ge(at.map(|at| at.minus(margin))));
            diesel::update(published.filter(o::seq.ne(seq)).filter(later)).set(again).exec(conn)?
        }
        None => diesel::update(published).set(again).exec(conn)?,
    };
    if count > 0 {
        note_append();
    }
    Ok(count)
}

/// Deletes up to `limit` rows published longer than [`RETENTION`] ago; answers how many. A small step that is worth repeating while it is full.
///
/// # Errors
/// Whatever the database refuses.
pub fn prune(conn: &mut Conn, now: Micros, limit: i64) -> QueryResult<usize> {
    // Rows lie in the order of their age, so the oldest are found without an index on the time.
    let oldest: Vec<(i64, Option<Micros>)> = o::outbox
        .filter(o::published_at.is_not_null())
        .select((o::seq, o::published_at))
        .order(o::seq)
        .limit(limit)
        .all(conn)?;
    let cutoff = now.minus(RETENTION);
    let Some((last, _)) = oldest.iter().rfind(|(_, at)| at.is_some_and(|at| at < cutoff)) else { return Ok(0) };
    diesel::delete(o::outbox.filter(o::seq.le(last)).filter(o::published_at.lt(cutoff))).exec(conn)
}
