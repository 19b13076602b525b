//! The service as a process of its own, killed in the middle of its work.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Parser;
use mesh::deadline;
use mesh::node::NodeArgs;
use mesh::testing::{TestMesh, eventually, free_port};
use payment::provider::simulator::{EntryKind, Ledger};
use proto::contract::Role;
use proto::payment::v1::charge_service_client::ChargeServiceClient;
use proto::payment::v1::payment::State;
use proto::payment::v1::payment_service_client::PaymentServiceClient;
use proto::payment::v1::{ListPaymentsRequest, Payment, RefundPaymentRequest};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::harness::{PATIENCE, attempt, config, order};

/// Tells the test binary to be the service. Everything else comes through the options' own variables.
const CHILD: &str = "PAYMENT_TEST_CHILD";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    config: payment::Config,
}

/// Not a test: what the child process runs. Without the variable it does nothing.
#[tokio::test]
async fn child_process() {
    if std::env::var_os(CHILD).is_some() {
        let cli = Cli::parse_from(["payment"]);
        let listener = TcpListener::bind(cli.config.payment_listen).await.expect("the port is free");
        payment::serve(&cli.node, cli.config, listener, CancellationToken::new()).await.expect("serves");
    }
}

/// A process that ends with the test, also when that fails.
struct Process(Child);

impl Process {
    async fn start(mesh: &TestMesh, address: SocketAddr) -> Self {
        let node = mesh.node();
        let mut command = Command::new(std::env::current_exe().expect("a test has a program"));
        command.args(["--exact", "process::child_process", "--nocapture"]).env(CHILD, "1");
        command.env("HOLDFAST_DATA_DIR", &node.data.data_dir).env("HOLDFAST_KEYS_DIR", &node.identity.keys_dir);
        command.env("NATS_URL", &node.bus.nats_url).env("HOLDFAST_PAYMENT_LISTEN", address.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Self(command.spawn().expect("starts"));
        eventually(PATIENCE, || async { TcpStream::connect(address).await.is_ok() }).await;
        process
    }

    /// SIGKILL: no destructors, no last words.
    fn kill(mut self) {
        self.0.kill().expect("it was running");
        self.0.wait().expect("it was a child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn payments(mesh: &TestMesh, address: SocketAddr) -> Vec<Payment> {
    let mut client = PaymentServiceClient::new(mesh.user("payment", address, "ops", Role::Operator));
    client
        .list_payments(ListPaymentsRequest::default())
        .await
        .map_or_else(|_| Vec::new(), |page| page.into_inner().payments)
}

#[tokio::test]
async fn a_process_killed_in_a_second_attempt_leaves_it_to_the_next() {
    let mesh = TestMesh::without_broker();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let ledger = config(&[]).ledger(&mesh.node().data);
    let books = || Ledger::read(&ledger).expect("a ledger").into_iter().map(|entry| entry.kind).collect::<Vec<_>>();

    let first = Process::start(&mesh, address).await;
    let mut client = ChargeServiceClient::new(mesh.service("payment", address, "reservation"));
    let wanted = order("pm_card_chargeDeclined");
    client.charge_payment(wanted.clone()).await.expect_err("declined");
    let (mut charging, second) = (client.clone(), attempt(&wanted, 2, "pm_sim_slow"));
    drop(deadline::spawn(async move { charging.charge_payment(second).await }));
    eventually(PATIENCE, || async { books() == [EntryKind::Charge] }).await;
    first.kill();

    let second = Process::start(&mesh, address).await;
    let payment = eventually(PATIENCE, || async {
        payments(&mesh, address).await.into_iter().find(|payment| payment.state() == State::Approved)
    })
    .await;
    assert_eq!(payment.attempt, 2);
    assert_eq!(books(), [EntryKind::Charge], "the attempt is asked for, not made again");
    second.kill();
}

#[tokio::test]
async fn a_process_killed_between_charge_and_approval_is_finished_by_the_next() {
    // Provider called, answer not stored: the most expensive moment to die.
    let mesh = TestMesh::without_broker();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let ledger = config(&[]).ledger(&mesh.node().data);
    let books = || Ledger::read(&ledger).expect("a ledger").into_iter().map(|entry| entry.kind).collect::<Vec<_>>();

    let first = Process::start(&mesh, address).await;
    let (kept, given_up) = (order("pm_sim_slow"), order("pm_sim_slow"));
    for wanted in [&kept, &given_up] {
        let mut client = ChargeServiceClient::new(mesh.service("payment", address, "reservation"));
        let request = wanted.clone();
        drop(deadline::spawn(async move { client.charge_payment(request).await }));
    }
    eventually(PATIENCE, || async { books() == [EntryKind::Charge, EntryKind::Charge] }).await;
    first.kill();

    // The caller repeats nothing for the one, and gives up the other at once.
    let second = Process::start(&mesh, address).await;
    let mut client = ChargeServiceClient::new(mesh.service("payment", address, "reservation"));
    eventually(PATIENCE, || {
        let (mut client, request) =
            (client.clone(), RefundPaymentRequest { reservation: given_up.reservation.clone() });
        async move { client.refund_payment(request).await.is_ok() }
    })
    .await;
    let state = async |reservation: &str| {
        payments(&mesh, address)
            .await
            .into_iter()
            .find(|payment| payment.reservation == reservation)
            .map(|payment| payment.state())
    };
    eventually(PATIENCE, || async { state(&kept.reservation).await == Some(State::Approved) }).await;
    eventually(PATIENCE, || async { state(&given_up.reservation).await == Some(State::Cancelled) }).await;
    assert_eq!(books(), [EntryKind::Charge, EntryKind::Charge, EntryKind::Refund]);

    let mut request = tonic::Request::new(kept.clone());
    request.set_timeout(Duration::from_secs(5));
    let repeat =
        client.charge_payment(request).await.expect("the repeat answers").into_inner().payment.expect("a payment");
    assert_eq!(repeat.state(), State::Approved);
    assert_eq!(books().len(), 3, "the repeat charged nothing");
    second.kill();
}
