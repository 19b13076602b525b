//! From events to delivered messages: each once, whatever happens in between.

use std::collections::HashSet;

use mesh::store::{DatabaseUrl, Store};
use mesh::testing::{TestMesh, eventually, postgres};
use message::notifier::{FileNotifier, Notifier};
use proto::contract::Event;
use proto::message::v1::{MessageSent, message as contract};

use crate::harness::{Harness, SOON, beside, config, lines, names, sample, serve};
use crate::news::Booking;

/// A4, A6, T17: two messages for a booking and two for its cancellation, from two services, all with the reservation as correlation.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_told_of_the_reservation_and_of_the_miles() {
    let mut harness = Harness::start().await;
    let published = harness.published().await;
    let booking = Booking::of("users/alice");
    let (made, cancelled) = (booking.made(), booking.cancelled());
    harness.publisher.publish([made.clone(), cancelled.clone()].concat()).await;

    let messages = harness.settled(contract::State::Sent, 4).await;
    let topics: HashSet<_> = messages.iter().map(|message| message.topic().as_str_name()).collect();
    let all = [
        "TOPIC_RESERVATION_CONFIRMED",
        "TOPIC_MILEAGE_INCREASED",
        "TOPIC_RESERVATION_CANCELLED",
        "TOPIC_MILEAGE_DECREASED",
    ];
    assert_eq!(topics, all.into());
    assert!(messages.iter().all(|message| message.reservation == booking.name() && message.recipient == "users/alice"));
    assert!(messages.iter().all(|message| message.attempts == 1 && message.send_time.is_some()));

    let lines = harness.lines();
    assert_eq!(names(&lines), messages.iter().map(|message| message.name.clone()).collect());
    assert_eq!(lines.len(), 4);
    let confirmed = lines.iter().find(|line| line["topic"] == "TOPIC_RESERVATION_CONFIRMED").expect("a line");
    assert_eq!(
        confirmed["body"],
        "Your stay at Sea View from 4 October 2024 to 6 October 2024 for 2 persons is confirmed. You paid KRW 120,000."
    );

    let events = published.wait_for(4).await;
    assert!(events.iter().all(|event| event.kind == MessageSent::TYPE && event.version == 1));
    assert!(events.iter().all(|event| event.correlation == booking.reservation.to_string()));
    let causes: HashSet<_> = events.iter().filter_map(|event| event.causation).collect();
    assert_eq!(causes, made.iter().chain(&cancelled).map(|event| event.id).collect());
    harness.message.stop().await;
}

/// A62, T33, A33, D30, E26: what happened while the service was down is told once it is back, each once, and nothing again after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_was_down_catches_up() {
    let mut harness = Harness::start().await;
    let bookings: Vec<_> = (0..60).map(|_| Booking::of("users/alice")).collect();
    harness.publisher.publish(bookings[..10].iter().flat_map(Booking::made).collect()).await;
    harness.settled(contract::State::Sent, 20).await;
    harness.message.stop().await;
    harness.publisher.publish(bookings[10..].iter().flat_map(Booking::made).collect()).await;
    harness.message = serve(harness.mesh.node(), harness.config.clone()).await;
    harness.settled(contract::State::Sent, 120).await;
    harness.message.stop().await;
    harness.message = serve(harness.mesh.node(), harness.config.clone()).await;
    harness.publisher.publish(bookings[0].cancelled()).await;
    harness.settled(contract::State::Sent, 122).await;
    let lines = harness.lines();
    assert_eq!((lines.len(), names(&lines).len()), (122, 122));
    harness.message.stop().await;
}

/// A63: two instances with databases of their own share the durable consumer; each event is told by one of them.
#[tokio::test(flavor = "multi_thread")]
async fn two_instances_share_the_work() {
    let mesh = TestMesh::start().await;
    let mut publisher = mesh.publisher().await;
    let [(one, first), (two, second)] = [beside(&mesh, "one"), beside(&mesh, "two")];
    let running = [serve(one, config(&first)).await, serve(two, config(&second)).await];
    let bookings: Vec<_> = (0..300).map(|_| Booking::of("users/alice")).collect();
    publisher.publish(bookings.iter().flat_map(Booking::made).collect()).await;
    eventually(SOON, || async { lines(&first).len() + lines(&second).len() >= 600 }).await;
    for instance in running {
        instance.stop().await;
    }
    let all = [lines(&first), lines(&second)].concat();
    assert_eq!((all.len(), names(&all).len()), (600, 600));
}

/// A63: two instances with one database; each message is delivered by one of them, and has one event.
#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_deliver_each_message_once() {
    let database = tokio::task::spawn_blocking(postgres).await.expect("no panic");
    let mesh = TestMesh::start().await.on(database.url.clone());
    let published = mesh.subscriber(MessageSent::STREAM).await;
    let mut publisher = mesh.publisher().await;
    let [(one, first), (two, second)] = [beside(&mesh, "one"), beside(&mesh, "two")];
    let running = [serve(one, config(&first)).await, serve(two, config(&second)).await];
    let bookings: Vec<_> = (0..300).map(|_| Booking::of("users/alice")).collect();
    publisher.publish(bookings.iter().flat_map(Booking::made).collect()).await;
    eventually(SOON, || async { lines(&first).len() + lines(&second).len() >= 600 }).await;
    let events = published.wait_for(600).await;
    for instance in running {
        instance.stop().await;
    }
    let all = [lines(&first), lines(&second)].concat();
    assert_eq!((all.len(), names(&all).len()), (600, 600));
    let aggregates: HashSet<_> = events.iter().map(|event| event.aggregate.clone()).collect();
    assert_eq!((events.len(), aggregates.len()), (600, 600));
    let report = audit(&database.url).await;
    assert_eq!((report.messages.len(), report.violations), (600, Vec::new()));
}

async fn audit(url: &DatabaseUrl) -> message::audit::Report {
    let store = Store::open(url, message::NAME, message::MIGRATIONS).expect("the database");
    store.read(|conn| message::audit::read(conn).map_err(mesh::store::StoreError::from)).await.expect("readable")
}

/// Lines of deliveries that run at once, of two notifiers of one file, never mix.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_gets_whole_lines() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("folder").join("messages.jsonl");
    let notifiers =
        [FileNotifier::open(&file, false).expect("a file"), FileNotifier::open(&file, true).expect("the same file")];
    let mut deliveries = tokio::task::JoinSet::new();
    for round in 0..40 {
        let notifier = notifiers[round % 2].clone();
        let batch: Vec<_> = (0..50).map(|_| sample(&"long text, ".repeat(round * 20))).collect();
        deliveries.spawn(async move {
            assert!(notifier.deliver(&batch).await.iter().all(Result::is_ok));
        });
    }
    while let Some(delivery) = deliveries.join_next().await {
        delivery.expect("delivered");
    }
    let lines = lines(&file);
    assert_eq!((lines.len(), names(&lines).len()), (2_000, 2_000));
}

#[tokio::test]
async fn a_full_disk_fails_every_message_of_the_batch() {
    let notifier = FileNotifier::open("/dev/full", false).expect("the device");
    assert!(notifier.deliver(&[sample("a"), sample("b")]).await.iter().all(Result::is_err));
}
