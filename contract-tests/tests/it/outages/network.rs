//! The network between two services fails, in the ways networks do. It works on threads of its own while a test waits for a process.

use std::time::Duration;

use mesh::testing::eventually;
use proto::{payment::v1::payment::State as PaymentState, reservation::v1::reservation::State};

use world::{
    PATIENCE, World,
    caller::{Caller, stay, wish},
    link::{Link, Way},
};

use super::{come_back, invited, until_booked};

/// A world in which everybody reaches this service through a link only; tests' callers go straight.
async fn linked(service: &'static str) -> (World, Link) {
    let link = Link::start().await;
    let name = format!("HOLDFAST_{}_URL", service.to_uppercase());
    let world = World::start_with(&[(&name, &link.url())]).await;
    link.lead_to(world.address(service));
    (world, link)
}

/// Somebody else books somewhere else: nothing is sent over a connection on which the server has not spoken yet.
async fn connect_all(world: &World) {
    let listing = world.host().offer(1).await;
    until_booked(&world.customer("dana"), &wish(&listing)).await;
}

/// One place: nothing is taken, and nothing paid but what was given back.
async fn nothing_left(guest: &Caller, listing: &str) {
    eventually(PATIENCE, || async { guest.free(listing, &stay(30)).await == 1 }).await;
    eventually(PATIENCE, || async {
        guest.my_payments().await.iter().all(|payment| payment.state() == PaymentState::Cancelled)
    })
    .await;
}

/// A2, B6: connections end and none is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_between_reservation_and_listing_is_told_at_once_and_heals() {
    let (world, link) = linked("listing").await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(2).await;
    until_booked(&guest, &wish(&listing)).await;
    link.cut();
    let request = wish(&listing);
    come_back(&guest.reserve(&request).await.expect_err("cut"), "LISTING_UNAVAILABLE");
    link.mend();
    until_booked(&guest, &request).await;
    world.audit();
}

/// T38: half open. What is sent does not arrive, and nobody is told; deadlines hold, and the breaker spares later callers the waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_hears_nothing_costs_no_caller_more_than_its_deadline() {
    let (world, link) = linked("listing").await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(3).await;
    until_booked(&guest, &wish(&listing)).await;
    link.spoil(Way::Silent, Way::Open);
    let requests: Vec<_> = (0..12).map(|_| wish(&listing)).collect();
    for request in &requests {
        invited(&guest.reserve_within(request, Duration::from_millis(300)).await.expect_err("nobody hears"));
    }
    link.mend();
    for request in &requests[..2] {
        until_booked(&guest, request).await;
    }
    assert_eq!(guest.free(&listing, &stay(30)).await, 0);
    world.audit();
}

/// K3: payment hears and charges; its answer never comes back. Undone as soon as it can be, and nothing stays charged.
#[tokio::test(flavor = "multi_thread")]
async fn a_charge_whose_answer_is_swallowed_is_undone() {
    let (world, link) = linked("payment").await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    connect_all(&world).await;
    link.spoil(Way::Open, Way::Silent);
    let request = wish(&listing);
    invited(&guest.reserve_within(&request, Duration::from_secs(1)).await.expect_err("no answer"));
    eventually(PATIENCE, || async { !guest.my_payments().await.is_empty() }).await;
    link.mend();
    nothing_left(&guest, &listing).await;
    until_booked(&guest, &request).await;
    world.audit();
}

/// K3: the same the other way round: payment never hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_never_arrives_is_undone() {
    let (world, link) = linked("payment").await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    connect_all(&world).await;
    link.spoil(Way::Silent, Way::Open);
    let request = wish(&listing);
    invited(&guest.reserve_within(&request, Duration::from_secs(1)).await.expect_err("nobody hears"));
    link.mend();
    nothing_left(&guest, &listing).await;
    until_booked(&guest, &request).await;
    world.audit();
}

/// A9, A50: mileage is farther than payment waits for it; the miles follow, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_way_to_mileage_delays_the_miles_alone() {
    let (world, link) = linked("mileage").await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(2).await;
    let far = Way::Slow(Duration::from_millis(400));
    link.spoil(far, far);
    assert_eq!(guest.reserve(&wish(&listing)).await.expect("graceful").state(), State::Confirmed);
    link.mend();
    eventually(PATIENCE, || async { guest.miles().await == 1 }).await;
    assert_eq!(guest.mileage_entries().await.len(), 1);
    world.audit();
}
