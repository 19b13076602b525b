//! Reservation between neighbours that do as the test says, with everything it tells.

use std::{net::SocketAddr, time::Duration};

use clap::Parser;
use mesh::{
    client::Channel,
    event::NewEvent,
    node::NodeArgs,
    store::{DatabaseUrl, Id, Micros, Store},
    testing::{Publisher, Running, Subscriber, TestMesh, eventually, free_port},
};
use proto::{
    contract::{Event, Role},
    google::r#type::Date,
    listing::v1::{Listing, ListingDeleted, ReservationPolicy, reservation_policy as policy},
    payment::v1::{Payment, PaymentCancelled},
    reservation::v1::{
        ApproveReservationRequest, CancelReservationRequest, CompleteReservationRequest, CreateReservationRequest,
        GetReservationRequest, PayReservationRequest, RejectReservationRequest, Reservation, ReservationConfirmed,
        reservation::{Slot, State},
        reservation_service_client::ReservationServiceClient,
        saga_service_client::SagaServiceClient,
    },
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::neighbours::Neighbours;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) type Client = ReservationServiceClient<Channel>;
type Answer = Result<Reservation, Status>;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    reservation: reservation::Config,
}

pub(crate) struct Scene {
    mesh: TestMesh,
    pub(crate) neighbours: Neighbours,
    listing: Running,
    payment: Running,
    process: Option<Runtime>,
    pub(crate) address: SocketAddr,
    config: reservation::Config,
    publisher: Publisher,
    published: Subscriber,
}

impl Scene {
    pub(crate) async fn of(price: i64, policy: ReservationPolicy) -> Self {
        Self::set(TestMesh::start().await, price, policy, &[]).await
    }

    pub(crate) async fn with(price: i64, policy: ReservationPolicy, options: &[&str]) -> Self {
        Self::set(TestMesh::start().await, price, policy, options).await
    }

    async fn set(mesh: TestMesh, price: i64, policy: ReservationPolicy, options: &[&str]) -> Self {
        let neighbours = Neighbours::offering(price, policy);
        let (listing, payment) = (neighbours.serve_listing(&mesh).await, neighbours.serve_payment(&mesh).await);
        let (listing_url, payment_url) = (format!("http://{}", listing.address), format!("http://{}", payment.address));
        let urls = ["test", "--listing-url", &listing_url, "--payment-url", &payment_url];
        let config = Options::parse_from(urls.iter().chain(options)).reservation;
        let publisher = mesh.publisher().await;
        let published = mesh.subscriber(ReservationConfirmed::STREAM).await;
        let address = ([127, 0, 0, 1], free_port()).into();
        let mut scene =
            Self { mesh, neighbours, listing, payment, process: None, address, config, publisher, published };
        scene.begin().await;
        scene
    }

    /// Starts reservation in a runtime of its own, so that it can be killed.
    pub(crate) async fn begin(&mut self) {
        let node = self.mesh.node();
        wait_for_file(&node).await;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("one");
        let config = self.config.clone();
        let wanted = self.address;
        let (tell, told) = tokio::sync::oneshot::channel();
        drop(runtime.handle().spawn(async move {
            let listener = TcpListener::bind(wanted).await.expect("a free port");
            tell.send(listener.local_addr().expect("bound")).expect("awaited");
            reservation::serve(&node, config, listener, CancellationToken::new()).await.expect("it serves");
        }));
        self.address = told.await.expect("told");
        self.process = Some(runtime);
    }

    /// Ends reservation in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        let runtime = self.process.take().expect("it runs");
        // Gone when this returns, its port too; a runtime may not be waited for on a thread of another.
        let gone = std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE)).join();
        gone.expect("nothing panics while it ends");
    }

    pub(crate) async fn end(mut self) {
        self.kill();
        self.payment.stop().await;
        self.listing.stop().await;
    }

    pub(crate) fn customer(&self, subject: &str) -> Client {
        ReservationServiceClient::new(self.mesh.user("reservation", self.address, subject, Role::Customer))
    }

    pub(crate) fn guest(&self) -> Client {
        self.customer("gil")
    }

    pub(crate) fn host(&self) -> Client {
        ReservationServiceClient::new(self.mesh.user("reservation", self.address, "hana", Role::Host))
    }

    pub(crate) fn sagas(&self, role: Role) -> SagaServiceClient<Channel> {
        SagaServiceClient::new(self.mesh.user("reservation", self.address, "olga", role))
    }

    pub(crate) fn stranger(&self) -> Client {
        ReservationServiceClient::new(self.mesh.user("reservation", self.address, "mina", Role::Host))
    }

    /// Reservation's rows, read beside it.
    pub(crate) async fn audit(&self) -> reservation::audit::Audit {
        let url = self.mesh.node().data.database("reservation");
        let store = Store::open_read_only(&url, "reservation").expect("it is there");
        reservation::audit::read(&store).await.expect("readable")
    }

    /// Waits until just this was told of a reservation, in this order, e.g. `Requested 1, Confirmed 2`.
    pub(crate) async fn told(&self, name: &str, expected: &str) {
        let told = || {
            let mut of = self.published.about(name);
            of.sort_by_key(|event| event.version);
            let short = |kind: &str| kind.rsplit(".Reservation").next().unwrap_or_default().to_owned();
            let of: Vec<_> = of.iter().map(|event| format!("{} {}", short(&event.kind), event.version)).collect();
            of.join(", ")
        };
        let started = std::time::Instant::now();
        while told() != expected {
            assert!(started.elapsed() < PATIENCE, "told was {:?}, not {expected:?}", told());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The reservation as each event told of it so far.
    pub(crate) fn snapshots(&self, name: &str) -> Vec<Reservation> {
        // In every event of a reservation that is field 1.
        let events = self.published.about(name);
        events
            .iter()
            .filter_map(|event| event.decode::<ReservationConfirmed>().expect("an event").reservation)
            .collect()
    }

    /// Tells that a reservation's payment is refunded, as payment would.
    pub(crate) async fn tell_refunded(&mut self, reservation: &Reservation) {
        let payment =
            Payment { name: reservation.payment.clone(), reservation: reservation.name.clone(), ..Payment::default() };
        self.publish(&PaymentCancelled { payment: Some(payment) }).await;
    }

    /// Tells that the listing is deleted, as listing would.
    pub(crate) async fn tell_deleted(&mut self, listing: &str) {
        let listing = Listing { name: listing.to_owned(), ..Listing::default() };
        self.publish(&ListingDeleted { listing: Some(listing) }).await;
    }

    async fn publish(&mut self, event: &impl Event) {
        self.publisher.publish(vec![NewEvent::of(event, Id::generate(), 2, "test", None, Micros::now())]).await;
    }
}

/// A killed process keeps its file until the last of its tasks is dropped.
async fn wait_for_file(node: &NodeArgs) {
    let DatabaseUrl::Sqlite(path) = node.data.database("reservation") else { return };
    let lock = path.with_file_name(format!("{}.lock", path.file_name().expect("a file").to_string_lossy()));
    eventually(PATIENCE, || async { std::fs::File::open(&lock).map_or(true, |file| file.try_lock().is_ok()) }).await;
}

/// A room's: charged at booking, no miles.
pub(crate) fn room() -> ReservationPolicy {
    ReservationPolicy {
        mileage: policy::Mileage::None.into(),
        capacity: policy::Capacity::Dated.into(),
        approval: policy::Approval::None.into(),
        payment: policy::Payment::AtBooking.into(),
        payment_wait: policy::PaymentWait::Strict.into(),
        voucher: policy::Voucher::None.into(),
        cancel_refund: policy::CancelRefund::Async.into(),
        approval_ttl: Some(seconds(86_400)),
        payment_ttl: Some(seconds(86_400)),
        ..ReservationPolicy::default()
    }
}

/// Approved by its host before it is charged.
pub(crate) fn by_approval() -> ReservationPolicy {
    ReservationPolicy {
        approval: policy::Approval::BeforePayment.into(),
        payment: policy::Payment::OnApproval.into(),
        ..room()
    }
}

/// Paid later.
pub(crate) fn resort() -> ReservationPolicy {
    ReservationPolicy { payment: policy::Payment::Deferred.into(), ..room() }
}

/// Approved by its company after it is charged, refunded before a cancellation is answered.
pub(crate) fn taxi() -> ReservationPolicy {
    ReservationPolicy {
        approval: policy::Approval::AfterPayment.into(),
        cancel_refund: policy::CancelRefund::Sync.into(),
        ..room()
    }
}

/// Never paid.
pub(crate) fn screening() -> ReservationPolicy {
    ReservationPolicy {
        payment: policy::Payment::None.into(),
        cancel_refund: policy::CancelRefund::None.into(),
        ..room()
    }
}

/// Waits while payment is away.
pub(crate) fn patient(policy: ReservationPolicy) -> ReservationPolicy {
    ReservationPolicy { payment_wait: policy::PaymentWait::Pending.into(), ..policy }
}

/// With time limits this short.
pub(crate) fn brief(policy: ReservationPolicy, limit: i64) -> ReservationPolicy {
    ReservationPolicy { approval_ttl: Some(seconds(limit)), payment_ttl: Some(seconds(limit)), ..policy }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

pub(crate) fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

pub(crate) fn a_listing() -> String {
    format!("listings/{}", Id::generate())
}

/// A wish for a date, with this method; empty for none.
pub(crate) fn wish(listing: &str, method: &str) -> CreateReservationRequest {
    CreateReservationRequest {
        reservation: Some(Reservation {
            listing: listing.to_owned(),
            slot: Some(Slot::Date(Date { year: 2030, month: 5, day: 17 })),
            units: 1,
            persons: 2,
            note: "by the window".to_owned(),
            language_code: "ko".to_owned(),
            ..Reservation::default()
        }),
        payment_method: method.to_owned(),
        request_id: request_id(),
        expected_total: None,
    }
}

pub(crate) async fn create(client: &Client, request: CreateReservationRequest) -> Answer {
    Ok(client.clone().create_reservation(request).await?.into_inner().reservation.expect("a reservation"))
}

/// A new reservation of a new listing, with a good method.
pub(crate) async fn book(client: &Client) -> Reservation {
    create(client, wish(&a_listing(), "pm_card_visa")).await.expect("reserved")
}

pub(crate) async fn get(client: &Client, name: &str) -> Reservation {
    let request = GetReservationRequest { name: name.to_owned() };
    client.clone().get_reservation(request).await.expect("it is there").into_inner().reservation.expect("it")
}

pub(crate) async fn until(client: &Client, name: &str, state: State) -> Reservation {
    eventually(PATIENCE, || async { Some(get(client, name).await).filter(|found| found.state() == state) }).await
}

pub(crate) fn approval(name: &str) -> ApproveReservationRequest {
    ApproveReservationRequest { name: name.to_owned(), request_id: request_id(), etag: String::new() }
}

pub(crate) async fn approve(client: &Client, request: ApproveReservationRequest) -> Answer {
    Ok(client.clone().approve_reservation(request).await?.into_inner().reservation.expect("a reservation"))
}

pub(crate) async fn reject(client: &Client, name: &str) -> Answer {
    let request = RejectReservationRequest {
        name: name.to_owned(),
        request_id: request_id(),
        etag: String::new(),
        reason: "no room".to_owned(),
    };
    Ok(client.clone().reject_reservation(request).await?.into_inner().reservation.expect("a reservation"))
}

pub(crate) fn payment(name: &str, method: &str) -> PayReservationRequest {
    PayReservationRequest {
        name: name.to_owned(),
        request_id: request_id(),
        etag: String::new(),
        payment_method: method.to_owned(),
    }
}

pub(crate) async fn pay(client: &Client, request: PayReservationRequest) -> Answer {
    Ok(client.clone().pay_reservation(request).await?.into_inner().reservation.expect("a reservation"))
}

pub(crate) async fn complete(client: &Client, name: &str) -> Answer {
    let request = CompleteReservationRequest { name: name.to_owned(), request_id: request_id(), etag: String::new() };
    Ok(client.clone().complete_reservation(request).await?.into_inner().reservation.expect("a reservation"))
}

pub(crate) fn cancellation(name: &str) -> CancelReservationRequest {
    CancelReservationRequest { name: name.to_owned(), request_id: request_id(), etag: String::new() }
}

pub(crate) async fn cancel(client: &Client, request: CancelReservationRequest) -> Answer {
    Ok(client.clone().cancel_reservation(request).await?.into_inner().reservation.expect("a reservation"))
}

pub(crate) fn reason(answer: Answer) -> String {
    let status = answer.expect_err("refused");
    mesh::fault::Fault::from_status(&status).reason().to_owned()
}
