//! K8, K13, T39, T40: ended while it is being made. Whatever was held by then, what is told names it: the host sees it, and
//! whoever follows the events has price and policy.

use mesh::testing::eventually;
use proto::{
    google::r#type::Money,
    payment::v1::payment::State as Paid,
    reservation::v1::{ListReservationsRequest, Reservation, reservation::State},
};
use tokio::task::JoinHandle;
use tonic::Status;

use crate::{
    neighbours::Mood,
    scene::{Client, PATIENCE, Scene, a_listing, cancel, cancellation, create, get, reason, room, until, wish},
};

type Call = JoinHandle<Result<Reservation, Status>>;

/// A call that is being charged, until payment's mood changes, and its reservation.
async fn charging(scene: &Scene, listing: &str) -> (Call, String) {
    scene.neighbours.payment_is(Mood::Thinks);
    let (guest, request) = (scene.guest(), wish(listing, "pm_card_visa"));
    let call = mesh::deadline::spawn(async move { create(&guest, request).await });
    let arrived = || async { scene.neighbours.books().charges.first().map(|(of, ..)| of.clone()) };
    (call, eventually(PATIENCE, arrived).await)
}

/// What the neighbour's listing answers every hold with.
fn assert_has_deal(told: &Reservation) {
    let total = Some(Money { currency_code: "KRW".to_owned(), units: 100, nanos: 0 });
    assert_eq!((told.host.as_str(), told.listing_display_name.as_str(), &told.total), ("users/hana", "Loft", &total));
    assert!(told.policy.is_some());
}

async fn seen_by(host: &Client) -> Vec<String> {
    let listed = host.clone().list_reservations(ListReservationsRequest::default()).await.expect("a list").into_inner();
    listed.reservations.into_iter().map(|reservation| reservation.name).collect()
}

#[tokio::test]
async fn what_is_cancelled_during_its_charge_tells_its_deal_and_its_payment() {
    let scene = Scene::of(100, room()).await;
    let guest = scene.guest();
    let (call, name) = charging(&scene, &a_listing()).await;
    cancel(&guest, cancellation(&name)).await.expect("accepted");
    scene.neighbours.books().refunds_work = false;
    scene.neighbours.payment_is(Mood::Takes);
    assert_eq!(reason(call.await.expect("no panic")), "RESERVATION_CANCELLED");

    // The place is free again, so listing cannot tell the deal any more; nothing is told before the money is back too.
    eventually(PATIENCE, || async { !scene.neighbours.is_held(&name) }).await;
    let undoing = get(&guest, &name).await;
    assert_eq!(undoing.state(), State::CancelRequested);
    assert_has_deal(&undoing);
    assert!(scene.snapshots(&name).is_empty());
    scene.neighbours.books().refunds_work = true;
    let cancelled = until(&guest, &name, State::Cancelled).await;
    scene.told(&name, "CancelRequested 2, Cancelled 3").await;
    for told in scene.snapshots(&name) {
        assert_has_deal(&told);
        assert_eq!(Some(&told.payment), scene.neighbours.books().payments.get(&name).map(|payment| &payment.name));
    }
    assert_eq!(scene.snapshots(&name).last(), Some(&cancelled));
    assert_eq!(seen_by(&scene.host()).await, [name]);
    scene.end().await;
}

#[tokio::test]
async fn it_tells_its_deal_also_after_the_process_has_died() {
    let mut scene = Scene::of(100, room()).await;
    let (call, name) = charging(&scene, &a_listing()).await;
    cancel(&scene.guest(), cancellation(&name)).await.expect("accepted");
    scene.kill();
    call.await.expect("no panic").expect_err("nobody answers");
    scene.begin().await;
    let cancelled = until(&scene.guest(), &name, State::Cancelled).await;
    assert_has_deal(&cancelled);
    scene.told(&name, "CancelRequested 2, Cancelled 3").await;
    scene.snapshots(&name).iter().for_each(assert_has_deal);
    scene.neighbours.payment_is(Mood::Takes);
    scene.end().await;
}

#[tokio::test]
async fn what_ends_with_its_listing_during_its_charge_tells_its_deal_once() {
    let mut scene = Scene::of(100, room()).await;
    let (guest, listing) = (scene.guest(), a_listing());
    let (call, name) = charging(&scene, &listing).await;
    scene.tell_deleted(&listing).await;
    until(&guest, &name, State::ForceCancelled).await;
    assert!(scene.snapshots(&name).is_empty(), "its charge is still under way");
    scene.neighbours.payment_is(Mood::Takes);
    assert_eq!(reason(call.await.expect("no panic")), "RESERVATION_CANCELLED");
    scene.told(&name, "ForceCancelled 2").await;
    eventually(PATIENCE, || async { scene.audit().await.sagas.is_empty() }).await;
    assert_eq!(scene.neighbours.payment(&name), Some(Paid::Cancelled));
    let told = scene.snapshots(&name);
    assert_has_deal(&told[0]);
    assert_eq!(told, [get(&guest, &name).await]);
    assert_eq!(seen_by(&scene.host()).await, [name]);
    scene.end().await;
}

/// Listing may know of no place: the call to it was lost, or refused. Then there is no deal, and that is told.
#[tokio::test]
async fn what_never_had_a_place_ends_without_a_deal() {
    let scene = Scene::of(100, room()).await;
    let guest = scene.guest();
    let (call, name) = charging(&scene, &a_listing()).await;
    scene.neighbours.books().holds.insert(name.clone(), false);
    cancel(&guest, cancellation(&name)).await.expect("accepted");
    scene.neighbours.payment_is(Mood::Takes);
    assert_eq!(reason(call.await.expect("no panic")), "RESERVATION_CANCELLED");
    let cancelled = until(&guest, &name, State::Cancelled).await;
    assert_eq!((cancelled.host.as_str(), cancelled.policy), ("", None));
    scene.told(&name, "CancelRequested 2, Cancelled 3").await;
    assert!(seen_by(&scene.host()).await.is_empty());
    scene.end().await;
}
