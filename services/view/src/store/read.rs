//! The questions of the screens.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use diesel::dsl::count_star;
use diesel::prelude::{ExpressionMethods, QueryDsl, QueryResult, Queryable, QueryableByName, RunQueryDsl};
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable, SmallInt, Text};
use mesh::on;
use mesh::store::{Conn, Fetch, Id, Micros};
use mesh::value::Page;

use crate::projection::{Entry, Latest, Listing, Payment, Reservation, Trip, Voucher};
use crate::schema::{listing_views, timeline, trips, vouchers};

/// Before every identifier.
const BEGINNING: Id = Id::from_bytes([0; 16]);
/// Behind every identifier.
const END: Id = Id::from_bytes([0xff; 16]);

/// `STATE_CONFIRMED` of a reservation, as the contract numbers it; the partial index names it as well.
const CONFIRMED: i16 = 2;

/// In which order a list is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    NewestFirst,
    OldestFirst,
}

/// Whose trips.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner<'a> {
    Anybody,
    /// `users/{user}`, who reserved.
    Customer(&'a str),
    /// `users/{user}`, on whose listings.
    Host(&'a str),
}

/// Which trips are listed.
#[derive(Clone, Debug)]
pub(crate) struct TripQuery {
    /// As the contract numbers them; none means all.
    pub(crate) states: Vec<i16>,
    pub(crate) listing: Option<Id>,
    pub(crate) order: Order,
    pub(crate) page: Page,
}

/// Which listings are listed.
#[derive(Clone, Debug)]
pub(crate) struct ListingQuery {
    /// As the contract numbers it.
    pub(crate) kind: Option<i16>,
    pub(crate) region: Option<String>,
    pub(crate) grade: Option<String>,
    /// `users/{user}`.
    pub(crate) host: Option<String>,
    pub(crate) order: Order,
    pub(crate) page: Page,
}

/// A trip, if any event of its reservation has come.
pub(crate) fn find_trip(conn: &mut Conn, id: Id) -> QueryResult<Option<(Id, Trip)>> {
    let shown =
        trips::table.left_join(vouchers::table).filter(trips::id.eq(id)).filter(trips::reservation_version.gt(0));
    let row: Option<(Row, Option<VoucherRow>)> = shown.one(conn)?;
    Ok(row.map(trip))
}

/// A page of trips.
pub(crate) fn list_trips(conn: &mut Conn, owner: Owner<'_>, query: &TripQuery) -> QueryResult<Vec<(Id, Trip)>> {
    let rows: Vec<(Row, Option<VoucherRow>)> = on!(conn, c => {
        let shown = trips::table.left_join(vouchers::table).filter(trips::reservation_version.gt(0));
        let mut found = shown.limit(query.page.limit()).into_boxed();
        found = match owner {
            Owner::Anybody => found,
            Owner::Customer(user) => found.filter(trips::customer.eq(user)),
            Owner::Host(user) => found.filter(trips::host.eq(user)),
        };
        if let Some(listing) = query.listing {
            found = found.filter(trips::listing.eq(listing));
        }
        if !query.states.is_empty() {
            found = found.filter(trips::reservation_state.eq_any(&query.states));
        }
        found = match query.order {
            Order::NewestFirst => {
                found.filter(trips::id.lt(query.page.before().unwrap_or(END))).order(trips::id.desc())
            }
            Order::OldestFirst => {
                found.filter(trips::id.gt(query.page.after().unwrap_or(BEGINNING))).order(trips::id.asc())
            }
        };
        RunQueryDsl::load(found, c)?
    });
    Ok(rows.into_iter().map(trip).collect())
}

/// Every trip, beginnings included, for the audit.
pub(crate) fn all_trips(conn: &mut Conn) -> QueryResult<Vec<(Id, Trip)>> {
    let rows: Vec<(Row, Option<VoucherRow>)> = trips::table.left_join(vouchers::table).order(trips::id).all(conn)?;
    Ok(rows.into_iter().map(trip).collect())
}

/// Every listing, for the audit.
pub(crate) fn all_listings(conn: &mut Conn) -> QueryResult<Vec<(Id, Listing)>> {
    let rows: Vec<ListingRow> = listing_views::table.order(listing_views::id).all(conn)?;
    let listing = |row: ListingRow| Listing {
        host: row.host,
        kind: row.kind,
        region: row.region,
        grade: row.grade,
        snapshot: row.listing,
    };
    Ok(rows.into_iter().map(|row| (row.id, listing(row))).collect())
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
    pub(crate) voucher_state: i16,
}

/// A14: the one query of the overview. What is derived from trips is computed here and not kept, so that it cannot drift from them: a count kept
/// beside them would need each trip's old state whenever one changes, under the writes of six consumers. The indexes make the latest
/// trip one step, and the count a walk over the listing's confirmed trips alone.
const VIEWS: &str = "SELECT l.id, l.listing, \
    (SELECT COUNT(*) FROM reviews r WHERE r.listing = l.id AND r.present) AS review_count, \
    (SELECT COUNT(*) FROM trips c WHERE c.listing = l.id AND c.reservation_state = 2) AS confirmed_count, \
    t.id AS latest, t.reservation_state, t.payment_state, t.mileage_points, v.state AS voucher_state \
    FROM listing_views l \
    LEFT JOIN trips t ON t.id = (SELECT n.id FROM trips n WHERE n.listing = l.id ORDER BY n.id DESC LIMIT 1) \
    LEFT JOIN vouchers v ON v.reservation = t.id";

/// A page of listings.
pub(crate) fn list_listings(conn: &mut Conn, query: &ListingQuery) -> QueryResult<Vec<ListingView>> {
    let (beyond, direction, from) = match query.order {
        Order::NewestFirst => ('<', "DESC", query.page.before().unwrap_or(END)),
        Order::OldestFirst => ('>', "ASC", query.page.after().unwrap_or(BEGINNING)),
    };
    let texts = [("host", &query.host), ("region", &query.region), ("grade", &query.grade)];
    let texts = texts.into_iter().filter_map(|(column, text)| Some((column, text.as_ref()?)));
    // Numbered as they are bound: PostgreSQL goes by the number, SQLite by the order in the text.
    let mut sql = format!("{VIEWS} WHERE l.id {beyond} $1");
    let mut bound = 1;
    for column in texts.clone().map(|(column, _)| column).chain(query.kind.map(|_| "kind")) {
        bound += 1;
        let _ = write!(sql, " AND l.{column} = ${bound}");
    }
    let _ = write!(sql, " ORDER BY l.id {direction} LIMIT ${}", bound + 1);
    let rows: Vec<ViewRow> = on!(conn, c => {
        let mut found = sql_query(sql).into_boxed().bind::<Binary, _>(from);
        for (_, text) in texts {
            found = found.bind::<Text, _>(text);
        }
        if let Some(kind) = query.kind {
            found = found.bind::<SmallInt, _>(kind);
        }
        RunQueryDsl::load(found.bind::<BigInt, _>(query.page.limit()), c)?
    });
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

#[derive(Queryable)]
struct VoucherRow {
    #[expect(dead_code, reason = "the trip's own id, read with the rest of the row")]
    reservation: Id,
    id: Id,
    state: i16,
    ticket_number: String,
    version: i64,
}

fn trip((row, voucher): (Row, Option<VoucherRow>)) -> (Id, Trip) {
    let reservation = match (row.listing, row.customer, row.host, row.reservation) {
        (Some(listing), Some(customer), Some(host), Some(snapshot)) => Latest::new(
            row.reservation_version,
            Reservation { listing, customer, host, state: row.reservation_state, snapshot },
        ),
        _ => Latest::default(),
    };
    let payment = row
        .payment
        .map_or_else(Latest::default, |id| Latest::new(row.payment_version, Payment { id, state: row.payment_state }));
    let hold = if row.hold_version > 0 { Latest::new(row.hold_version, row.hold_state) } else { Latest::default() };
    let voucher = voucher.map_or_else(Latest::default, |row| {
        Latest::new(row.version, Voucher { id: row.id, state: row.state, ticket_number: row.ticket_number })
    });
    let (mileage_points, message_count, updated_at) = (row.mileage_points, row.message_count, row.updated_at);
    (row.id, Trip { reservation, hold, payment, voucher, mileage_points, message_count, updated_at })
}

#[derive(Queryable)]
struct ListingRow {
    id: Id,
    listing: Vec<u8>,
    #[expect(dead_code, reason = "the version of the message, read with the rest of the row")]
    version: i64,
    host: String,
    kind: i16,
    region: String,
    grade: String,
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
    #[diesel(sql_type = Nullable<SmallInt>)]
    voucher_state: Option<i16>,
}

impl ViewRow {
    fn view(self) -> ListingView {
        let latest = self.latest.map(|id| LatestTrip {
            id,
            reservation_state: self.reservation_state.unwrap_or(0),
            payment_state: self.payment_state.unwrap_or(0),
            mileage_points: self.mileage_points.unwrap_or(0),
            voucher_state: self.voucher_state.unwrap_or(0),
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
