//! Events over a real broker: what listing hears and what it says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh::bus::Bus;
use mesh::consumer::{self, ConsumerSpec, HandlerError, Repeats};
use mesh::event::{NewEvent, Received};
use mesh::store::{DatabaseUrl, Id, Micros, Store, StoreError};
use mesh::testing::{TestMesh, eventually};
use mesh::{outbox, relay};
use proto::contract::{Event, Role};
use proto::listing::v1 as pb;
use proto::reservation::v1::{
    Reservation, ReservationCancelled, ReservationCompleted, ReservationConfirmed, ReservationExpired,
    ReservationForceCancelled, ReservationRejected,
};
use tokio_util::sync::CancellationToken;

use crate::harness::{Server, hold_message, range_message};

const SOON: Duration = Duration::from_secs(20);

/// The reservation service's side: an outbox with its relay.
struct Reservations {
    store: Store,
}

impl Reservations {
    async fn start(mesh: &TestMesh, shutdown: &CancellationToken) -> Self {
        let store = open(mesh, "reservation");
        let bus = bus(mesh).await;
        drop(mesh::deadline::spawn(relay::run(store.clone(), bus, "reservation", shutdown.clone())));
        Self { store }
    }

    async fn publish<E: Event>(&self, event: &E, version: i64) -> Id {
        let event = NewEvent::of(event, Id::generate(), version, event.key(), None, Micros::now());
        let id = event.id;
        self.store
            .write(move |conn| Ok::<_, StoreError>(outbox::push(conn, "reservation", &event)?))
            .await
            .expect("stored");
        id
    }
}

fn open(mesh: &TestMesh, name: &'static str) -> Store {
    let url = DatabaseUrl::Sqlite(mesh.folder().join(format!("{name}-side.db")));
    Store::open(&url, name, listing::migrations()).expect("a fresh database")
}

async fn bus(mesh: &TestMesh) -> Bus {
    Bus::connect(&mesh.node().bus.nats_url).await.expect("an address")
}

/// Gathers everything that listing says, in the order of the stream.
async fn listen(mesh: &TestMesh, shutdown: &CancellationToken) -> Arc<Mutex<Vec<Received>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let spec = ConsumerSpec {
        stream: "LISTING",
        durable: "test-on-listing",
        subjects: Vec::new(),
        batch: 64,
        repeats: Repeats::Dropped,
    };
    let ears = Arc::clone(&heard);
    let handler = move |_: &mut mesh::store::Conn, events: &[Received]| {
        ears.lock().expect("not poisoned").extend_from_slice(events);
        Ok::<_, HandlerError>(())
    };
    drop(mesh::deadline::spawn(consumer::run(spec, bus(mesh).await, open(mesh, "test"), handler, shutdown.clone())));
    heard
}

fn about(heard: &Mutex<Vec<Received>>, aggregate: &str) -> Vec<Received> {
    heard.lock().expect("not poisoned").iter().filter(|event| event.aggregate == aggregate).cloned().collect()
}

fn story(heard: &Mutex<Vec<Received>>, aggregate: &str) -> Vec<(String, i64)> {
    let short = |kind: &str| kind.rsplit('.').next().unwrap_or_default().to_owned();
    about(heard, aggregate).iter().map(|event| (short(&event.kind), event.version)).collect()
}

fn tale(facts: &[(&str, i64)]) -> Vec<(String, i64)> {
    facts.iter().map(|(kind, version)| ((*kind).to_owned(), *version)).collect()
}

/// T14, T22: whatever ends a reservation gives its place back, and says how.
#[tokio::test(flavor = "multi_thread")]
async fn every_end_of_a_reservation_is_heard() {
    let shutdown = CancellationToken::new();
    let server = Server::start(TestMesh::start().await).await;
    let reservations = Reservations::start(&server.mesh, &shutdown).await;
    let heard = listen(&server.mesh, &shutdown).await;
    let listing = server.listing().await.name;
    for end in 0..4 {
        let request = pb::PlaceHoldRequest { units: 2, ..hold_message(&listing) };
        let name = request.reservation.clone();
        server.holds().place_hold(request).await.expect("the places are free");
        let reservation = Some(Reservation { name: name.clone(), ..Default::default() });
        match end {
            0 => reservations.publish(&ReservationRejected { reservation }, 2).await,
            1 => reservations.publish(&ReservationExpired { reservation }, 2).await,
            2 => reservations.publish(&ReservationForceCancelled { reservation }, 2).await,
            _ => reservations.publish(&ReservationCompleted { reservation }, 2).await,
        };
        eventually(SOON, || async { story(&heard, &name) == tale(&[("HoldPlaced", 1), ("HoldReleased", 2)]) }).await;
        let ended: pb::HoldReleased = about(&heard, &name)[1].decode().expect("a hold");
        let expected = if end == 3 { pb::hold::State::Completed } else { pb::hold::State::Released };
        assert_eq!(ended.hold.expect("the hold").state(), expected);
    }
    shutdown.cancel();
    server.stop().await;
}

/// K7, K10, A7: hold, commit, review, cancel, release: each fact is one event, in order, and says what led to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_lives_and_ends_by_events() {
    let shutdown = CancellationToken::new();
    let server = Server::start(TestMesh::start().await).await;
    let reservations = Reservations::start(&server.mesh, &shutdown).await;
    let heard = listen(&server.mesh, &shutdown).await;
    let listing = server.listing().await.name;
    let request = hold_message(&listing);
    let reservation = request.reservation.clone();
    let message = Some(Reservation { name: reservation.clone(), ..Default::default() });
    server.holds().place_hold(request.clone()).await.expect("held");

    let confirmed = reservations.publish(&ReservationConfirmed { reservation: message.clone() }, 2).await;
    reservations.publish(&ReservationConfirmed { reservation: message.clone() }, 2).await;
    eventually(SOON, || async { story(&heard, &reservation) == tale(&[("HoldPlaced", 1), ("HoldCommitted", 2)]) })
        .await;

    let mut guest = server.reviews("chris", Role::Customer);
    let review = Some(pb::Review { content: "좋아요".to_owned(), ..Default::default() });
    let create = pb::CreateReviewRequest { parent: listing.clone(), review, request_id: Id::generate().to_string() };
    let mut review = guest.create_review(create).await.expect("a guest").into_inner().review.expect("the review");
    let name = review.name.clone();
    review.content = "아주 좋아요".to_owned();
    guest.update_review(pb::UpdateReviewRequest { review: Some(review), update_mask: None }).await.expect("changed");
    guest.delete_review(pb::DeleteReviewRequest { name: name.clone() }).await.expect("deleted");

    let cancelled = reservations.publish(&ReservationCancelled { reservation: message }, 4).await;
    let ended = tale(&[("HoldPlaced", 1), ("HoldCommitted", 2), ("HoldReleased", 3)]);
    eventually(SOON, || async { story(&heard, &reservation) == ended }).await;
    let mut host = server.listings("hana", Role::Host);
    let capacity = pb::SetCapacityRequest { name: listing.clone(), dates: range_message(0, 3), capacity: 4 };
    host.set_capacity(capacity).await.expect("set");
    host.delete_listing(pb::DeleteListingRequest { name: listing.clone(), etag: String::new() })
        .await
        .expect("deleted");

    // K23: one fact, one event.
    let whole = tale(&[("ListingRegistered", 1), ("CapacityChanged", 2), ("ListingDeleted", 3)]);
    eventually(SOON, || async { story(&heard, &listing) == whole }).await;
    let told = tale(&[("ReviewCreated", 1), ("ReviewModified", 2), ("ReviewDeleted", 3)]);
    eventually(SOON, || async { story(&heard, &name) == told }).await;
    let counts: Vec<_> = about(&heard, &name)
        .iter()
        .map(|event| event.decode::<pb::ReviewCreated>().expect("alike in shape").review_count)
        .collect();
    assert_eq!(counts, [1, 1, 0]);
    let holds = about(&heard, &reservation);
    assert_eq!(holds.iter().map(|event| event.causation).collect::<Vec<_>>(), [None, Some(confirmed), Some(cancelled)]);
    assert!(holds.iter().all(|event| reservation.ends_with(&event.correlation)));
    let placed: pb::HoldPlaced = holds[0].decode().expect("a hold");
    assert_eq!(placed.hold.expect("the hold").customer, request.customer);

    shutdown.cancel();
    server.stop().await;
}
