//! E9, T22, T40, K20: the listing is deleted.

use mesh::testing::eventually;
use proto::{
    payment::v1::payment::State as Paid,
    reservation::v1::{CreateReservationRequest, Reservation, reservation::State},
};

use crate::{
    neighbours::Mood,
    scene::{
        Client, PATIENCE, Scene, a_listing, approval, approve, book, by_approval, cancel, cancellation, complete,
        create, get, reason, room, screening, taxi, until, wish,
    },
};

const MANY: usize = 600;

async fn many(guest: &Client, listing: &str) {
    for _ in 0..MANY / 50 {
        let calls: Vec<_> = (0..50)
            .map(|_| {
                let (guest, request) = (guest.clone(), wish(listing, ""));
                mesh::deadline::spawn(async move { create(&guest, request).await })
            })
            .collect();
        for call in calls {
            call.await.expect("no panic").expect("reserved");
        }
    }
}

/// T22: page by page, and a process that ends in between changes nothing about the end.
#[tokio::test]
async fn every_open_reservation_of_a_deleted_listing_is_cancelled_across_a_restart() {
    let mut scene = Scene::of(0, screening()).await;
    let (guest, listing) = (scene.guest(), a_listing());
    many(&guest, &listing).await;
    let elsewhere = create(&guest, wish(&a_listing(), "")).await.expect("reserved");
    scene.tell_deleted(&listing).await;
    let cancelled = |reservations: &[reservation::domain::Reservation]| {
        reservations.iter().filter(|found| found.state == reservation::domain::State::ForceCancelled).count()
    };
    eventually(PATIENCE, || async { cancelled(&scene.audit().await.reservations) > 0 }).await;
    scene.kill();
    scene.begin().await;
    eventually(PATIENCE, || async { cancelled(&scene.audit().await.reservations) == MANY }).await;
    assert_eq!(get(&guest, &elsewhere.name).await.state(), State::Confirmed);
    let one = scene.audit().await.reservations.into_iter().find(|found| found.version == 3).expect("one of them");
    scene.told(&format!("reservations/{}", one.id), "Requested 1, Confirmed 2, ForceCancelled 3").await;
    scene.end().await;
}

/// T40, K20: what was cancelled stays cancelled, what is over stays over, what waits or is being charged ends too.
#[tokio::test]
async fn whatever_is_open_ends_and_a_charge_under_way_is_given_back() {
    let mut scene = Scene::of(100, by_approval()).await;
    let (guest, host, listing) = (scene.guest(), scene.host(), a_listing());
    let of = |method: &str| wish(&listing, method);
    let make =
        async |request: CreateReservationRequest| -> Reservation { create(&guest, request).await.expect("made") };

    let (waiting, approving) = (make(of("pm_a")).await, make(of("pm_b")).await);
    scene.neighbours.books().policy = room();
    let (cancelling, over, confirmed) = (make(of("pm_c")).await, make(of("pm_d")).await, make(of("pm_e")).await);
    cancel(&guest, cancellation(&cancelling.name)).await.expect("accepted");
    complete(&host, &over.name).await.expect("completed");
    scene.neighbours.books().policy = taxi();
    let paid = make(of("pm_f")).await;
    scene.neighbours.payment_is(Mood::Thinks);
    let approval_call = {
        let (host, request) = (host.clone(), approval(&approving.name));
        mesh::deadline::spawn(async move { approve(&host, request).await })
    };
    scene.neighbours.books().policy = room();
    let booking_call = {
        let (guest, request) = (guest.clone(), of("pm_g"));
        mesh::deadline::spawn(async move { create(&guest, request).await })
    };
    let booking = eventually(PATIENCE, || async {
        let books = scene.neighbours.books();
        let approves = books.charges.iter().any(|(of, ..)| *of == approving.name);
        books.charges.iter().find(|(.., method)| approves && method == "pm_g").map(|(of, ..)| of.clone())
    })
    .await;

    scene.tell_deleted(&listing).await;
    for open in [&waiting.name, &approving.name, &confirmed.name, &paid.name, &booking] {
        until(&guest, open, State::ForceCancelled).await;
    }
    assert_eq!(get(&guest, &cancelling.name).await.state(), State::CancelRequested, "T40: its customer was first");
    assert_eq!(get(&guest, &over.name).await.state(), State::Completed);
    scene.neighbours.payment_is(Mood::Takes);
    assert_eq!(reason(approval_call.await.expect("no panic")), "RESERVATION_CANCELLED");
    assert_eq!(reason(booking_call.await.expect("no panic")), "RESERVATION_CANCELLED");
    for charged in [&approving.name, &booking] {
        eventually(PATIENCE, || async { scene.neighbours.payment(charged) == Some(Paid::Cancelled) }).await;
        assert!(!scene.neighbours.is_held(charged));
    }
    scene.told(&waiting.name, "Requested 2, ForceCancelled 3").await;
    scene.told(&paid.name, "Requested 2, ForceCancelled 3").await;
    scene.told(&booking, "ForceCancelled 2").await;
    eventually(PATIENCE, || async { scene.audit().await.sagas.is_empty() }).await;

    scene.tell_refunded(&cancelling).await;
    until(&guest, &cancelling.name, State::Cancelled).await;
    scene.neighbours.books().policy = room();
    assert_eq!(book(&guest).await.state(), State::Confirmed, "other listings go on");
    scene.end().await;
}
