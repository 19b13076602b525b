//! Processes are killed at bad moments.

use mesh::testing::eventually;
use proto::reservation::v1::{CreateReservationRequest, reservation::State};

use world::{
    PATIENCE, World,
    caller::{stay, wish},
};

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
