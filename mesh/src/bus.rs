//! The connection to the broker, NATS JetStream, and the streams on it.
//!
//! A service starts, and goes on, without the broker: the connection is made and made again in the background, and what needs it waits. The broker
//! is transport: events can be published again from the outbox, so nothing here guards data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::nats::client::Client;
use crate::nats::connection::State;
use crate::nats::jetstream::context::{Context, ContextBuilder, GetStreamErrorKind};
use crate::nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use crate::nats::{ConnectOptions, Event, ServerInfo};
use tokio::sync::watch;

/// The stream of events that a consumer gave up on.
pub const DEAD_LETTERS: &str = "DLQ";
/// Its subjects: `holdfast.dlq.<stream>.<consumer>`.
pub const DEAD_LETTER_PREFIX: &str = "holdfast.dlq";

/// How long a new stream keeps events, unless it is told otherwise.
pub(crate) const MAX_AGE: Duration = Duration::from_hours(30 * 24);
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
#[error("expected nats://host:port, or several with commas between")]
pub struct InvalidBrokerUrl(#[source] crate::nats::ConnectError);

/// The stream cannot be used as it is, and only an operator can change that: its messages would have to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    /// It forgets everything when the broker stops.
    #[error("it is kept in memory, not in files")]
    Volatile,
    /// It would drop events that a consumer added later has not seen.
    #[error("its retention is not `limits`: events go away once they are acknowledged")]
    Forgetful,
    /// It would refuse new events rather than let go of the oldest.
    #[error("it refuses new events when it is full (`discard: new`)")]
    Stubborn,
}

/// What an operator may choose of the streams. What is not chosen is left as it is on a stream that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamLimits {
    /// Servers that keep a copy of each event: 1 to 5, odd. A new stream has 1 unless told.
    pub replicas: Option<usize>,
    /// How long events are kept. A new stream keeps them 30 days unless told.
    pub max_age: Option<Duration>,
}

/// A handle to the broker; clones share the connection. It belongs to the runtime it was made on.
#[derive(Clone)]
pub struct Bus {
    client: Client,
    jetstream: Context,
    limits: StreamLimits,
    state: Arc<ConnectionState>,
}

struct ConnectionState {
    /// Goes up with every connection made.
    connections: watch::Sender<u64>,
    refused: AtomicBool,
}

impl Bus {
    /// Returns at once; connects, and connects again, in the background. `url` may name several servers of a cluster, with commas between.
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
            .connect(url.split(',').map(str::trim).collect::<Vec<_>>().as_slice())
            .await
            .map_err(InvalidBrokerUrl)?;
        let jetstream =
            ContextBuilder::new().timeout(REQUEST_TIMEOUT).ack_timeout(REQUEST_TIMEOUT).build(client.clone());
        Ok(Self { client, jetstream, limits: StreamLimits::default(), state })
    }

    /// With streams as an operator wants them.
    #[must_use]
    pub fn with_limits(self, limits: StreamLimits) -> Self {
        Self { limits, ..self }
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

    /// The number of the connection, or of the last one while there is none.
    pub(crate) fn connection(&self) -> u64 {
        *self.state.connections.borrow()
    }

    /// Waits until the connection is another one than `number`.
    pub(crate) async fn reconnected(&self, number: u64) {
        let mut connections = self.state.connections.subscribe();
        // The sender lives in `self`, so this ends only by a change.
        let _ = connections.wait_for(|current| *current != number).await;
    }

    /// Creates the stream of the events that `service` publishes, or brings it up to date; tries until it is there. Limits that an existing stream
    /// has (replicas, age, size) are kept, unless [`StreamLimits`] say otherwise.
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

    async fn try_ensure(&self, wanted: &Config) -> Result<(), crate::nats::Error> {
        match self.jetstream.get_stream(&wanted.name).await {
            Ok(present) => {
                if let Some(config) = upgrade(&present.cached_info().config, wanted, self.limits)? {
                    self.jetstream.update_stream(config).await?;
                }
            }
            Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(_)) => {
                self.jetstream.create_stream(limited(wanted.clone(), self.limits)).await?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
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

/// Every setting that matters is told: a broker's defaults differ between versions.
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

fn limited(config: Config, limits: StreamLimits) -> Config {
    Config {
        num_replicas: limits.replicas.unwrap_or(config.num_replicas),
        max_age: limits.max_age.unwrap_or(config.max_age),
        ..config
    }
}

/// What a stream that exists has to become, if anything.
fn upgrade(present: &Config, wanted: &Config, limits: StreamLimits) -> Result<Option<Config>, Unsuitable> {
    if present.storage != wanted.storage {
        return Err(Unsuitable::Volatile);
    }
    if present.retention != wanted.retention {
        return Err(Unsuitable::Forgetful);
    }
    if present.discard != wanted.discard {
        return Err(Unsuitable::Stubborn);
    }
    let next = Config {
        subjects: wanted.subjects.clone(),
        allow_atomic_publish: wanted.allow_atomic_publish,
        duplicate_window: present.duplicate_window.max(wanted.duplicate_window),
        ..limited(present.clone(), limits)
    };
    Ok((next != *present).then_some(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LIMITS: StreamLimits = StreamLimits { replicas: None, max_age: None };

    fn upgraded(change: impl FnOnce(&mut Config), limits: StreamLimits) -> Result<Option<Config>, Unsuitable> {
        let wanted = event_stream("listing");
        let mut present = wanted.clone();
        change(&mut present);
        upgrade(&present, &wanted, limits)
    }

    #[test]
    fn a_stream_as_wanted_is_left_alone() {
        assert_eq!(upgraded(|_| {}, NO_LIMITS), Ok(None));
    }

    #[test]
    fn limits_an_operator_has_set_on_the_stream_stay() {
        let operators = |config: &mut Config| {
            config.num_replicas = 3;
            config.max_age = Duration::from_hours(1);
            config.max_bytes = 1 << 30;
            config.duplicate_window = Duration::from_mins(10);
        };
        assert_eq!(upgraded(operators, NO_LIMITS), Ok(None));
    }

    #[test]
    fn what_the_software_needs_is_brought_up_to_date() {
        let old = |config: &mut Config| {
            config.subjects = vec!["holdfast.evt.listing.v1.>".to_owned()];
            config.allow_atomic_publish = false;
            config.duplicate_window = Duration::from_secs(10);
        };
        assert_eq!(upgraded(old, NO_LIMITS), Ok(Some(event_stream("listing"))));
    }

    #[test]
    fn chosen_limits_are_set_on_a_stream_that_exists() {
        let limits = StreamLimits { replicas: Some(3), max_age: Some(Duration::from_hours(24)) };
        let next = upgraded(|_| {}, limits).expect("suitable").expect("a change");
        assert_eq!((next.num_replicas, next.max_age), (3, Duration::from_hours(24)));
    }

    #[test]
    fn a_stream_that_would_lose_events_is_not_used() {
        assert_eq!(upgraded(|it| it.storage = StorageType::Memory, NO_LIMITS), Err(Unsuitable::Volatile));
        assert_eq!(upgraded(|it| it.retention = RetentionPolicy::WorkQueue, NO_LIMITS), Err(Unsuitable::Forgetful));
        assert_eq!(upgraded(|it| it.discard = DiscardPolicy::New, NO_LIMITS), Err(Unsuitable::Stubborn));
    }
}
