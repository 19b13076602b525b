//! A stream is read again from its beginning, all of it or not at all.

use mesh::replay::{Replay, ReplayError, Span};
use mesh::testing::{Broker, eventually};

use crate::events::{SOON, jetstream, publish};
use crate::things;

#[tokio::test]
async fn a_span_is_read_to_where_the_stream_ended_when_it_was_made() {
    let broker = Broker::start().await;
    let bus = broker.bus().await;
    eventually(SOON, || async { bus.is_connected() }).await;
    let missing = Span::until_now(&bus, "TEST").await.expect("no stream, no events");
    assert_eq!(missing.count(), 0);
    assert!(Replay::begin(&bus, missing).await.expect("begun").next(10).await.expect("nothing").is_none());

    for number in 1..=7 {
        publish(&bus, &broker, &things::made("things/a", number)).await;
    }
    let jetstream = jetstream(&broker).await;
    let junk = jetstream.publish("holdfast.evt.test.thing.made.v1.x", "junk".into()).await;
    junk.expect("sent").await.expect("stored");
    let span = Span::until_now(&bus, "TEST").await.expect("complete");
    publish(&bus, &broker, &things::made("things/a", 8)).await;
    let mut replay = Replay::begin(&bus, span).await.expect("begun");
    let (mut versions, mut malformed) = (Vec::new(), 0);
    while let Some(batch) = replay.next(3).await.expect("it goes on") {
        assert!(batch.events.len() <= 3);
        versions.extend(batch.events.iter().map(|event| event.version));
        malformed += batch.malformed;
    }
    assert_eq!((versions, malformed, replay.read()), ((1..=7).collect(), 1, 8));
}

#[tokio::test]
async fn a_stream_that_has_lost_events_is_refused() {
    let broker = Broker::start().await;
    let bus = broker.bus().await;
    for number in 1..=3 {
        publish(&bus, &broker, &things::made("things/a", number)).await;
    }
    let stream = jetstream(&broker).await.get_stream("TEST").await.expect("there");
    assert_eq!(Span::until_now(&bus, "TEST").await.expect("complete").count(), 3);
    stream.delete_message(2).await.expect("deleted");
    assert!(matches!(Span::until_now(&bus, "TEST").await, Err(ReplayError::Pruned("TEST"))), "one between");
    stream.purge().await.expect("purged");
    assert!(matches!(Span::until_now(&bus, "TEST").await, Err(ReplayError::Pruned("TEST"))), "all of them");
}
