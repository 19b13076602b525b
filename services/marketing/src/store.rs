//! Rows and statements. Whatever was told with a higher version stays, so the order of events does not matter.

use diesel::dsl::{count_star, sum};
use diesel::prelude::{BoolExpressionMethods, ExpressionMethods, QueryDsl, QueryResult};
use diesel::sql_types::Integer;
use mesh::statement;
use mesh::store::{Conn, Exec, Fetch, Id};
use mesh::value::{Day, Page};

use crate::domain::{Booking, Demand, Outcome, Slot};
use crate::schema::{bookings::dsl as b, capacities::dsl as c, listings::dsl as l};

const STOCK: i32 = -1;
const CONFIRMED: i16 = 1;
const COMPLETED: i16 = 2;
const CANCELLED: i16 = 3;
/// Behind every identifier.
const END: Id = Id::from_bytes([0xff; 16]);

fn day_number(slot: Slot) -> i32 {
    match slot {
        Slot::Date(day) => day.number(),
        Slot::Stock => STOCK,
    }
}

fn slot_of(day: i32) -> Slot {
    if day == STOCK { Slot::Stock } else { Slot::Date(Day::from_number(day)) }
}

/// Takes the listing's row, which is made if it is not there.
pub(crate) fn touch(conn: &mut Conn, listing: Id, host: Option<&str>) -> QueryResult<()> {
    upsert_listing(conn, listing, host, None, 0)
}

/// Takes the listing's row and notes what it offers.
pub(crate) fn offer(conn: &mut Conn, listing: Id, host: &str, capacity: i32, version: i64) -> QueryResult<()> {
    upsert_listing(conn, listing, Some(host), Some(capacity), version)
}

fn upsert_listing(
    conn: &mut Conn,
    listing: Id,
    host: Option<&str>,
    capacity: Option<i32>,
    version: i64,
) -> QueryResult<()> {
    statement!(
        "INSERT INTO listings (id, host, default_capacity, version, increments) VALUES (?, ?, ?, ?, 0) \
         ON CONFLICT (id) DO UPDATE SET host = COALESCE(excluded.host, listings.host), \
         default_capacity = CASE WHEN excluded.version > listings.version THEN excluded.default_capacity \
         ELSE listings.default_capacity END, \
         version = CASE WHEN excluded.version > listings.version THEN excluded.version ELSE listings.version END",
        listing,
        host,
        capacity,
        version
    )
    .exec(conn)
    .map(|_| ())
}

/// Notes what is offered on each of the dates.
pub(crate) fn set_capacity(
    conn: &mut Conn,
    listing: Id,
    from: Day,
    to: Day,
    capacity: i32,
    version: i64,
) -> QueryResult<()> {
    (from.number()..to.number()).try_for_each(|day| {
        statement!(
            "INSERT INTO capacities (listing_id, day, capacity, version) VALUES (?, ?, ?, ?) \
             ON CONFLICT (listing_id, day) DO UPDATE SET capacity = excluded.capacity, version = excluded.version \
             WHERE capacities.version < excluded.version",
            listing,
            day,
            capacity,
            version
        )
        .exec(conn)
        .map(|_| ())
    })
}

/// Notes what became of a reservation.
pub(crate) fn book(conn: &mut Conn, listing: Id, booking: &Booking) -> QueryResult<()> {
    let outcome = match booking.outcome {
        Outcome::Confirmed => CONFIRMED,
        Outcome::Completed => COMPLETED,
        Outcome::Cancelled => CANCELLED,
    };
    statement!(
        "INSERT INTO bookings (reservation_id, listing_id, day, units, outcome, version) VALUES (?, ?, ?, ?, ?, ?) \
         ON CONFLICT (reservation_id) DO UPDATE SET outcome = excluded.outcome, version = excluded.version \
         WHERE bookings.version < excluded.version",
        booking.reservation,
        listing,
        booking.slot.map(day_number),
        booking.units,
        outcome,
        booking.version
    )
    .exec(conn)
    .map(|_| ())
}

/// Where the listing has confirmed reservations.
pub(crate) fn booked_slots(conn: &mut Conn, listing: Id) -> QueryResult<Vec<Slot>> {
    let confirmed = b::bookings.filter(b::listing_id.eq(listing).and(b::outcome.eq(CONFIRMED)));
    let days: Vec<Option<i32>> = confirmed.select(b::day).distinct().all(conn)?;
    Ok(days.into_iter().flatten().map(slot_of).collect())
}

/// Units offered; `None` if that was never told.
pub(crate) fn capacity(conn: &mut Conn, listing: Id, slot: Slot) -> QueryResult<Option<i32>> {
    let own: Option<i32> = c::capacities.find((listing, day_number(slot))).select(c::capacity).one(conn)?;
    if own.is_some() {
        return Ok(own);
    }
    let default: Option<Option<i32>> = l::listings.find(listing).select(l::default_capacity).one(conn)?;
    Ok(default.flatten())
}

/// Units of confirmed reservations.
pub(crate) fn confirmed_units(conn: &mut Conn, listing: Id, slot: Slot) -> QueryResult<i64> {
    let confirmed = b::bookings
        .filter(b::listing_id.eq(listing))
        .filter(b::day.eq(day_number(slot)))
        .filter(b::outcome.eq(CONFIRMED));
    let units: Option<Option<i64>> = confirmed.select(sum(b::units)).one(conn)?;
    Ok(units.flatten().unwrap_or(0))
}

/// Notes that the host is asked for more than this capacity; answers how often the listing has been asked for, or `None` if it was asked for
/// as much before.
pub(crate) fn note_increment(conn: &mut Conn, listing: Id, slot: Slot, capacity: i32) -> QueryResult<Option<i64>> {
    let is_new = statement!(
        "INSERT INTO increments (listing_id, day, capacity) VALUES (?, ?, ?) \
         ON CONFLICT (listing_id, day) DO UPDATE SET capacity = excluded.capacity \
         WHERE increments.capacity < excluded.capacity",
        listing,
        day_number(slot),
        capacity
    );
    if is_new.exec(conn)? == 0 {
        return Ok(None);
    }
    let count: Option<i32> =
        statement!("UPDATE listings SET increments = increments + 1 WHERE id = ? RETURNING increments", listing)
            .returning::<Integer>()
            .one(conn)?;
    Ok(count.map(i64::from))
}

/// A page of the demand for a host's listings, or for all.
pub(crate) fn list(conn: &mut Conn, host: Option<&str>, page: &Page) -> QueryResult<Vec<Demand>> {
    let shown = l::listings
        .filter(l::id.lt(page.before().unwrap_or(END)))
        .order(l::id.desc())
        .limit(page.limit())
        .select((l::id, l::host, l::increments));
    let rows: Vec<(Id, Option<String>, i32)> = match host {
        None => shown.all(conn)?,
        Some(host) => shown.filter(l::host.eq(host)).all(conn)?,
    };
    let ids: Vec<Id> = rows.iter().map(|(listing, ..)| *listing).collect();
    let counts: Vec<(Id, i16, i64)> = b::bookings
        .filter(b::listing_id.eq_any(ids))
        .group_by((b::listing_id, b::outcome))
        .select((b::listing_id, b::outcome, count_star()))
        .all(conn)?;
    let count = |listing: Id, outcomes: &[i16]| {
        let found = counts.iter().filter(|(of, outcome, _)| *of == listing && outcomes.contains(outcome));
        i32::try_from(found.map(|(.., count)| count).sum::<i64>()).unwrap_or(i32::MAX)
    };
    let demand = |(listing, host, increments)| Demand {
        listing,
        host,
        confirmed: count(listing, &[CONFIRMED, COMPLETED]),
        cancelled: count(listing, &[CANCELLED]),
        increments,
    };
    Ok(rows.into_iter().map(demand).collect())
}
