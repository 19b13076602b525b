//! A voucher service with all that is around it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh::client::Channel;
use mesh::consumer::{self, ConsumerSpec, HandlerError, Repeats};
use mesh::event::{NewEvent, Received};
use mesh::store::{Conn, DatabaseUrl, Store, StoreError};
use mesh::testing::{Publisher, Running, TestMesh, eventually};
use proto::contract::Role;
use proto::reservation::v1::Reservation;
use proto::voucher::v1::voucher_service_client::VoucherServiceClient;
use proto::voucher::v1::{ListVouchersRequest, Voucher, voucher::State};
use tokio_util::sync::{CancellationToken, DropGuard};

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
        let mut mesh = TestMesh::start().await;
        let publisher = Publisher::new(mesh.broker().bus().await, || voucher::MIGRATIONS);
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

    /// Gathers everything in a stream, what was said before included.
    pub(crate) async fn listen(&mut self, stream: &'static str) -> Ears {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let shutdown = CancellationToken::new();
        let spec = ConsumerSpec { stream, durable: "test", subjects: Vec::new(), batch: 64, repeats: Repeats::Dropped };
        let url = DatabaseUrl::Sqlite(self.mesh.folder().join("test.db"));
        let store = Store::open(&url, "test", voucher::MIGRATIONS).expect("a fresh database");
        let ears = Arc::clone(&heard);
        let handler = move |_: &mut Conn, events: &[Received]| {
            ears.lock().expect("not poisoned").extend_from_slice(events);
            Ok::<_, HandlerError>(())
        };
        let bus = self.mesh.broker().bus().await;
        drop(mesh::deadline::spawn(consumer::run(spec, bus, store, handler, shutdown.clone())));
        Ears { heard, _shutdown: shutdown.drop_guard() }
    }
}

/// What was heard.
pub(crate) struct Ears {
    heard: Arc<Mutex<Vec<Received>>>,
    _shutdown: DropGuard,
}

impl Ears {
    /// Of one aggregate, in the order of the stream, as soon as there are so many.
    pub(crate) async fn about(&self, aggregate: &str, count: usize) -> Vec<Received> {
        eventually(SOON, || async {
            let heard = self.heard.lock().expect("not poisoned");
            let about: Vec<_> = heard.iter().filter(|event| event.aggregate == aggregate).cloned().collect();
            (about.len() >= count).then_some(about)
        })
        .await
    }
}

/// Every page of the list.
pub(crate) async fn list(mut client: VoucherServiceClient<Channel>, page_size: i32) -> Vec<Voucher> {
    let (mut vouchers, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = client.list_vouchers(ListVouchersRequest { page_size, page_token }).await.expect("a page");
        let page = page.into_inner();
        vouchers.extend(page.vouchers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return vouchers;
        }
    }
}
