//! Rows and statements. Entries are only ever inserted; the unique index on payment and kind is the last word on who was first.

use diesel::prelude::{ExpressionMethods, Insertable, QueryDsl, QueryResult, Queryable};
use diesel::sql_types::BigInt;
use mesh::statement;
use mesh::store::{Conn, Exec, Fetch, Id, Micros};
use mesh::value::Page;

use crate::domain::{Accrual, Entry, History, Kind};
use crate::schema::accounts::dsl as a;
use crate::schema::entries::{self, dsl as e};

const ACCRUAL: i16 = 1;
const REVERSAL: i16 = 2;

#[derive(Insertable, Queryable)]
#[diesel(table_name = entries, treat_none_as_default_value = false)]
struct Row {
    id: Id,
    customer: String,
    kind: i16,
    points: i64,
    balance_after: i64,
    payment_id: Id,
    reservation_id: Id,
    created_at: Micros,
}

impl From<&Entry> for Row {
    fn from(entry: &Entry) -> Self {
        Self {
            id: entry.id,
            customer: entry.customer.clone(),
            kind: match entry.kind {
                Kind::Accrual => ACCRUAL,
                Kind::Reversal => REVERSAL,
            },
            points: entry.points,
            balance_after: entry.balance,
            payment_id: entry.payment,
            reservation_id: entry.reservation,
            created_at: entry.created_at,
        }
    }
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            customer: row.customer,
            kind: kind_of(row.kind),
            points: row.points,
            balance: row.balance_after,
            payment: row.payment_id,
            reservation: row.reservation_id,
            created_at: row.created_at,
        }
    }
}

/// The table's CHECK admits no third.
pub(crate) const fn kind_of(number: i16) -> Kind {
    if number == REVERSAL { Kind::Reversal } else { Kind::Accrual }
}

/// Changes a balance and answers the new one. From here to the end of the transaction nobody else changes it.
fn add(conn: &mut Conn, customer: &str, points: i64, now: Micros) -> QueryResult<i64> {
    statement!(
        "INSERT INTO accounts (customer, balance, version, updated_at) VALUES (?, ?, 1, ?) \
         ON CONFLICT (customer) DO UPDATE SET balance = accounts.balance + excluded.balance, version = accounts.version + 1, \
         updated_at = excluded.updated_at RETURNING balance",
        customer,
        points,
        now
    )
    .returning::<BigInt>()
    .one(conn)?
    .ok_or(diesel::NotFound)
}

fn insert(conn: &mut Conn, entry: &Entry) -> QueryResult<bool> {
    diesel::insert_into(e::entries).values(Row::from(entry)).on_conflict_do_nothing().exec(conn).map(|rows| rows == 1)
}

/// Earns miles in two statements. `None` if the ledger has an accrual or a tombstone of this payment: then the balance must be rolled back.
///
/// The account comes first, as the entry holds the balance after it; a repeat, which is rare, pays with the rollback.
pub(crate) fn accrue(conn: &mut Conn, accrual: &Accrual, id: Id, now: Micros) -> QueryResult<Option<Entry>> {
    let entry = Entry {
        id,
        customer: accrual.customer.clone(),
        kind: Kind::Accrual,
        points: accrual.points,
        balance: add(conn, &accrual.customer, accrual.points, now)?,
        payment: accrual.payment,
        reservation: accrual.reservation,
        created_at: now,
    };
    Ok(insert(conn, &entry)?.then_some(entry))
}

/// Takes back what `earned` earned. `None` if that was done before: then the balance must be rolled back.
pub(crate) fn take_back(conn: &mut Conn, earned: &Entry, id: Id, now: Micros) -> QueryResult<Option<Entry>> {
    let points = -earned.points;
    let balance = add(conn, &earned.customer, points, now)?;
    let entry = Entry { id, kind: Kind::Reversal, points, balance, created_at: now, ..earned.clone() };
    Ok(insert(conn, &entry)?.then_some(entry))
}

/// Leaves a tombstone in the place of a payment's accrual; `false` if that is taken.
pub(crate) fn close(conn: &mut Conn, payment: Id, id: Id, now: Micros) -> QueryResult<bool> {
    let tombstone = Entry {
        id,
        customer: String::new(),
        kind: Kind::Accrual,
        points: 0,
        balance: 0,
        payment,
        // Nobody ever reads it: the payment is all that a reversal names.
        reservation: payment,
        created_at: now,
    };
    insert(conn, &tombstone)
}

/// What the ledger has about a payment.
pub(crate) fn history(conn: &mut Conn, payment: Id) -> QueryResult<History> {
    let rows: Vec<Row> = e::entries.filter(e::payment_id.eq(payment)).all(conn)?;
    Ok(rows.into_iter().map(Entry::from).collect())
}

/// A customer's balance and when it last changed; `None` if it never did.
pub(crate) fn account(conn: &mut Conn, customer: &str) -> QueryResult<Option<(i64, Micros)>> {
    a::accounts.filter(a::customer.eq(customer)).select((a::balance, a::updated_at)).one(conn)
}

/// A page of a customer's entries.
pub(crate) fn list(conn: &mut Conn, customer: &str, page: &Page) -> QueryResult<Vec<Entry>> {
    let before = page.before().unwrap_or(Id::from_bytes([0xff; 16]));
    let rows: Vec<Row> = e::entries
        .filter(e::customer.eq(customer))
        .filter(e::id.lt(before))
        .order(e::id.desc())
        .limit(page.limit())
        .all(conn)?;
    Ok(rows.into_iter().map(Entry::from).collect())
}
