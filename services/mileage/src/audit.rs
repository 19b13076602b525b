//! What an audit of the whole system reads here, and the rules that the ledger keeps by itself.

use diesel::prelude::{ExpressionMethods, QueryDsl, QueryResult};
use mesh::store::{Conn, Fetch, Id};

use crate::domain::Kind;
use crate::ledger;
use crate::schema::entries::dsl as e;
use crate::store::kind_of;

/// An entry, plain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRow {
    /// Its id.
    pub id: Id,
    /// The payment that earned.
    pub payment: Id,
    /// Its reservation.
    pub reservation: Id,
    /// Whose, the `sub` of their tokens.
    pub user: String,
    /// What it records.
    pub kind: Kind,
    /// Miles, negative for a reversal.
    pub points: i64,
}

/// Every entry with an id after `after` (all zeros to begin), at most `limit`, in the order of their ids. Tombstones are none.
///
/// # Errors
/// Whatever the database refuses.
pub fn entries(conn: &mut Conn, after: Id, limit: i64) -> QueryResult<Vec<EntryRow>> {
    let rows: Vec<(Id, Id, Id, String, i16, i64)> = e::entries
        .filter(e::id.gt(after))
        .filter(e::points.ne(0))
        .order(e::id)
        .limit(limit)
        .select((e::id, e::payment_id, e::reservation_id, e::customer, e::kind, e::points))
        .all(conn)?;
    let row = |(id, payment, reservation, user, kind, points)| EntryRow {
        id,
        payment,
        reservation,
        user,
        kind: kind_of(kind),
        points,
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Customers whose ledger is read with one statement.
const CUSTOMERS: i64 = 1_000;

/// Rules of the ledger, broken: a balance is the sum of its entries, a reversal takes back exactly what its payment earned. One sentence each.
///
/// # Errors
/// Whatever the database refuses.
pub fn violations(conn: &mut Conn) -> QueryResult<Vec<String>> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = ledger::customers(conn, &after, CUSTOMERS)?;
        let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(found) };
        found.extend(ledger::differences(conn, first, last)?.into_iter().map(|difference| difference.what));
        after.clone_from(last);
    }
}
