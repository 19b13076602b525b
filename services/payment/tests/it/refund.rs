//! Giving back: once, whatever else happens at the same time.

use std::time::Duration;

use mesh::deadline;
use mesh::testing::TestMesh;
use payment::provider::simulator::EntryKind;
use proto::payment::v1::RefundPaymentRequest;
use proto::payment::v1::payment::State;
use tonic::Code;

use crate::harness::{Audit, Service, attempt, order, reason, told};

#[tokio::test]
async fn a_refund_gives_back_once_and_repeats_its_answer() {
    let service = Service::alone().await;
    let wanted = order("pm_card_visa");
    let charged = service.charge(&wanted).await.expect("charges");
    let refunded = service.refund(&wanted.reservation).await.expect("refunds").expect("there is a payment");
    assert_eq!((refunded.state(), &refunded.name), (State::Cancelled, &charged.name));
    assert_eq!(service.refund(&wanted.reservation).await.expect("refunds"), Some(refunded));
    assert_eq!(service.kinds(), [EntryKind::Charge, EntryKind::Refund]);
    let refused = service.charge(&wanted).await.expect_err("given up");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "PAYMENT_CANCELLED"));
}

#[tokio::test]
async fn a_refund_before_the_charge_refuses_it() {
    let service = Service::alone().await;
    let late = order("pm_card_visa");
    for _ in 0..2 {
        assert_eq!(service.refund(&late.reservation).await.expect("accepted"), None);
    }
    assert_eq!(reason(&service.charge(&late).await.expect_err("refused")), "PAYMENT_CANCELLED");
    assert_eq!(service.kinds(), []);
    assert_eq!(service.payment_of(&late.reservation).await, None, "a tombstone is no payment");
    let audit = service.audit().await;
    assert_eq!((audit.rows, audit.violations), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_declined_payment_is_void_and_not_tried_again() {
    let service = Service::alone().await;
    let wanted = order("pm_card_chargeDeclined");
    service.charge(&wanted).await.expect_err("declined");
    let payment = service.refund(&wanted.reservation).await.expect("accepted").expect("there is a payment");
    assert_eq!((payment.state(), payment.decline_code.as_str()), (State::Cancelled, ""));
    assert_eq!(service.refund(&wanted.reservation).await.expect("accepted"), Some(payment));
    let refused = service.charge(&attempt(&wanted, 2, "pm_card_visa")).await.expect_err("given up");
    assert_eq!(reason(&refused), "PAYMENT_CANCELLED");
    let audit = service.audit().await;
    assert_eq!((audit.books, audit.violations), (Vec::new(), Vec::new()));
    assert_eq!(audit.events, told([("PaymentDeclined", 1), ("PaymentCancelled", 2)]));
}

#[tokio::test]
async fn a_refund_racing_the_charge_gives_the_money_back_exactly_once() {
    let service = Service::start(
        TestMesh::without_broker(),
        &["--payment-simulator-max-latency-ms=10", "--payment-simulator-seed=7"],
    )
    .await;
    let races: Vec<_> = (0..64_u64)
        .map(|n| {
            let (mut charges, mut refunds, request) = (service.charges(), service.charges(), order("pm_card_visa"));
            deadline::spawn(async move {
                let refund = RefundPaymentRequest { reservation: request.reservation.clone() };
                let (charged, refunded) = tokio::join!(charges.charge_payment(request), async {
                    tokio::time::sleep(Duration::from_micros(n * 300)).await;
                    refunds.refund_payment(refund).await
                });
                refunded.expect("a refund is never refused");
                if let Err(refused) = charged {
                    assert_eq!(reason(&refused), "PAYMENT_CANCELLED");
                }
            })
        })
        .collect();
    for race in races {
        race.await.expect("no panic");
    }
    // Refunds that were overtaken finish before the service has stopped.
    let Audit { rows, violations, books, .. } = service.audit().await;
    assert_eq!(violations, Vec::<String>::new());
    assert!(rows.iter().all(|row| row.state == payment::domain::State::Cancelled), "{rows:?}");
    for row in rows {
        let kinds: Vec<_> =
            books.iter().filter(|entry| entry.key == row.id.to_string()).map(|entry| entry.kind).collect();
        assert!(matches!(kinds.as_slice(), [EntryKind::Void] | [EntryKind::Charge, EntryKind::Refund]), "{kinds:?}");
    }
}

#[tokio::test]
async fn a_charge_whose_answer_comes_after_the_refund_is_given_back() {
    let service = Service::alone().await;
    let wanted = order("pm_sim_slow");
    let (mut client, request) = (service.charges(), wanted.clone());
    let call = deadline::spawn(async move { client.charge_payment(request).await });
    service.until(&wanted.reservation, State::Waiting).await;
    service.refund(&wanted.reservation).await.expect("accepted");
    let refused = call.await.expect("no panic").expect_err("given up");
    assert_eq!(reason(&refused), "PAYMENT_CANCELLED");
    service.until(&wanted.reservation, State::Cancelled).await;
    let kinds = service.kinds();
    assert!(matches!(kinds.as_slice(), [EntryKind::Void] | [EntryKind::Charge, EntryKind::Refund]), "{kinds:?}");
}

#[tokio::test]
async fn a_refund_survives_a_restart() {
    let service = Service::alone().await;
    let wanted = order("pm_sim_unavailable");
    service.charge_within(&wanted, Duration::from_secs(1)).await.expect_err("down");
    let waiting = service.refund(&wanted.reservation).await.expect("accepted").expect("there is a payment");
    assert_eq!(waiting.state(), State::Waiting, "the answer says that it is not done");
    let service = service.restart().await;
    assert_eq!(service.payment_of(&wanted.reservation).await.expect("kept").state(), State::Waiting);
    let refused = service.charge(&wanted).await.expect_err("given up");
    assert_eq!(reason(&refused), "PAYMENT_CANCELLED");
}
