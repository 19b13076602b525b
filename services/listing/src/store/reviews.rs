//! Reviews.

use diesel::prelude::{ExpressionMethods, Insertable, QueryDsl, QueryResult, Queryable};
use mesh::store::{Conn, Exec, Fetch, Id, Micros};
use mesh::value::Page;

use crate::domain::Review;
use crate::schema::reviews;

#[derive(Insertable, Queryable)]
#[diesel(table_name = reviews, treat_none_as_default_value = false)]
struct Row {
    id: Id,
    listing_id: Id,
    author: String,
    content: String,
    deleted: bool,
    version: i64,
    created_at: Micros,
    updated_at: Micros,
}

impl From<Row> for Review {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            listing: row.listing_id,
            author: row.author,
            content: row.content,
            deleted: row.deleted,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

pub(crate) fn insert(conn: &mut Conn, review: &Review) -> QueryResult<()> {
    let row = Row {
        id: review.id,
        listing_id: review.listing,
        author: review.author.clone(),
        content: review.content.clone(),
        deleted: review.deleted,
        version: review.version,
        created_at: review.created_at,
        updated_at: review.updated_at,
    };
    diesel::insert_into(reviews::table).values(row).exec(conn).map(|_| ())
}

/// The review, deleted ones included.
pub(crate) fn find(conn: &mut Conn, id: Id) -> QueryResult<Option<Review>> {
    let row: Option<Row> = reviews::table.find(id).one(conn)?;
    Ok(row.map(Review::from))
}

/// A page of a listing's reviews, newest first, and one more if there is one.
pub(crate) fn page(conn: &mut Conn, listing: Id, page: &Page) -> QueryResult<Vec<Review>> {
    let present = reviews::table.filter(reviews::listing_id.eq(listing)).filter(reviews::deleted.eq(false));
    let newest = present.order(reviews::id.desc()).limit(page.limit());
    let rows: Vec<Row> = match page.before() {
        Some(before) => newest.filter(reviews::id.lt(before)).all(conn)?,
        None => newest.all(conn)?,
    };
    Ok(rows.into_iter().map(Review::from).collect())
}

/// Stores a changed review if it is still the version before; `false` if it is not.
pub(crate) fn replace(conn: &mut Conn, changed: &Review) -> QueryResult<bool> {
    let row = reviews::table.find(changed.id).filter(reviews::version.eq(changed.version - 1));
    let stored = diesel::update(row)
        .set((
            reviews::content.eq(&changed.content),
            reviews::deleted.eq(changed.deleted),
            reviews::version.eq(changed.version),
            reviews::updated_at.eq(changed.updated_at),
        ))
        .exec(conn)?;
    Ok(stored == 1)
}
