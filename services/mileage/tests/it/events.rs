//! What payment's events do to the ledger, over a real broker.

use std::time::Duration;

use mesh::event::NewEvent;
use mesh::store::{Id, Micros};
use mesh::testing::{Publisher, TestMesh, eventually};
use proto::contract::Event;
use proto::mileage::v1::mileage_entry::Kind;
use proto::payment::v1::payment::State;
use proto::payment::v1::{MileageAccrual, Payment, PaymentApproved, PaymentCancelled};

use crate::harness::{Service, accrual};

const PATIENCE: Duration = Duration::from_secs(20);

async fn publish<E: Event>(publisher: &mut Publisher, event: &E, version: i64) {
    publisher.publish(vec![NewEvent::of(event, Id::generate(), version, "r", None, Micros::now())]).await;
}

fn payment(user: &str, points: i64, accrual: MileageAccrual) -> Payment {
    let wanted = crate::harness::accrual(user, points);
    Payment {
        name: wanted.payment,
        reservation: wanted.reservation,
        customer: wanted.customer,
        state: State::Approved.into(),
        mileage_points: points,
        mileage_accrual: accrual.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn pending_miles_are_earned_and_cancelled_ones_taken_back_once() {
    let mesh = TestMesh::start().await;
    let mut publisher = mesh.publisher().await;
    let service = Service::start(mesh).await;

    // Left pending by payment: earned from the event (A50), once (K10).
    let pending = payment("alice", 5, MileageAccrual::Pending);
    for version in [1, 2] {
        publish(&mut publisher, &PaymentApproved { payment: Some(pending.clone()) }, version).await;
    }
    eventually(PATIENCE, || async { service.balance("alice").await == 5 }).await;

    // Earned with the payment: the event does nothing.
    let done = payment("bob", 7, MileageAccrual::Done);
    publish(&mut publisher, &PaymentApproved { payment: Some(done) }, 1).await;
    // Not to earn anything.
    let none = payment("carol", 0, MileageAccrual::Unspecified);
    publish(&mut publisher, &PaymentApproved { payment: Some(none.clone()) }, 1).await;
    publish(&mut publisher, &PaymentCancelled { payment: Some(none) }, 2).await;

    // K10, K15: cancelled twice, taken back once, found by the payment.
    for version in [3, 4] {
        publish(&mut publisher, &PaymentCancelled { payment: Some(pending.clone()) }, version).await;
    }
    eventually(PATIENCE, || async { service.balance("alice").await == 0 }).await;

    // The stream's last event: when its effect is there, everything before it was handled.
    let last = payment("last", 1, MileageAccrual::Pending);
    publish(&mut publisher, &PaymentApproved { payment: Some(last) }, 1).await;
    eventually(PATIENCE, || async { service.balance("last").await == 1 }).await;

    let entries = service.entries("alice").await;
    assert_eq!(
        entries.iter().map(|entry| (entry.kind(), entry.points)).collect::<Vec<_>>(),
        [(Kind::Reversal, -5), (Kind::Accrual, 5)]
    );
    assert!(entries.iter().all(|entry| entry.payment == pending.name && entry.reservation == pending.reservation));
    assert_eq!((service.entries("bob").await, service.entries("carol").await), (Vec::new(), Vec::new()));
    assert_eq!(service.violations().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_call_thought_lost_and_its_event_earn_once_together() {
    let mesh = TestMesh::start().await;
    let mut publisher = mesh.publisher().await;
    let service = Service::start(mesh).await;
    let called = accrual("alice", 5);
    service.accrue(&called).await.expect("accrues");
    let pending = Payment {
        name: called.payment,
        reservation: called.reservation,
        ..payment("alice", 5, MileageAccrual::Pending)
    };
    publish(&mut publisher, &PaymentApproved { payment: Some(pending) }, 1).await;
    publish(&mut publisher, &PaymentApproved { payment: Some(payment("last", 1, MileageAccrual::Pending)) }, 1).await;
    eventually(PATIENCE, || async { service.balance("last").await == 1 }).await;
    assert_eq!(service.balance("alice").await, 5);
}

#[tokio::test]
async fn an_event_that_cannot_be_does_not_stop_the_others() {
    let mesh = TestMesh::start().await;
    let mut publisher = mesh.publisher().await;
    let service = Service::start(mesh).await;
    // Earned five already, and now six: a fault somewhere, for the dead letters.
    let called = accrual("alice", 5);
    service.accrue(&called).await.expect("accrues");
    let wrong = Payment { name: called.payment, ..payment("alice", 6, MileageAccrual::Pending) };
    publish(&mut publisher, &PaymentApproved { payment: Some(wrong) }, 1).await;
    publish(&mut publisher, &PaymentApproved { payment: Some(payment("last", 1, MileageAccrual::Pending)) }, 1).await;
    eventually(PATIENCE, || async { service.balance("last").await == 1 }).await;
    assert_eq!(service.balance("alice").await, 5);
}
