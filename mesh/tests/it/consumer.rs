//! Every event's effect happens once, and one bad event stops nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mesh::bus::Bus;
use mesh::consumer::{self, ConsumerSpec, HandlerError, Repeats, RetryPolicy};
use mesh::event::{NewEvent, Received, filter};
use mesh::store::{Conn, Id, Store, StoreError};
use mesh::testing::{Broker, database, eventually};

use crate::events::{Running, SOON, all_published, jetstream, make, publish, publish_as, relay};
use crate::things::{self, Made};

fn spec() -> ConsumerSpec {
    ConsumerSpec {
        stream: "TEST",
        durable: "counter-on-test",
        subjects: vec![filter::<Made>()],
        batch: 64,
        repeats: Repeats::Dropped,
    }
}

fn quick() -> RetryPolicy {
    RetryPolicy { max_deliver: 4, backoff: vec![Duration::from_millis(20)] }
}

/// Counts in `seen/<aggregate>` how often the effect happened.
fn count(conn: &mut Conn, events: &[Received]) -> Result<(), HandlerError> {
    for event in events {
        let made: Made = event.decode()?;
        things::add(conn, &format!("seen/{}/{}", made.name, made.number), 1)?;
    }
    Ok(())
}

fn start<H>(store: &Store, bus: Bus, handler: H) -> Running
where
    H: Fn(&mut Conn, &[Received]) -> Result<(), HandlerError> + Send + Sync + 'static,
{
    let store = store.clone();
    Running::start(|shutdown| consumer::run_with(spec(), quick(), bus, store, handler, shutdown))
}

async fn seen(store: &Store, name: &str) -> Option<i64> {
    things::number(store, &format!("seen/{name}/1")).await
}

async fn publish_many(broker: &Broker, range: std::ops::Range<usize>) {
    let bus = broker.bus().await;
    for n in range {
        publish(&bus, broker, &things::made(&format!("things/{n}"), 1)).await;
    }
}

/// Everything in the stream was delivered, and acknowledged or ended. The broker's count of pending messages alone would not tell: it is brought up
/// to date a moment after a message is stored or the consumer made.
async fn settled(broker: &Broker) {
    let jetstream = jetstream(broker).await;
    eventually(SOON, || async {
        let stream = jetstream.get_stream("TEST").await.ok()?;
        let mut consumer: async_nats::jetstream::consumer::PullConsumer =
            stream.get_consumer(spec().durable).await.ok()?;
        let info = consumer.info().await.ok()?;
        let all_delivered = info.delivered.stream_sequence == stream.cached_info().state.last_sequence;
        (all_delivered && info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
    })
    .await;
}

async fn dead_letters(broker: &Broker) -> u64 {
    let mut stream = jetstream(broker).await.get_stream("DLQ").await.expect("the consumer made it");
    stream.info().await.expect("answers").state.messages
}

#[tokio::test]
async fn from_one_database_to_another() {
    let ((_dir, publisher), (_other, consumer)) = (database(), database());
    let (broker, publisher, consumer) = (Broker::start().await, things::open(&publisher), things::open(&consumer));
    let consuming = start(&consumer, broker.bus().await, count);
    let relaying = relay(&publisher, &broker).await;
    for n in 0..500 {
        make(&publisher, format!("things/{}", n % 50)).await;
    }
    all_published(&publisher).await;
    eventually(SOON, || async { things::count(&consumer).await == 500 }).await;
    settled(&broker).await;
    assert_eq!(dead_letters(&broker).await, 0);
    consuming.stop().await;
    relaying.stop().await;
}

#[tokio::test]
async fn a_repeated_event_has_its_effect_once() {
    let (_dir, url) = database();
    let (broker, store) = (Broker::start().await, things::open(&url));
    let bus = broker.bus().await;
    let event = things::made("things/a", 1);
    for n in 0..5 {
        publish_as(&bus, &broker, &event, &format!("copy-{n}")).await;
    }
    let consuming = start(&store, bus.clone(), count);
    settled(&broker).await;
    assert_eq!(seen(&store, "things/a").await, Some(1));
    publish_as(&bus, &broker, &event, "late").await;
    settled(&broker).await;
    assert_eq!(seen(&store, "things/a").await, Some(1));
    consuming.stop().await;
}

#[tokio::test]
async fn poison_goes_to_the_dead_letters_and_the_others_flow() {
    let (_dir, url) = database();
    let (broker, store) = (Broker::start().await, things::open(&url));
    publish_many(&broker, 0..100).await;
    let consuming = start(&store, broker.bus().await, |conn, events| {
        if events.iter().any(|event| event.aggregate == "things/42") {
            return Err(HandlerError::Poison("no such thing, \"42\"".to_owned()));
        }
        count(conn, events)
    });
    settled(&broker).await;
    assert_eq!(things::count(&store).await, 99);
    assert_eq!(seen(&store, "things/42").await, None);
    let letters = jetstream(&broker).await.get_stream("DLQ").await.expect("there");
    let letter =
        letters.get_last_raw_message_by_subject("holdfast.dlq.TEST.counter-on-test").await.expect("one letter");
    let header = |name: &str| letter.headers.get(name).map(|value| value.as_str().to_owned());
    assert_eq!(header("ce-subject").as_deref(), Some("things/42"));
    assert_eq!(header("holdfast-error").as_deref(), Some("no%20such%20thing,%20%2242%22"));
    assert_eq!(header("holdfast-delivered").as_deref(), Some("1"));
    assert_eq!(dead_letters(&broker).await, 1);
    consuming.stop().await;
}

#[tokio::test]
async fn an_event_refused_for_now_comes_back_and_in_the_end_is_given_up() {
    let (_dir, url) = database();
    let (broker, store) = (Broker::start().await, things::open(&url));
    publish_many(&broker, 0..20).await;
    let tries = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0)]);
    let counted = Arc::clone(&tries);
    let consuming = start(&store, broker.bus().await, move |conn, events| {
        for event in events {
            match event.aggregate.as_str() {
                // Two failures, then well.
                "things/3" if event.delivered < 3 => return Err(HandlerError::Retry("not yet".to_owned())),
                "things/5" if event.delivered < 2 => panic!("on purpose"),
                "things/7" => {
                    if let [_] = events {
                        counted[0].fetch_add(1, Ordering::Relaxed);
                    }
                    return Err(HandlerError::Retry("never well".to_owned()));
                }
                _ => {}
            }
        }
        count(conn, events)
    });
    eventually(SOON, || async { things::count(&store).await == 19 }).await;
    settled(&broker).await;
    assert_eq!(
        (seen(&store, "things/3").await, seen(&store, "things/5").await, seen(&store, "things/7").await),
        (Some(1), Some(1), None)
    );
    assert_eq!(tries[0].load(Ordering::Relaxed), 4, "max_deliver");
    assert_eq!(dead_letters(&broker).await, 1);
    consuming.stop().await;
}

#[tokio::test]
async fn a_message_that_is_no_event_goes_to_the_dead_letters() {
    let (_dir, url) = database();
    let (broker, store) = (Broker::start().await, things::open(&url));
    let bus = broker.bus().await;
    bus.ensure_stream(things::SERVICE).await;
    let jetstream = jetstream(&broker).await;
    jetstream
        .publish("holdfast.evt.test.thing.made.v1.x", "junk".into())
        .await
        .expect("connected")
        .await
        .expect("stored");
    publish_many(&broker, 0..3).await;
    let consuming = start(&store, bus, count);
    settled(&broker).await;
    assert_eq!((things::count(&store).await, dead_letters(&broker).await), (3, 1));
    consuming.stop().await;
}

#[tokio::test]
async fn a_crash_between_commit_and_acknowledgement_repeats_no_effect() {
    let (_dir, url) = database();
    let (mut broker, store) = (Broker::start().await, things::open(&url));
    publish_many(&broker, 0..50).await;
    let consuming = start(&store, broker.bus().await, count);
    // Stored by whichever batch came first; killed with, most likely, no acknowledgement written out.
    let mut commits = store.committed().subscribe();
    while things::count(&store).await == 0 {
        commits.changed().await;
    }
    consuming.crash().await;
    broker.kill();
    broker.restart();
    let again = start(&store, broker.bus().await, count);
    settled(&broker).await;
    for n in 0..50 {
        assert_eq!(seen(&store, &format!("things/{n}")).await, Some(1), "thing {n}");
    }
    again.stop().await;
}

#[tokio::test]
async fn an_unacknowledged_delivery_comes_again_and_has_no_second_effect() {
    let (_dir, url) = database();
    let (broker, store) = (Broker::start().await, things::open(&url));
    let event = things::made("things/a", 1);
    let id: Id = event.id;
    publish(&broker.bus().await, &broker, &event).await;
    // What a process that died after its commit leaves behind: the inbox row and the effect, and no acknowledgement.
    store
        .write(move |conn| {
            mesh::inbox::record(conn, spec().durable, &[id], mesh::store::Micros::now())?;
            things::add(conn, "seen/things/a/1", 1)?;
            Ok::<_, StoreError>(())
        })
        .await
        .expect("stored");
    let consuming = start(&store, broker.bus().await, count);
    settled(&broker).await;
    assert_eq!(seen(&store, "things/a").await, Some(1));
    consuming.stop().await;
}

#[tokio::test]
async fn two_instances_share_the_events() {
    let (_dir, url) = database();
    let (broker, store) = (Broker::start().await, things::open(&url));
    let handled = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let mut running = Vec::new();
    for n in 0..2 {
        let handled = Arc::clone(&handled);
        running.push(start(&store, broker.bus().await, move |conn, events| {
            handled[n].fetch_add(events.len(), Ordering::Relaxed);
            count(conn, events)
        }));
    }
    publish_many(&broker, 0..600).await;
    settled(&broker).await;
    assert_eq!(things::count(&store).await, 600);
    for n in 0..600 {
        assert_eq!(seen(&store, &format!("things/{n}")).await, Some(1), "thing {n}");
    }
    let handled = [handled[0].load(Ordering::Relaxed), handled[1].load(Ordering::Relaxed)];
    assert!(handled.iter().all(|count| *count > 0), "both work: {handled:?}");
    for consumer in running {
        consumer.stop().await;
    }
}

#[tokio::test]
async fn a_consumer_survives_the_broker() {
    let (_dir, url) = database();
    let (mut broker, store) = (Broker::start().await, things::open(&url));
    broker.stop();
    let consuming = start(&store, broker.bus().await, count);
    broker.restart();
    publish_many(&broker, 0..10).await;
    eventually(SOON, || async { things::count(&store).await == 10 }).await;
    broker.kill();
    broker.restart();
    publish_many(&broker, 10..20).await;
    eventually(SOON, || async { things::count(&store).await == 20 }).await;
    broker.stop();
    broker.lose_everything();
    broker.restart();
    publish_many(&broker, 20..30).await;
    eventually(SOON, || async { things::count(&store).await == 30 }).await;
    consuming.stop().await;
}

#[tokio::test]
async fn a_new_consumer_sees_the_past_and_only_what_it_asked_for() {
    let (_dir, url) = database();
    let (broker, store) = (Broker::start().await, things::open(&url));
    let other =
        NewEvent { subject: "holdfast.evt.test.thing.broken.v1.x".to_owned(), ..things::made("things/other", 1) };
    publish(&broker.bus().await, &broker, &other).await;
    publish_many(&broker, 0..10).await;
    let consuming = start(&store, broker.bus().await, count);
    settled(&broker).await;
    assert_eq!(things::count(&store).await, 10);
    consuming.stop().await;
}

#[tokio::test]
async fn only_old_inbox_rows_are_forgotten() {
    let (_dir, url) = database();
    let store = things::open(&url);
    let pruned = store.write(|conn| {
        let now = mesh::store::Micros::now();
        let week = mesh::inbox::RETENTION;
        let hour = Duration::from_hours(1);
        let (old, young) = (Id::floor(now.minus(week).minus(hour)), Id::generate());
        mesh::inbox::record(conn, "a", &[old], now.minus(week).minus(hour))?;
        // An old event that was seen just now, as when a new consumer replays the past.
        mesh::inbox::record(conn, "b", &[old, young], now)?;
        let pruned = mesh::inbox::prune(conn, now, 100)?;
        let known =
            |consumer, id, conn: &mut Conn| mesh::inbox::record(conn, consumer, &[id], now).map(|new| new.is_empty());
        Ok::<_, StoreError>((pruned, known("a", old, conn)?, known("b", old, conn)?, known("b", young, conn)?))
    });
    assert_eq!(pruned.await.expect("stored"), (1, false, true, true));
}
