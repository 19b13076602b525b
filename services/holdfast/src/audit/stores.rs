//! The databases of all services, opened to be read, one at a time: a server's connections belong to the services.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use diesel::sql_types::{BigInt, Nullable};
use diesel::{QueryResult, QueryableByName};
use mesh::config::DataArgs;
use mesh::outbox;
use mesh::store::{Conn, Fetch as _, Id, Micros, Store, StoreError};
use payment::provider::simulator::Ledger;

use super::facts::{Facts, Unsent};
use crate::service::Service;

/// Rows read with one statement.
const PAGE: i64 = 10_000;

/// The databases.
pub(crate) struct Stores {
    data: DataArgs,
    ledger: PathBuf,
    stuck_after: Duration,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = Nullable<BigInt>)]
    value: Option<i64>,
}

impl Stores {
    /// Looks whether each of them can be read.
    ///
    /// # Errors
    /// One cannot be reached.
    pub(super) fn open(data: DataArgs, ledger: PathBuf, stuck_after: Duration) -> Result<Self> {
        let stores = Self { data, ledger, stuck_after };
        for service in Service::ALL {
            stores.store(service)?;
        }
        Ok(stores)
    }

    fn store(&self, service: Service) -> Result<Store> {
        let url = self.data.database(service.name());
        Store::open_read_only(&url, service.name())
            .with_context(|| format!("cannot read the database of {service}, {url:?}"))
    }

    async fn read<T: Send + 'static>(
        &self,
        service: Service,
        query: impl FnOnce(&mut Conn) -> QueryResult<T> + Send + 'static,
    ) -> Result<T> {
        Ok(self.store(service)?.read(|conn| Ok::<_, StoreError>(query(conn)?)).await?)
    }

    /// Events about reservations that are in the outboxes.
    pub(crate) async fn appended(&self) -> Result<u64> {
        let mut sum = 0;
        for service in Service::ALL {
            // What listing tells of listings, capacity and reviews is about no reservation.
            let count = "SELECT CAST(COUNT(*) AS BIGINT) AS value FROM outbox \
                WHERE kind NOT LIKE 'holdfast.listing.%' OR kind LIKE 'holdfast.listing.v1.Hold%'";
            sum += self.read(service, |conn| number(conn, count)).await?;
        }
        Ok(sum)
    }

    /// Events about reservations that the view has in its timelines.
    pub(crate) async fn seen_by_view(&self) -> Result<u64> {
        let count = "SELECT CAST(COUNT(*) AS BIGINT) AS value FROM timeline";
        self.read(Service::View, |conn| number(conn, count)).await
    }

    /// How many reservations there are, refused ones too.
    pub(super) async fn reservations(&self) -> Result<u64> {
        let count = "SELECT CAST(COUNT(*) AS BIGINT) AS value FROM reservations";
        self.read(Service::Reservation, |conn| number(conn, count)).await
    }

    /// Events that wait in the outboxes.
    pub(crate) async fn waiting(&self) -> Result<i64> {
        Ok(self.unsent().await?.iter().map(|unsent| unsent.count).sum())
    }

    async fn unsent(&self) -> Result<Vec<Unsent>> {
        let mut all = Vec::new();
        for service in Service::ALL {
            let (count, oldest) = self.read(service, outbox::backlog).await?;
            all.push(Unsent { service, count, oldest });
        }
        Ok(all)
    }

    /// Everything, one database after the other.
    ///
    /// # Errors
    /// A database or the simulator's books cannot be read.
    pub(super) async fn facts(&self) -> Result<Facts> {
        let settled_before = Micros::now().minus(self.stuck_after);
        let reservation = reservation::audit::read(&self.store(Service::Reservation)?).await?;
        let reservation_rules = reservation::audit::violations(&reservation, settled_before);
        let listing = listing::audit::read(&self.store(Service::Listing)?).await?;
        let payments = self.read(Service::Payment, |conn| pages(conn, payment::audit::payments, |row| row.id)).await?;
        let balances =
            self.read(Service::Payment, |conn| pages(conn, payment::audit::balances, |row| row.payment)).await?;
        let payment_rules =
            self.read(Service::Payment, move |conn| payment::audit::violations(conn, settled_before)).await?;
        let miles = self.read(Service::Mileage, |conn| pages(conn, mileage::audit::entries, |row| row.id)).await?;
        let mileage_rules = self.read(Service::Mileage, mileage::audit::violations).await?;
        let message = self.read(Service::Message, message::audit::read).await?;
        let view = self.read(Service::View, view::audit::read).await?;
        let voucher = self.read(Service::Voucher, voucher::audit::read).await?;
        let books = Ledger::read(&self.ledger).context("cannot read the payment simulator's books")?;
        Ok(Facts {
            settled_before,
            reservations: reservation.reservations.into_iter().map(|found| (found.id, found)).collect(),
            sagas: reservation.sagas,
            deleted: listing.deleted.into_iter().collect(),
            holds: listing.holds.into_iter().map(|hold| (hold.reservation, hold)).collect(),
            payments,
            balances,
            books,
            miles,
            messages: message.messages,
            vouchers: voucher.vouchers,
            trips: view.trips.into_iter().map(|trip| (trip.reservation, trip)).collect(),
            confirmed: view.confirmed,
            listing_rules: listing.violations,
            reservation_rules,
            payment_rules,
            mileage_rules,
            message_rules: message.violations,
            view_rules: view.violations,
            voucher_rules: voucher.violations,
            unsent: self.unsent().await?,
        })
    }
}

/// Every row of a query that answers in pages.
fn pages<Row>(
    conn: &mut Conn,
    page: fn(&mut Conn, Id, i64) -> QueryResult<Vec<Row>>,
    id: fn(&Row) -> Id,
) -> QueryResult<Vec<Row>> {
    let mut all: Vec<Row> = Vec::new();
    loop {
        let rows = page(conn, all.last().map_or(Id::from_bytes([0; 16]), id), PAGE)?;
        if rows.is_empty() {
            return Ok(all);
        }
        all.extend(rows);
    }
}

fn number(conn: &mut Conn, sql: &str) -> QueryResult<u64> {
    let row: Option<Number> = diesel::sql_query(sql).one(conn)?;
    Ok(row.and_then(|row| row.value).and_then(|value| u64::try_from(value).ok()).unwrap_or(0))
}
