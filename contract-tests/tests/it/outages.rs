//! What callers are told while something is down, and what happens when it is back. The table of ARCHITECTURE.md, row by row.

use std::time::Duration;

use mesh::testing::eventually;
use proto::{
    listing::v1::{Listing, ReservationPolicy, reservation_policy::Mileage},
    payment::v1::payment::State as PaymentState,
    reservation::v1::{CreateReservationRequest, reservation::State},
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use world::{
    PATIENCE, World,
    caller::{reason, stay, wish},
    offers,
};

/// Come back, and when.
pub(crate) fn come_back(status: &Status, expected: &str) {
    assert_eq!((status.code(), reason(status).as_str()), (Code::Unavailable, expected), "{status:?}");
    assert!(status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()), "{status:?}");
}

/// A2, B4, B6, E25: no listing, no reservation, no waiting; the same request succeeds once it is back.
#[tokio::test]
async fn listing_down_refuses_at_once_and_the_same_request_succeeds_later() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    world.stop("listing").await;
    let request = wish(&listing);
    come_back(&guest.reserve(&request).await.expect_err("down"), "LISTING_UNAVAILABLE");
    world.begin("listing").await;
    let booked = eventually(PATIENCE, || async { guest.reserve(&request).await.ok() }).await;
    assert_eq!(booked.state(), State::Confirmed);
    assert_eq!(guest.my_reservations().await.len(), 1);
    world.audit();
}

/// A3, A11, C19, D29: never confirmed without payment, and the place is free again at once.
#[tokio::test]
async fn payment_down_reserves_nothing_and_keeps_no_place() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    world.stop("payment").await;
    let request = wish(&listing);
    come_back(&guest.reserve(&request).await.expect_err("down"), "PAYMENT_UNAVAILABLE");
    eventually(PATIENCE, || async { guest.free(&listing, &stay(30)).await == 1 }).await;
    world.begin("payment").await;
    let booked = eventually(PATIENCE, || async { guest.reserve(&request).await.ok() }).await;
    assert_eq!(booked.state(), State::Confirmed);
    world.audit();
}

/// A5, C8, C20: a cancellation is accepted while payment is down; the refund follows.
#[tokio::test]
async fn cancelling_does_not_wait_for_payment() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    let booked = guest.reserve(&wish(&listing)).await.expect("a room");
    world.stop("payment").await;
    assert_eq!(guest.cancel(&booked.name).await.expect("accepted").state(), State::CancelRequested);
    world.begin("payment").await;
    guest.until(&booked.name, State::Cancelled).await;
    assert_eq!(guest.payment(&booked.payment).await.state(), PaymentState::Cancelled);
    eventually(PATIENCE, || async { guest.miles().await == 0 }).await;
    world.audit();
}

/// A9, A50: mileage is a supporting service; with the default policy nobody notices that it is down.
#[tokio::test]
async fn mileage_down_earns_the_miles_later() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(2).await;
    world.stop("mileage").await;
    let booked = guest.reserve(&wish(&listing)).await.expect("graceful");
    assert_eq!(booked.state(), State::Confirmed);
    world.begin("mileage").await;
    eventually(PATIENCE, || async { guest.miles().await == 1 }).await;
    guest.until_told(&booked.name, 2).await;
    world.audit();
}

/// A32: with the strict policy there is no reservation without miles, and no charge stays.
#[tokio::test]
async fn mileage_down_refuses_where_the_policy_is_strict() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let policy = ReservationPolicy { mileage: Mileage::EarnStrict.into(), ..ReservationPolicy::default() };
    let strict = Listing { policy: Some(policy), ..offers::room(1) };
    let listing = host.offer_listing(strict).await;
    world.stop("mileage").await;
    let request = wish(&listing);
    come_back(&guest.reserve(&request).await.expect_err("strict"), "MILEAGE_UNAVAILABLE");
    eventually(PATIENCE, || async { guest.free(&listing, &stay(30)).await == 1 }).await;
    world.begin("mileage").await;
    let booked = eventually(PATIENCE, || async { guest.reserve(&request).await.ok() }).await;
    assert_eq!((booked.state(), guest.miles().await), (State::Confirmed, 1));
    world.audit();
}

/// A12, A33, A62, B12: message and view down, nobody notices; back, they have missed nothing and tell nothing twice.
#[tokio::test]
async fn message_and_view_catch_up_with_what_they_missed() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(20).await;
    world.stop("message").await;
    world.stop("view").await;
    let mut booked = Vec::new();
    for _ in 0..5 {
        booked.push(guest.reserve(&wish(&listing)).await.expect("bookings go on"));
    }
    let cancelled = guest.cancel(&booked[0].name).await.expect("cancelling too");
    world.begin("message").await;
    world.begin("view").await;
    guest.until(&cancelled.name, State::Cancelled).await;
    for (number, reservation) in booked.iter().enumerate() {
        let expected = if number == 0 { 4 } else { 2 };
        let told = guest.until_told(&reservation.name, expected).await;
        assert_eq!(told.len(), expected, "each message once");
        eventually(PATIENCE, || async {
            let current = guest.reservation(&reservation.name).await.expect("it is there").state;
            guest.trip(&reservation.name).await.is_ok_and(|trip| trip.reservation.is_some_and(|r| r.state == current))
        })
        .await;
    }
    world.audit();
}

/// K2: the broker is down, bookings go on, and every event arrives once it is back.
#[tokio::test]
async fn without_the_broker_bookings_go_on_and_events_follow() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(20).await;
    world.broker.stop();
    let mut booked = Vec::new();
    for _ in 0..5 {
        booked.push(guest.reserve(&wish(&listing)).await.expect("bookings go on"));
    }
    assert_eq!(guest.cancel(&booked[0].name).await.expect("accepted").state(), State::CancelRequested);
    world.broker.restart();
    guest.until(&booked[0].name, State::Cancelled).await;
    for reservation in &booked[1..] {
        assert_eq!(guest.until_told(&reservation.name, 2).await.len(), 2);
    }
    world.audit();
}

/// T38, K3: the caller's time runs out during the charge. The answer says so in time, nothing stays, a late charge is refunded.
#[tokio::test]
async fn a_slow_payment_is_undone_and_its_caller_told_in_time() {
    let world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    let request = CreateReservationRequest { payment_method: "pm_sim_slow".to_owned(), ..wish(&listing) };
    let late = guest.reserve_within(&request, Duration::from_millis(500)).await.expect_err("the charge takes 2 s");
    // Which of the two depends on who notices first: payment, that its provider takes too long, or reservation.
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Unavailable), "{late:?}");
    assert!(late.get_details_retry_info().is_some(), "{late:?}");
    eventually(PATIENCE, || async { guest.free(&listing, &stay(30)).await == 1 }).await;
    world.audit();
    assert!(guest.my_reservations().await.iter().all(|reservation| reservation.state() != State::Confirmed));
}

/// K3: the provider charged, and its answer was lost. It is asked again, not guessed, and charged once.
#[tokio::test]
async fn a_lost_answer_of_the_provider_is_asked_for_again() {
    let world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    let request = CreateReservationRequest { payment_method: "pm_sim_lost_answer".to_owned(), ..wish(&listing) };
    let booked = eventually(PATIENCE, || async { guest.reserve(&request).await.ok() }).await;
    assert_eq!(booked.state(), State::Confirmed);
    world.audit();
}

/// K8: reservation dies between the charge's beginning and its answer. Whoever starts next carries the saga to its end.
#[tokio::test]
async fn a_crash_during_the_charge_ends_in_one_confirmed_reservation_charged_once() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    let request = CreateReservationRequest { payment_method: "pm_sim_slow".to_owned(), ..wish(&listing) };
    let call = {
        let (guest, request) = (guest.clone(), request.clone());
        mesh::deadline::spawn(async move { guest.reserve(&request).await })
    };
    eventually(PATIENCE, || async { guest.free(&listing, &stay(30)).await == 0 }).await;
    let name = guest.my_reservations().await.first().expect("requested").name.clone();
    world.kill("reservation");
    assert!(call.await.expect("no panic").is_err(), "the caller cannot know");
    world.begin("reservation").await;
    let booked = guest.until(&name, State::Confirmed).await;
    assert_eq!(guest.reserve(&request).await.expect("a repeat"), booked);
    assert_eq!(guest.miles().await, 1);
    world.audit();
}

/// K55, K8: processes are killed while callers book. Every confirmed reservation stays, every repeat learns one truth.
#[tokio::test]
async fn killed_services_lose_nothing_and_double_nothing() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1000).await;
    let mut requests = Vec::new();
    for victim in ["reservation", "payment", "listing", "mileage", "message", "view"] {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (guest, request) = (guest.clone(), wish(&listing));
            requests.push(request.clone());
            calls.spawn(async move {
                let _ = guest.reserve(&request).await;
            });
        }
        // Somewhere in the middle of the eight: after the first has been answered.
        calls.join_next().await;
        world.kill(victim);
        calls.join_all().await;
        world.begin(victim).await;
    }
    for request in &requests {
        let booked = eventually(PATIENCE, || async { guest.reserve(request).await.ok() }).await;
        assert_eq!(booked.state(), State::Confirmed);
        assert_eq!(guest.reserve(request).await.expect("a repeat"), booked);
    }
    assert_eq!(guest.free(&listing, &stay(30)).await, 1000 - i32::try_from(requests.len()).expect("few"));
    world.audit();
}
