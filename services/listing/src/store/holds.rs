//! Holds.

use diesel::prelude::{ExpressionMethods, Insertable, QueryDsl, QueryResult, Queryable};
use mesh::statement;
use mesh::store::{Conn, Exec, Fetch, Id, Micros};
use mesh::value::Day;
use prost::Message as _;
use proto::listing::v1::ReservationPolicy;

use super::codes::{Code, message, money};
use super::nights;
use crate::domain::{Capacity, Days, Hold, HoldState, Policy, ReviewAfter, Slot};
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
    deal: Vec<u8>,
    host: String,
    display_name: String,
    created_at: Micros,
    updated_at: Micros,
}

/// What of a hold no statement looks into.
#[derive(Clone, PartialEq, prost::Message)]
struct Deal {
    #[prost(message, required, tag = "1")]
    policy: ReservationPolicy,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(string, tag = "3")]
    region: String,
    #[prost(string, tag = "4")]
    host_language_code: String,
}

/// What is known of a reservation.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its hold.
    Hold(Box<Hold>),
    /// It was released before it held anything, and never will.
    Tombstone,
}

impl Row {
    fn new(hold: &Hold) -> Self {
        let days = hold.slot.days();
        let deal = Deal {
            policy: hold.policy.message().clone(),
            kind: hold.kind.code().to_owned(),
            region: hold.region.clone(),
            host_language_code: hold.host_language_code.clone(),
        };
        Self {
            reservation_id: hold.reservation,
            listing_id: hold.listing,
            customer: hold.customer.clone(),
            check_in: days.first().number(),
            check_out: days.end().number(),
            units: hold.units,
            state: hold.state.code().to_owned(),
            version: hold.version,
            total_minor: hold.total.minor(),
            currency: hold.total.currency().code().to_owned(),
            deal: deal.encode_to_vec(),
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
            deal: Vec::new(),
            host: String::new(),
            display_name: String::new(),
            created_at: at,
            updated_at: at,
        }
    }

    fn found(self) -> QueryResult<Found> {
        if self.units == 0 { Ok(Found::Tombstone) } else { self.hold().map(Box::new).map(Found::Hold) }
    }

    fn hold(self) -> QueryResult<Hold> {
        let deal: Deal = message(&self.deal)?;
        let policy = Policy::stored(deal.policy);
        let days = Days::stored(Day::from_number(self.check_in), Day::from_number(self.check_out));
        Ok(Hold {
            reservation: self.reservation_id,
            listing: self.listing_id,
            slot: slot(&policy, days),
            units: self.units,
            state: Code::decode(&self.state)?,
            version: self.version,
            total: money(self.total_minor, &self.currency)?,
            policy,
            kind: Code::decode(&deal.kind)?,
            region: deal.region,
            host_language_code: deal.host_language_code,
            customer: self.customer,
            host: self.host,
            display_name: self.display_name,
            created_at: self.created_at,
        })
    }
}

fn slot(policy: &Policy, days: Days) -> Slot {
    match policy.capacity() {
        Capacity::Nightly | Capacity::Unspecified => Slot::Stay(days),
        Capacity::Dated => Slot::Date(days.first()),
        Capacity::Stock => Slot::Stock,
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

/// Whether the guest has a hold of the listing that is far enough.
pub(crate) fn may_review(conn: &mut Conn, listing: Id, customer: &str, after: ReviewAfter) -> QueryResult<bool> {
    let found: Option<i64> = holds::table
        .filter(holds::listing_id.eq(listing))
        .filter(holds::customer.eq(customer))
        .filter(holds::state.eq_any(codes_of(after)))
        .select(holds::version)
        .limit(1)
        .one(conn)?;
    Ok(found.is_some())
}

/// The codes of the states that let a guest review.
pub(super) fn codes_of(after: ReviewAfter) -> Vec<&'static str> {
    after.states().iter().map(|state| state.code()).collect()
}

/// Commits those of the reservations' holds that are held; answers them.
pub(crate) fn commit(conn: &mut Conn, reservations: &[Id], at: Micros) -> QueryResult<Vec<Hold>> {
    advance(conn, reservations, HoldState::Committed, at)
}

/// Ends those of the reservations' holds that are live, gives back their places, and marks reservations that never held anything, so that
/// none of them will. Answers the holds ended now.
pub(crate) fn end(conn: &mut Conn, reservations: &[Id], to: HoldState, at: Micros) -> QueryResult<Vec<Hold>> {
    let mut ended = advance(conn, reservations, to, at)?;
    let rest: Vec<Id> =
        reservations.iter().filter(|id| !ended.iter().any(|hold| hold.reservation == **id)).copied().collect();
    let mut unknown = 0;
    for reservation in &rest {
        let row = Row::tombstone(*reservation, at);
        unknown += diesel::insert_into(holds::table).values(row).on_conflict_do_nothing().exec(conn)?;
    }
    if unknown < rest.len() {
        // Ended before; or, on PostgreSQL, placed by a transaction that ended after the first look.
        ended.extend(advance(conn, &rest, to, at)?);
    }
    nights::release(conn, &ended)?;
    Ok(ended)
}

/// Moves those of the reservations' holds that are neither there yet nor at an end; answers them.
fn advance(conn: &mut Conn, reservations: &[Id], to: HoldState, at: Micros) -> QueryResult<Vec<Hold>> {
    let mut moved = Vec::with_capacity(reservations.len());
    for reservation in reservations {
        let row: Option<Row> = statement!(
            "UPDATE holds SET state = ?, version = version + 1, updated_at = ? WHERE reservation_id = ? AND state NOT IN (?, ?, ?) \
             RETURNING reservation_id, listing_id, customer, check_in, check_out, units, state, version, total_minor, currency, \
             deal, host, display_name, created_at, updated_at",
            to.code(),
            at,
            *reservation,
            to.code(),
            HoldState::Released.code(),
            HoldState::Completed.code()
        )
        .returning::<holds::SqlType>()
        .one(conn)?;
        moved.extend(row.map(Row::hold).transpose()?);
    }
    Ok(moved)
}
