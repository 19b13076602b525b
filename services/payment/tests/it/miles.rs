//! Payment and mileage together, over real ports and a real broker.

use std::net::SocketAddr;
use std::time::Duration;

use mesh::client::Channel;
use mesh::fault::retry_delay_of;
use mesh::testing::{Running, TestMesh, eventually};
use payment::provider::simulator::EntryKind;
use proto::contract::Role;
use proto::mileage::v1::mileage_service_client::MileageServiceClient;
use proto::mileage::v1::{GetMileageAccountRequest, ListMileageEntriesRequest};
use proto::payment::v1::payment::State;
use proto::payment::v1::{ChargePaymentRequest, MileageAccrual, MileageMode};
use tonic::Code;

use crate::harness::{PATIENCE, Service, order, reason};

fn earning(mode: MileageMode) -> ChargePaymentRequest {
    ChargePaymentRequest { mileage_points: 3, mileage_mode: mode.into(), ..order("pm_card_visa") }
}

async fn start_mileage(service: &Service) -> Running {
    let node = service.mesh.node();
    let mileage_listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = mileage::Config { mileage_listen, mileage_reconcile_every_ms: 0 };
    Running::start_at(service.mileage, |listener, shutdown| async move {
        mileage::serve(&node, config, listener, shutdown).await
    })
    .await
}

fn reader(service: &Service) -> MileageServiceClient<Channel> {
    MileageServiceClient::new(service.mesh.user("mileage", service.mileage, "alice", Role::Customer))
}

async fn balance(service: &Service) -> Option<i64> {
    let request = GetMileageAccountRequest { name: "users/me/mileageAccount".to_owned() };
    Some(reader(service).get_mileage_account(request).await.ok()?.into_inner().mileage_account?.balance)
}

async fn points(service: &Service) -> Vec<i64> {
    let request = ListMileageEntriesRequest { parent: "users/me".to_owned(), ..Default::default() };
    let entries = reader(service).list_mileage_entries(request).await.expect("lists").into_inner().mileage_entries;
    entries.iter().map(|entry| entry.points).collect()
}

#[tokio::test]
async fn miles_are_earned_with_the_payment_and_taken_back_with_its_refund() {
    // A9, A10, K15: mileage goes down again by the payment's own name.
    let service = Service::start(TestMesh::start().await, &["--payment-mileage-timeout-ms=5000"]).await;
    let mileage = start_mileage(&service).await;
    let wanted = earning(MileageMode::Strict);
    let charged = service.charge(&wanted).await.expect("charges");
    assert_eq!((charged.mileage_points, charged.mileage_accrual()), (3, MileageAccrual::Done));
    assert_eq!(balance(&service).await, Some(3));
    service.refund(&wanted.reservation).await.expect("refunds");
    eventually(PATIENCE, || async { balance(&service).await == Some(0) }).await;
    assert_eq!(points(&service).await, [-3, 3]);
    mileage.stop().await;
}

#[tokio::test]
async fn strict_without_mileage_is_undone() {
    // A32: mileage stopped, so nothing is bought; K14: and nothing says it was.
    let service = Service::start(TestMesh::start().await, &[]).await;
    let wanted = earning(MileageMode::Strict);
    let refused = service.charge(&wanted).await.expect_err("undone");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "MILEAGE_UNAVAILABLE"));
    assert!(retry_delay_of(&refused).is_some());
    assert_eq!(service.payment_of(&wanted.reservation).await.expect("recorded").state(), State::Cancelled);
    assert_eq!(service.kinds(), [EntryKind::Charge, EntryKind::Refund]);

    // Mileage comes back and hears only of the cancellation; the next booking goes through.
    let mileage = start_mileage(&service).await;
    eventually(PATIENCE, || async { balance(&service).await.is_some() }).await;
    let next = service.charge(&earning(MileageMode::Graceful)).await.expect("charges");
    eventually(PATIENCE, || async { balance(&service).await == Some(3) }).await;
    assert_eq!(points(&service).await, [3], "only the second payment earned");
    assert_eq!(next.state(), State::Approved);
    mileage.stop().await;
}

#[tokio::test]
async fn graceful_without_mileage_is_earned_when_it_is_back() {
    // A50: a supporting service that is away leaves payments alone.
    let service = Service::start(TestMesh::start().await, &[]).await;
    let wanted = earning(MileageMode::Graceful);
    let charged = service.charge(&wanted).await.expect("charges");
    assert_eq!((charged.state(), charged.mileage_accrual()), (State::Approved, MileageAccrual::Pending));
    let mileage = start_mileage(&service).await;
    eventually(PATIENCE, || async { balance(&service).await == Some(3) }).await;
    service.refund(&wanted.reservation).await.expect("refunds");
    eventually(PATIENCE, || async { balance(&service).await == Some(0) }).await;
    assert_eq!(points(&service).await, [-3, 3]);
    mileage.stop().await;
}

#[tokio::test]
async fn a_mileage_service_that_hangs_costs_its_time_limit_and_no_more() {
    let service = Service::start(TestMesh::without_broker(), &["--payment-mileage-timeout-ms=200"]).await;
    // Takes connections and never answers.
    let _silent = tokio::net::TcpListener::bind(service.mileage).await.expect("the port is free");
    let charged =
        service.charge_within(&earning(MileageMode::Graceful), Duration::from_secs(5)).await.expect("charges");
    assert_eq!(charged.mileage_accrual(), MileageAccrual::Pending);
}
