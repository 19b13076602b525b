//! Booking and cancelling, alone and in a crowd.

use std::collections::HashSet;

use proto::{
    message::v1::message::Topic,
    payment::v1::payment::State as PaymentState,
    reservation::v1::{CreateReservationRequest, reservation::State},
    view::v1::Trip,
};
use tokio::task::JoinSet;
use tonic::Code;

use world::{
    PATIENCE, World,
    caller::{Caller, reason, request_id, stay, wish, won},
    offers::PRICE,
};

/// A2–A6, A9, A10, A14–A17, A21, A22, A29, A30, A49, A52, A60, A61, B2, B17, T17: the whole story through public RPCs
/// only, between processes that find each other by configured addresses.
#[tokio::test]
async fn a_stay_is_booked_paid_told_and_shown_then_cancelled_and_all_of_it_taken_back() {
    let world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;

    let request = CreateReservationRequest { expected_total: Some(won(2 * PRICE)), ..wish(&listing) };
    let booked = guest.reserve(&request).await.expect("a room is free");
    assert_eq!(booked.state(), State::Confirmed);
    assert_eq!((booked.customer.as_str(), booked.host.as_str()), ("users/gil", "users/hana"));
    assert_eq!(booked.total, Some(won(2 * PRICE)));
    assert_eq!(guest.reserve(&request).await.expect("a repeat"), booked, "the same answer, byte for byte");
    let payment = guest.payment(&booked.payment).await;
    assert_eq!((payment.state(), payment.amount), (PaymentState::Approved, Some(won(2 * PRICE))));
    assert_eq!(guest.miles().await, 1);
    assert_eq!(guest.free(&listing, &stay(30)).await, 0);

    let messages = guest.until_told(&booked.name, 2).await;
    let topics: HashSet<_> = messages.iter().map(proto::message::v1::Message::topic).collect();
    assert_eq!(topics, HashSet::from([Topic::ReservationConfirmed, Topic::MileageIncreased]));
    let timeline = until_timeline(&guest, &booked.name, 8).await;
    let services: HashSet<_> = timeline.iter().map(String::as_str).collect();
    for event in [
        "holdfast.listing.v1.HoldPlaced",
        "holdfast.payment.v1.PaymentApproved",
        "holdfast.mileage.v1.MileageIncreased",
        "holdfast.reservation.v1.ReservationRequested",
        "holdfast.reservation.v1.ReservationConfirmed",
        "holdfast.listing.v1.HoldCommitted",
        "holdfast.message.v1.MessageSent",
    ] {
        assert!(services.contains(event), "{event} is missing in {timeline:?}");
    }
    let paid = |trip: &Trip| (trip.payment_state(), trip.mileage_points) == (PaymentState::Approved, 1);
    guest.until_trip(&booked.name, paid).await;
    assert!(host.trip(&booked.name).await.is_ok(), "B2: the host looks at the same view");

    let cancelled = guest.cancel(&booked.name).await.expect("accepted");
    assert_eq!(cancelled.state(), State::CancelRequested);
    guest.until(&booked.name, State::Cancelled).await;
    guest.until_told(&booked.name, 4).await;
    assert_eq!(guest.payment(&booked.payment).await.state(), PaymentState::Cancelled);
    assert_eq!(guest.miles().await, 0);
    mesh::testing::eventually(PATIENCE, || async { guest.free(&listing, &stay(30)).await == 1 }).await;
    world.audit();
}

async fn until_timeline(caller: &Caller, reservation: &str, count: usize) -> Vec<String> {
    caller.until_trip(reservation, |_| true).await;
    mesh::testing::eventually(PATIENCE, || async {
        let entries = caller.timeline(reservation).await;
        (entries.len() >= count).then(|| entries.into_iter().map(|entry| entry.r#type).collect())
    })
    .await
}

/// A2, B4, K5: check-then-act would sell the room twice.
#[tokio::test]
async fn of_64_callers_for_one_room_exactly_one_gets_it() {
    let world = World::start().await;
    let listing = world.host().offer(1).await;
    let mut callers = JoinSet::new();
    for number in 0..64 {
        let (guest, request) = (world.customer(&format!("guest-{number}")), wish(&listing));
        callers.spawn(async move { guest.reserve(&request).await });
    }
    let mut winners = 0;
    while let Some(answer) = callers.join_next().await {
        match answer.expect("no panic") {
            Ok(_) => winners += 1,
            Err(status) => {
                assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "NO_AVAILABILITY"));
            }
        }
    }
    assert_eq!(winners, 1);
    world.audit();
}

/// Invariant 7: 100 callers with one request id, one reservation, one charge, and one answer for all.
#[tokio::test]
async fn a_request_id_makes_one_reservation_however_often_it_comes() {
    let world = World::start().await;
    let listing = world.host().offer(100).await;
    let (guest, request) = (world.customer("gil"), wish(&listing));
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (guest, request) = (guest.clone(), request.clone());
        calls.spawn(async move { guest.reserve(&request).await });
    }
    let mut answers = Vec::new();
    while let Some(answer) = calls.join_next().await {
        answers.push(answer.expect("no panic").expect("every repeat learns the outcome"));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "all the same");
    assert_eq!(guest.my_reservations().await.len(), 1);
    assert_eq!(guest.free(&listing, &stay(30)).await, 99);
    assert_eq!(guest.miles().await, 1);

    let other = CreateReservationRequest { payment_method: "pm_card_other".to_owned(), ..request };
    let refused = guest.reserve(&other).await.expect_err("another body");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
    world.audit();
}

/// A11, K6, T42: a declined payment leaves no hold, no reservation, and the same refusal for every repeat.
#[tokio::test]
async fn a_declined_payment_leaves_nothing_behind() {
    let world = World::start().await;
    let listing = world.host().offer(1).await;
    let guest = world.customer("gil");
    let request = CreateReservationRequest {
        payment_method: "pm_card_chargeDeclinedInsufficientFunds".to_owned(),
        ..wish(&listing)
    };
    let refused = guest.reserve(&request).await.expect_err("declined");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "PAYMENT_DECLINED"));
    assert_eq!(guest.free(&listing, &stay(30)).await, 1, "the room is free before the answer");
    let again = guest.reserve(&request).await.expect_err("still declined");
    assert_eq!((again.message(), again.details()), (refused.message(), refused.details()));
    assert!(guest.my_reservations().await.is_empty());

    let paid =
        CreateReservationRequest { request_id: request_id(), payment_method: "pm_card_visa".to_owned(), ..request };
    assert_eq!(guest.reserve(&paid).await.expect("another card").state(), State::Confirmed);
    world.audit();
}

/// A reservation is its customer's, its host's and the operator's; to others it does not exist.
#[tokio::test]
async fn nobody_else_sees_or_cancels_a_reservation() {
    let world = World::start().await;
    let listing = world.host().offer(1).await;
    let guest = world.customer("gil");
    let booked = guest.reserve(&wish(&listing)).await.expect("a room");

    let mallory = world.customer("mallory");
    let other_host = world.caller("harry", proto::contract::Role::Host);
    for stranger in [&mallory, &other_host] {
        let refused = stranger.reservation(&booked.name).await.expect_err("not theirs");
        assert_eq!(reason(&refused), "RESERVATION_NOT_FOUND", "{}", stranger.subject);
    }
    assert_eq!(reason(&mallory.cancel(&booked.name).await.expect_err("not hers")), "RESERVATION_NOT_FOUND");
    assert_eq!(other_host.cancel(&booked.name).await.expect_err("a host").code(), Code::PermissionDenied);
    assert!(mallory.my_reservations().await.is_empty());
    let operator = world.caller("olga", proto::contract::Role::Operator);
    assert_eq!(operator.reservation(&booked.name).await.expect("an operator"), booked);
}
