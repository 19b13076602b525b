//! What an operator's audit asks of listing: every hold and every deletion, to compare with the reservations, and whether listing's own rules are kept.
//!
//! Each rule is one statement, so that it sees one moment of a live database.

use diesel::prelude::{ExpressionMethods, QueryDsl, QueryResult, QueryableByName};
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary};
use mesh::store::{Conn, Fetch, Id, Store};
use mesh::value::Day;

use crate::domain::{Error, HoldState, STOCK_DAY};
use crate::schema::holds;
use crate::store::{hold_state, listings};
use crate::wire::listing_name;

/// Live holds per day, as running sums of what begins and ends, against what the nights say. A date is a night, a stock the [`STOCK_DAY`].
const NIGHTS: &str = "\
WITH step AS ( \
    SELECT listing_id, check_in AS night, units FROM holds WHERE state NOT IN ('RELEASED', 'COMPLETED') \
    UNION ALL SELECT listing_id, check_out, -units FROM holds WHERE state NOT IN ('RELEASED', 'COMPLETED') \
    UNION ALL SELECT listing_id, night, 0 FROM nights \
), change AS ( \
    SELECT listing_id, night, SUM(units) AS units FROM step GROUP BY listing_id, night \
), live AS ( \
    SELECT listing_id, night, SUM(units) OVER (PARTITION BY listing_id ORDER BY night) AS units FROM change \
) \
SELECT live.listing_id AS listing_id, CAST(live.night AS BIGINT) AS night, CAST(live.units AS BIGINT) AS live, \
    CAST(COALESCE(nights.held, 0) AS BIGINT) AS held, CAST(COALESCE(nights.capacity, 0) AS BIGINT) AS capacity \
FROM live LEFT JOIN nights ON nights.listing_id = live.listing_id AND nights.night = live.night \
WHERE live.units <> COALESCE(nights.held, 0) OR COALESCE(nights.held, 0) > COALESCE(nights.capacity, 0)";

/// Nights held in all, by the holds and by the nights: finds a night in the middle of a stay that has no row.
const TOTALS: &str = "\
WITH total AS ( \
    SELECT listing_id, CAST(check_out - check_in AS BIGINT) * units AS live, 0 AS held FROM holds WHERE state NOT IN ('RELEASED', 'COMPLETED') \
    UNION ALL SELECT listing_id, 0, held FROM nights \
) \
SELECT listing_id, CAST(SUM(live) AS BIGINT) AS expected, CAST(SUM(held) AS BIGINT) AS found \
FROM total GROUP BY listing_id HAVING SUM(live) <> SUM(held)";

const REVIEWS: &str = "\
SELECT listings.id AS listing_id, CAST(COUNT(reviews.id) AS BIGINT) AS expected, CAST(listings.review_count AS BIGINT) AS found \
FROM listings LEFT JOIN reviews ON reviews.listing_id = listings.id AND reviews.deleted = (1 = 0) \
GROUP BY listings.id, listings.review_count HAVING COUNT(reviews.id) <> listings.review_count";

/// What was found.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Every hold, live or ended.
    pub holds: Vec<HoldRecord>,
    /// The listings that are deleted.
    pub deleted: Vec<Id>,
    /// One sentence for each broken rule; empty when all is well.
    pub violations: Vec<String>,
}

/// A hold, as far as others can check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldRecord {
    /// The reservation.
    pub reservation: Id,
    /// The listing.
    pub listing: Id,
    /// Whether the units are taken.
    pub state: HoldState,
    /// Units on each day.
    pub units: i32,
    /// The first day: of a stay its first night, of a date that date, of a stock the [`STOCK_DAY`].
    pub check_in: Day,
    /// The day after the last.
    pub check_out: Day,
}

#[derive(QueryableByName)]
struct NightRow {
    #[diesel(sql_type = Binary)]
    listing_id: Id,
    #[diesel(sql_type = BigInt)]
    night: i64,
    #[diesel(sql_type = BigInt)]
    live: i64,
    #[diesel(sql_type = BigInt)]
    held: i64,
    #[diesel(sql_type = BigInt)]
    capacity: i64,
}

#[derive(QueryableByName)]
struct CountRow {
    #[diesel(sql_type = Binary)]
    listing_id: Id,
    #[diesel(sql_type = BigInt)]
    expected: i64,
    #[diesel(sql_type = BigInt)]
    found: i64,
}

/// Reads all holds and deletions, and looks for broken rules.
///
/// # Errors
/// [`Error::Store`].
///
/// # Cancel safety
/// Safe.
pub async fn read(store: &Store) -> Result<Audit, Error> {
    store
        .read(|conn| {
            Ok(Audit { violations: violations(conn)?, holds: records(conn)?, deleted: listings::deleted(conn)? })
        })
        .await
}

fn violations(conn: &mut Conn) -> QueryResult<Vec<String>> {
    let mut found = Vec::new();
    let nights: Vec<NightRow> = sql_query(NIGHTS).all(conn)?;
    for NightRow { listing_id, night, live, held, capacity } in nights {
        let (listing, day) = (listing_name(listing_id), Day::from_number(i32::try_from(night).unwrap_or(0)));
        let counted = if day == STOCK_DAY { format!("the stock of {listing}") } else { format!("{listing} on {day}") };
        found.push(format!("{counted}: live holds {live}, held {held}, capacity {capacity}"));
    }
    let totals: Vec<CountRow> = sql_query(TOTALS).all(conn)?;
    for CountRow { listing_id, expected, found: held } in totals {
        found.push(format!(
            "{}: live holds take {expected} unit nights, its nights hold {held}",
            listing_name(listing_id)
        ));
    }
    let reviews: Vec<CountRow> = sql_query(REVIEWS).all(conn)?;
    for CountRow { listing_id, expected, found: count } in reviews {
        found.push(format!("{}: {expected} reviews, review_count {count}", listing_name(listing_id)));
    }
    Ok(found)
}

fn records(conn: &mut Conn) -> QueryResult<Vec<HoldRecord>> {
    let rows: Vec<(Id, Id, String, i32, i32, i32)> = holds::table
        .filter(holds::units.gt(0))
        .select((
            holds::reservation_id,
            holds::listing_id,
            holds::state,
            holds::units,
            holds::check_in,
            holds::check_out,
        ))
        .order(holds::reservation_id)
        .all(conn)?;
    rows.into_iter()
        .map(|(reservation, listing, state, units, check_in, check_out)| {
            Ok(HoldRecord {
                reservation,
                listing,
                state: hold_state(&state)?,
                units,
                check_in: Day::from_number(check_in),
                check_out: Day::from_number(check_out),
            })
        })
        .collect()
}
