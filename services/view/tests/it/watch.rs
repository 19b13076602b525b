//! Watching a trip, with real clients.

use std::time::{Duration, Instant};

use mesh::client::Channel;
use mesh::fault::{reason_of, retry_delay_of};
use mesh::testing::{Running, TestMesh, eventually, postgres};
use proto::contract::Role;
use proto::reservation::v1::reservation::State;
use proto::view::v1::view_service_client::ViewServiceClient;
use proto::view::v1::{Trip, WatchTripRequest, WatchTripResponse};
use tonic::{Code, Request, Status, Streaming};

use crate::harness::{Harness, MAX_WATCHERS, SOON, get_trip, serve, trip_name};
use crate::story::{Place, Story};

async fn watch(mut client: ViewServiceClient<Channel>, story: &Story) -> Result<Streaming<WatchTripResponse>, Status> {
    Ok(client.watch_trip(WatchTripRequest { name: trip_name(story) }).await?.into_inner())
}

async fn message(trips: &mut Streaming<WatchTripResponse>) -> Result<Trip, Status> {
    let next = tokio::time::timeout(SOON, trips.message()).await.expect("something is told in time");
    Ok(next?.expect("the stream ends with a status only").trip.expect("a trip"))
}

/// Takes what is told until it is so; answers how much was told.
async fn reaches(trips: &mut Streaming<WatchTripResponse>, so: impl Fn(&Trip) -> bool) -> usize {
    let mut told = 1;
    while !so(&message(trips).await.expect("a trip")) {
        told += 1;
    }
    told
}

fn state(trip: &Trip) -> State {
    trip.reservation.as_ref().expect("a reservation").state()
}

/// A trip that is requested, and nothing more yet.
async fn requested(harness: &mut Harness, story: &Story) {
    harness.publisher.publish(story.expired()[..1].to_vec()).await;
    harness.folded(story, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_a_whole_booking_and_its_cancellation() {
    let mut harness = Harness::start().await;
    let story = Story::of(&Place::of("users/henry"), "users/alice");
    let booking = story.booking();
    let (requested, rest): (Vec<_>, Vec<_>) =
        booking.into_iter().partition(|event| event.kind.ends_with("ReservationRequested"));
    harness.publisher.publish(requested).await;
    harness.folded(&story, 1).await;

    let mut trips = watch(harness.client("alice", Role::Customer), &story).await.expect("her own");
    let mut host = watch(harness.client("henry", Role::Host), &story).await.expect("on his listing");
    assert_eq!(state(&message(&mut trips).await.expect("at once")), State::Requested);
    harness.publisher.publish(rest).await;
    let whole = |trip: &Trip| (state(trip), trip.mileage_points, trip.message_count) == (State::Confirmed, 30, 2);
    reaches(&mut trips, whole).await;
    harness.publisher.publish(story.cancellation()).await;
    let undone = |trip: &Trip| (state(trip), trip.mileage_points, trip.message_count) == (State::Cancelled, 0, 4);
    reaches(&mut trips, undone).await;
    reaches(&mut host, undone).await;
    harness.view.stop().await;
}

/// Other trips' changes are nobody's business here, nor are events that were folded before.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_twice() {
    let mut harness = Harness::start().await;
    let place = Place::of("users/henry");
    let (story, other) = (Story::of(&place, "users/alice"), Story::of(&place, "users/alice"));
    requested(&mut harness, &story).await;
    let mut trips = watch(harness.operator(), &story).await.expect("any");
    message(&mut trips).await.expect("at once");
    harness.publisher.publish(other.booking()).await;
    harness.told(&other, State::Confirmed).await;
    harness.publisher.publish(story.expired()[1..].to_vec()).await;
    assert_eq!(state(&message(&mut trips).await.expect("the next change")), State::Expired);
    harness.view.stop().await;
}

/// What cannot be sent is not kept: when the reader comes back it is told the trip as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_told_the_latest_and_not_everything() {
    const NOTE_BYTES: usize = 400 * 1024;
    let mut harness = Harness::start().await;
    let story = Story::of(&Place::of("users/henry"), "users/alice").noted(NOTE_BYTES);
    requested(&mut harness, &story).await;
    let mut trips = watch(harness.operator(), &story).await.expect("any");

    // Each change is a commit of its own, and more of them than fit into the windows of a connection.
    let changes: Vec<_> = story.booking().into_iter().chain(story.cancellation()).collect();
    let many = changes.len();
    for (told, change) in changes.into_iter().enumerate() {
        harness.publisher.publish(vec![change]).await;
        harness.folded(&story, told + 2).await;
    }
    let now = get_trip(&mut harness.operator(), &story).await.expect("a trip");
    let told = reaches(&mut trips, |trip| *trip == now).await;
    assert!(told < many, "{told} of {many}");
    harness.view.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_callers_time() {
    let mut harness = Harness::start().await;
    let story = Story::of(&Place::of("users/henry"), "users/alice");
    requested(&mut harness, &story).await;
    let mut request = Request::new(WatchTripRequest { name: trip_name(&story) });
    request.set_timeout(Duration::from_millis(400));
    let mut trips = harness.operator().watch_trip(request).await.expect("any").into_inner();
    message(&mut trips).await.expect("at once");
    let status = message(&mut trips).await.expect_err("the time is over");
    assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::DeadlineExceeded, Some("DEADLINE_EXCEEDED")));
    harness.view.stop().await;
}

/// Whoever watches comes back, to this process once it is up again or to another.
#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_watches_at_once() {
    let mut harness = Harness::start().await;
    let story = Story::of(&Place::of("users/henry"), "users/alice");
    requested(&mut harness, &story).await;
    let mut trips = watch(harness.operator(), &story).await.expect("any");
    message(&mut trips).await.expect("at once");
    let began = Instant::now();
    harness.view.stop().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let status = message(&mut trips).await.expect_err("the service is gone");
    assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::Unavailable, Some("SHUTTING_DOWN")));
    assert!(retry_delay_of(&status).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_are_limited_and_one_who_goes_makes_room() {
    let mut harness = Harness::start_in(TestMesh::start().await, 1).await;
    let story = Story::of(&Place::of("users/henry"), "users/alice");
    requested(&mut harness, &story).await;
    // Being refused takes no place.
    let foreign = watch(harness.client("bob", Role::Customer), &story).await.expect_err("not his");
    assert_eq!(reason_of(&foreign).as_deref(), Some("TRIP_NOT_FOUND"));
    let mut trips = watch(harness.operator(), &story).await.expect("any");
    message(&mut trips).await.expect("at once");
    let status = watch(harness.operator(), &story).await.expect_err("there is no place");
    assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::ResourceExhausted, Some("TOO_MANY_WATCHERS")));
    assert!(retry_delay_of(&status).is_some());
    drop(trips);
    eventually(SOON, || async { watch(harness.operator(), &story).await.is_ok() }).await;
    harness.view.stop().await;
}

/// On PostgreSQL two processes share the work: what one of them folds, watchers at the other are told as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_tells_what_another_has_folded() {
    let server = tokio::task::spawn_blocking(postgres).await.expect("no panic");
    let mesh = TestMesh::start().await.on(server.url.clone());
    let mut harness = Harness::start_in(mesh, MAX_WATCHERS).await;
    let other: Running = serve(&harness.mesh, MAX_WATCHERS).await;
    let story = Story::of(&Place::of("users/henry"), "users/alice");
    requested(&mut harness, &story).await;
    let client = |address| ViewServiceClient::new(harness.mesh.user("view", address, "olga", Role::Operator));
    let mut here = watch(client(harness.view.address), &story).await.expect("any");
    let mut there = watch(client(other.address), &story).await.expect("any");
    harness.publisher.publish(story.expired()[1..].to_vec()).await;
    for trips in [&mut here, &mut there] {
        reaches(trips, |trip| state(trip) == State::Expired).await;
    }
    harness.view.stop().await;
    other.stop().await;
}
