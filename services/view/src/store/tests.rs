//! The merge against real databases: any order, any repetition, any batches, several writers.

use diesel::connection::SimpleConnection as _;
use mesh::consumer::HandlerError;
use mesh::event::{NewEvent, Received};
use mesh::on;
use mesh::store::{Conn, DatabaseUrl, Id, Store, StoreError};
use mesh::testing::database;
use mesh::value::{Page, PageSize};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::{ListingQuery, Order, find_listing, find_trip, list_listings};
use crate::projection::{Changes, Trip};
use crate::story::{Place, Story, When};
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

/// Everything that can happen to reservations of a listing, and the listing's own events first. The story made last comes last.
fn whole(place: &Place) -> (Vec<Story>, Vec<Received>) {
    let stories: Vec<_> = [When::Nights, When::Date, When::AnyTime, When::Nights, When::Date]
        .map(|when| Story::of(place, "users/alice").on(when).noted(10))
        .into();
    let tales = [
        stories[0].booking(),
        stories[0].forced(),
        stories[1].approved(),
        stories[2].rejected("No dogs."),
        stories[3].expired(),
        stories[4].booking(),
        stories[4].cancellation(),
    ];
    let events = place.events().iter().chain(tales.iter().flatten()).map(received).collect();
    (stories, events)
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
    let (_, events) = whole(&place);
    let expected = fold(&events);
    for seed in 0..2_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        assert_eq!(fold(&scrambled(&events, &mut rng)), expected, "seed {seed}");
    }
}

/// K10, K11, K28: the rows that any batches of any order leave are those of the fold.
#[tokio::test(flavor = "multi_thread")]
async fn any_order_leads_to_the_same_rows() {
    const ROUNDS: u64 = 50;
    let (_dir, url) = database();
    let store = open(&url);
    for seed in 0..ROUNDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let place = Place::of("users/henry");
        let (stories, events) = whole(&place);
        let scrambled = scrambled(&events, &mut rng);
        let mut rest = scrambled.as_slice();
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(rng.random_range(1..=rest.len()));
            project(&store, batch.to_vec()).await.expect("projected");
            rest = later;
        }
        let expected = fold(&events);
        for story in &stories {
            let (found, folded) = (trip(&store, story.reservation).await, expected.trips.get(&story.reservation));
            assert_eq!(found.as_ref(), folded, "seed {seed}");
        }
        let view = store
            .read(move |conn| find_listing(conn, place.id).map_err(StoreError::from))
            .await
            .expect("readable")
            .expect("told");
        let folded = expected.listings[&place.id].get().map(|listing| &listing.snapshot);
        assert_eq!(Some(&view.snapshot), folded, "seed {seed}");
        assert_eq!((view.review_count, view.confirmed_count), (1, 0), "seed {seed}");
        assert_eq!(view.latest.map(|trip| trip.id), stories.last().map(|story| story.reservation), "seed {seed}");
    }
    let report = store.read(|conn| crate::audit::read(conn).map_err(StoreError::from)).await.expect("readable");
    assert_eq!((report.trips.len() as u64, report.violations), (5 * ROUNDS, Vec::new()));
}

/// Writers of all streams at once, each with its own order, and every event told to two of them.
#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_lose_nothing() {
    let (_dir, url) = database();
    let store = open(&url);
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

/// Rows of the version before, which had neither vouchers nor what the overview is filtered by, are shown and found after the upgrade.
#[tokio::test]
async fn an_older_database_is_brought_up_to_date() {
    let (_dir, url) = database();
    let (place, store) = (Place::of("users/henry"), open(&url));
    let story = Story::of(&place, "users/alice");
    let events: Vec<_> = place.events().iter().chain(&story.booking()).map(received).collect();
    project(&store, events).await.expect("projected");
    let downgrade = |conn: &mut Conn| {
        let down = match conn {
            Conn::Sqlite(_) => include_str!("../../migrations/sqlite/0002_vouchers_and_filters/down.sql"),
            Conn::Postgres(_) => include_str!("../../migrations/postgres/0002_vouchers_and_filters/down.sql"),
        };
        let forget = "DELETE FROM __diesel_schema_migrations WHERE version = '0002'";
        on!(conn, c => c.batch_execute(down).and_then(|()| c.batch_execute(forget))).map_err(StoreError::from)
    };
    store.write(downgrade).await.expect("as it was before");
    drop(store);

    let store = open(&url);
    store.write(|conn| events::fill_listings(conn).map_err(StoreError::from)).await.expect("filled");
    let shown = trip(&store, story.reservation).await.expect("shown");
    assert_eq!((shown.reservation.version(), shown.voucher.get()), (2, None));
    let page = Page::parse(PageSize::STANDARD, 0, "", &[]).expect("a page");
    for (host, kind, found) in [("users/henry", 1, 1), ("users/henry", 2, 0), ("users/hanna", 1, 0)] {
        let (kind, host, order) = (Some(kind), Some(host.to_owned()), Order::NewestFirst);
        let query =
            ListingQuery { kind, host, region: Some("Jeju".to_owned()), grade: Some("basic".to_owned()), order, page };
        let views = store.read(move |conn| list_listings(conn, &query).map_err(StoreError::from)).await;
        assert_eq!(views.expect("readable").len(), found);
    }
    let voucher = story.forced().iter().map(received).collect();
    project(&store, voucher).await.expect("projected");
    let shown = trip(&store, story.reservation).await.expect("shown");
    assert_eq!(shown.voucher.get().map(|voucher| voucher.id), Some(story.voucher));
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
