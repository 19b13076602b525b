//! Listings.
//!
//! On PostgreSQL a listing's row orders its changes against its holds: placing a hold shares the row's key, changing or deleting the listing
//! takes the row alone, counting a review does neither. SQLite has one writer and needs none of this.

use diesel::dsl::exists;
use diesel::prelude::{ExpressionMethods, Insertable, QueryDsl, QueryResult, Queryable};
use mesh::store::{Conn, Exec, Fetch, Id, Micros};
use mesh::value::Page;
use prost::Message as _;

use super::codes::{Code, message, money};
use super::holds::codes_of;
use crate::domain::{Listing, ListingState, Policy, ReviewAfter};
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
    policy: Vec<u8>,
    details: Vec<u8>,
    review_count: i32,
    state: String,
    version: i64,
    created_at: Micros,
    updated_at: Micros,
}

/// What of a listing no statement looks into.
#[derive(Clone, PartialEq, prost::Message)]
struct Details {
    #[prost(string, tag = "1")]
    region: String,
    #[prost(string, tag = "2")]
    company: String,
    #[prost(string, tag = "3")]
    grade: String,
    #[prost(int32, tag = "4")]
    max_persons: i32,
    #[prost(string, tag = "5")]
    language_code: String,
}

impl Details {
    fn new(listing: &Listing) -> Self {
        Self {
            region: listing.region.clone(),
            company: listing.company.clone(),
            grade: listing.grade.clone(),
            max_persons: listing.max_persons,
            language_code: listing.language_code.clone(),
        }
    }
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
            policy: listing.policy.message().encode_to_vec(),
            details: Details::new(listing).encode_to_vec(),
            review_count: listing.review_count,
            state: listing.state.code().to_owned(),
            version: listing.version,
            created_at: listing.created_at,
            updated_at: listing.updated_at,
        }
    }

    fn listing(self) -> QueryResult<Listing> {
        let details: Details = message(&self.details)?;
        Ok(Listing {
            id: self.id,
            kind: Code::decode(&self.kind)?,
            price: money(self.price_minor, &self.currency)?,
            policy: Policy::stored(message(&self.policy)?),
            region: details.region,
            company: details.company,
            grade: details.grade,
            max_persons: details.max_persons,
            language_code: details.language_code,
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

/// All that are deleted, oldest first.
pub(crate) fn deleted(conn: &mut Conn) -> QueryResult<Vec<Id>> {
    let deleted = listings::table.filter(listings::state.eq(ListingState::Deleted.code()));
    deleted.select(listings::id).order(listings::id).all(conn)
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
            listings::policy.eq(changed.policy.message().encode_to_vec()),
            listings::details.eq(Details::new(changed).encode_to_vec()),
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

/// Sets the default capacity of an active listing; answers it as it is then. [`take`] it first.
pub(crate) fn set_default(conn: &mut Conn, id: Id, capacity: i32, at: Micros) -> QueryResult<Option<Listing>> {
    let row: Option<Row> = diesel::update(listings::table.find(id))
        .filter(listings::state.eq(ListingState::Active.code()))
        .set((
            listings::default_capacity.eq(capacity),
            listings::version.eq(listings::version + 1),
            listings::updated_at.eq(at),
        ))
        .returning(listings::all_columns)
        .one(conn)?;
    row.map(Row::listing).transpose()
}

/// Deletes an active listing that is still at `version`. [`take`] it first, so that no hold is stored after the deletion.
pub(crate) fn delete(conn: &mut Conn, id: Id, version: i64, at: Micros) -> QueryResult<Option<Listing>> {
    let row: Option<Row> = diesel::update(listings::table.find(id))
        .filter(listings::version.eq(version))
        .filter(listings::state.eq(ListingState::Active.code()))
        .set((
            listings::state.eq(ListingState::Deleted.code()),
            listings::version.eq(listings::version + 1),
            listings::updated_at.eq(at),
        ))
        .returning(listings::all_columns)
        .one(conn)?;
    row.map(Row::listing).transpose()
}

/// Counts a review of an active listing by a guest who has a hold of it that is far enough; answers the new count, `None` if that may not be.
pub(crate) fn count_review(conn: &mut Conn, id: Id, author: &str, after: ReviewAfter) -> QueryResult<Option<i32>> {
    let stayed = holds::table
        .filter(holds::listing_id.eq(id))
        .filter(holds::customer.eq(author))
        .filter(holds::state.eq_any(codes_of(after)));
    diesel::update(listings::table.find(id))
        .filter(listings::state.eq(ListingState::Active.code()))
        .filter(exists(stayed))
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
