//! A voucher service with all that is around it.

use std::net::SocketAddr;
use std::time::Duration;

use mesh::client::Channel;
use mesh::event::NewEvent;
use mesh::store::{DatabaseUrl, Store, StoreError};
use mesh::testing::{Publisher, Running, TestMesh, all_pages, eventually};
use proto::contract::Role;
use proto::reservation::v1::Reservation;
use proto::voucher::v1::voucher_service_client::VoucherServiceClient;
use proto::voucher::v1::{ListVouchersRequest, Voucher, voucher::State};

use crate::reservations::{confirmed, reservation};

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The surroundings of a voucher service that may or may not run.
pub(crate) struct World {
    pub(crate) mesh: TestMesh,
    pub(crate) publisher: Publisher,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on(None).await
    }

    pub(crate) async fn on(database: Option<DatabaseUrl>) -> Self {
        let mesh = TestMesh::start().await;
        let publisher = mesh.publisher().await;
        let mesh = match database {
            Some(database) => mesh.on(database),
            None => mesh,
        };
        Self { mesh, publisher }
    }

    pub(crate) async fn serve(&self) -> Running {
        let node = self.mesh.node();
        let config = voucher::Config { voucher_listen: SocketAddr::from(([127, 0, 0, 1], 0)) };
        Running::start(|listener, shutdown| async move { voucher::serve(&node, config, listener, shutdown).await })
            .await
    }

    pub(crate) fn client(&self, running: &Running, subject: &str, role: Role) -> VoucherServiceClient<Channel> {
        VoucherServiceClient::new(self.mesh.user(voucher::NAME, running.address, subject, role))
    }

    pub(crate) async fn publish(&mut self, events: impl IntoIterator<Item = NewEvent>) {
        self.publisher.publish(events.into_iter().collect()).await;
    }

    /// Publishes these, and waits until everything before and among them has been handled: the last event of the stream is.
    pub(crate) async fn settle(&mut self, running: &Running, events: impl IntoIterator<Item = NewEvent>) {
        let last = reservation();
        self.publish(events.into_iter().chain([confirmed(&last)])).await;
        eventually(SOON, || async { self.vouchers(running, &last).await.len() == 1 }).await;
    }

    /// The vouchers for a reservation, as an operator sees them.
    pub(crate) async fn vouchers(&self, running: &Running, told: &Reservation) -> Vec<Voucher> {
        let all = list(self.client(running, "olga", Role::Operator), 500).await;
        all.into_iter().filter(|voucher| voucher.reservation == told.name).collect()
    }

    /// The state of the one voucher for a reservation, if there is one.
    pub(crate) async fn state(&self, running: &Running, told: &Reservation) -> Option<State> {
        let found = self.vouchers(running, told).await;
        assert!(found.len() <= 1, "one voucher at most: {found:?}");
        found.first().map(Voucher::state)
    }

    /// Stops the service and asks its rows for broken rules.
    pub(crate) async fn violations(&self, running: Running) -> Vec<String> {
        running.stop().await;
        let database = self.mesh.node().data.database(voucher::NAME);
        let store = Store::open(&database, voucher::NAME, voucher::MIGRATIONS).expect("the database opens");
        store.read(|conn| Ok::<_, StoreError>(voucher::audit::read(conn)?)).await.expect("the audit reads").violations
    }
}

/// Every page of the list.
pub(crate) async fn list(mut client: VoucherServiceClient<Channel>, page_size: i32) -> Vec<Voucher> {
    all_pages(async |page_token| {
        let page = client.list_vouchers(ListVouchersRequest { page_size, page_token }).await.expect("a page");
        let page = page.into_inner();
        (page.vouchers, page.next_page_token)
    })
    .await
}
