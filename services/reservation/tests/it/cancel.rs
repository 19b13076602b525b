//! Cancelling: in every state, once, and only by its customer.

use mesh::testing::eventually;
use proto::{
    payment::v1::payment::State as PaymentState,
    reservation::v1::{CancelReservationRequest, reservation::State},
};
use tonic::Code;

use crate::harness::{PATIENCE, Stage, cancel, cancellation, get, list, reason, request_id, reserve, until, wish};

#[tokio::test]
async fn a_cancellation_is_refunded_by_events_and_repeats_change_nothing() {
    let stage = Stage::set().await;
    let (guest, listing) = (stage.customer("gil"), stage.offer(100).await);
    let booked = reserve(&guest, &wish(&listing, "pm_card_visa")).await.expect("a room");
    let request = cancellation(&booked.name);
    let requested = cancel(&guest, &request).await.expect("accepted");
    assert_eq!(requested.state(), State::CancelRequested);
    let cancelled = until(&guest, &booked.name, State::Cancelled).await;

    assert_eq!(cancel(&guest, &request).await.expect("a repeat"), requested, "the first answer");
    assert_eq!(cancel(&guest, &cancellation(&booked.name)).await.expect("once more"), cancelled, "as it is now");
    let other = CancelReservationRequest { etag: "\"9\"".to_owned(), ..request };
    assert_eq!(reason(&cancel(&guest, &other).await.expect_err("another body")), "REQUEST_ID_REUSED");
    eventually(PATIENCE, || async { stage.is_free(&listing).await }).await;
    assert_eq!(stage.payments("gil").await[0].state(), PaymentState::Cancelled);
    stage.strike().await;
}

#[tokio::test]
async fn what_cost_nothing_is_cancelled_at_once() {
    let stage = Stage::set().await;
    let (guest, listing) = (stage.customer("gil"), stage.offer(0).await);
    let booked = reserve(&guest, &wish(&listing, "pm_card_visa")).await.expect("free of charge");
    assert_eq!(cancel(&guest, &cancellation(&booked.name)).await.expect("at once").state(), State::Cancelled);
    eventually(PATIENCE, || async { stage.is_free(&listing).await }).await;
    stage.strike().await;
}

/// K13, T39: before it is confirmed there is already something to cancel, and all of it is undone.
#[tokio::test]
async fn cancelling_during_the_charge_undoes_the_saga() {
    let stage = Stage::set().await;
    let (guest, listing) = (stage.customer("gil"), stage.offer(100).await);
    let request = wish(&listing, "pm_sim_slow");
    let call = {
        let (guest, request) = (guest.clone(), request.clone());
        mesh::deadline::spawn(async move { reserve(&guest, &request).await })
    };
    let name = eventually(PATIENCE, || async { list(&guest).await.first().map(|found| found.name.clone()) }).await;
    assert_eq!(cancel(&guest, &cancellation(&name)).await.expect("accepted").state(), State::CancelRequested);
    let refused = call.await.expect("no panic").expect_err("it was cancelled");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "RESERVATION_CANCELLED"));
    until(&guest, &name, State::Cancelled).await;
    assert!(stage.is_free(&listing).await);
    eventually(PATIENCE, || async { stage.payments("gil").await[0].state() == PaymentState::Cancelled }).await;
    assert_eq!(reason(&reserve(&guest, &request).await.expect_err("a repeat")), "RESERVATION_CANCELLED");
    stage.strike().await;
}

#[tokio::test]
async fn an_old_etag_and_a_wrong_name_are_refused() {
    let stage = Stage::set().await;
    let (guest, listing) = (stage.customer("gil"), stage.offer(100).await);
    let booked = reserve(&guest, &wish(&listing, "pm_card_visa")).await.expect("a room");
    let old = CancelReservationRequest { etag: "\"1\"".to_owned(), ..cancellation(&booked.name) };
    let refused = cancel(&guest, &old).await.expect_err("an old etag");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    let current = CancelReservationRequest { etag: booked.etag.clone(), ..old };
    assert_eq!(cancel(&guest, &current).await.expect("current").state(), State::CancelRequested);

    let unknown = cancellation(&format!("reservations/{}", request_id()));
    assert_eq!(reason(&cancel(&guest, &unknown).await.expect_err("none")), "RESERVATION_NOT_FOUND");
    let stranger = stage.customer("mina");
    assert_eq!(
        reason(&cancel(&stranger, &cancellation(&booked.name)).await.expect_err("not hers")),
        "RESERVATION_NOT_FOUND"
    );
    assert_eq!(reason(&get(&stranger, &booked.name).await.expect_err("not hers")), "RESERVATION_NOT_FOUND");
    stage.strike().await;
}
