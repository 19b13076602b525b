//! Events over a real broker: what listing hears and what it says.

use std::time::Duration;

use mesh::event::NewEvent;
use mesh::store::{Id, Micros};
use mesh::testing::{Publisher, Subscriber, TestMesh, eventually};
use proto::contract::{Event, Role};
use proto::listing::v1 as pb;
use proto::reservation::v1::{
    Reservation, ReservationCancelled, ReservationCompleted, ReservationConfirmed, ReservationExpired,
    ReservationForceCancelled, ReservationRejected,
};

use crate::harness::{Server, hold_message, range_message};

const SOON: Duration = Duration::from_secs(20);

/// Tells it as reservation would.
async fn tell<E: Event>(publisher: &mut Publisher, event: &E, version: i64) -> Id {
    let event = NewEvent::of(event, Id::generate(), version, event.key(), None, Micros::now());
    let id = event.id;
    publisher.publish(vec![event]).await;
    id
}

fn story(heard: &Subscriber, aggregate: &str) -> Vec<(String, i64)> {
    let short = |kind: &str| kind.rsplit('.').next().unwrap_or_default().to_owned();
    heard.about(aggregate).iter().map(|event| (short(&event.kind), event.version)).collect()
}

fn tale(facts: &[(&str, i64)]) -> Vec<(String, i64)> {
    facts.iter().map(|(kind, version)| ((*kind).to_owned(), *version)).collect()
}

/// T14, T22: whatever ends a reservation gives its place back, and says how.
#[tokio::test(flavor = "multi_thread")]
async fn every_end_of_a_reservation_is_heard() {
    let server = Server::start(TestMesh::start().await).await;
    let mut reservations = server.mesh.publisher().await;
    let heard = server.mesh.subscriber(pb::HoldPlaced::STREAM).await;
    let listing = server.listing().await.name;
    for end in 0..4 {
        let request = pb::PlaceHoldRequest { units: 2, ..hold_message(&listing) };
        let name = request.reservation.clone();
        server.holds().place_hold(request).await.expect("the places are free");
        let reservation = Some(Reservation { name: name.clone(), ..Default::default() });
        match end {
            0 => tell(&mut reservations, &ReservationRejected { reservation }, 2).await,
            1 => tell(&mut reservations, &ReservationExpired { reservation }, 2).await,
            2 => tell(&mut reservations, &ReservationForceCancelled { reservation }, 2).await,
            _ => tell(&mut reservations, &ReservationCompleted { reservation }, 2).await,
        };
        eventually(SOON, || async { story(&heard, &name) == tale(&[("HoldPlaced", 1), ("HoldReleased", 2)]) }).await;
        let ended: pb::HoldReleased = heard.about(&name)[1].decode().expect("a hold");
        let expected = if end == 3 { pb::hold::State::Completed } else { pb::hold::State::Released };
        assert_eq!(ended.hold.expect("the hold").state(), expected);
    }
    server.stop().await;
}

/// K7, K10, A7: hold, commit, review, cancel, release: each fact is one event, in order, and says what led to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_lives_and_ends_by_events() {
    let server = Server::start(TestMesh::start().await).await;
    let mut reservations = server.mesh.publisher().await;
    let heard = server.mesh.subscriber(pb::HoldPlaced::STREAM).await;
    let listing = server.listing().await.name;
    let request = hold_message(&listing);
    let reservation = request.reservation.clone();
    let message = Some(Reservation { name: reservation.clone(), ..Default::default() });
    server.holds().place_hold(request.clone()).await.expect("held");

    let confirmed = tell(&mut reservations, &ReservationConfirmed { reservation: message.clone() }, 2).await;
    tell(&mut reservations, &ReservationConfirmed { reservation: message.clone() }, 2).await;
    eventually(SOON, || async { story(&heard, &reservation) == tale(&[("HoldPlaced", 1), ("HoldCommitted", 2)]) })
        .await;

    let mut guest = server.reviews("chris", Role::Customer);
    let review = Some(pb::Review { content: "좋아요".to_owned(), ..Default::default() });
    let create = pb::CreateReviewRequest { parent: listing.clone(), review, request_id: Id::generate().to_string() };
    let mut review = guest.create_review(create).await.expect("a guest").into_inner().review.expect("the review");
    let name = review.name.clone();
    review.content = "아주 좋아요".to_owned();
    guest.update_review(pb::UpdateReviewRequest { review: Some(review), ..Default::default() }).await.expect("changed");
    guest.delete_review(pb::DeleteReviewRequest { name: name.clone(), ..Default::default() }).await.expect("deleted");

    let cancelled = tell(&mut reservations, &ReservationCancelled { reservation: message }, 4).await;
    let ended = tale(&[("HoldPlaced", 1), ("HoldCommitted", 2), ("HoldReleased", 3)]);
    eventually(SOON, || async { story(&heard, &reservation) == ended }).await;
    let mut host = server.listings("hana", Role::Host);
    let capacity =
        pb::SetCapacityRequest { name: listing.clone(), dates: range_message(0, 3), capacity: 4, ..Default::default() };
    host.set_capacity(capacity).await.expect("set");
    host.delete_listing(pb::DeleteListingRequest { name: listing.clone(), ..Default::default() })
        .await
        .expect("deleted");

    // K23: one fact, one event.
    let whole = tale(&[("ListingRegistered", 1), ("CapacityChanged", 2), ("ListingDeleted", 3)]);
    eventually(SOON, || async { story(&heard, &listing) == whole }).await;
    let told = tale(&[("ReviewCreated", 1), ("ReviewModified", 2), ("ReviewDeleted", 3)]);
    eventually(SOON, || async { story(&heard, &name) == told }).await;
    let counts: Vec<_> = heard
        .about(&name)
        .iter()
        .map(|event| event.decode::<pb::ReviewCreated>().expect("alike in shape").review_count)
        .collect();
    assert_eq!(counts, [1, 1, 0]);
    let holds = heard.about(&reservation);
    assert_eq!(holds.iter().map(|event| event.causation).collect::<Vec<_>>(), [None, Some(confirmed), Some(cancelled)]);
    assert!(holds.iter().all(|event| reservation.ends_with(&event.correlation)));
    let placed: pb::HoldPlaced = holds[0].decode().expect("a hold");
    assert_eq!(placed.hold.expect("the hold").customer, request.customer);

    server.stop().await;
}
