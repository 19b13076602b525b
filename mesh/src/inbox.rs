//! The inbox: which events a consumer has already dealt with. Its rows are written in the transaction of the effect, so an effect happens once
//! however often the event arrives.

use std::collections::HashSet;
use std::time::Duration;

use diesel::prelude::{ExpressionMethods, Insertable, QueryDsl, QueryResult};

use crate::schema::inbox::{self, dsl as i};
use crate::store::{Conn, Exec, Fetch, Id, Micros};

/// How long an event is remembered; longer than any event can be on its way a second time.
pub const RETENTION: Duration = Duration::from_hours(7 * 24);

#[derive(Insertable)]
// Without `treat_none…` diesel inserts row by row on SQLite, and takes a row that was there already for an error.
#[diesel(table_name = inbox, treat_none_as_default_value = false)]
struct NewRow<'a> {
    event_id: Id,
    consumer: &'a str,
    seen_at: Micros,
}

/// Records the events for this consumer and answers those that are new to it.
///
/// # Errors
/// Whatever the database refuses.
pub fn record(conn: &mut Conn, consumer: &str, events: &[Id], now: Micros) -> QueryResult<HashSet<Id>> {
    match conn {
        // No round trips to save, and one row's statement is prepared once for all; that of many varies in its text.
        Conn::Sqlite(_) => {
            let mut new = HashSet::with_capacity(events.len());
            for event_id in events {
                let row = NewRow { event_id: *event_id, consumer, seen_at: now };
                if diesel::insert_into(i::inbox).values(&row).on_conflict_do_nothing().exec(conn)? == 1 {
                    new.insert(*event_id);
                }
            }
            Ok(new)
        }
        Conn::Postgres(_) => {
            // Always in the same order, or two replicas with the same events could wait for each other.
            let mut events = events.to_vec();
            events.sort_unstable();
            let rows: Vec<_> =
                events.iter().map(|event_id| NewRow { event_id: *event_id, consumer, seen_at: now }).collect();
            let insert = diesel::insert_into(i::inbox).values(&rows).on_conflict_do_nothing();
            Ok(insert.returning(i::event_id).all(conn)?.into_iter().collect())
        }
    }
}

/// Forgets up to `limit` events recorded longer than [`RETENTION`] ago; answers how many. A small step that is worth repeating while it is full.
///
/// # Errors
/// Whatever the database refuses.
pub fn prune(conn: &mut Conn, now: Micros, limit: i64) -> QueryResult<usize> {
    let cutoff = now.minus(RETENTION);
    // Identifiers begin with their time: older events come first in the primary key.
    let old = i::inbox.filter(i::event_id.lt(Id::floor(cutoff))).filter(i::seen_at.lt(cutoff));
    let oldest: Vec<Id> = old.select(i::event_id).order(i::event_id).limit(limit).all(conn)?;
    let Some(last) = oldest.last() else { return Ok(0) };
    diesel::delete(i::inbox.filter(i::event_id.le(*last)).filter(i::seen_at.lt(cutoff))).exec(conn)
}
