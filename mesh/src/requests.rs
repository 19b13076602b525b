//! Exactly-once commands: which request ids were seen, with what body, and what was answered.
//!
//! The row is claimed in the same transaction that records the command's intent, so a request id is taken exactly when its work exists. Rows are
//! kept 48 hours; callers are promised 24.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use diesel::prelude::{ExpressionMethods, Insertable, QueryDsl, QueryResult, Queryable};

use crate::schema::requests::{self, dsl as r};
use crate::statement;
use crate::store::{Conn, Exec, Fetch, Id, Micros};

/// How long a request id is remembered.
pub const RETENTION: Duration = Duration::from_hours(48);

/// Identifies a command: who sent it, which method, and the caller's request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey([u8; 16]);

impl RequestKey {
    /// The key of this caller's request. One caller's ids never meet another's, nor another method's.
    #[must_use]
    pub fn new(subject: &str, method: &str, request_id: &str) -> Self {
        let mut hash = Context::new(&SHA256);
        for part in [subject, method, request_id] {
            // With the length before each part, different splits cannot give the same bytes.
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finish();
        Self(*digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
    }
}

impl RequestKey {
    /// The key stored as these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// As stored beside work that outlives the call.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// SHA-256 of a request's canonical bytes, to tell a repeat from a reuse. Leave the request id and anything the transport adds out of them.
#[must_use]
pub fn fingerprint(body: &[u8]) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    hash.update(body);
    *hash.finish().as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

/// What a request id turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Never seen: it is now this transaction's, with the resource given.
    New,
    /// Seen with the same body.
    Repeat {
        /// The answer, once there is one; until then the first is still in flight.
        answer: Option<Vec<u8>>,
        /// The resource the first one works on.
        resource: Id,
    },
    /// Seen with another body: to be refused.
    Reused,
}

#[derive(Insertable)]
#[diesel(table_name = requests, treat_none_as_default_value = false)]
struct NewRow<'a> {
    key: &'a [u8],
    fingerprint: &'a [u8],
    resource: Id,
    created_at: Micros,
}

#[derive(Queryable)]
struct Seen {
    fingerprint: Vec<u8>,
    resource: Id,
    answer: Option<Vec<u8>>,
}

/// Claims a request id for `resource`. Of many claims at once one is [`Claim::New`]; the others wait for its transaction to end.
///
/// # Errors
/// Whatever the database refuses.
pub fn claim(conn: &mut Conn, key: &RequestKey, fingerprint: [u8; 32], resource: Id, at: Micros) -> QueryResult<Claim> {
    let row = NewRow { key: &key.0, fingerprint: &fingerprint, resource, created_at: at };
    if diesel::insert_into(r::requests).values(&row).on_conflict_do_nothing().exec(conn)? == 1 {
        return Ok(Claim::New);
    }
    // Only pruning could have taken the row away since; then the caller may simply try again.
    find(conn, key, fingerprint)?.ok_or(diesel::NotFound)
}

/// Looks a request id up without claiming it; `None` if it is unknown. Good for answering a repeat from a read.
///
/// # Errors
/// Whatever the database refuses.
pub fn find(conn: &mut Conn, key: &RequestKey, fingerprint: [u8; 32]) -> QueryResult<Option<Claim>> {
    let seen: Option<Seen> =
        r::requests.filter(r::key.eq(key.0.as_slice())).select((r::fingerprint, r::resource, r::answer)).one(conn)?;
    Ok(seen.map(|seen| {
        if seen.fingerprint == fingerprint {
            Claim::Repeat { answer: seen.answer, resource: seen.resource }
        } else {
            Claim::Reused
        }
    }))
}

/// Stores the answer that repeats get.
///
/// # Errors
/// Whatever the database refuses.
pub fn complete(conn: &mut Conn, key: &RequestKey, answer: &[u8]) -> QueryResult<()> {
    statement!("UPDATE requests SET answer = ? WHERE key = ?", answer, key.0.as_slice()).exec(conn).map(|_| ())
}

/// Moves an unanswered request from one resource to another, e.g. when its first attempt was undone; `false` if another call was faster.
///
/// # Errors
/// Whatever the database refuses.
pub fn reassign(conn: &mut Conn, key: &RequestKey, from: Id, to: Id) -> QueryResult<bool> {
    let row = r::requests.filter(r::key.eq(key.0.as_slice())).filter(r::resource.eq(from)).filter(r::answer.is_null());
    Ok(diesel::update(row).set(r::resource.eq(to)).exec(conn)? == 1)
}

/// Forgets up to `limit` requests older than [`RETENTION`]; answers how many. A small step that is worth repeating while it is full.
///
/// # Errors
/// Whatever the database refuses.
pub fn prune(conn: &mut Conn, now: Micros, limit: i64) -> QueryResult<usize> {
    // Rows lie in the order of their age, so the oldest are found without an index on the time.
    let oldest: Vec<(i64, Micros)> =
        r::requests.select((r::seq, r::created_at)).order(r::seq).limit(limit).all(conn)?;
    let cutoff = now.minus(RETENTION);
    let Some((last, _)) = oldest.iter().rfind(|(_, created_at)| *created_at < cutoff) else { return Ok(0) };
    diesel::delete(r::requests.filter(r::seq.le(last)).filter(r::created_at.lt(cutoff))).exec(conn)
}
