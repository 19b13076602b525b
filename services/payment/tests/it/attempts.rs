//! Charging again what was declined: one attempt after the other, and one approved at most.

use std::time::Duration;

use mesh::deadline;
use mesh::fault::Fault;
use mesh::testing::TestMesh;
use payment::provider::simulator::{Entry, EntryKind};
use proto::payment::v1::payment::State;
use proto::payment::v1::{ChargePaymentRequest, Payment, RefundPaymentRequest};
use tonic::{Code, Status};

use crate::harness::{Audit, Service, attempt, order, reason, registration, told};

/// What the provider did for each attempt of a payment: its number, and what.
fn tries(books: &[Entry], payment: &Payment) -> Vec<(String, EntryKind)> {
    let id = payment.name.trim_start_matches("payments/");
    let number = |entry: &Entry| entry.key.strip_prefix(id).map(|rest| rest.trim_start_matches('-').to_owned());
    books.iter().filter_map(|entry| Some((number(entry)?, entry.kind))).collect()
}

#[tokio::test]
async fn a_declined_payment_is_charged_by_the_next_attempt() {
    let service = Service::alone().await;
    let first = order("pm_card_chargeDeclinedInsufficientFunds");
    service.register(&registration(&first)).await.expect("registers");
    for _ in 0..2 {
        assert_eq!(reason(&service.charge(&first).await.expect_err("declined")), "PAYMENT_DECLINED");
    }
    let declined = service.payment_of(&first.reservation).await.expect("recorded");
    assert_eq!((declined.state(), declined.attempt), (State::Declined, 1));

    let unknown = service.charge(&attempt(&first, 2, "pm_stolen")).await.expect_err("unknown");
    assert_eq!(reason(&unknown), "PAYMENT_METHOD_UNKNOWN");
    let fourth = attempt(&first, 4, "pm_card_visa");
    let charged = service.charge(&fourth).await.expect("charges");
    assert_eq!((charged.state(), charged.attempt, &charged.name), (State::Approved, 4, &declined.name));
    assert_eq!(charged.decline_code, "");
    assert_eq!(service.charge(&fourth).await.expect("repeats"), charged);
    // A later attempt finds it paid; an earlier one took nothing and never will.
    assert_eq!(service.charge(&attempt(&first, 5, "pm_card_chargeDeclined")).await.expect("is paid"), charged);
    for lower in [1, 2, 3] {
        let refused = service.charge(&attempt(&first, lower, "pm_card_visa")).await.expect_err("is over");
        let fault = Fault::from_status(&refused);
        assert_eq!(
            (fault.code(), fault.reason(), fault.metadata("decline_code")),
            (Code::FailedPrecondition, "PAYMENT_DECLINED", Some("attempt_superseded"))
        );
    }
    service.refund(&first.reservation).await.expect("refunds");
    let audit = service.audit().await;
    // K36: however often it is tried, a reservation has one payment.
    assert_eq!((audit.rows.len(), audit.violations), (1, Vec::new()));
    let fourth = || "4".to_owned();
    assert_eq!(tries(&audit.books, &charged), [(fourth(), EntryKind::Charge), (fourth(), EntryKind::Refund)]);
    let events = [("PaymentDeclined", 1), ("PaymentDeclined", 2), ("PaymentApproved", 3), ("PaymentCancelled", 4)];
    assert_eq!(audit.events, told(events));
}

#[tokio::test]
async fn an_attempt_under_way_is_not_followed_by_another() {
    let service = Service::alone().await;
    let (slow, down) = (order("pm_sim_slow"), order("pm_sim_unavailable"));
    let (mut client, request) = (service.charges(), slow.clone());
    let call = deadline::spawn(async move { client.charge_payment(request).await });
    service.until(&slow.reservation, State::Waiting).await;
    service.charge_within(&down, Duration::from_secs(1)).await.expect_err("down");
    for wanted in [&slow, &down] {
        let refused = service.charge(&attempt(wanted, 2, "pm_card_visa")).await.expect_err("not yet");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "PAYMENT_IN_PROGRESS"));
    }
    let charged = call.await.expect("no panic").expect("charges").into_inner().payment.expect("a payment");
    assert_eq!((charged.state(), charged.attempt), (State::Approved, 1));
    assert_eq!(service.kinds(), [EntryKind::Charge]);
}

/// Many callers, each with an attempt of its own or a repeat of another's, all at once.
async fn all_at_once(service: &Service, requests: Vec<ChargePaymentRequest>) -> Vec<Result<Payment, Status>> {
    let calls: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let mut client = service.charges();
            deadline::spawn(async move { client.charge_payment(request).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        let answer = call.await.expect("no panic");
        answers.push(answer.map(|answer| answer.into_inner().payment.expect("a payment")));
    }
    answers
}

#[tokio::test]
async fn of_attempts_that_race_one_is_approved() {
    let service = Service::start(TestMesh::without_broker(), &["--payment-simulator-max-latency-ms=5"]).await;
    for declined_before in [false, true, false, true] {
        let wanted = order("pm_card_chargeDeclined");
        service.register(&registration(&wanted)).await.expect("registers");
        if declined_before {
            service.charge(&wanted).await.expect_err("declined");
        }
        let requests = (0..64).map(|n| attempt(&wanted, 2 + n % 4, "pm_card_visa")).collect();
        let answers = all_at_once(&service, requests).await;
        let (paid, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        let paid: Vec<_> = paid.into_iter().map(|paid| paid.expect("partitioned")).collect();
        assert!(!paid.is_empty() && paid.iter().all(|payment| *payment == paid[0]), "one payment: {paid:?}");
        for refused in refused {
            let reason = reason(&refused.expect_err("partitioned"));
            assert!(["PAYMENT_IN_PROGRESS", "PAYMENT_DECLINED"].contains(&reason.as_str()), "{reason}");
        }
        let last = service.charge(&attempt(&wanted, 9, "pm_card_visa")).await.expect("is paid");
        assert_eq!(last, paid[0]);
        let charges = tries(&service.books(), &last);
        assert_eq!(charges, [(last.attempt.to_string(), EntryKind::Charge)]);
    }
    let audit = service.audit().await;
    assert_eq!((audit.rows.len(), audit.violations), (4, Vec::new()));
}

#[tokio::test]
async fn a_refund_racing_the_attempts_keeps_no_money() {
    let service = Service::start(
        TestMesh::without_broker(),
        &["--payment-simulator-max-latency-ms=5", "--payment-simulator-seed=3"],
    )
    .await;
    let mut races = Vec::new();
    for n in 0..48_u64 {
        let (mut charges, mut refunds, wanted) =
            (service.charges(), service.charges(), order("pm_card_chargeDeclined"));
        service.register(&registration(&wanted)).await.expect("registers");
        races.push(deadline::spawn(async move {
            let refund = RefundPaymentRequest { reservation: wanted.reservation.clone() };
            let second = attempt(&wanted, 2, "pm_card_visa");
            let ((), refunded) = tokio::join!(
                async {
                    let first = charges.charge_payment(wanted).await.expect_err("declined or given up");
                    assert!(["PAYMENT_DECLINED", "PAYMENT_CANCELLED"].contains(&reason(&first).as_str()));
                    if let Err(refused) = charges.charge_payment(second).await {
                        assert_eq!(reason(&refused), "PAYMENT_CANCELLED");
                    }
                },
                async {
                    tokio::time::sleep(Duration::from_micros(n * 400)).await;
                    refunds.refund_payment(refund).await
                }
            );
            refunded.expect("a refund is never refused");
        }));
    }
    for race in races {
        race.await.expect("no panic");
    }
    let Audit { rows, violations, books, .. } = service.audit().await;
    assert_eq!((rows.len(), violations), (48, Vec::new()));
    assert!(rows.iter().all(|row| row.state == payment::domain::State::Cancelled), "{rows:?}");
    for row in rows {
        let kinds: Vec<_> =
            books.iter().filter(|entry| entry.payment() == Some(row.id)).map(|entry| entry.kind).collect();
        assert!(
            matches!(kinds.as_slice(), [] | [EntryKind::Void] | [EntryKind::Charge, EntryKind::Refund]),
            "{kinds:?}"
        );
    }
}

#[tokio::test]
async fn an_open_attempt_cannot_succeed_after_the_refund() {
    let service = Service::alone().await;
    let wanted = order("pm_card_chargeDeclined");
    service.charge(&wanted).await.expect_err("declined");
    let (mut client, request) = (service.charges(), attempt(&wanted, 2, "pm_sim_slow"));
    let call = deadline::spawn(async move { client.charge_payment(request).await });
    service.until(&wanted.reservation, State::Waiting).await;
    service.refund(&wanted.reservation).await.expect("accepted");
    assert_eq!(reason(&call.await.expect("no panic").expect_err("given up")), "PAYMENT_CANCELLED");
    let payment = service.until(&wanted.reservation, State::Cancelled).await;
    let again = service.charge(&attempt(&wanted, 3, "pm_card_visa")).await.expect_err("given up");
    assert_eq!(reason(&again), "PAYMENT_CANCELLED");
    let second = || "2".to_owned();
    let tries = tries(&service.books(), &payment);
    assert!(
        tries == [(second(), EntryKind::Void)]
            || tries == [(second(), EntryKind::Charge), (second(), EntryKind::Refund)],
        "{tries:?}"
    );
}
