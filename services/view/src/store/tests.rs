//! The merge against real databases: any order, any repetition, any batches, several writers.

use mesh::consumer::HandlerError;
use mesh::event::{NewEvent, Received};
use mesh::store::{DatabaseUrl, Id, Store, StoreError};
use mesh::testing::{database, postgres};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::{find_listing, find_trip};
use crate::projection::{Changes, Trip};
use crate::story::{Place, Story};
use crate::{MIGRATIONS, events};

fn received(event: &NewEvent) -> Received {
    Received {
        id: event.id,
        kind: event.kind.to_owned(),
        source: String::new(),
        subject: event.subject.clone(),
        aggregate: event.aggregate.clone(),
        version: event.version,
        correlation: event.correlation.clone(),
        causation: event.causation,
        time: event.at,
        traceparent: event.traceparent.clone(),
        payload: event.payload.clone().into(),
        delivered: 1,
    }
}

/// A booking and its cancellation; those of its listing first.
fn whole(place: &Place, story: &Story) -> Vec<Received> {
    place.events().iter().chain(&story.booking()).chain(&story.cancellation()).map(received).collect()
}

/// Every event once to three times, in any order: not even those of one aggregate stay in theirs.
fn scrambled(events: &[Received], rng: &mut StdRng) -> Vec<Received> {
    let mut scrambled: Vec<_> =
        events.iter().flat_map(|event| std::iter::repeat_n(event.clone(), rng.random_range(1..=3))).collect();
    scrambled.shuffle(rng);
    scrambled
}

/// The fold alone, each event once.
fn fold(events: &[Received]) -> Changes {
    let facts: Vec<_> = events.iter().filter_map(|event| events::fact(event).expect("well formed")).collect();
    let new = facts.iter().filter_map(|fact| fact.entry.as_ref()).map(|entry| entry.event).collect();
    Changes::fold(facts, new)
}

async fn project(store: &Store, events: Vec<Received>) -> Result<(), HandlerError> {
    store.write(move |conn| events::project(conn, &events)).await
}

async fn trip(store: &Store, id: Id) -> Option<Trip> {
    store.read(move |conn| find_trip(conn, id).map_err(StoreError::from)).await.expect("readable").map(|(_, trip)| trip)
}

fn open(url: &DatabaseUrl) -> Store {
    Store::open(url, "view", MIGRATIONS).expect("a fresh database")
}

#[test]
fn the_fold_of_any_order_is_the_same() {
    let place = Place::of("users/henry");
    let events = whole(&place, &Story::of(&place, "users/alice"));
    let expected = fold(&events);
    for seed in 0..2_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        assert_eq!(fold(&scrambled(&events, &mut rng)), expected, "seed {seed}");
    }
}

/// K10, K11: the rows that any batches of any order leave are those of the fold.
async fn any_order_leads_to_the_same_rows(store: Store, rounds: u64) {
    for seed in 0..rounds {
        let mut rng = StdRng::seed_from_u64(seed);
        let place = Place::of("users/henry");
        let story = Story::of(&place, "users/alice");
        let events = whole(&place, &story);
        let scrambled = scrambled(&events, &mut rng);
        let mut rest = scrambled.as_slice();
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(rng.random_range(1..=rest.len()));
            project(&store, batch.to_vec()).await.expect("projected");
            rest = later;
        }
        let expected = fold(&events);
        assert_eq!(
            trip(&store, story.reservation).await.as_ref(),
            expected.trips.get(&story.reservation),
            "seed {seed}"
        );
        let view = store
            .read(move |conn| find_listing(conn, place.id).map_err(StoreError::from))
            .await
            .expect("readable")
            .expect("told");
        assert_eq!(Some(&view.snapshot), expected.listings[&place.id].get(), "seed {seed}");
        assert_eq!((view.review_count, view.confirmed_count), (1, 0), "seed {seed}");
        assert_eq!(view.latest.map(|trip| trip.id), Some(story.reservation), "seed {seed}");
    }
    let report = store.read(|conn| crate::audit::read(conn).map_err(StoreError::from)).await.expect("readable");
    assert_eq!((report.trips.len() as u64, report.violations), (rounds, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_leads_to_the_same_rows_in_sqlite() {
    let (_dir, url) = database();
    any_order_leads_to_the_same_rows(open(&url), 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_leads_to_the_same_rows_in_postgres() {
    let server = tokio::task::spawn_blocking(postgres).await.expect("no panic");
    any_order_leads_to_the_same_rows(open(&server.url), 50).await;
}

/// Writers of all streams at once, each with its own order, and every event told to two of them.
async fn writers_at_once_lose_nothing(store: Store) {
    let place = Place::of("users/henry");
    let stories: Vec<_> = (0..40).map(|_| Story::of(&place, "users/alice")).collect();
    let mut events: Vec<Received> = stories
        .iter()
        .flat_map(|story| [story.booking(), story.cancellation()].concat())
        .map(|event| received(&event))
        .collect();
    let mut writers = tokio::task::JoinSet::new();
    for seed in 0..10 {
        let mut rng = StdRng::seed_from_u64(seed);
        if seed == 5 {
            events.shuffle(&mut rng);
        }
        let (store, own): (_, Vec<_>) =
            (store.clone(), events.iter().skip(seed as usize % 5).step_by(5).cloned().collect());
        writers.spawn(async move {
            for batch in own.chunks(16) {
                // As the consumer would: what the database refuses (a serialization failure, a deadlock) is handed in again.
                while project(&store, batch.to_vec()).await.is_err() {}
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.expect("no panic");
    }
    let expected = fold(&events);
    for story in &stories {
        assert_eq!(trip(&store, story.reservation).await.as_ref(), expected.trips.get(&story.reservation));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_lose_nothing_in_sqlite() {
    let (_dir, url) = database();
    writers_at_once_lose_nothing(open(&url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_lose_nothing_in_postgres() {
    let server = tokio::task::spawn_blocking(postgres).await.expect("no panic");
    writers_at_once_lose_nothing(open(&server.url)).await;
}

/// A payment before its reservation makes a beginning that nobody sees, and from which nothing is lost.
#[tokio::test]
async fn a_beginning_is_not_shown() {
    let (_dir, url) = database();
    let store = open(&url);
    let place = Place::of("users/henry");
    let story = Story::of(&place, "users/alice");
    let (told, rest): (Vec<_>, Vec<_>) =
        story.booking().iter().map(received).partition(|event| event.kind.starts_with("holdfast.reservation."));
    project(&store, rest).await.expect("projected");
    assert_eq!(trip(&store, story.reservation).await, None);
    project(&store, told).await.expect("projected");
    let trip = trip(&store, story.reservation).await.expect("shown");
    assert_eq!((trip.mileage_points, trip.message_count, trip.payment.version(), trip.hold.version()), (30, 2, 1, 2));
}

/// What cannot be understood is named as poison, so that it ends among the dead letters and stops nobody else.
#[tokio::test]
async fn an_event_without_its_content_is_poison() {
    let (_dir, url) = database();
    let store = open(&url);
    let story = Story::of(&Place::of("users/henry"), "users/alice");
    for event in story.booking() {
        let mut event = received(&event);
        event.payload = bytes::Bytes::new();
        assert!(matches!(project(&store, vec![event]).await, Err(HandlerError::Poison(_))));
    }
}
