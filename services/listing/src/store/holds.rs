//! Holds.

use diesel::prelude::{ExpressionMethods, Insertable, QueryDsl, QueryResult, Queryable};
use mesh::statement;
use mesh::store::{Conn, Exec, Fetch, Id, Micros};
use mesh::value::Day;

use super::codes::{Code, money};
use super::nights;
use crate::domain::{Hold, HoldState, Policy, Stay};
use crate::schema::holds;

#[derive(Insertable, Queryable)]
#[diesel(table_name = holds, treat_none_as_default_value = false)]
struct Row {
    reservation_id: Id,
    listing_id: Id,
    customer: String,
    check_in: i32,
    check_out: i32,
    units: i32,
    state: String,
    version: i64,
    total_minor: i64,
    currency: String,
    mileage: String,
    mileage_points: i64,
    host: String,
    display_name: String,
    created_at: Micros,
    updated_at: Micros,
}

/// What is known of a reservation.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its hold.
    Hold(Hold),
    /// It was released before it held anything, and never will.
    Tombstone,
}

impl Row {
    fn new(hold: &Hold) -> Self {
        Self {
            reservation_id: hold.reservation,
            listing_id: hold.listing,
            customer: hold.customer.clone(),
            check_in: hold.stay.check_in().number(),
            check_out: hold.stay.check_out().number(),
            units: hold.units,
            state: hold.state.code().to_owned(),
            version: hold.version,
            total_minor: hold.total.minor(),
            currency: hold.total.currency().code().to_owned(),
            mileage: hold.policy.mileage.code().to_owned(),
            mileage_points: hold.policy.mileage_points,
            host: hold.host.clone(),
            display_name: hold.display_name.clone(),
            created_at: hold.created_at,
            updated_at: hold.created_at,
        }
    }

    fn tombstone(reservation: Id, at: Micros) -> Self {
        Self {
            reservation_id: reservation,
            listing_id: Id::from_bytes([0; 16]),
            customer: String::new(),
            check_in: 0,
            check_out: 0,
            units: 0,
            state: HoldState::Released.code().to_owned(),
            version: 0,
            total_minor: 0,
            currency: String::new(),
            mileage: String::new(),
            mileage_points: 0,
            host: String::new(),
            display_name: String::new(),
            created_at: at,
            updated_at: at,
        }
    }

    fn found(self) -> QueryResult<Found> {
        if self.units == 0 { Ok(Found::Tombstone) } else { self.hold().map(Found::Hold) }
    }

    fn hold(self) -> QueryResult<Hold> {
        Ok(Hold {
            reservation: self.reservation_id,
            listing: self.listing_id,
            stay: Stay::stored(Day::from_number(self.check_in), Day::from_number(self.check_out)),
            units: self.units,
            state: Code::decode(&self.state)?,
            version: self.version,
            total: money(self.total_minor, &self.currency)?,
            policy: Policy { mileage: Code::decode(&self.mileage)?, mileage_points: self.mileage_points },
            customer: self.customer,
            host: self.host,
            display_name: self.display_name,
            created_at: self.created_at,
        })
    }
}

/// Stores a new hold; `false` if the reservation has a row already.
pub(crate) fn insert(conn: &mut Conn, hold: &Hold) -> QueryResult<bool> {
    Ok(diesel::insert_into(holds::table).values(Row::new(hold)).on_conflict_do_nothing().exec(conn)? == 1)
}

pub(crate) fn find(conn: &mut Conn, reservation: Id) -> QueryResult<Option<Found>> {
    let row: Option<Row> = holds::table.find(reservation).one(conn)?;
    row.map(Row::found).transpose()
}

/// Whether the guest has a committed hold of the listing.
pub(crate) fn has_committed(conn: &mut Conn, listing: Id, customer: &str) -> QueryResult<bool> {
    let found: Option<i64> = holds::table
        .filter(holds::listing_id.eq(listing))
        .filter(holds::customer.eq(customer))
        .filter(holds::state.eq(HoldState::Committed.code()))
        .select(holds::version)
        .limit(1)
        .one(conn)?;
    Ok(found.is_some())
}

/// Commits those of the reservations' holds that are held; answers them.
pub(crate) fn commit(conn: &mut Conn, reservations: &[Id], at: Micros) -> QueryResult<Vec<Hold>> {
    advance(conn, reservations, HoldState::Committed, at)
}

/// Releases those of the reservations' holds that are live, gives back their nights, and marks reservations that never held anything, so
/// that none of them will. Answers the holds released now.
pub(crate) fn release(conn: &mut Conn, reservations: &[Id], at: Micros) -> QueryResult<Vec<Hold>> {
    let mut released = advance(conn, reservations, HoldState::Released, at)?;
    let rest: Vec<Id> =
        reservations.iter().filter(|id| !released.iter().any(|hold| hold.reservation == **id)).copied().collect();
    let mut unknown = 0;
    for reservation in &rest {
        let row = Row::tombstone(*reservation, at);
        unknown += diesel::insert_into(holds::table).values(row).on_conflict_do_nothing().exec(conn)?;
    }
    if unknown < rest.len() {
        // Released before; or, on PostgreSQL, placed by a transaction that ended after the first look.
        released.extend(advance(conn, &rest, HoldState::Released, at)?);
    }
    nights::release(conn, &released)?;
    Ok(released)
}

/// Moves those of the reservations' holds that are neither there yet nor released; answers them.
fn advance(conn: &mut Conn, reservations: &[Id], to: HoldState, at: Micros) -> QueryResult<Vec<Hold>> {
    let mut moved = Vec::with_capacity(reservations.len());
    for reservation in reservations {
        let row: Option<Row> = statement!(
            "UPDATE holds SET state = ?, version = version + 1, updated_at = ? WHERE reservation_id = ? AND state NOT IN (?, ?) \
             RETURNING reservation_id, listing_id, customer, check_in, check_out, units, state, version, total_minor, currency, \
             mileage, mileage_points, host, display_name, created_at, updated_at",
            to.code(),
            at,
            *reservation,
            to.code(),
            HoldState::Released.code()
        )
        .returning::<holds::SqlType>()
        .one(conn)?;
        moved.extend(row.map(Row::hold).transpose()?);
    }
    Ok(moved)
}
