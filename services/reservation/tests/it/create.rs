//! Creating: once, whatever callers do.

use std::time::Duration;

use mesh::testing::eventually;
use proto::{
    listing::v1::{ReservationPolicy, reservation_policy},
    payment::v1::payment::State as PaymentState,
    reservation::v1::reservation::State,
};
use tonic::Code;

use crate::{
    harness::{PATIENCE, Stage, cancel, cancellation, list, reason, reserve, reserve_within, until, wish},
    scene::{approval, approve, pay, payment},
};

#[tokio::test]
async fn what_costs_nothing_is_confirmed_without_a_payment() {
    let stage = Stage::set().await;
    let guest = stage.customer("gil");
    let listing = stage.offer(0).await;
    let booked = reserve(&guest, &wish(&listing, "pm_card_visa")).await.expect("free of charge");
    assert_eq!((booked.state(), booked.payment.as_str()), (State::Confirmed, ""));
    assert!(stage.payments("gil").await.is_empty());
    stage.strike().await;
}

/// K3, K4: a caller that goes away does not stop a saga half way.
#[tokio::test]
async fn a_dropped_caller_still_has_one_confirmed_reservation() {
    let stage = Stage::set().await;
    let (guest, listing) = (stage.customer("gil"), stage.offer(100).await);
    let request = wish(&listing, "pm_sim_slow");
    let call = {
        let (guest, request) = (guest.clone(), request.clone());
        mesh::deadline::spawn(async move { reserve(&guest, &request).await })
    };
    let name = eventually(PATIENCE, || async { list(&guest).await.first().map(|found| found.name.clone()) }).await;
    call.abort();
    let booked = until(&guest, &name, State::Confirmed).await;
    assert_eq!(reserve(&guest, &request).await.expect("a repeat"), booked);
    assert_eq!(stage.payments("gil").await.len(), 1);
    stage.strike().await;
}

/// T38: out of time means undone, also for the money that was taken too late; and the request may come again.
#[tokio::test]
async fn a_deadline_in_the_middle_of_the_charge_is_undone_completely() {
    let stage = Stage::set().await;
    let (guest, listing) = (stage.customer("gil"), stage.offer(100).await);
    let request = wish(&listing, "pm_sim_slow");
    let late = reserve_within(&guest, &request, Duration::from_millis(400)).await.expect_err("it takes two seconds");
    // Which of the two depends on who notices first: payment, that its provider takes too long, or reservation.
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Unavailable), "{late:?}");
    eventually(PATIENCE, || async { stage.is_free(&listing).await }).await;
    eventually(PATIENCE, || async {
        stage.payments("gil").await.iter().all(|payment| payment.state() == PaymentState::Cancelled)
    })
    .await;
    let booked = eventually(PATIENCE, || async { reserve(&guest, &request).await.ok() }).await;
    assert_eq!(booked.state(), State::Confirmed);
    assert_eq!(list(&guest).await.len(), 1, "undone attempts are not shown");
    stage.strike().await;
}

#[tokio::test]
async fn a_request_id_belongs_to_one_caller_and_one_body() {
    let stage = Stage::set().await;
    let (guest, other) = (stage.customer("gil"), stage.customer("mina"));
    let (first, second) = (stage.offer(100).await, stage.offer(100).await);
    let request = wish(&first, "pm_card_visa");
    reserve(&guest, &request).await.expect("a room");
    let elsewhere = proto::reservation::v1::CreateReservationRequest {
        request_id: request.request_id.to_uppercase(),
        ..wish(&second, "pm_card_visa")
    };
    let refused = reserve(&guest, &elsewhere).await.expect_err("the same id in capitals, another body");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
    let theirs = reserve(&other, &elsewhere).await.expect("another caller's id is another id");
    assert_eq!(theirs.state(), State::Confirmed);
    stage.strike().await;
}

#[tokio::test]
async fn lists_are_paged_and_shown_to_customer_and_host_only() {
    let stage = Stage::set().await;
    let guest = stage.customer("gil");
    let mut names = Vec::new();
    for _ in 0..5 {
        let listing = stage.offer(100).await;
        names.insert(0, reserve(&guest, &wish(&listing, "pm_card_visa")).await.expect("a room").name);
    }
    let refused = wish(&stage.offer(100).await, "pm_card_chargeDeclined");
    assert_eq!(reason(&reserve(&guest, &refused).await.expect_err("declined")), "PAYMENT_DECLINED");

    let listed: Vec<_> = list(&guest).await.into_iter().map(|found| found.name).collect();
    assert_eq!(listed, names, "newest first, and no refused one");
    assert_eq!(list(&stage.host()).await.len(), 5);
    assert!(list(&stage.customer("mina")).await.is_empty());
    stage.strike().await;
}

/// 4.3 C with the real payment service: a declined attempt, another method, a refund.
#[tokio::test]
async fn a_deferred_payment_is_registered_declined_then_taken_and_given_back() {
    let stage = Stage::set().await;
    let guest = stage.customer("gil");
    let policy = ReservationPolicy {
        payment: reservation_policy::Payment::Deferred.into(),
        mileage: reservation_policy::Mileage::None.into(),
        ..ReservationPolicy::default()
    };
    let listing = stage.offer_under(100, policy).await;
    let asked = reserve(&guest, &wish(&listing, "")).await.expect("registered");
    assert_eq!(asked.state(), State::AwaitingPayment);
    let declined = pay(&guest, payment(&asked.name, "pm_card_chargeDeclined")).await.expect_err("declined");
    assert_eq!(reason(&declined), "PAYMENT_DECLINED");
    let paid = pay(&guest, payment(&asked.name, "pm_card_visa")).await.expect("another card");
    assert_eq!((paid.state(), &paid.payment), (State::Confirmed, &asked.payment));
    cancel(&guest, &cancellation(&asked.name)).await.expect("accepted");
    until(&guest, &asked.name, State::Cancelled).await;
    assert_eq!(stage.payments("gil").await[0].state(), PaymentState::Cancelled);
    eventually(PATIENCE, || async { stage.is_free(&listing).await }).await;
    stage.strike().await;
}

/// 4.3 B and D with the real services: approved before, and after, it is charged; a rejected one is refunded by its event.
#[tokio::test]
async fn hosts_approve_and_reject_before_and_after_the_payment() {
    let stage = Stage::set().await;
    let (guest, host) = (stage.customer("gil"), stage.host());
    let policy = |approval: reservation_policy::Approval, payment: reservation_policy::Payment| ReservationPolicy {
        approval: approval.into(),
        payment: payment.into(),
        mileage: reservation_policy::Mileage::None.into(),
        ..ReservationPolicy::default()
    };
    let before = policy(reservation_policy::Approval::BeforePayment, reservation_policy::Payment::OnApproval);
    let asked = reserve(&guest, &wish(&stage.offer_under(100, before).await, "pm_card_visa")).await.expect("asked");
    assert!(stage.payments("gil").await.is_empty());
    let approved = approve(&host, approval(&asked.name)).await.expect("approved and paid");
    assert_eq!(approved.state(), State::Confirmed);

    let after = policy(reservation_policy::Approval::AfterPayment, reservation_policy::Payment::AtBooking);
    let listing = stage.offer_under(100, after).await;
    let paid = reserve(&guest, &wish(&listing, "pm_card_visa")).await.expect("paid");
    assert_eq!(paid.state(), State::AwaitingApproval);
    crate::scene::reject(&host, &paid.name).await.expect("rejected");
    eventually(PATIENCE, || async {
        let payments = stage.payments("gil").await;
        payments.iter().any(|payment| payment.name == paid.payment && payment.state() == PaymentState::Cancelled)
    })
    .await;
    eventually(PATIENCE, || async { stage.is_free(&listing).await }).await;
    stage.strike().await;
}
