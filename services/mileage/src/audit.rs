//! What an audit of the whole system reads here, and the rules that the ledger keeps by itself.

use diesel::prelude::{ExpressionMethods, QueryDsl, QueryResult, QueryableByName};
use diesel::sql_types::{BigInt, Binary, Text};
use mesh::store::{Conn, Fetch, Id};

use crate::domain::Kind;
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

#[derive(QueryableByName)]
struct WrongBalance {
    #[diesel(sql_type = Text)]
    customer: String,
    #[diesel(sql_type = BigInt)]
    balance: i64,
    #[diesel(sql_type = BigInt)]
    total: i64,
}

#[derive(QueryableByName)]
struct WrongReversal {
    #[diesel(sql_type = Binary)]
    id: Id,
}

/// Also finds entries without an account. The casts are for PostgreSQL, where the sum of BIGINT is NUMERIC.
const BALANCES: &str =
    "SELECT customer, CAST(SUM(balance) AS BIGINT) AS balance, CAST(SUM(total) AS BIGINT) AS total FROM (
    SELECT customer, balance, 0 AS total FROM accounts
    UNION ALL SELECT customer, 0 AS balance, points AS total FROM entries WHERE points <> 0
) AS both_sides GROUP BY customer HAVING SUM(balance) <> SUM(total)";

const REVERSALS: &str = "SELECT reversal.id AS id FROM entries AS reversal
    LEFT JOIN entries AS accrual ON accrual.payment_id = reversal.payment_id AND accrual.kind = 1
    WHERE reversal.kind = 2 AND (accrual.id IS NULL OR accrual.points + reversal.points <> 0
        OR accrual.customer <> reversal.customer OR accrual.reservation_id <> reversal.reservation_id)";

/// Rules of the ledger, broken: a balance is the sum of its entries, a reversal takes back exactly what its payment earned. One sentence each.
///
/// # Errors
/// Whatever the database refuses.
pub fn violations(conn: &mut Conn) -> QueryResult<Vec<String>> {
    let balances: Vec<WrongBalance> = diesel::sql_query(BALANCES).all(conn)?;
    let reversals: Vec<WrongReversal> = diesel::sql_query(REVERSALS).all(conn)?;
    let balances = balances
        .into_iter()
        .map(|it| format!("users/{} has {} miles, the entries say {}", it.customer, it.balance, it.total));
    Ok(balances
        .chain(reversals.into_iter().map(|it| format!("reversal {} does not match what its payment earned", it.id)))
        .collect())
}
