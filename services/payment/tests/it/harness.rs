//! A payment service of the test's own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use mesh::client::Channel;
use mesh::fault::Fault;
use mesh::store::{Conn, Fetch, Id, Micros, Store, StoreError};
use mesh::testing::{Running, TestMesh, eventually, free_port};
use mesh::value::format_name;
use payment::audit::{Balance, PaymentRow};
use payment::provider::simulator::{Entry, EntryKind, Ledger};
use proto::contract::Role;
use proto::google;
use proto::payment::v1::charge_service_client::ChargeServiceClient;
use proto::payment::v1::payment::State;
use proto::payment::v1::payment_service_client::PaymentServiceClient;
use proto::payment::v1::{ChargePaymentRequest, MileageMode, Payment, RefundPaymentRequest, RegisterPaymentRequest};
use tonic::{Request, Status};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: payment::Config,
}

pub(crate) fn config(arguments: &[String]) -> payment::Config {
    Cli::parse_from(["payment"].into_iter().map(str::to_owned).chain(arguments.iter().cloned())).config
}

pub(crate) struct Service {
    pub(crate) mesh: TestMesh,
    pub(crate) running: Running,
    pub(crate) mileage: SocketAddr,
    arguments: Vec<String>,
}

impl Service {
    /// With the simulator, no broker, and mileage down.
    pub(crate) async fn alone() -> Self {
        Self::start(TestMesh::without_broker(), &[]).await
    }

    pub(crate) async fn start(mesh: TestMesh, arguments: &[&str]) -> Self {
        let mileage = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut arguments: Vec<_> = arguments.iter().map(|&it| it.to_owned()).collect();
        arguments.push(format!("--mileage-url=http://{mileage}"));
        let running = run(&mesh, &arguments).await;
        Self { mesh, running, mileage, arguments }
    }

    /// Stops the service and starts it again on the same files.
    pub(crate) async fn restart(self) -> Self {
        self.between(async |_| {}).await
    }

    /// Stops the service, does something to its files, and starts it again.
    pub(crate) async fn between(self, work: impl AsyncFnOnce(&TestMesh)) -> Self {
        let Self { mesh, running, mileage, arguments } = self;
        running.stop().await;
        work(&mesh).await;
        let running = run(&mesh, &arguments).await;
        Self { mesh, running, mileage, arguments }
    }

    pub(crate) fn charges(&self) -> ChargeServiceClient<Channel> {
        ChargeServiceClient::new(self.mesh.service("payment", self.running.address, "reservation"))
    }

    pub(crate) fn reader(&self, subject: &str, role: Role) -> PaymentServiceClient<Channel> {
        PaymentServiceClient::new(self.mesh.user("payment", self.running.address, subject, role))
    }

    pub(crate) async fn charge(&self, request: &ChargePaymentRequest) -> Result<Payment, Status> {
        self.charge_within(request, Duration::from_secs(10)).await
    }

    pub(crate) async fn charge_within(
        &self,
        request: &ChargePaymentRequest,
        timeout: Duration,
    ) -> Result<Payment, Status> {
        let mut request = Request::new(request.clone());
        request.set_timeout(timeout);
        let answer = self.charges().charge_payment(request).await?;
        Ok(answer.into_inner().payment.expect("a charge has a payment"))
    }

    pub(crate) async fn register(&self, request: &RegisterPaymentRequest) -> Result<Payment, Status> {
        let answer = self.charges().register_payment(request.clone()).await?;
        Ok(answer.into_inner().payment.expect("a registration has a payment"))
    }

    pub(crate) async fn refund(&self, reservation: &str) -> Result<Option<Payment>, Status> {
        let request = RefundPaymentRequest { reservation: reservation.to_owned() };
        Ok(self.charges().refund_payment(request).await?.into_inner().payment)
    }

    /// The payment of a reservation, as an operator sees it.
    pub(crate) async fn payment_of(&self, reservation: &str) -> Option<Payment> {
        let all =
            self.reader("ops", Role::Operator).list_payments(proto::payment::v1::ListPaymentsRequest::default()).await;
        all.expect("operators may read")
            .into_inner()
            .payments
            .into_iter()
            .find(|payment| payment.reservation == reservation)
    }

    /// Waits until the payment of a reservation is in this state.
    pub(crate) async fn until(&self, reservation: &str, state: State) -> Payment {
        eventually(PATIENCE, || async { self.payment_of(reservation).await.filter(|payment| payment.state() == state) })
            .await
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        config(&[]).ledger(&self.mesh.node().data)
    }

    /// What the simulator did, in order.
    pub(crate) fn books(&self) -> Vec<Entry> {
        Ledger::read(&self.ledger()).expect("a ledger")
    }

    pub(crate) fn kinds(&self) -> Vec<EntryKind> {
        self.books().into_iter().map(|entry| entry.kind).collect()
    }

    /// Stops the service and looks at what it leaves behind.
    pub(crate) async fn audit(self) -> Audit {
        let (database, ledger) = (self.mesh.node().data.database(payment::NAME), self.ledger());
        self.running.stop().await;
        let store = Store::open(&database, payment::NAME, payment::MIGRATIONS).expect("the database opens");
        let read = |conn: &mut Conn| {
            let rows = payment::audit::payments(conn, Id::from_bytes([0; 16]), 1_000)?;
            let events: Vec<Told> = sql_query("SELECT kind, version FROM outbox ORDER BY seq").all(conn)?;
            let balances = payment::audit::balances(conn, Id::from_bytes([0; 16]), 1_000)?;
            Ok::<_, StoreError>((rows, balances, events, payment::audit::violations(conn, Micros(i64::MAX))?))
        };
        let (rows, balances, events, violations) = store.read(read).await.expect("the audit reads");
        let events = events
            .into_iter()
            .map(|Told { kind, version }| (kind.rsplit('.').next().unwrap_or_default().to_owned(), version));
        let differences = balances.iter().filter_map(Balance::difference).collect();
        let events = events.collect();
        Audit { rows, balances, differences, events, violations, books: Ledger::read(&ledger).expect("a ledger") }
    }
}

#[derive(QueryableByName)]
struct Told {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = BigInt)]
    version: i64,
}

/// What a stopped service leaves behind.
pub(crate) struct Audit {
    pub(crate) rows: Vec<PaymentRow>,
    pub(crate) balances: Vec<Balance>,
    /// Between payments and their entries.
    pub(crate) differences: Vec<String>,
    /// What was told, in order: the event's name and the version it leads to.
    pub(crate) events: Vec<(String, i64)>,
    pub(crate) violations: Vec<String>,
    pub(crate) books: Vec<Entry>,
}

async fn run(mesh: &TestMesh, arguments: &[String]) -> Running {
    let (node, config) = (mesh.node(), config(arguments));
    Running::start(|listener, shutdown| async move { payment::serve(&node, config, listener, shutdown).await }).await
}

/// 38,000 won, no miles.
pub(crate) fn order(method: &str) -> ChargePaymentRequest {
    ChargePaymentRequest {
        reservation: format_name("reservations", Id::generate()),
        customer: "users/alice".to_owned(),
        amount: Some(won(38_000)),
        payment_method: method.to_owned(),
        mileage_points: 0,
        mileage_mode: MileageMode::Unspecified.into(),
        attempt: 0,
    }
}

/// The same order, tried again.
pub(crate) fn attempt(wanted: &ChargePaymentRequest, attempt: i32, method: &str) -> ChargePaymentRequest {
    ChargePaymentRequest { attempt, payment_method: method.to_owned(), ..wanted.clone() }
}

/// What is registered before it is ordered.
pub(crate) fn registration(wanted: &ChargePaymentRequest) -> RegisterPaymentRequest {
    RegisterPaymentRequest {
        reservation: wanted.reservation.clone(),
        customer: wanted.customer.clone(),
        amount: wanted.amount.clone(),
    }
}

pub(crate) fn won(units: i64) -> google::r#type::Money {
    google::r#type::Money { currency_code: "KRW".to_owned(), units, nanos: 0 }
}

pub(crate) fn reason(status: &Status) -> String {
    Fault::from_status(status).reason().to_owned()
}

pub(crate) fn told<const N: usize>(events: [(&str, i64); N]) -> Vec<(String, i64)> {
    events.map(|(name, version)| (name.to_owned(), version)).into()
}
