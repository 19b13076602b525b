//! Whether the accounts are what the entries say, and the entries what they may be.
//!
//! Entries are only ever added: the database refuses anything else (see the migrations). A balance and its entries are read by one statement, so
//! that nothing can come between them.

use diesel::prelude::QueryResult;
use diesel::sql_types::{BigInt, Binary, Text};
use mesh::reconcile::Difference;
use mesh::statement;
use mesh::store::{Conn, Fetch, Id};

/// What does not fit of the customers from `first` to `last`. Costs as much as they have entries.
pub(crate) fn differences(conn: &mut Conn, first: &str, last: &str) -> QueryResult<Vec<Difference>> {
    let mut found = wrong_balances(conn, first, last)?;
    found.extend(wrong_reversals(conn, first, last)?);
    Ok(found)
}

/// Also finds entries without an account. The casts are for PostgreSQL, where the sum of BIGINT is NUMERIC.
fn wrong_balances(conn: &mut Conn, first: &str, last: &str) -> QueryResult<Vec<Difference>> {
    let rows: Vec<(String, i64, i64)> = statement!(
        "SELECT customer, CAST(SUM(balance) AS BIGINT), CAST(SUM(total) AS BIGINT) FROM ( \
         SELECT customer, balance, 0 AS total FROM accounts WHERE customer BETWEEN ? AND ? \
         UNION ALL SELECT customer, 0 AS balance, points AS total FROM entries WHERE customer BETWEEN ? AND ? AND points <> 0 \
         ) AS both_sides GROUP BY customer HAVING SUM(balance) <> SUM(total) ORDER BY customer",
        first,
        last,
        first,
        last
    )
    .returning::<(Text, BigInt, BigInt)>()
    .all(conn)?;
    let tell = |(customer, balance, total)| Difference {
        rule: "balance",
        what: format!("users/{customer} has {balance} miles, the entries say {total}"),
    };
    Ok(rows.into_iter().map(tell).collect())
}

/// A reversal takes back exactly what its payment earned.
fn wrong_reversals(conn: &mut Conn, first: &str, last: &str) -> QueryResult<Vec<Difference>> {
    let rows: Vec<Id> = statement!(
        "SELECT reversal.id FROM entries AS reversal \
         LEFT JOIN entries AS accrual ON accrual.payment_id = reversal.payment_id AND accrual.kind = 1 \
         WHERE reversal.customer BETWEEN ? AND ? AND reversal.kind = 2 AND (accrual.id IS NULL OR accrual.points + reversal.points <> 0 \
         OR accrual.customer <> reversal.customer OR accrual.reservation_id <> reversal.reservation_id) ORDER BY reversal.id",
        first,
        last
    )
    .returning::<Binary>()
    .all(conn)?;
    let tell =
        |id| Difference { rule: "reversal", what: format!("reversal {id} does not match what its payment earned") };
    Ok(rows.into_iter().map(tell).collect())
}

/// The customers after `after` (blank to begin) that have an account or entries, at most `limit`, in order.
pub(crate) fn customers(conn: &mut Conn, after: &str, limit: i64) -> QueryResult<Vec<String>> {
    statement!(
        "SELECT customer FROM (SELECT customer FROM accounts WHERE customer > ? ORDER BY customer LIMIT ?) AS known \
         UNION SELECT customer FROM (SELECT DISTINCT customer FROM entries WHERE customer > ? ORDER BY customer LIMIT ?) AS named \
         ORDER BY customer LIMIT ?",
        after,
        limit,
        after,
        limit,
        limit
    )
    .returning::<Text>()
    .all(conn)
}

/// Entries after one and before another, at most `limit`: their ids and customers. Tombstones are none.
pub(crate) fn recent(conn: &mut Conn, after: Id, before: Id, limit: i64) -> QueryResult<Vec<(Id, String)>> {
    statement!(
        "SELECT id, customer FROM entries WHERE id > ? AND id < ? AND points <> 0 ORDER BY id LIMIT ?",
        after,
        before,
        limit
    )
    .returning::<(Binary, Text)>()
    .all(conn)
}
