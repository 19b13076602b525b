//! Durable consumers: every event of the subjects reaches the handler, its effect is stored once, and one bad event does not stop the others.
//!
//! Events that have already arrived are gathered into one transaction, together with their inbox rows; they are acknowledged after the commit.
//! Replicas share the durable consumer, so events of one aggregate may be handled by several processes at once and out of order: handlers compare
//! [`Received::version`] with what they stored, ignore what is past, and answer [`HandlerError::Retry`] where a version is missing.

mod batch;
mod dead_letter;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use crate::nats::jetstream::{self, AckKind};
use futures_util::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

pub(crate) use self::batch::{Failure, Worker};
pub(crate) use self::dead_letter::{Letter, Letters, LettersError};
use crate::bus::Bus;
use crate::event::Received;
use crate::inbox;
use crate::store::{Conn, Micros, Store, StoreError};

/// Deliveries without an acknowledgement for this long are made again, to any replica. Rather short, as the inbox makes repeats harmless.
const ACK_WAIT: Duration = Duration::from_secs(10);
const MAX_BATCH: usize = 256;
const MAX_ACK_PENDING: i64 = 8192;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_STEP: i64 = 500;

/// What to consume.
#[derive(Clone, Debug)]
pub struct ConsumerSpec {
    /// The publishing service's stream, e.g. `RESERVATION`.
    pub stream: &'static str,
    /// The consumer's name, shared by its replicas: `<service>-on-<stream>`, under 32 characters.
    pub durable: &'static str,
    /// The subjects wanted ([`crate::event::filter`]); none means all of the stream.
    pub subjects: Vec<String>,
    /// Events in one transaction at most; 1 to 256.
    pub batch: usize,
    /// What becomes of an event that is delivered again.
    pub repeats: Repeats,
}

/// What becomes of an event that is delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// The inbox knows it: the handler does not see it.
    Dropped,
    /// The handler sees it and stores nothing more, since its rows are keyed by the event. That spares the inbox.
    Harmless,
}

/// What happens to events the handler refuses.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Deliveries before an event goes to the dead letters.
    pub max_deliver: u64,
    /// The pause after each delivery; the last one repeats.
    pub backoff: Vec<Duration>,
}

impl Default for RetryPolicy {
    /// Eight deliveries over some 70 seconds: longer than another process's events take to be adopted.
    fn default() -> Self {
        let backoff = [100, 500, 2_000, 5_000, 10_000, 20_000, 30_000].map(Duration::from_millis).to_vec();
        Self { max_deliver: 8, backoff }
    }
}

impl RetryPolicy {
    fn pause(&self, delivered: u64) -> Duration {
        let index = usize::try_from(delivered.saturating_sub(1)).unwrap_or(usize::MAX);
        self.backoff.get(index).or(self.backoff.last()).copied().unwrap_or(FIRST_RETRY)
    }
}

/// Why a handler did not take an event. What it wrote is undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerError {
    /// It may work later.
    Retry(String),
    /// It never will: the event goes to the dead letters at once.
    Poison(String),
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(why) => write!(f, "not now: {why}"),
            Self::Poison(why) => write!(f, "never: {why}"),
        }
    }
}

impl std::error::Error for HandlerError {}

/// What a consumer does with events; see [`run`].
pub type Handler = Arc<dyn Fn(&mut Conn, &[Received]) -> Result<(), HandlerError> + Send + Sync>;

impl From<diesel::result::Error> for HandlerError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Retry(error.to_string())
    }
}

impl From<StoreError> for HandlerError {
    fn from(error: StoreError) -> Self {
        Self::Retry(error.to_string())
    }
}

impl From<prost::DecodeError> for HandlerError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Poison(error.to_string())
    }
}

/// Consumes until `shutdown`; a batch in progress is finished. Neither the broker nor the stream needs to be there yet.
///
/// `handler` is called inside one write transaction with the events its inbox has not seen (all of them if repeats are [`Repeats::Harmless`]), in
/// the order of the stream. It must do nothing but write
/// rows: when one event of a batch fails, the others are handled again without it.
///
/// # Cancel safety
/// Safe to drop: what was not acknowledged is delivered again, and the inbox drops what was stored.
pub async fn run<H>(spec: ConsumerSpec, bus: Bus, store: Store, handler: H, shutdown: CancellationToken)
where
    H: Fn(&mut Conn, &[Received]) -> Result<(), HandlerError> + Send + Sync + 'static,
{
    run_with(spec, RetryPolicy::default(), bus, store, handler, shutdown).await;
}

/// [`run`] with another retry policy.
///
/// # Cancel safety
/// As for [`run`].
pub async fn run_with<H>(
    spec: ConsumerSpec,
    retry: RetryPolicy,
    bus: Bus,
    store: Store,
    handler: H,
    shutdown: CancellationToken,
) where
    H: Fn(&mut Conn, &[Received]) -> Result<(), HandlerError> + Send + Sync + 'static,
{
    run_worker(&Worker::new(spec, retry, bus, store, Arc::new(handler)), &shutdown).await;
}

/// [`run`] for a worker that others use too.
pub(crate) async fn run_worker(worker: &Worker, shutdown: &CancellationToken) {
    // The work is not dropped at shutdown but told: it ends after the batch it is at.
    tokio::select! {
        () = consume_until(worker, shutdown) => {}
        () = prune_forever(worker.store()) => {}
    }
}

async fn consume_until(worker: &Worker, shutdown: &CancellationToken) {
    let durable = worker.spec().durable;
    let mut retry = FIRST_RETRY;
    loop {
        let opened = async {
            let connection = worker.bus().connected().await;
            worker.bus().ensure_stream(&worker.spec().stream.to_ascii_lowercase()).await;
            worker.bus().ensure_dead_letter_stream().await;
            open(worker.bus(), worker.spec()).await.map(|messages| (connection, messages))
        };
        let ended = tokio::select! {
            () = shutdown.cancelled() => return,
            opened = opened => match opened {
                Ok((connection, messages)) => {
                    retry = FIRST_RETRY;
                    pull(worker, messages, connection, shutdown).await
                }
                Err(error) => Some(error),
            }
        };
        if shutdown.is_cancelled() {
            return;
        }
        if let Some(error) = ended {
            tracing::warn!(durable, %error, retry_ms = retry.as_millis(), "cannot consume now");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(retry) => {}
            }
            retry = (retry * 2).min(LAST_RETRY);
        }
    }
}

async fn open(bus: &Bus, spec: &ConsumerSpec) -> Result<pull::Stream, crate::nats::Error> {
    let jetstream = bus.jetstream();
    let present: Result<PullConsumer, _> = jetstream.get_consumer_from_stream(spec.durable, spec.stream).await;
    // Where it began cannot be changed, and one that a relay has set back began elsewhere.
    let deliver_policy = present.map_or(DeliverPolicy::All, |present| present.cached_info().config.deliver_policy);
    let config = pull::Config {
        durable_name: Some(spec.durable.to_owned()),
        filter_subjects: spec.subjects.clone(),
        deliver_policy,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        // Deliveries are counted by the worker, which keeps a copy of what it gives up.
        max_deliver: -1,
        max_ack_pending: MAX_ACK_PENDING,
        ..pull::Config::default()
    };
    let consumer: PullConsumer = jetstream.create_consumer_on_stream(config, spec.stream).await?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(2 * spec.batch.clamp(1, MAX_BATCH))
        .expires(Duration::from_secs(30))
        .heartbeat(Duration::from_secs(5))
        .messages()
        .await?;
    Ok(messages)
}

/// Handles batches until the shutdown, a new connection, or an error.
async fn pull(
    worker: &Worker,
    mut messages: pull::Stream,
    connection: u64,
    shutdown: &CancellationToken,
) -> Option<crate::nats::Error> {
    let size = worker.spec().batch.clamp(1, MAX_BATCH);
    let mut batch: Vec<jetstream::Message> = Vec::new();
    loop {
        // What has arrived is handled before a new connection is noticed: nobody would deliver it again before ACK_WAIT.
        let first = tokio::select! {
            biased;
            () = shutdown.cancelled() => {
                give_back(&mut messages).await;
                return None;
            }
            message = messages.next() => message,
            () = worker.bus().reconnected(connection) => return None,
        };
        match first {
            None => return None,
            Some(Err(error)) => return Some(error.into()),
            Some(Ok(message)) => batch.push(message),
        }
        let mut ended = None;
        while batch.len() < size {
            match messages.next().now_or_never() {
                Some(Some(Ok(message))) => batch.push(message),
                Some(Some(Err(error))) => {
                    ended = Some(error.into());
                    break;
                }
                Some(None) | None => break,
            }
        }
        worker.handle(std::mem::take(&mut batch)).await;
        if ended.is_some() {
            return ended;
        }
    }
}

/// Lets other replicas have at once what this one will not handle.
async fn give_back(messages: &mut pull::Stream) {
    while let Some(Some(Ok(message))) = messages.next().now_or_never() {
        if message.ack_with(AckKind::Nak(None)).await.is_err() {
            return;
        }
    }
}

async fn prune_forever(store: &Store) {
    let mut clock = tokio::time::interval(PRUNE_EVERY);
    loop {
        clock.tick().await;
        while let Ok(1..) =
            store.write(|conn| inbox::prune(conn, Micros::now(), PRUNE_STEP).map_err(StoreError::from)).await
        {}
    }
}
