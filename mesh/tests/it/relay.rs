//! Every committed event reaches the stream, once, in order for each aggregate, whatever happens to the broker.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream as nats;
use mesh::bus::{Bus, StreamLimits};
use mesh::event::NewEvent;
use mesh::store::{Id, Micros, Store, StoreError};
use mesh::testing::{Broker, Cluster, database, eventually, postgres};
use mesh::{outbox, relay as relaying};
use tokio::task::JoinSet;

use crate::events::{
    Running, SOON, all_published, assert_once_and_in_order, jetstream, make, publish, relay, stream_content,
};
use crate::things;

async fn write_from_many(store: &Store, writers: usize, each: usize) {
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..each {
                make(&store, format!("things/{writer}")).await;
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn events_of_64_writers_arrive_once_and_in_order() {
    let (_dir, url) = database();
    let (broker, store) = (Broker::start().await, things::open(&url));
    let relay = relay(&store, &broker).await;
    write_from_many(&store, 64, 25).await;
    all_published(&store).await;
    assert_once_and_in_order(&stream_content(&broker, "TEST").await, 64, 25);
    relay.stop().await;
}

#[tokio::test]
async fn a_lone_event_is_published_at_once() {
    let (_dir, url) = database();
    let (broker, store) = (Broker::start().await, things::open(&url));
    let relay = relay(&store, &broker).await;
    make(&store, "things/warm-up".to_owned()).await;
    all_published(&store).await;
    let started = std::time::Instant::now();
    make(&store, "things/a".to_owned()).await;
    all_published(&store).await;
    assert!(started.elapsed() < Duration::from_millis(900), "not left to the clock: {:?}", started.elapsed());
    relay.stop().await;
}

#[tokio::test]
async fn writes_go_on_without_the_broker_and_arrive_in_order_later() {
    let (_dir, url) = database();
    let (mut broker, store) = (Broker::start().await, things::open(&url));
    let relay = relay(&store, &broker).await;
    write_from_many(&store, 8, 10).await;
    broker.stop();
    write_from_many(&store, 8, 10).await;
    broker.restart();
    write_from_many(&store, 8, 10).await;
    broker.kill();
    write_from_many(&store, 8, 10).await;
    assert!(things::waiting(&store).await >= 80);
    broker.restart();
    all_published(&store).await;
    assert_once_and_in_order(&stream_content(&broker, "TEST").await, 8, 40);
    relay.stop().await;
}

#[tokio::test]
async fn a_service_starts_without_the_broker() {
    let (_dir, url) = database();
    let (mut broker, store) = (Broker::start().await, things::open(&url));
    broker.stop();
    let relay = relay(&store, &broker).await;
    write_from_many(&store, 4, 10).await;
    assert_eq!(things::waiting(&store).await, 40);
    broker.restart();
    all_published(&store).await;
    assert_once_and_in_order(&stream_content(&broker, "TEST").await, 4, 10);
    relay.stop().await;
}

async fn insert_left_behind(store: &Store, events: Vec<NewEvent>) {
    store
        .write(move |conn| {
            use diesel::connection::SimpleConnection;
            outbox::push_all(conn, things::SERVICE, &events)?;
            // As if written by a process that is no more.
            mesh::on!(conn, c => c.batch_execute("UPDATE outbox SET origin = 77"))?;
            Ok::<_, StoreError>(())
        })
        .await
        .expect("stored");
}

#[tokio::test]
async fn events_of_a_dead_process_are_adopted_after_a_while() {
    let (_dir, url) = database();
    let (broker, store) = (Broker::start().await, things::open(&url));
    let at = |seconds| Micros::now().minus(Duration::from_secs(seconds));
    let event = |name, seconds| NewEvent { at: at(seconds), ..things::made(name, 1) };
    insert_left_behind(&store, vec![event("things/old", 60), event("things/young", 7)]).await;
    let relay = relay(&store, &broker).await;
    eventually(SOON, || async { things::waiting(&store).await == 1 }).await;
    assert_eq!(stream_content(&broker, "TEST").await, [("things/old".to_owned(), 1)]);
    // The other one is adopted ten seconds after it was written.
    all_published(&store).await;
    assert_eq!(stream_content(&broker, "TEST").await.len(), 2);
    relay.stop().await;
}

/// Two processes write, as they may on PostgreSQL only: what happened to one thing is told in order, also while the other's relay is slow.
#[tokio::test]
async fn an_event_waits_for_what_another_process_has_to_tell_before() {
    let (broker, store) = (Broker::start().await, things::open(&postgres().url));
    insert_left_behind(&store, vec![things::made("things/shared", 1)]).await;
    for name in ["things/shared", "things/other"] {
        let event = things::made(name, 2);
        store
            .write(move |conn| outbox::push(conn, things::SERVICE, &event).map_err(StoreError::from))
            .await
            .expect("stored");
    }
    let relay = relay(&store, &broker).await;
    eventually(SOON, || async { things::waiting(&store).await == 2 }).await;
    assert_eq!(stream_content(&broker, "TEST").await, [("things/other".to_owned(), 2)]);
    // The other process never tells it, so it is adopted.
    all_published(&store).await;
    let shared = |version| ("things/shared".to_owned(), version);
    assert_eq!(stream_content(&broker, "TEST").await[1..], [shared(1), shared(2)]);
    relay.stop().await;
}

#[tokio::test]
async fn an_event_that_was_published_and_not_marked_is_not_doubled() {
    let (_dir, url) = database();
    let (broker, store) = (Broker::start().await, things::open(&url));
    let bus = broker.bus().await;
    let events: Vec<_> = (0..100).map(|n| things::made(&format!("things/{n}"), 1)).collect();
    // Its acknowledgement was lost, so it is still waiting, in the middle of what will be tried as one batch.
    publish(&bus, &broker, &events[50]).await;
    store
        .write(move |conn| outbox::push_all(conn, things::SERVICE, &events).map_err(StoreError::from))
        .await
        .expect("stored");
    let relay = relay(&store, &broker).await;
    all_published(&store).await;
    assert_once_and_in_order(&stream_content(&broker, "TEST").await, 100, 1);
    relay.stop().await;
}

#[tokio::test]
async fn a_relay_that_crashes_again_and_again_doubles_and_loses_nothing() {
    let (_dir, url) = database();
    let (broker, store) = (Broker::start().await, things::open(&url));
    for round in 1..=10 {
        let running = relay(&store, &broker).await;
        write_from_many(&store, 16, 5).await;
        eventually(SOON, || async { things::waiting(&store).await < 60 }).await;
        running.crash().await;
        assert!(round > 0);
    }
    let relay = relay(&store, &broker).await;
    all_published(&store).await;
    assert_once_and_in_order(&stream_content(&broker, "TEST").await, 16, 50);
    relay.stop().await;
}

#[tokio::test]
async fn a_broker_that_lost_its_store_is_refilled_from_the_outbox() {
    let (_dir, url) = database();
    let (mut broker, store) = (Broker::start().await, things::open(&url));
    let relay = relay(&store, &broker).await;
    write_from_many(&store, 8, 10).await;
    all_published(&store).await;
    broker.stop();
    broker.lose_everything();
    write_from_many(&store, 8, 1).await;
    broker.restart();
    let complete = || async {
        jetstream(&broker).await.get_stream("TEST").await.is_ok_and(|stream| stream.cached_info().state.messages == 88)
    };
    eventually(SOON, complete).await;
    assert_once_and_in_order(&stream_content(&broker, "TEST").await, 8, 11);
    relay.stop().await;
}

/// Every event of eight writers is in the stream, however often.
async fn all_there(broker: &Broker, each: i64) {
    let complete = || async {
        let wanted: HashSet<_> =
            (0..8).flat_map(|writer| (1..=each).map(move |number| (format!("things/{writer}"), number))).collect();
        let content: HashSet<_> = stream_content(broker, "TEST").await.into_iter().collect();
        content.is_superset(&wanted)
    };
    eventually(SOON, complete).await;
}

#[tokio::test]
async fn a_broker_that_lost_its_last_seconds_is_refilled_from_the_outbox() {
    let (_dir, url) = database();
    let (mut broker, store) = (Broker::start().await, things::open(&url));
    let relay = relay(&store, &broker).await;
    write_from_many(&store, 8, 5).await;
    all_published(&store).await;
    broker.stop();
    broker.remember();
    broker.restart();
    write_from_many(&store, 8, 3).await;
    all_published(&store).await;
    broker.kill();
    broker.set_back();
    write_from_many(&store, 8, 1).await;
    broker.restart();
    all_published(&store).await;
    all_there(&broker, 9).await;
    assert_once_and_in_order(&stream_content(&broker, "TEST").await, 8, 9);
    relay.stop().await;
}

#[tokio::test]
async fn a_loss_is_noticed_even_where_other_events_have_taken_the_place() {
    let (_dir, url) = database();
    let (mut broker, store) = (Broker::start().await, things::open(&url));
    let running = relay(&store, &broker).await;
    write_from_many(&store, 8, 5).await;
    all_published(&store).await;
    running.stop().await;
    broker.stop();
    broker.remember();
    broker.restart();
    let running = relay(&store, &broker).await;
    write_from_many(&store, 8, 3).await;
    all_published(&store).await;
    running.stop().await;
    broker.kill();
    broker.set_back();
    broker.restart();
    // What was on its way when the broker died gets there before anybody has looked: the stream is longer than it ever was.
    for number in 1..=30 {
        publish(&broker.bus().await, &broker, &things::made("things/on-its-way", number)).await;
    }
    let running = relay(&store, &broker).await;
    all_there(&broker, 8).await;
    running.stop().await;
}

#[tokio::test]
async fn a_loss_is_noticed_while_the_connection_stands() {
    let (_dir, url) = database();
    let (broker, store) = (Broker::start().await, things::open(&url));
    let relay = relay(&store, &broker).await;
    write_from_many(&store, 8, 5).await;
    all_published(&store).await;
    jetstream(&broker).await.delete_stream("TEST").await.expect("deleted");
    broker.bus().await.ensure_stream(things::SERVICE).await;
    write_from_many(&store, 8, 1).await;
    all_there(&broker, 6).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_cluster_that_loses_a_server_loses_no_event() {
    let (_dir, url) = database();
    let (mut cluster, store) = (Cluster::start().await, things::open(&url));
    let limits = StreamLimits { replicas: Some(3), max_age: None };
    let bus = Bus::connect(&cluster.url()).await.expect("valid addresses").with_limits(limits);
    let observer = nats::new(async_nats::connect(bus_addresses(&cluster)).await.expect("a server answers"));
    let running = Running::start(|shutdown| relaying::run(store.clone(), bus, things::SERVICE, shutdown));
    write_from_many(&store, 8, 5).await;
    all_published(&store).await;
    for round in 1..=3 {
        let info = observer.get_stream("TEST").await.expect("the stream exists").cached_info().clone();
        assert_eq!(info.config.num_replicas, 3);
        let leader = info.cluster.and_then(|cluster| cluster.leader).expect("a leader");
        let server = leader.strip_prefix("server-").and_then(|number| number.parse().ok()).expect("one of ours");
        write_from_many(&store, 8, 2).await;
        cluster.kill(server);
        write_from_many(&store, 8, 3).await;
        all_published(&store).await;
        cluster.restart(server);
        let messages = || async {
            let stream = observer.get_stream("TEST").await.ok()?;
            let info = stream.cached_info();
            let followers = info.cluster.as_ref().map(|cluster| cluster.replicas.clone()).unwrap_or_default();
            (followers.len() == 2 && followers.iter().all(|it| it.current && !it.offline))
                .then_some(info.state.messages)
        };
        assert_eq!(eventually(SOON, messages).await, 40 + 40 * round);
    }
    running.stop().await;
}

fn bus_addresses(cluster: &Cluster) -> Vec<async_nats::ServerAddr> {
    cluster.url().split(',').map(|url| url.parse().expect("an address")).collect()
}

#[tokio::test]
async fn published_events_are_kept_for_a_day() {
    let (_dir, url) = database();
    let (broker, store) = (Broker::start().await, things::open(&url));
    let relay = relay(&store, &broker).await;
    write_from_many(&store, 3, 1).await;
    all_published(&store).await;
    relay.stop().await;
    write_from_many(&store, 1, 1).await;
    let now = Micros::now();
    let pruned = store.write(move |conn| {
        let at = |hours| now.plus(Duration::from_hours(hours));
        Ok::<_, StoreError>([
            outbox::prune(conn, at(23), 100)?,
            outbox::prune(conn, at(25), 2)?,
            outbox::prune(conn, at(25), 100)?,
            outbox::prune(conn, at(25), 100)?,
        ])
    });
    assert_eq!(pruned.await.expect("stored"), [0, 2, 1, 0]);
    assert_eq!(things::waiting(&store).await, 1, "what is not published stays");
}

#[tokio::test]
async fn an_event_too_large_for_the_broker_is_refused_when_it_is_written() {
    let (_dir, url) = database();
    let store = things::open(&url);
    let event =
        NewEvent { payload: vec![0; outbox::MAX_PAYLOAD_BYTES + 1], id: Id::generate(), ..things::made("things/a", 1) };
    let refused = store.write(move |conn| outbox::push(conn, things::SERVICE, &event).map_err(StoreError::from)).await;
    assert!(matches!(refused, Err(StoreError::Database(_))));
    assert_eq!(things::waiting(&store).await, 0);
}
