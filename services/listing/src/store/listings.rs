//! Listings.
//!
//! On PostgreSQL a listing's row orders its changes against its holds: placing a hold shares the row's key, changing or deleting the listing
//! takes the row alone, counting a review does neither. SQLite has one writer and needs none of this.

use diesel::dsl::{exists, not};
use diesel::prelude::{BoolExpressionMethods, ExpressionMethods, Insertable, QueryDsl, QueryResult, Queryable};
use mesh::store::{Conn, Exec, Fetch, Id, Micros};
use mesh::value::{Day, Page};

use super::codes::{Code, money};
use crate::domain::{HoldState, Listing, ListingState, Policy};
use crate::schema::{holds, listings};

#[derive(Insertable, Queryable)]
#[diesel(table_name = listings, treat_none_as_default_value = false)]
struct Row {
    id: Id,
    host: String,
    display_name: String,
    description: String,
    kind: String,
    price_minor: i64,
    currency: String,
    default_capacity: i32,
    time_zone: String,
    mileage: String,
    mileage_points: i64,
    review_count: i32,
    state: String,
    version: i64,
    created_at: Micros,
    updated_at: Micros,
}

impl Row {
    fn new(listing: &Listing) -> Self {
        Self {
            id: listing.id,
            host: listing.host.clone(),
            display_name: listing.display_name.clone(),
            description: listing.description.clone(),
            kind: listing.kind.code().to_owned(),
            price_minor: listing.price.minor(),
            currency: listing.price.currency().code().to_owned(),
            default_capacity: listing.default_capacity,
            time_zone: listing.time_zone.clone(),
            mileage: listing.policy.mileage.code().to_owned(),
            mileage_points: listing.policy.mileage_points,
            review_count: listing.review_count,
            state: listing.state.code().to_owned(),
            version: listing.version,
            created_at: listing.created_at,
            updated_at: listing.updated_at,
        }
    }

    fn listing(self) -> QueryResult<Listing> {
        Ok(Listing {
            id: self.id,
            kind: Code::decode(&self.kind)?,
            price: money(self.price_minor, &self.currency)?,
            policy: Policy { mileage: Code::decode(&self.mileage)?, mileage_points: self.mileage_points },
            state: Code::decode(&self.state)?,
            host: self.host,
            display_name: self.display_name,
            description: self.description,
            default_capacity: self.default_capacity,
            time_zone: self.time_zone,
            review_count: self.review_count,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

pub(crate) fn insert(conn: &mut Conn, listing: &Listing) -> QueryResult<()> {
    diesel::insert_into(listings::table).values(Row::new(listing)).exec(conn).map(|_| ())
}

pub(crate) fn find(conn: &mut Conn, id: Id) -> QueryResult<Option<Listing>> {
    let row: Option<Row> = listings::table.find(id).one(conn)?;
    row.map(Row::listing).transpose()
}

/// A page of active listings, newest first, and one more if there is one.
pub(crate) fn page(conn: &mut Conn, page: &Page) -> QueryResult<Vec<Listing>> {
    let active = listings::table.filter(listings::state.eq(ListingState::Active.code()));
    let newest = active.order(listings::id.desc()).limit(page.limit());
    let rows: Vec<Row> = match page.before() {
        Some(before) => newest.filter(listings::id.lt(before)).all(conn)?,
        None => newest.all(conn)?,
    };
    rows.into_iter().map(Row::listing).collect()
}

/// Keeps the listing from being changed or deleted until the transaction ends; `false` if that happened since it was read at `version`.
pub(crate) fn share(conn: &mut Conn, id: Id, version: i64) -> QueryResult<bool> {
    let row = listings::table
        .find(id)
        .filter(listings::version.eq(version))
        .filter(listings::state.eq(ListingState::Active.code()))
        .select(listings::version);
    let found: Option<i64> = match conn {
        Conn::Sqlite(_) => row.one(conn)?,
        Conn::Postgres(c) => diesel::RunQueryDsl::load(row.for_key_share(), c)?.pop(),
    };
    Ok(found.is_some())
}

/// Waits until no transaction that shares the listing is left, and keeps further ones out until this one ends.
pub(crate) fn take(conn: &mut Conn, id: Id) -> QueryResult<()> {
    if let Conn::Postgres(c) = conn {
        let row = listings::table.find(id).select(listings::version).for_update();
        let _: Vec<i64> = diesel::RunQueryDsl::load(row, c)?;
    }
    Ok(())
}

/// Stores a changed listing if it is active and still the version before; answers it as stored.
pub(crate) fn replace(conn: &mut Conn, changed: &Listing) -> QueryResult<Option<Listing>> {
    let row: Option<Row> = diesel::update(listings::table.find(changed.id))
        .filter(listings::version.eq(changed.version - 1))
        .filter(listings::state.eq(ListingState::Active.code()))
        .set((
            listings::display_name.eq(&changed.display_name),
            listings::description.eq(&changed.description),
            listings::price_minor.eq(changed.price.minor()),
            listings::currency.eq(changed.price.currency().code()),
            listings::default_capacity.eq(changed.default_capacity),
            listings::time_zone.eq(&changed.time_zone),
            listings::mileage.eq(changed.policy.mileage.code()),
            listings::mileage_points.eq(changed.policy.mileage_points),
            listings::version.eq(changed.version),
            listings::updated_at.eq(changed.updated_at),
        ))
        .returning(listings::all_columns)
        .one(conn)?;
    row.map(Row::listing).transpose()
}

/// Counts one more change of an active listing, without changing it; answers the new version.
pub(crate) fn touch(conn: &mut Conn, id: Id, at: Micros) -> QueryResult<Option<i64>> {
    diesel::update(listings::table.find(id))
        .filter(listings::state.eq(ListingState::Active.code()))
        .set((listings::version.eq(listings::version + 1), listings::updated_at.eq(at)))
        .returning(listings::version)
        .one(conn)
}

/// Deletes an active listing that is still at `version`, unless a reservation holds a place in it: a hold that is not committed yet, or a
/// committed one whose stay is not over `today`. [`take`] it first.
pub(crate) fn delete(conn: &mut Conn, id: Id, version: i64, today: Day, at: Micros) -> QueryResult<Option<Listing>> {
    let held = holds::state.eq(HoldState::Held.code());
    let booked = holds::state.eq(HoldState::Committed.code()).and(holds::check_out.gt(today.number()));
    let live = holds::table.filter(holds::listing_id.eq(id)).filter(held.or(booked));
    let row: Option<Row> = diesel::update(listings::table.find(id))
        .filter(listings::version.eq(version))
        .filter(listings::state.eq(ListingState::Active.code()))
        .filter(not(exists(live)))
        .set((
            listings::state.eq(ListingState::Deleted.code()),
            listings::version.eq(listings::version + 1),
            listings::updated_at.eq(at),
        ))
        .returning(listings::all_columns)
        .one(conn)?;
    row.map(Row::listing).transpose()
}

/// Counts a review of an active listing by a guest who has a committed hold of it; answers the new count, `None` if that may not be.
pub(crate) fn count_review(conn: &mut Conn, id: Id, author: &str) -> QueryResult<Option<i32>> {
    diesel::update(listings::table.find(id))
        .filter(listings::state.eq(ListingState::Active.code()))
        .filter(exists(committed(id, author)))
        .set(listings::review_count.eq(listings::review_count + 1))
        .returning(listings::review_count)
        .one(conn)
}

/// Counts a deleted review; answers the new count.
pub(crate) fn discount_review(conn: &mut Conn, id: Id) -> QueryResult<Option<i32>> {
    diesel::update(listings::table.find(id))
        .set(listings::review_count.eq(listings::review_count - 1))
        .returning(listings::review_count)
        .one(conn)
}

pub(crate) fn review_count(conn: &mut Conn, id: Id) -> QueryResult<Option<i32>> {
    listings::table.find(id).select(listings::review_count).one(conn)
}

/// The committed holds of a guest in a listing.
#[diesel::dsl::auto_type(no_type_alias)]
fn committed<'a>(id: Id, customer: &'a str) -> _ {
    let state: &'static str = HoldState::Committed.code();
    holds::table.filter(holds::listing_id.eq(id)).filter(holds::customer.eq(customer)).filter(holds::state.eq(state))
}
