//! The connection to the broker, NATS JetStream, and the streams on it.
//!
//! A service starts, and goes on, without the broker: the connection is made and made again in the background, and what needs it waits. The broker
//! is transport: events can be published again from the outbox, so nothing here guards data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::client::Client;
use async_nats::connection::State;
use async_nats::jetstream::context::{Context, ContextBuilder, CreateStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::{ConnectOptions, Event, ServerInfo};
use tokio::sync::watch;

/// The stream of events that a consumer gave up on.
pub const DEAD_LETTERS: &str = "DLQ";
/// Its subjects: `holdfast.dlq.<stream>.<consumer>`.
pub const DEAD_LETTER_PREFIX: &str = "holdfast.dlq";

const MAX_AGE: Duration = Duration::from_hours(30 * 24);
const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A broker that is silent this long, twice, is taken for dead.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);
/// Commands waiting to be written to the socket at most.
const COMMAND_CAPACITY: usize = 8192;
/// Messages of one subscription that have arrived and are not read yet, at most. Above what a consumer may have pending.
const SUBSCRIPTION_CAPACITY: usize = 16 * 1024;

/// The text is not the address of a broker.
#[derive(Debug, thiserror::Error)]
#[error("expected nats://host:port")]
pub struct InvalidBrokerUrl(#[source] async_nats::ConnectError);

/// A handle to the broker; clones share the connection. It belongs to the runtime it was made on.
#[derive(Clone)]
pub struct Bus {
    client: Client,
    jetstream: Context,
    state: Arc<ConnectionState>,
}

struct ConnectionState {
    /// Goes up with every connection made.
    connections: watch::Sender<u64>,
    refused: AtomicBool,
}

impl Bus {
    /// Returns at once; connects, and connects again, in the background.
    ///
    /// # Errors
    /// Only for an address that could never work.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn connect(url: &str) -> Result<Self, InvalidBrokerUrl> {
        let state = Arc::new(ConnectionState { connections: watch::Sender::new(0), refused: AtomicBool::new(false) });
        let events = Arc::clone(&state);
        let client = ConnectOptions::new()
            .name("holdfast")
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|attempts| {
                let doubled = Duration::from_millis(50) * 2u32.pow(u32::try_from(attempts).unwrap_or(u32::MAX).min(6));
                doubled.min(MAX_RECONNECT_DELAY)
            })
            .connection_timeout(REQUEST_TIMEOUT)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .ping_interval(PING_INTERVAL)
            .client_capacity(COMMAND_CAPACITY)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .event_callback(move |event| {
                let state = Arc::clone(&events);
                async move { state.note(&event) }
            })
            .connect(url)
            .await
            .map_err(InvalidBrokerUrl)?;
        let jetstream =
            ContextBuilder::new().timeout(REQUEST_TIMEOUT).ack_timeout(REQUEST_TIMEOUT).build(client.clone());
        Ok(Self { client, jetstream, state })
    }

    /// Whether a usable broker is connected right now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected && self.is_supported()
    }

    /// Waits until a usable broker is connected. Answers the number of the connection: another number later means it was lost in between.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn connected(&self) -> u64 {
        let mut connections = self.state.connections.subscribe();
        loop {
            let number = *connections.borrow_and_update();
            if self.is_connected() {
                return number;
            }
            // The state may change a moment before or after its event, so the event is not waited for alone.
            let _ = tokio::time::timeout(Duration::from_millis(250), connections.changed()).await;
        }
    }

    /// Waits until the connection is another one than `number`.
    pub(crate) async fn reconnected(&self, number: u64) {
        let mut connections = self.state.connections.subscribe();
        // The sender lives in `self`, so this ends only by a change.
        let _ = connections.wait_for(|current| *current != number).await;
    }

    /// Creates the stream of the events that `service` publishes, or brings it up to date; tries until it is there. Limits an operator has set on
    /// an existing stream (replicas, age, size) are kept.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn ensure_stream(&self, service: &str) {
        self.ensure(&event_stream(service)).await;
    }

    /// Creates the stream of the events that consumers gave up on, or brings it up to date; tries until it is there.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn ensure_dead_letter_stream(&self) {
        self.ensure(&stream(DEAD_LETTERS.to_owned(), format!("{DEAD_LETTER_PREFIX}.>"))).await;
    }

    async fn ensure(&self, wanted: &Config) {
        let mut delay = Duration::from_millis(100);
        loop {
            self.connected().await;
            match self.try_ensure(wanted).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(stream = wanted.name, %error, "cannot set up the stream yet"),
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(Duration::from_secs(5));
        }
    }

    async fn try_ensure(&self, wanted: &Config) -> Result<(), CreateStreamError> {
        match self.jetstream.get_stream(&wanted.name).await {
            Ok(present) => {
                let mut config = present.cached_info().config.clone();
                if config.subjects == wanted.subjects && config.allow_atomic_publish == wanted.allow_atomic_publish {
                    return Ok(());
                }
                config.subjects.clone_from(&wanted.subjects);
                config.allow_atomic_publish = wanted.allow_atomic_publish;
                self.jetstream.update_stream(config).await.map(|_| ())
            }
            Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(_)) => {
                self.jetstream.create_stream(wanted).await.map(|_| ())
            }
            Err(error) => Err(CreateStreamError::with_source(
                async_nats::jetstream::context::CreateStreamErrorKind::Response,
                error,
            )),
        }
    }

    /// Whether the broker takes several messages as one (since 2.12).
    pub(crate) fn takes_atomic_batches(&self) -> bool {
        self.client.is_server_compatible(2, 12, 0)
    }

    fn is_supported(&self) -> bool {
        let info = self.client.server_info();
        if info.version.is_empty() {
            return false;
        }
        let supported = self.client.is_server_compatible(2, 10, 0);
        if !supported {
            self.state.refuse(&info);
        }
        supported
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn jetstream(&self) -> &Context {
        &self.jetstream
    }
}

impl ConnectionState {
    fn note(&self, event: &Event) {
        match event {
            Event::Connected => {
                tracing::info!("connected to the broker");
                self.connections.send_modify(|number| *number += 1);
            }
            Event::Disconnected => tracing::warn!("lost the broker; events wait in the outbox until it is back"),
            other => tracing::debug!(event = %other, "broker connection"),
        }
    }

    /// Older servers deliver subjects nobody asked for and do not sync when told to: running on them would look fine and be wrong.
    fn refuse(&self, info: &ServerInfo) {
        if !self.refused.swap(true, Ordering::Relaxed) {
            tracing::error!(
                version = info.version,
                "nats-server 2.10 or newer is needed, better 2.12; this one is not used"
            );
        }
    }
}

/// The name of the stream of a service's events.
#[must_use]
pub fn stream_name(service: &str) -> String {
    service.to_ascii_uppercase()
}

fn event_stream(service: &str) -> Config {
    stream(stream_name(service), format!("holdfast.evt.{service}.>"))
}

fn stream(name: String, subjects: String) -> Config {
    Config {
        name,
        subjects: vec![subjects],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        max_age: MAX_AGE,
        duplicate_window: DUPLICATE_WINDOW,
        num_replicas: 1,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        allow_direct: true,
        allow_atomic_publish: true,
        ..Config::default()
    }
}
