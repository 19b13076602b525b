//! The rows: a batch of facts merged in, and the questions of the screens.
//!
//! A batch is written without reading first. Its timeline entries are inserted, which tells the events that are new from those that came
//! before; what the new ones say is folded in memory, one value for each row; and one statement for each table merges those values into the
//! rows, part by part, guarded by the versions. Two consumers that touch the same trip at once can therefore not undo each other's work.

use std::collections::HashSet;

use diesel::prelude::{ExpressionMethods, Insertable, QueryResult};
use diesel::query_dsl::methods::{FilterDsl, FindDsl, SelectDsl};
use diesel::upsert::excluded;
use mesh::store::{Bind, Conn, Exec, Fetch, Id, Micros, note_change, upsert};

use crate::projection::{Changes, Entry, Fact, Latest, Listing, Trip, Voucher};
use crate::schema::{listing_views, reviews, timeline};

pub(crate) mod journal;
mod read;
pub(crate) mod swap;
#[cfg(test)]
mod tests;

pub(crate) use read::{
    ListingQuery, ListingView, Order, Owner, TripQuery, all_listings, all_trips, confirmed_counts, event_counts,
    find_listing, find_trip, list_listings, list_trips, timeline_of,
};

/// Merges a batch of facts into the rows. Facts that were merged before change nothing.
///
/// # Errors
/// Whatever the database refuses.
pub(crate) fn apply(conn: &mut Conn, facts: Vec<Fact>) -> QueryResult<()> {
    let new = insert_entries(conn, &facts)?;
    let changes = Changes::fold(facts, new);
    merge_trips(conn, &changes)?;
    merge_vouchers(conn, &changes)?;
    merge_listings(conn, &changes)?;
    merge_reviews(conn, &changes)?;
    changes.trips.keys().copied().for_each(note_change);
    Ok(())
}

/// Stores timeline entries; answers the events that were not there before.
fn insert_entries(conn: &mut Conn, facts: &[Fact]) -> QueryResult<HashSet<Id>> {
    let rows: Vec<_> = facts.iter().filter_map(|fact| fact.entry.as_ref()).map(EntryRow::from).collect();
    match conn {
        // As in [`upsert`]: no round trips to save, and one row's statement is prepared once for all.
        Conn::Sqlite(_) => {
            let mut new = HashSet::with_capacity(rows.len());
            for row in &rows {
                if diesel::insert_into(timeline::table).values(row).on_conflict_do_nothing().exec(conn)? == 1 {
                    new.insert(row.event_id);
                }
            }
            Ok(new)
        }
        Conn::Postgres(_) => {
            let insert = diesel::insert_into(timeline::table).values(&rows).on_conflict_do_nothing();
            Ok(insert.returning(timeline::event_id).all(conn)?.into_iter().collect())
        }
    }
}

const INSERT_TRIP: &str = "INSERT INTO trips (id, listing, customer, host, reservation, reservation_state, reservation_version, hold_state, \
    hold_version, payment, payment_state, payment_version, mileage_points, message_count, updated_at)";

/// Merges rows into trips as [`Trip::merge`] does: each column is the newer one by its guard, or a sum.
macro_rules! merge {
    ($($column:ident by $guard:ident),+) => {
        concat!(
            "ON CONFLICT (id) DO UPDATE SET ",
            $(newer!($column by $guard), ", ",)+
            newer!(updated_at by updated_at),
            ", mileage_points = trips.mileage_points + excluded.mileage_points, \
             message_count = trips.message_count + excluded.message_count"
        )
    };
}

macro_rules! newer {
    ($column:ident by $guard:ident) => {
        concat!(
            stringify!($column),
            " = CASE WHEN excluded.",
            stringify!($guard),
            " > trips.",
            stringify!($guard),
            " THEN excluded.",
            stringify!($column),
            " ELSE trips.",
            stringify!($column),
            " END"
        )
    };
}

/// [`merge!`] for rows in which a reservation was told.
const MERGE_TOLD: &str = merge!(
    listing by reservation_version,
    customer by reservation_version,
    host by reservation_version,
    reservation by reservation_version,
    reservation_state by reservation_version,
    reservation_version by reservation_version,
    hold_state by hold_version,
    hold_version by hold_version,
    payment by payment_version,
    payment_state by payment_version,
    payment_version by payment_version
);

/// [`merge!`] for rows in which none was: leaving its columns out spares their indexes.
const MERGE_REST: &str = merge!(
    hold_state by hold_version,
    hold_version by hold_version,
    payment by payment_version,
    payment_state by payment_version,
    payment_version by payment_version
);

fn merge_trips(conn: &mut Conn, changes: &Changes) -> QueryResult<()> {
    let (told, rest): (Vec<_>, Vec<_>) = changes.trips.iter().partition(|(_, trip)| trip.reservation.version() > 0);
    let rows = |trips: Vec<(&Id, _)>| trips.into_iter().map(|(id, trip)| trip_row(*id, trip)).collect::<Vec<_>>();
    upsert(conn, INSERT_TRIP, &rows(told), MERGE_TOLD)?;
    upsert(conn, INSERT_TRIP, &rows(rest), MERGE_REST)
}

/// The values for [`INSERT_TRIP`], in its order.
fn trip_row(id: Id, trip: &Trip) -> [Bind<'_>; 15] {
    let (reservation, payment) = (trip.reservation.get(), trip.payment.get());
    [
        id.into(),
        reservation.map(|told| told.listing).into(),
        reservation.map(|told| told.customer.as_str()).into(),
        reservation.map(|told| told.host.as_str()).into(),
        reservation.map(|told| told.snapshot.as_slice()).into(),
        reservation.map_or(0, |told| told.state).into(),
        trip.reservation.version().into(),
        trip.hold.get().copied().unwrap_or(0).into(),
        trip.hold.version().into(),
        payment.map(|told| told.id).into(),
        payment.map_or(0, |told| told.state).into(),
        trip.payment.version().into(),
        trip.mileage_points.into(),
        trip.message_count.into(),
        trip.updated_at.into(),
    ]
}

const INSERT_VOUCHER: &str = "INSERT INTO vouchers (reservation, id, state, ticket_number, version)";

/// K28: one row for each reservation, whatever becomes of its voucher.
const MERGE_VOUCHER: &str = "ON CONFLICT (reservation) DO UPDATE SET id = excluded.id, state = excluded.state, \
    ticket_number = excluded.ticket_number, version = excluded.version WHERE vouchers.version < excluded.version";

fn merge_vouchers(conn: &mut Conn, changes: &Changes) -> QueryResult<()> {
    let rows: Vec<_> = changes.trips.iter().filter_map(|(id, trip)| voucher_row(*id, &trip.voucher)).collect();
    upsert(conn, INSERT_VOUCHER, &rows, MERGE_VOUCHER)
}

/// The values for [`INSERT_VOUCHER`], in its order.
fn voucher_row(reservation: Id, told: &Latest<Voucher>) -> Option<[Bind<'_>; 5]> {
    let voucher = told.get()?;
    let number = voucher.ticket_number.as_str();
    Some([reservation.into(), voucher.id.into(), voucher.state.into(), number.into(), told.version().into()])
}

const INSERT_LISTING: &str = "INSERT INTO listing_views (id, listing, version, host, kind, region, grade)";

const MERGE_LISTING: &str = "ON CONFLICT (id) DO UPDATE SET listing = excluded.listing, version = excluded.version, \
    host = excluded.host, kind = excluded.kind, region = excluded.region, grade = excluded.grade \
    WHERE listing_views.version < excluded.version";

fn merge_listings(conn: &mut Conn, changes: &Changes) -> QueryResult<()> {
    let rows: Vec<_> = changes.listings.iter().filter_map(|(id, told)| listing_row(*id, told)).collect();
    upsert(conn, INSERT_LISTING, &rows, MERGE_LISTING)
}

/// The values for [`INSERT_LISTING`], in its order.
fn listing_row(id: Id, told: &Latest<Listing>) -> Option<[Bind<'_>; 7]> {
    let listing = told.get()?;
    Some([
        id.into(),
        listing.snapshot.as_slice().into(),
        told.version().into(),
        listing.host.as_str().into(),
        listing.kind.into(),
        listing.region.as_str().into(),
        listing.grade.as_str().into(),
    ])
}

/// The listings whose columns are not filled yet, with their messages: rows of a version without these columns.
pub(crate) fn unfilled_listings(conn: &mut Conn) -> QueryResult<Vec<(Id, Vec<u8>)>> {
    listing_views::table
        .filter(listing_views::host.eq(""))
        .select((listing_views::id, listing_views::listing))
        .all(conn)
}

/// Fills the columns of a listing that are not filled yet.
pub(crate) fn fill_listing(conn: &mut Conn, id: Id, listing: &Listing) -> QueryResult<()> {
    let columns = (
        listing_views::host.eq(&listing.host),
        listing_views::kind.eq(listing.kind),
        listing_views::region.eq(&listing.region),
        listing_views::grade.eq(&listing.grade),
    );
    diesel::update(listing_views::table.find(id)).set(columns).exec(conn).map(|_| ())
}

fn merge_reviews(conn: &mut Conn, changes: &Changes) -> QueryResult<()> {
    for (id, told) in &changes.reviews {
        let Some(review) = told.get() else { continue };
        let row = (
            reviews::id.eq(id),
            reviews::listing.eq(review.listing),
            reviews::present.eq(review.present),
            reviews::version.eq(told.version()),
        );
        diesel::insert_into(reviews::table)
            .values(row)
            .on_conflict(reviews::id)
            .do_update()
            .set((reviews::present.eq(excluded(reviews::present)), reviews::version.eq(excluded(reviews::version))))
            .filter(reviews::version.lt(excluded(reviews::version)))
            .exec(conn)?;
    }
    Ok(())
}

#[derive(Insertable)]
#[diesel(table_name = timeline, treat_none_as_default_value = false)]
struct EntryRow<'a> {
    reservation: Id,
    event_id: Id,
    at: Micros,
    kind: &'a str,
    resource: &'a str,
    version: i64,
    causation: Option<Id>,
    trace_id: Option<&'a [u8]>,
    summary: &'a str,
}

impl<'a> From<&'a Entry> for EntryRow<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self {
            reservation: entry.reservation,
            event_id: entry.event,
            at: entry.at,
            kind: &entry.kind,
            resource: &entry.resource,
            version: entry.version,
            causation: entry.causation,
            trace_id: entry.trace_id.as_deref(),
            summary: &entry.summary,
        }
    }
}
