//! Nights: how many units are offered and how many are held on a day. A date is counted like a night, a stock on
//! [`STOCK_DAY`](crate::domain::STOCK_DAY).
//!
//! The table's CHECK refuses more held than offered. All statements take rows in date order, so that transactions wait for each other in turn
//! and never in a circle.

use std::collections::BTreeMap;

use diesel::prelude::{ExpressionMethods, Insertable, QueryDsl, QueryResult, Queryable};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::upsert::excluded;
use mesh::statement;
use mesh::store::{Conn, Exec, Fetch, Id, upsert};
use mesh::value::Day;

use crate::domain::{Availability, Days, Hold};
use crate::schema::nights;

#[derive(Insertable, Queryable)]
#[diesel(table_name = nights, treat_none_as_default_value = false)]
struct Row {
    listing_id: Id,
    night: i32,
    held: i32,
    capacity: i32,
    pinned: bool,
}

/// Whether the database refused a change of nights by their CHECK.
pub(crate) fn is_refused(error: &Error) -> bool {
    matches!(error, Error::DatabaseError(DatabaseErrorKind::CheckViolation, _))
}

/// Those of the days that have a row, in date order.
pub(crate) fn find(conn: &mut Conn, listing: Id, days: &Days) -> QueryResult<Vec<Availability>> {
    let rows: Vec<(i32, i32, i32, bool)> = nights::table
        .filter(nights::listing_id.eq(listing))
        .filter(nights::night.ge(days.first().number()))
        .filter(nights::night.lt(days.end().number()))
        .order(nights::night)
        .select((nights::night, nights::held, nights::capacity, nights::pinned))
        .all(conn)?;
    let availability =
        |(day, held, capacity, pinned)| Availability { day: Day::from_number(day), held, capacity, pinned };
    Ok(rows.into_iter().map(availability).collect())
}

/// Takes the units of a hold on each of its days. An error that [`is_refused`] means that one has no room; undo the transaction then.
pub(crate) fn hold(conn: &mut Conn, hold: &Hold, default_capacity: i32) -> QueryResult<()> {
    if hold.units > default_capacity {
        return hold_wide(conn, hold);
    }
    let row = |night: Day| {
        [hold.listing.into(), night.number().into(), hold.units.into(), default_capacity.into(), false.into()]
    };
    let rows: Vec<_> = hold.slot.days().iter().map(row).collect();
    let insert = "INSERT INTO nights (listing_id, night, held, capacity, pinned)";
    upsert(conn, insert, &rows, "ON CONFLICT (listing_id, night) DO UPDATE SET held = nights.held + excluded.held")
}

/// More units than the default fit only on days whose capacity the host has set, which therefore have a row. The upsert will not do: a
/// CHECK also judges the row that is proposed, which would hold more than the default.
fn hold_wide(conn: &mut Conn, hold: &Hold) -> QueryResult<()> {
    for night in hold.slot.days().iter() {
        let held = diesel::update(nights::table.find((hold.listing, night.number())))
            .set(nights::held.eq(nights::held + hold.units))
            .exec(conn)?;
        if held == 0 {
            return Err(Error::DatabaseError(
                DatabaseErrorKind::CheckViolation,
                Box::new("the day has the default capacity".to_owned()),
            ));
        }
    }
    Ok(())
}

/// Gives back the units of holds that have ended.
pub(crate) fn release(conn: &mut Conn, ended: &[Hold]) -> QueryResult<()> {
    let mut units: BTreeMap<(Id, i32), i32> = BTreeMap::new();
    for hold in ended {
        for night in hold.slot.days().iter() {
            *units.entry((hold.listing, night.number())).or_default() += hold.units;
        }
    }
    units.into_iter().try_for_each(|((listing, night), units)| {
        statement!("UPDATE nights SET held = held - ? WHERE listing_id = ? AND night = ?", units, listing, night)
            .exec(conn)
            .map(|_| ())
    })
}

/// Sets the capacity of days, given in date order, whatever the default says. An error that [`is_refused`] means that more is held on one.
pub(crate) fn pin(conn: &mut Conn, listing: Id, days: impl IntoIterator<Item = (Day, i32)>) -> QueryResult<()> {
    let rows: Vec<Row> = days
        .into_iter()
        .map(|(day, capacity)| Row { listing_id: listing, night: day.number(), held: 0, capacity, pinned: true })
        .collect();
    diesel::insert_into(nights::table)
        .values(&rows)
        .on_conflict((nights::listing_id, nights::night))
        .do_update()
        .set((nights::capacity.eq(excluded(nights::capacity)), nights::pinned.eq(excluded(nights::pinned))))
        .exec(conn)
        .map(|_| ())
}

/// Applies a new default capacity to the days from `first` on that have no capacity of their own. An error that [`is_refused`] means that
/// more is held on one.
pub(crate) fn apply_default(conn: &mut Conn, listing: Id, first: Day, capacity: i32) -> QueryResult<()> {
    let future = nights::table
        .filter(nights::listing_id.eq(listing))
        .filter(nights::night.ge(first.number()))
        .filter(nights::pinned.eq(false));
    if let Conn::Postgres(c) = conn {
        // An update takes its rows in no promised order.
        let in_order = future.select(nights::night).order(nights::night).for_update();
        let _: Vec<i32> = diesel::RunQueryDsl::load(in_order, c)?;
    }
    diesel::update(future).set(nights::capacity.eq(capacity)).exec(conn).map(|_| ())
}
