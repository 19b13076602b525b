//! Deleted listings whose open reservations are being cancelled.

use diesel::prelude::{Insertable, QueryDsl, QueryResult, Queryable};
use mesh::{
    statement,
    store::{Conn, Exec, Fetch, Id},
};

use super::Row;
use crate::{
    domain::Reservation,
    schema::{
        closures::{self, dsl as c},
        reservations,
    },
};

/// A deleted listing. There is no cursor: a reservation that was cancelled is not open any more, so what is left to do is
/// what is still found, after a restart too.
#[derive(Insertable, Queryable, Clone, Debug)]
#[diesel(table_name = closures, treat_none_as_default_value = false)]
pub(crate) struct Closure {
    /// The listing.
    pub(crate) listing_id: Id,
    /// The event that told of it.
    pub(crate) event_id: Id,
    /// Its trace.
    pub(crate) traceparent: Option<String>,
}

/// Records a deletion; a repeat changes nothing.
pub(crate) fn open(conn: &mut Conn, closure: &Closure) -> QueryResult<()> {
    diesel::insert_into(c::closures).values(closure).on_conflict_do_nothing().exec(conn).map(|_| ())
}

/// Those that are not done.
pub(crate) fn all(conn: &mut Conn) -> QueryResult<Vec<Closure>> {
    c::closures.order(c::listing_id).all(conn)
}

/// Open reservations of a listing, so many at most.
pub(crate) fn page(conn: &mut Conn, listing: Id, limit: i64) -> QueryResult<Vec<Reservation>> {
    // Written out, so that the index of open reservations serves it.
    let rows: Vec<Row> = statement!(
        "SELECT id, listing_id, customer, host, check_in, check_out, units, state, total_minor, currency, payment_id, \
         approval_id, expires_at, version, updated_at, details FROM reservations WHERE listing_id = ? \
         AND state IN ('REQUESTED', 'AWAITING_APPROVAL', 'AWAITING_PAYMENT', 'CONFIRMED') LIMIT ?",
        listing,
        limit
    )
    .returning::<reservations::SqlType>()
    .all(conn)?;
    Ok(rows.into_iter().map(Reservation::from).collect())
}

/// Forgets a deletion: nothing is open any more.
pub(crate) fn close(conn: &mut Conn, listing: Id) -> QueryResult<()> {
    diesel::delete(c::closures.find(listing)).exec(conn).map(|_| ())
}
