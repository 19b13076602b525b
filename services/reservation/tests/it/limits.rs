//! T8, B25: how many open reservations one customer may have.

use mesh::testing::eventually;
use proto::{listing::v1::ReservationPolicy, reservation::v1::reservation::State};

use crate::scene::{PATIENCE, Scene, a_listing, cancel, cancellation, create, reason, room, screening, wish};

const CALLERS: usize = 32;
const LIMIT: usize = 10;

fn limited(policy: ReservationPolicy) -> ReservationPolicy {
    ReservationPolicy { max_per_person: 10, ..policy }
}

#[tokio::test]
async fn of_many_at_once_no_more_than_the_limit_are_reserved() {
    let scene = Scene::of(100, limited(room())).await;
    let (guest, listing) = (scene.guest(), a_listing());
    let calls: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (guest, listing) = (guest.clone(), listing.clone());
            mesh::deadline::spawn(async move { create(&guest, wish(&listing, "pm_card_visa")).await })
        })
        .collect();
    let mut reserved = Vec::new();
    for call in calls {
        match call.await.expect("no panic") {
            Ok(reservation) => reserved.push(reservation),
            refused => assert_eq!(reason(refused), "PERSON_LIMIT_REACHED"),
        }
    }
    assert_eq!(reserved.len(), LIMIT);
    assert_eq!(scene.neighbours.books().payments.len(), LIMIT, "nobody else was charged");
    eventually(PATIENCE, || async { scene.neighbours.held() == LIMIT }).await;

    assert_eq!(reason(create(&guest, wish(&listing, "pm_card_visa")).await), "PERSON_LIMIT_REACHED");
    create(&guest, wish(&a_listing(), "pm_card_visa")).await.expect("another listing");
    create(&scene.customer("mina"), wish(&listing, "pm_card_visa")).await.expect("another customer");
    cancel(&guest, cancellation(&reserved[0].name)).await.expect("accepted");
    create(&guest, wish(&listing, "pm_card_visa")).await.expect("one less");
    scene.end().await;
}

#[tokio::test]
async fn the_platforms_limit_counts_all_listings() {
    let scene = Scene::with(0, screening(), &["--reservation-max-per-person", "2"]).await;
    let guest = scene.guest();
    for _ in 0..2 {
        let booked = create(&guest, wish(&a_listing(), "")).await.expect("reserved");
        assert_eq!(booked.state(), State::Confirmed);
    }
    let request = wish(&a_listing(), "");
    for _ in 0..2 {
        assert_eq!(reason(create(&guest, request.clone()).await), "PERSON_LIMIT_REACHED", "and so it stays");
    }
    assert_eq!(scene.neighbours.held(), 2);
    scene.end().await;
}
