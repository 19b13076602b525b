//! The questions of the screens.

use std::collections::BTreeMap;

use diesel::dsl::count_star;
use diesel::prelude::{ExpressionMethods, QueryDsl, QueryResult, Queryable, QueryableByName};
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable, SmallInt};
use mesh::store::{Conn, Fetch, Id, Micros};
use mesh::value::Page;

use crate::projection::{Entry, Latest, Payment, Reservation, Trip};
use crate::schema::{timeline, trips};

/// Behind every identifier.
const END: Id = Id::from_bytes([0xff; 16]);

/// `STATE_CONFIRMED` of a reservation, as the contract numbers it; the partial index names it as well.
const CONFIRMED: i16 = 2;

/// A trip, if any event of its reservation has come.
pub(crate) fn find_trip(conn: &mut Conn, id: Id) -> QueryResult<Option<(Id, Trip)>> {
    let row: Option<Row> = trips::table.find(id).filter(trips::reservation_version.gt(0)).one(conn)?;
    Ok(row.map(Row::trip))
}

/// A page of the trips of a customer, `users/{user}`, newest first.
pub(crate) fn list_of_customer(conn: &mut Conn, customer: &str, page: &Page) -> QueryResult<Vec<(Id, Trip)>> {
    let own = trips::table.filter(trips::customer.eq(customer)).filter(trips::id.lt(page.before().unwrap_or(END)));
    let rows: Vec<Row> = own.order(trips::id.desc()).limit(page.limit()).all(conn)?;
    Ok(rows.into_iter().map(Row::trip).collect())
}

/// A page of the trips on the listings of a host, `users/{user}`, newest first.
pub(crate) fn list_on_host(conn: &mut Conn, host: &str, page: &Page) -> QueryResult<Vec<(Id, Trip)>> {
    let own = trips::table.filter(trips::host.eq(host)).filter(trips::id.lt(page.before().unwrap_or(END)));
    let rows: Vec<Row> = own.order(trips::id.desc()).limit(page.limit()).all(conn)?;
    Ok(rows.into_iter().map(Row::trip).collect())
}

/// A page of all trips, newest first.
pub(crate) fn list_all(conn: &mut Conn, page: &Page) -> QueryResult<Vec<(Id, Trip)>> {
    let shown =
        trips::table.filter(trips::reservation_version.gt(0)).filter(trips::id.lt(page.before().unwrap_or(END)));
    let rows: Vec<Row> = shown.order(trips::id.desc()).limit(page.limit()).all(conn)?;
    Ok(rows.into_iter().map(Row::trip).collect())
}

/// Every trip, beginnings included, for the audit.
pub(crate) fn all_trips(conn: &mut Conn) -> QueryResult<Vec<(Id, Trip)>> {
    let rows: Vec<Row> = trips::table.order(trips::id).all(conn)?;
    Ok(rows.into_iter().map(Row::trip).collect())
}

/// The timeline of a reservation, in order of time.
pub(crate) fn timeline_of(conn: &mut Conn, reservation: Id) -> QueryResult<Vec<Entry>> {
    let rows: Vec<EntryRow> = timeline::table
        .filter(timeline::reservation.eq(reservation))
        .order((timeline::at, timeline::event_id))
        .all(conn)?;
    Ok(rows.into_iter().map(EntryRow::entry).collect())
}

/// How many events of each kind are in the timelines.
pub(crate) fn event_counts(conn: &mut Conn) -> QueryResult<Vec<(String, i64)>> {
    timeline::table.group_by(timeline::kind).select((timeline::kind, count_star())).all(conn)
}

/// How many confirmed reservations each listing has.
pub(crate) fn confirmed_counts(conn: &mut Conn) -> QueryResult<BTreeMap<Id, i64>> {
    let confirmed = trips::table.filter(trips::reservation_state.eq(CONFIRMED)).group_by(trips::listing);
    let counts: Vec<(Option<Id>, i64)> = confirmed.select((trips::listing, count_star())).all(conn)?;
    Ok(counts.into_iter().filter_map(|(listing, count)| Some((listing?, count))).collect())
}

/// A listing with what is counted and looked up for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListingView {
    pub(crate) id: Id,
    /// The message of the contract, encoded.
    pub(crate) snapshot: Vec<u8>,
    pub(crate) review_count: i64,
    pub(crate) confirmed_count: i64,
    /// The reservation made last.
    pub(crate) latest: Option<LatestTrip>,
}

/// The trip made last, as a listing shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LatestTrip {
    pub(crate) id: Id,
    pub(crate) reservation_state: i16,
    pub(crate) payment_state: i16,
    pub(crate) mileage_points: i64,
}

/// The one query of the overview. What is derived from trips is computed here and not kept, so that it cannot drift from them: a count kept
/// beside them would need each trip's old state whenever one changes, under the writes of five consumers. The indexes make the latest
/// trip one step, and the count a walk over the listing's confirmed trips alone.
const VIEWS: &str = "SELECT l.id, l.listing, \
    (SELECT COUNT(*) FROM reviews r WHERE r.listing = l.id AND r.present) AS review_count, \
    (SELECT COUNT(*) FROM trips c WHERE c.listing = l.id AND c.reservation_state = 2) AS confirmed_count, \
    t.id AS latest, t.reservation_state, t.payment_state, t.mileage_points \
    FROM listing_views l \
    LEFT JOIN trips t ON t.id = (SELECT n.id FROM trips n WHERE n.listing = l.id ORDER BY n.id DESC LIMIT 1)";

/// A page of all listings, newest first.
pub(crate) fn list_listings(conn: &mut Conn, page: &Page) -> QueryResult<Vec<ListingView>> {
    let query = sql_query(format!("{VIEWS} WHERE l.id < $1 ORDER BY l.id DESC LIMIT $2"))
        .bind::<Binary, _>(page.before().unwrap_or(END))
        .bind::<BigInt, _>(page.limit());
    let rows: Vec<ViewRow> = query.all(conn)?;
    Ok(rows.into_iter().map(ViewRow::view).collect())
}

/// One listing.
pub(crate) fn find_listing(conn: &mut Conn, id: Id) -> QueryResult<Option<ListingView>> {
    let row: Option<ViewRow> = sql_query(format!("{VIEWS} WHERE l.id = $1")).bind::<Binary, _>(id).one(conn)?;
    Ok(row.map(ViewRow::view))
}

#[derive(Queryable)]
struct Row {
    id: Id,
    listing: Option<Id>,
    customer: Option<String>,
    host: Option<String>,
    reservation: Option<Vec<u8>>,
    reservation_state: i16,
    reservation_version: i64,
    hold_state: i16,
    hold_version: i64,
    payment: Option<Id>,
    payment_state: i16,
    payment_version: i64,
    mileage_points: i64,
    message_count: i32,
    updated_at: Micros,
}

impl Row {
    fn trip(self) -> (Id, Trip) {
        let reservation = match (self.listing, self.customer, self.host, self.reservation) {
            (Some(listing), Some(customer), Some(host), Some(snapshot)) => Latest::new(
                self.reservation_version,
                Reservation { listing, customer, host, state: self.reservation_state, snapshot },
            ),
            _ => Latest::default(),
        };
        let payment = self.payment.map_or_else(Latest::default, |id| {
            Latest::new(self.payment_version, Payment { id, state: self.payment_state })
        });
        let hold =
            if self.hold_version > 0 { Latest::new(self.hold_version, self.hold_state) } else { Latest::default() };
        let (mileage_points, message_count, updated_at) = (self.mileage_points, self.message_count, self.updated_at);
        (self.id, Trip { reservation, hold, payment, mileage_points, message_count, updated_at })
    }
}

#[derive(Queryable)]
struct EntryRow {
    reservation: Id,
    event_id: Id,
    at: Micros,
    kind: String,
    resource: String,
    version: i64,
    causation: Option<Id>,
    trace_id: Option<Vec<u8>>,
    summary: String,
}

impl EntryRow {
    fn entry(self) -> Entry {
        Entry {
            reservation: self.reservation,
            event: self.event_id,
            at: self.at,
            kind: self.kind,
            resource: self.resource,
            version: self.version,
            causation: self.causation,
            trace_id: self.trace_id,
            summary: self.summary,
        }
    }
}

#[derive(QueryableByName)]
struct ViewRow {
    #[diesel(sql_type = Binary)]
    id: Id,
    #[diesel(sql_type = Binary)]
    listing: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    review_count: i64,
    #[diesel(sql_type = BigInt)]
    confirmed_count: i64,
    #[diesel(sql_type = Nullable<Binary>)]
    latest: Option<Id>,
    #[diesel(sql_type = Nullable<SmallInt>)]
    reservation_state: Option<i16>,
    #[diesel(sql_type = Nullable<SmallInt>)]
    payment_state: Option<i16>,
    #[diesel(sql_type = Nullable<BigInt>)]
    mileage_points: Option<i64>,
}

impl ViewRow {
    fn view(self) -> ListingView {
        let latest = self.latest.map(|id| LatestTrip {
            id,
            reservation_state: self.reservation_state.unwrap_or(0),
            payment_state: self.payment_state.unwrap_or(0),
            mileage_points: self.mileage_points.unwrap_or(0),
        });
        ListingView {
            id: self.id,
            snapshot: self.listing,
            review_count: self.review_count,
            confirmed_count: self.confirmed_count,
            latest,
        }
    }
}
