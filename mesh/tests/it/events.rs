//! What the tests of the relay and of consumers share: a store, a broker, running tasks, and a look at the stream.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, consumer::PullConsumer};
use futures_util::StreamExt;
use mesh::bus::Bus;
use mesh::event::NewEvent;
use mesh::relay;
use mesh::store::{Store, StoreError};
use mesh::testing::{Broker, eventually};
use proto::contract::Event;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::things::{self, Made};

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A task that is told to end, and waited for.
pub(crate) struct Running {
    pub(crate) shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(CancellationToken) -> F) -> Self {
        let shutdown = CancellationToken::new();
        Self { task: mesh::deadline::spawn(run(shutdown.clone())), shutdown }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(SOON, self.task).await.expect("ends when told").expect("no panic");
    }

    /// Drops the task wherever it is, as a crash would.
    pub(crate) async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub(crate) async fn relay(store: &Store, broker: &Broker) -> Running {
    let (store, bus) = (store.clone(), broker.bus().await);
    Running::start(|shutdown| relay::run(store, bus, things::SERVICE, shutdown))
}

pub(crate) async fn make(store: &Store, name: String) {
    store.write(move |conn| things::make(conn, &name).map_err(StoreError::from)).await.expect("stored");
}

pub(crate) async fn all_published(store: &Store) {
    eventually(SOON, || async { things::waiting(store).await == 0 }).await;
}

/// Publishes without an outbox, as somebody else might.
pub(crate) async fn publish(bus: &Bus, broker: &Broker, event: &NewEvent) {
    publish_as(bus, broker, event, &event.id.to_string()).await;
}

/// With another id for the broker, as if its duplicate window had passed.
pub(crate) async fn publish_as(bus: &Bus, broker: &Broker, event: &NewEvent, message_id: &str) {
    bus.ensure_stream(things::SERVICE).await;
    let mut headers = async_nats::HeaderMap::new();
    let id = event.id.to_string();
    for (name, value) in [
        ("Nats-Msg-Id", message_id),
        ("ce-id", &id),
        ("ce-source", "//holdfast/test"),
        ("ce-specversion", "1.0"),
        ("ce-type", event.kind),
        ("ce-subject", &event.aggregate),
        ("ce-time", &event.at.to_string()),
        ("ce-sequence", &event.version.to_string()),
    ] {
        headers.insert(name, value);
    }
    let stream = jetstream(broker).await;
    let ack = stream
        .publish_with_headers(event.subject.clone(), headers, event.payload.clone().into())
        .await
        .expect("connected");
    ack.await.expect("stored");
}

pub(crate) async fn jetstream(broker: &Broker) -> jetstream::Context {
    jetstream::new(async_nats::connect(broker.url()).await.expect("the broker answers"))
}

/// Everything in the stream: (aggregate, number) in order.
pub(crate) async fn stream_content(broker: &Broker, stream: &str) -> Vec<(String, i64)> {
    let jetstream = jetstream(broker).await;
    let stream = jetstream.get_stream(stream).await.expect("the stream exists");
    let messages = stream.cached_info().state.messages;
    if messages == 0 {
        return Vec::new();
    }
    let consumer: PullConsumer = stream
        .create_consumer(pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() })
        .await
        .expect("created");
    let arriving = consumer.messages().await.expect("arriving").take(usize::try_from(messages).expect("few"));
    arriving
        .map(|message| {
            let message = message.expect("arrives");
            let made: Made = prost::Message::decode(message.payload.clone()).expect("ours");
            assert_eq!(
                message
                    .headers
                    .as_ref()
                    .and_then(|headers| headers.get("ce-type"))
                    .map(async_nats::HeaderValue::as_str),
                Some(Made::TYPE)
            );
            (made.name, made.number)
        })
        .collect()
        .await
}

/// Each aggregate's events are there once, in order, from the first to the last.
pub(crate) fn assert_once_and_in_order(content: &[(String, i64)], aggregates: usize, each: i64) {
    let mut last: HashMap<&str, i64> = HashMap::new();
    for (name, number) in content {
        let last = last.entry(name).or_default();
        assert_eq!(*number, *last + 1, "{name}");
        *last = *number;
    }
    assert_eq!(last.len(), aggregates);
    assert!(last.values().all(|number| *number == each), "{last:?}");
}
