//! A broker that comes back without what it acknowledged last: its store is an earlier one. Sequence numbers are given a second time.

use std::collections::HashSet;

use async_nats::jetstream::consumer::{DeliverPolicy, PullConsumer, pull};
use futures_util::StreamExt;
use mesh::consumer::{self, ConsumerSpec, HandlerError, Repeats};
use mesh::event::{NewEvent, Received};
use mesh::outbox;
use mesh::store::{Conn, Store, StoreError};
use mesh::testing::{Broker, database, eventually};

use crate::events::{Running, SOON, all_published, jetstream, publish, relay, stream_content};
use crate::things::{self, Made};

async fn write(store: &Store, events: Vec<NewEvent>) {
    store
        .write(move |conn| outbox::push_all(conn, things::SERVICE, &events).map_err(StoreError::from))
        .await
        .expect("stored");
}

fn numbers(range: std::ops::RangeInclusive<i64>) -> Vec<NewEvent> {
    range.map(|number| things::made("things/a", number)).collect()
}

/// Events 1 to 10 are in the stream and in the copy, 11 to 20 in the stream alone. The broker is stopped, and no relay runs.
async fn ten_more_than_the_copy(store: &Store) -> Broker {
    let mut broker = Broker::start().await;
    let running = relay(store, &broker).await;
    write(store, numbers(1..=10)).await;
    all_published(store).await;
    running.stop().await;
    broker.stop();
    broker.remember();
    broker.restart();
    let running = relay(store, &broker).await;
    write(store, numbers(11..=20)).await;
    all_published(store).await;
    running.stop().await;
    broker.kill();
    broker
}

async fn has(broker: &Broker, numbers: i64) {
    eventually(SOON, || async {
        let content = stream_content(broker, "TEST").await;
        let distinct: HashSet<i64> = content.iter().map(|(_, number)| *number).collect();
        (1..=numbers).all(|number| distinct.contains(&number))
    })
    .await;
}

/// The service's clock was an hour behind the broker's when it published what was lost, and what was on its way when the broker died has taken
/// the lost numbers before the relay looks.
#[tokio::test]
async fn a_lost_tail_is_published_again_whatever_the_clocks_say() {
    let (_dir, url) = database();
    let store = things::open(&url);
    let mut broker = ten_more_than_the_copy(&store).await;
    store
        .write(|conn| {
            use diesel::connection::SimpleConnection;
            let hour_ago = "UPDATE outbox SET published_at = published_at - 3600000000";
            mesh::on!(conn, c => c.batch_execute(hour_ago)).map_err(StoreError::from)
        })
        .await
        .expect("stored");
    broker.set_back();
    let new = numbers(21..=35);
    write(&store, new.clone()).await;
    broker.restart();
    let bus = broker.bus().await;
    for event in &new[..12] {
        publish(&bus, &broker, event).await;
    }
    let running = relay(&store, &broker).await;
    has(&broker, 35).await;
    all_published(&store).await;
    running.stop().await;
}

fn count(conn: &mut Conn, events: &[Received]) -> Result<(), HandlerError> {
    for event in events {
        let made: Made = event.decode()?;
        things::add(conn, &format!("seen/{}", made.number), 1)?;
    }
    Ok(())
}

fn spec() -> ConsumerSpec {
    ConsumerSpec {
        stream: "TEST",
        durable: "counter-on-test",
        subjects: Vec::new(),
        batch: 64,
        repeats: Repeats::Dropped,
    }
}

/// Brings the durable consumer's position to the end of the stream: its effects are elsewhere, and of other events.
async fn advance(broker: &Broker, events: usize) {
    let jetstream = jetstream(broker).await;
    let config = pull::Config {
        durable_name: Some(spec().durable.to_owned()),
        deliver_policy: DeliverPolicy::All,
        ..pull::Config::default()
    };
    let consumer: PullConsumer = jetstream.create_consumer_on_stream(config, "TEST").await.expect("created");
    let mut messages = consumer.messages().await.expect("arriving").take(events);
    while let Some(message) = messages.next().await {
        message.expect("arrives").double_ack().await.expect("acknowledged");
    }
}

/// Servers before 2.14, and replicated ones, leave a consumer beyond the end of a stream that was set back: it would skip whatever takes the lost
/// numbers. Here a consumer is at 30 when the stream's end is found to be 10.
#[tokio::test]
async fn a_consumer_beyond_a_lost_tail_misses_nothing_that_takes_its_numbers() {
    let ((_dir, url), (_other, consumer)) = (database(), database());
    let (store, consumer) = (things::open(&url), things::open(&consumer));
    let mut broker = ten_more_than_the_copy(&store).await;
    broker.set_back();
    let new = numbers(21..=40);
    write(&store, new.clone()).await;
    broker.restart();
    let bus = broker.bus().await;
    for event in &new {
        publish(&bus, &broker, event).await;
    }
    advance(&broker, 30).await;
    sees(&store, &consumer, &broker, 11..=40).await;
}

/// Events 11 to 20 were never acknowledged to the relay, and the stream may hold others under their numbers than the consumer saw there.
#[tokio::test]
async fn a_consumer_beyond_the_last_acknowledgement_misses_nothing_that_took_those_numbers() {
    let ((_dir, url), (_other, consumer)) = (database(), database());
    let (store, consumer) = (things::open(&url), things::open(&consumer));
    let broker = Broker::start().await;
    let running = relay(&store, &broker).await;
    write(&store, numbers(1..=10)).await;
    all_published(&store).await;
    running.stop().await;
    let bus = broker.bus().await;
    let unacknowledged = numbers(11..=20);
    write(&store, unacknowledged.clone()).await;
    for event in &unacknowledged {
        publish(&bus, &broker, event).await;
    }
    advance(&broker, 20).await;
    sees(&store, &consumer, &broker, 11..=20).await;
}

/// What was before, somebody else has seen; whether it comes again depends on who makes the consumer anew.
async fn sees(store: &Store, consumer: &Store, broker: &Broker, numbers: std::ops::RangeInclusive<i64>) {
    let consuming = {
        let (bus, consumer) = (broker.bus().await, consumer.clone());
        Running::start(|shutdown| consumer::run(spec(), bus, consumer, count, shutdown))
    };
    let running = relay(store, broker).await;
    for number in numbers {
        eventually(SOON, || async { things::number(consumer, &format!("seen/{number}")).await == Some(1) }).await;
    }
    consuming.stop().await;
    running.stop().await;
}
