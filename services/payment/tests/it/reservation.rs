//! What reservation's events do, over a real broker.

use mesh::event::NewEvent;
use mesh::store::{Id, Micros};
use mesh::testing::{Publisher, TestMesh};
use payment::provider::simulator::EntryKind;
use proto::contract::Event;
use proto::listing::v1::ReservationPolicy;
use proto::listing::v1::reservation_policy::{CancelRefund, Payment as PaymentPolicy};
use proto::payment::v1::payment::State;
use proto::reservation::v1::{
    Reservation, ReservationCancelRequested, ReservationConfirmed, ReservationExpired, ReservationForceCancelled,
    ReservationRejected,
};

use crate::harness::{Service, order, reason, registration, told, won};

async fn start() -> (Service, Publisher) {
    let mesh = TestMesh::start().await;
    let publisher = mesh.publisher().await;
    (Service::start(mesh, &[]).await, publisher)
}

fn reservation(name: &str) -> Reservation {
    Reservation { name: name.to_owned(), total: Some(won(38_000)), ..Default::default() }
}

fn event<E: Event>(event: &E, version: i64) -> NewEvent {
    NewEvent::of(event, Id::generate(), version, "r", None, Micros::now())
}

fn cancelled(reservation: Reservation, version: i64) -> NewEvent {
    event(&ReservationCancelRequested { reservation: Some(reservation) }, version)
}

fn policy(payment: PaymentPolicy, cancel_refund: CancelRefund) -> Option<ReservationPolicy> {
    Some(ReservationPolicy { payment: payment.into(), cancel_refund: cancel_refund.into(), ..Default::default() })
}

/// Waits until every event published before is handled: they come in the order of the stream.
async fn handled(service: &Service, publisher: &mut Publisher) {
    let last = order("pm_card_visa");
    service.charge(&last).await.expect("charges");
    publisher.publish(vec![cancelled(reservation(&last.reservation), 1)]).await;
    service.until(&last.reservation, State::Cancelled).await;
}

#[tokio::test]
async fn cancelled_reservations_are_refunded_once_however_often_it_is_said() {
    let (service, mut publisher) = start().await;
    let mut orders = Vec::new();
    for _ in 0..20 {
        let wanted = order("pm_card_visa");
        service.charge(&wanted).await.expect("charges");
        orders.push(wanted);
    }
    let kept = order("pm_card_visa");
    service.charge(&kept).await.expect("charges");
    for version in [1, 2] {
        let events = orders.iter().map(|wanted| cancelled(reservation(&wanted.reservation), version));
        publisher.publish(events.collect()).await;
    }
    // Never charged: the event leaves a tombstone (K13).
    let late = order("pm_card_visa");
    publisher.publish(vec![cancelled(reservation(&late.reservation), 1)]).await;
    for wanted in &orders {
        service.until(&wanted.reservation, State::Cancelled).await;
    }
    handled(&service, &mut publisher).await;
    let refused = service.charge(&late).await.expect_err("given up");
    assert_eq!(reason(&refused), "PAYMENT_CANCELLED");
    assert_eq!(service.payment_of(&kept.reservation).await.expect("kept").state(), State::Approved);
    let kinds = service.kinds();
    assert_eq!(kinds.iter().filter(|kind| **kind == EntryKind::Charge).count(), 22);
    assert_eq!(kinds.iter().filter(|kind| **kind == EntryKind::Refund).count(), 21);
    let audit = service.audit().await;
    assert_eq!((audit.rows.len(), audit.violations), (22, Vec::new()));
}

#[tokio::test]
async fn a_reservation_that_comes_to_nothing_keeps_no_money_and_takes_none_later() {
    // T15: rejected or not approved in time; T22: the listing is gone. Whatever the policy gives back to who cancels.
    let (service, mut publisher) = start().await;
    let of = |name: &str| {
        Some(Reservation { policy: policy(PaymentPolicy::Deferred, CancelRefund::None), ..reservation(name) })
    };
    let ends: [fn(Option<Reservation>) -> NewEvent; 3] = [
        |reservation| event(&ReservationRejected { reservation }, 2),
        |reservation| event(&ReservationExpired { reservation }, 2),
        |reservation| event(&ReservationForceCancelled { reservation }, 2),
    ];
    for end in ends {
        let [paid, registered, declined, late] =
            ["pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined", "pm_card_visa"].map(order);
        service.charge(&paid).await.expect("charges");
        service.register(&registration(&registered)).await.expect("registers");
        service.charge(&declined).await.expect_err("declined");
        let before = service.kinds();
        let all = [&late, &paid, &registered, &declined];
        publisher.publish(all.map(|wanted| end(of(&wanted.reservation))).into()).await;
        for wanted in [&paid, &registered, &declined] {
            service.until(&wanted.reservation, State::Cancelled).await;
        }
        for wanted in all {
            assert_eq!(reason(&service.charge(wanted).await.expect_err("given up")), "PAYMENT_CANCELLED");
        }
        // The provider never hears of what was not paid.
        assert_eq!(service.kinds(), [before, vec![EntryKind::Refund]].concat());
    }
    let audit = service.audit().await;
    assert_eq!((audit.rows.len(), audit.violations), (9, Vec::new()));
    assert_eq!(audit.events.iter().filter(|(name, _)| name == "PaymentCancelled").count(), 9);
}

#[tokio::test]
async fn where_cancelling_gives_nothing_back_what_is_paid_stays_and_what_is_not_is_void() {
    let (service, mut publisher) = start().await;
    let [paid, registered, late] = ["pm_card_visa"; 3].map(order);
    let charged = service.charge(&paid).await.expect("charges");
    service.register(&registration(&registered)).await.expect("registers");
    let keeping = policy(PaymentPolicy::Deferred, CancelRefund::None);
    let events = [&paid, &registered, &late]
        .map(|wanted| cancelled(Reservation { policy: keeping.clone(), ..reservation(&wanted.reservation) }, 3));
    publisher.publish(events.into()).await;
    service.until(&registered.reservation, State::Cancelled).await;
    handled(&service, &mut publisher).await;
    assert_eq!(service.charge(&paid).await.expect("stays as it is"), charged);
    assert_eq!(reason(&service.charge(&late).await.expect_err("given up")), "PAYMENT_CANCELLED");
    let audit = service.audit().await;
    assert_eq!((audit.rows.len(), audit.violations), (3, Vec::new()));
}

#[tokio::test]
async fn what_costs_nothing_leaves_no_trace() {
    let (service, mut publisher) = start().await;
    let [never_paid, free, priceless, confirmed] = ["pm_card_visa"; 4].map(order);
    publisher
        .publish(vec![
            cancelled(
                Reservation {
                    policy: policy(PaymentPolicy::None, CancelRefund::None),
                    ..reservation(&never_paid.reservation)
                },
                3,
            ),
            cancelled(Reservation { total: Some(won(0)), ..reservation(&free.reservation) }, 3),
            event(
                &ReservationExpired {
                    reservation: Some(Reservation { total: None, ..reservation(&priceless.reservation) }),
                },
                3,
            ),
            event(&ReservationConfirmed { reservation: Some(reservation(&confirmed.reservation)) }, 3),
        ])
        .await;
    handled(&service, &mut publisher).await;
    // No tombstone: it would refuse these.
    for wanted in [&never_paid, &free, &priceless, &confirmed] {
        service.charge(wanted).await.expect("charges");
    }
    let audit = service.audit().await;
    let paid = ("PaymentApproved", 1);
    assert_eq!(audit.events, told([paid, ("PaymentCancelled", 2), paid, paid, paid, paid]));
}
