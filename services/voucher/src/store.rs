//! Rows and statements. The unique index on the reservation is the last word on who was first: no statement reads before it writes.

use diesel::prelude::{BoolExpressionMethods, ExpressionMethods, Insertable, QueryDsl, QueryResult, Queryable};
use diesel::upsert::excluded;
use mesh::store::{Conn, Exec, Fetch, Id, Micros};
use mesh::value::Page;

use crate::app::Whose;
use crate::domain::{Reserved, State, TicketNumber, Voucher};
use crate::schema::vouchers::{self, dsl as v};

const ISSUED: i16 = 1;
const CANCELLED: i16 = 2;
/// Behind every identifier.
const END: Id = Id::from_bytes([0xff; 16]);

#[derive(Insertable, Queryable)]
#[diesel(table_name = vouchers, treat_none_as_default_value = false)]
struct Row {
    id: Id,
    reservation_id: Id,
    reservation_version: i64,
    customer: String,
    host: String,
    listing_id: Id,
    listing_display_name: String,
    ticket_number: Option<String>,
    state: i16,
    version: i64,
    created_at: Micros,
    updated_at: Micros,
}

impl From<&Voucher> for Row {
    fn from(voucher: &Voucher) -> Self {
        let reserved = &voucher.reserved;
        Self {
            id: voucher.id,
            reservation_id: reserved.reservation,
            reservation_version: reserved.version,
            customer: reserved.customer.clone(),
            host: reserved.host.clone(),
            listing_id: reserved.listing,
            listing_display_name: reserved.listing_display_name.clone(),
            ticket_number: Some(voucher.number.as_str().to_owned()),
            state: match voucher.state {
                State::Issued => ISSUED,
                State::Cancelled => CANCELLED,
            },
            version: voucher.version,
            created_at: voucher.created_at,
            updated_at: voucher.updated_at,
        }
    }
}

impl Row {
    /// `None` for a tombstone.
    fn voucher(self) -> Option<Voucher> {
        Some(Voucher {
            id: self.id,
            number: TicketNumber::stored(self.ticket_number?),
            reserved: Reserved {
                reservation: self.reservation_id,
                version: self.reservation_version,
                customer: self.customer,
                host: self.host,
                listing: self.listing_id,
                listing_display_name: self.listing_display_name,
            },
            // The table's CHECK admits no third.
            state: if self.state == ISSUED { State::Issued } else { State::Cancelled },
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// Stores a voucher; `false` if its reservation has one already, or a tombstone. A number that is taken is an error.
pub(crate) fn issue(conn: &mut Conn, voucher: &Voucher) -> QueryResult<bool> {
    let insert =
        diesel::insert_into(v::vouchers).values(Row::from(voucher)).on_conflict(v::reservation_id).do_nothing();
    insert.exec(conn).map(|rows| rows == 1)
}

/// Makes the voucher of `tombstone`'s reservation void and answers it; stores the tombstone if there is none. `None` if there is nothing to
/// tell: it was void before, or never was.
pub(crate) fn cancel(conn: &mut Conn, tombstone: &Voucher) -> QueryResult<Option<Voucher>> {
    // A statement with a conflict clause is filtered by this trait; queries are by the other.
    use diesel::query_dsl::methods::FilterDsl;
    let row = Row { ticket_number: None, state: CANCELLED, ..Row::from(tombstone) };
    let upsert = diesel::insert_into(v::vouchers).values(row).on_conflict(v::reservation_id).do_update().set((
        v::state.eq(CANCELLED),
        v::reservation_version.eq(excluded(v::reservation_version)),
        v::version.eq(v::version + 1),
        v::updated_at.eq(excluded(v::updated_at)),
    ));
    let newer = v::state.eq(ISSUED).and(v::reservation_version.lt(excluded(v::reservation_version)));
    let row: Option<Row> = FilterDsl::filter(upsert, newer).returning(vouchers::all_columns).one(conn)?;
    Ok(row.and_then(Row::voucher))
}

/// One voucher.
pub(crate) fn find(conn: &mut Conn, id: Id) -> QueryResult<Option<Voucher>> {
    let row: Option<Row> = v::vouchers.find(id).one(conn)?;
    Ok(row.and_then(Row::voucher))
}

/// A page of vouchers.
pub(crate) fn list(conn: &mut Conn, whose: &Whose, page: &Page) -> QueryResult<Vec<Voucher>> {
    let before = page.before().unwrap_or(END);
    let shown = v::vouchers.filter(v::ticket_number.is_not_null().and(v::id.lt(before)));
    let shown = shown.order(v::id.desc()).limit(page.limit());
    let rows: Vec<Row> = match whose {
        Whose::Everyone => shown.all(conn)?,
        Whose::Customer(subject) => shown.filter(v::customer.eq(subject)).all(conn)?,
        Whose::Host(subject) => shown.filter(v::host.eq(subject)).all(conn)?,
    };
    Ok(rows.into_iter().filter_map(Row::voucher).collect())
}

/// Every voucher, oldest first, for the audit.
pub(crate) fn all(conn: &mut Conn) -> QueryResult<Vec<Voucher>> {
    let rows: Vec<Row> = v::vouchers.order(v::id).all(conn)?;
    Ok(rows.into_iter().filter_map(Row::voucher).collect())
}

#[cfg(test)]
mod tests {
    use diesel::result::{DatabaseErrorKind::UniqueViolation, Error};
    use mesh::store::{DatabaseUrl, Store, StoreError};
    use mesh::testing::database;

    use super::*;

    fn open(url: &DatabaseUrl) -> Store {
        Store::open(url, crate::NAME, crate::MIGRATIONS).expect("a fresh database")
    }

    fn voucher(reservation: Id, version: i64, random: u64) -> Voucher {
        Voucher {
            id: Id::generate(),
            reserved: Reserved {
                reservation,
                version,
                customer: "alice".to_owned(),
                host: "hana".to_owned(),
                listing: Id::generate(),
                listing_display_name: "Seorak Resort".to_owned(),
            },
            number: TicketNumber::new(random),
            state: State::Issued,
            version: 1,
            created_at: Micros(1),
            updated_at: Micros(1),
        }
    }

    /// The consumer handles the event again, and draws another number.
    #[tokio::test]
    async fn a_number_that_is_taken_is_refused_and_another_one_is_not() {
        let (_dir, url) = database();
        let store = open(&url);
        let issue = |voucher: Voucher| store.write(move |conn| Ok::<_, StoreError>(issue(conn, &voucher)?));
        let (first, second) = (Id::generate(), Id::generate());
        assert!(issue(voucher(first, 2, 7)).await.expect("stored"));
        let refused = issue(voucher(second, 2, 7)).await.expect_err("taken");
        assert!(matches!(refused, StoreError::Database(Error::DatabaseError(UniqueViolation, _))), "{refused:?}");
        assert!(issue(voucher(second, 2, 1 << 63)).await.expect("stored"));
        assert!(!issue(voucher(second, 2, 1 << 62)).await.expect("no error"), "one voucher for a reservation");
    }

    /// Two replicas, each with one of a reservation's two events, at the same moment.
    #[tokio::test(flavor = "multi_thread")]
    async fn confirmed_and_cancelled_at_once_end_without_a_good_voucher() {
        let (_dir, url) = database();
        let store = open(&url);
        for round in 0..64 {
            let reservation = Id::generate();
            let (confirmed, cancelled) = (voucher(reservation, 2, round << 4), voucher(reservation, 4, 0));
            let (issued, void) = tokio::join!(
                store.write(move |conn| Ok::<_, StoreError>(issue(conn, &confirmed)?)),
                store.write(move |conn| Ok::<_, StoreError>(cancel(conn, &cancelled)?)),
            );
            let (issued, void) = (issued.expect("stored"), void.expect("stored"));
            assert_eq!(issued, void.is_some(), "void is exactly what was issued");
        }
        let left = store.read(|conn| Ok::<_, StoreError>(all(conn)?)).await.expect("read");
        assert!(left.iter().all(|voucher| voucher.state == State::Cancelled && voucher.version == 2));
    }

    #[tokio::test]
    async fn older_news_change_nothing() {
        let (_dir, url) = database();
        let store = open(&url);
        let steps = |conn: &mut Conn| -> QueryResult<()> {
            let reservation = Id::generate();
            assert!(issue(conn, &voucher(reservation, 5, 1))?);
            assert_eq!(cancel(conn, &voucher(reservation, 4, 2))?, None, "K11");
            assert!(cancel(conn, &voucher(reservation, 6, 3))?.is_some());
            assert_eq!(cancel(conn, &voucher(reservation, 7, 4))?, None, "void once");
            Ok(())
        };
        store.write(move |conn| steps(conn).map_err(StoreError::from)).await.expect("written");
    }
}
