//! A service is down, or there and silent.

use mesh::testing::eventually;
use proto::{
    listing::v1::{Listing, ReservationPolicy, reservation_policy::Mileage},
    payment::v1::payment::State as PaymentState,
    reservation::v1::reservation::State,
};

use world::{
    PATIENCE, World,
    caller::{stay, wish},
    offers,
};

use super::come_back;

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
