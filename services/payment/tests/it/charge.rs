//! Charging: once, and with an answer that stays the same.

use std::time::{Duration, Instant};

use mesh::deadline;
use mesh::fault::{Fault, retry_delay_of};
use mesh::testing::TestMesh;
use payment::provider::simulator::EntryKind;
use proto::payment::v1::ChargePaymentRequest;
use proto::payment::v1::payment::State;
use tonic::Code;

use crate::harness::{Service, order, reason, won};

#[tokio::test]
async fn sixty_four_repeats_at_once_charge_once() {
    let service = Service::start(TestMesh::without_broker(), &["--payment-simulator-max-latency-ms=20"]).await;
    let wanted = order("pm_card_visa");
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let (mut client, request) = (service.charges(), wanted.clone());
            deadline::spawn(async move { client.charge_payment(request).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.expect("no panic").expect("charges").into_inner().payment.expect("a payment"));
    }
    assert!(answers.iter().all(|payment| *payment == answers[0]), "every repeat gets the same payment");
    assert_eq!((answers[0].state(), answers[0].amount.clone()), (State::Approved, Some(won(38_000))));
    assert_eq!(service.kinds(), [EntryKind::Charge]);
    let audit = service.audit().await;
    assert_eq!((audit.rows.len(), audit.violations), (1, Vec::new()));
}

#[tokio::test]
async fn a_refusal_is_repeated_as_it_was() {
    let service = Service::alone().await;
    let check = async |method: &str, code: Code, expected: &str, decline_code: Option<&str>| {
        let wanted = order(method);
        for _ in 0..2 {
            let refused = service.charge(&wanted).await.expect_err("refused");
            let fault = Fault::from_status(&refused);
            assert_eq!(
                (fault.code(), fault.reason(), fault.metadata("decline_code")),
                (code, expected, decline_code),
                "{method}"
            );
        }
        let payment = service.payment_of(&wanted.reservation).await.expect("recorded");
        assert_eq!(payment.state(), State::Declined);
    };
    check("pm_card_chargeDeclined", Code::FailedPrecondition, "PAYMENT_DECLINED", Some("generic_decline")).await;
    check(
        "pm_card_chargeDeclinedInsufficientFunds",
        Code::FailedPrecondition,
        "PAYMENT_DECLINED",
        Some("insufficient_funds"),
    )
    .await;
    check("pm_stolen", Code::InvalidArgument, "PAYMENT_METHOD_UNKNOWN", None).await;
    assert_eq!(service.kinds(), []);
    let audit = service.audit().await;
    assert_eq!((audit.rows.len(), audit.violations), (3, Vec::new()));
}

#[tokio::test]
async fn another_amount_or_customer_is_refused() {
    let service = Service::alone().await;
    let first = order("pm_card_visa");
    service.charge(&first).await.expect("charges");
    for other in [
        ChargePaymentRequest { amount: Some(won(38_001)), ..first.clone() },
        ChargePaymentRequest { customer: "users/mallory".to_owned(), ..first.clone() },
    ] {
        let refused = service.charge(&other).await.expect_err("refused");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "PAYMENT_MISMATCH"));
    }
    assert_eq!(service.kinds(), [EntryKind::Charge]);
}

#[tokio::test]
async fn amounts_that_are_none_are_refused() {
    let service = Service::alone().await;
    for amount in [won(0), won(-1), proto::google::r#type::Money { nanos: 1, ..won(1) }] {
        let refused = service
            .charge(&ChargePaymentRequest { amount: Some(amount), ..order("pm_card_visa") })
            .await
            .expect_err("refused");
        assert_eq!(
            (refused.code(), Fault::from_status(&refused).metadata("field")),
            (Code::InvalidArgument, Some("amount"))
        );
    }
    assert_eq!(service.kinds(), []);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_and_charged_once() {
    // K3: the callee has done it, the caller does not know.
    let service = Service::alone().await;
    let payment = service.charge(&order("pm_sim_lost_answer")).await.expect("charges");
    assert_eq!(payment.state(), State::Approved);
    assert_eq!(service.kinds(), [EntryKind::Charge]);
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_stop_the_charge() {
    let service = Service::alone().await;
    let wanted = order("pm_sim_slow");
    let (mut client, request) = (service.charges(), wanted.clone());
    let call = deadline::spawn(async move { client.charge_payment(request).await });
    service.until(&wanted.reservation, State::Waiting).await;
    call.abort();
    let payment = service.until(&wanted.reservation, State::Approved).await;
    assert_eq!(service.charge(&wanted).await.expect("the repeat answers"), payment);
    assert_eq!(service.kinds(), [EntryKind::Charge]);
}

#[tokio::test]
async fn a_caller_without_patience_is_told_in_time_that_the_outcome_is_open() {
    let service = Service::alone().await;
    let wanted = order("pm_sim_slow");
    let open = service.charge_within(&wanted, Duration::from_millis(300)).await.expect_err("not yet");
    assert_eq!((open.code(), reason(&open).as_str()), (Code::Unavailable, "PROVIDER_UNAVAILABLE"));
    assert!(retry_delay_of(&open).is_some());
    // A repeat meanwhile waits as long as it may.
    let open = service.charge_within(&wanted, Duration::from_millis(200)).await.expect_err("not yet");
    assert_eq!((open.code(), reason(&open).as_str()), (Code::Aborted, "PAYMENT_IN_PROGRESS"));
    assert!(retry_delay_of(&open).is_some());
    let payment = service.charge(&wanted).await.expect("waits for the running charge");
    assert_eq!(payment.state(), State::Approved);
    assert_eq!(service.kinds(), [EntryKind::Charge]);
}

#[tokio::test]
async fn a_provider_that_is_down_is_answered_in_time_and_nothing_is_guessed() {
    let service = Service::alone().await;
    let wanted = order("pm_sim_unavailable");
    let started = Instant::now();
    let down = service.charge_within(&wanted, Duration::from_millis(600)).await.expect_err("down");
    assert!(started.elapsed() < Duration::from_millis(600), "took {:?}", started.elapsed());
    assert_eq!((down.code(), reason(&down).as_str()), (Code::Unavailable, "PROVIDER_UNAVAILABLE"));
    assert!(retry_delay_of(&down).is_some());
    let payment = service.payment_of(&wanted.reservation).await.expect("recorded");
    assert_eq!(payment.state(), State::Waiting);
    // A repeat asks again at once rather than being told to wait for nobody.
    let down = service.charge_within(&wanted, Duration::from_millis(300)).await.expect_err("still down");
    assert!(["PROVIDER_UNAVAILABLE", "PAYMENT_IN_PROGRESS"].contains(&reason(&down).as_str()));
}

#[tokio::test]
async fn a_slow_provider_holds_no_transaction_open() {
    // K4: SQLite has one writer; if the slow charges held it, nobody else could write.
    let service = Service::alone().await;
    let slow: Vec<_> = (0..16)
        .map(|_| {
            let (mut client, request) = (service.charges(), order("pm_sim_slow"));
            deadline::spawn(async move { client.charge_payment(request).await })
        })
        .collect();
    let others = Instant::now();
    for _ in 0..20 {
        service.charge(&order("pm_card_visa")).await.expect("charges meanwhile");
    }
    assert!(
        slow.iter().all(|call| !call.is_finished()),
        "the others took {:?}: longer than the slow ones",
        others.elapsed()
    );
    for call in slow {
        call.await.expect("no panic").expect("charges");
    }
    assert_eq!(service.kinds().len(), 36);
}
