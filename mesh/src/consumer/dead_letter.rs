//! Copies of events that a consumer gave up on, with the reason, for an operator to look at and to have handled after all.

use crate::nats::jetstream::context::GetStreamErrorKind;
use crate::nats::jetstream::message::StreamMessage;
use crate::nats::jetstream::stream::{DirectGetError, DirectGetErrorKind, Stream};
use crate::nats::jetstream::{ErrorCode, Message};
use crate::nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use futures_util::TryStreamExt as _;

use super::ConsumerSpec;
use crate::bus::{Bus, DEAD_LETTER_PREFIX, DEAD_LETTERS};
use crate::event::{ID, MESSAGE_ID, Malformed, Received, TRACEPARENT, percent_decode, percent_encode};
use crate::store::Micros;

/// Why the consumer gave up, percent-encoded.
const ERROR: &str = "holdfast-error";
const DELIVERED: &str = "holdfast-delivered";
const STREAM_SEQUENCE: &str = "holdfast-stream-sequence";
/// The subject the event came with.
const ORIGINAL_SUBJECT: &str = "holdfast-subject";

/// Stores a copy and waits until the broker has it.
pub(super) async fn publish(
    bus: &Bus,
    spec: &ConsumerSpec,
    message: &Message,
    delivered: u64,
    error: &str,
) -> Result<(), crate::nats::Error> {
    let mut headers = HeaderMap::new();
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        let text: &str = name.as_ref();
        if let Some(value) = values.first()
            && (text.starts_with("ce-") || text == TRACEPARENT)
        {
            headers.insert(name.clone(), value.clone());
        }
    }
    let sequence = message.info().map_or(0, |info| info.stream_sequence);
    let event = message
        .headers
        .as_ref()
        .and_then(|headers| headers.get(ID))
        .map_or_else(|| sequence.to_string(), ToString::to_string);
    headers.insert(MESSAGE_ID, format!("{}-{event}", spec.durable));
    headers.insert(ERROR, percent_encode(error).as_ref());
    headers.insert(DELIVERED, delivered.to_string());
    headers.insert(STREAM_SEQUENCE, sequence.to_string());
    headers.insert(ORIGINAL_SUBJECT, message.subject.as_str());
    bus.jetstream().publish_with_headers(subject(spec), headers, message.payload.clone()).await?.await?;
    Ok(())
}

fn subject(spec: &ConsumerSpec) -> String {
    format!("{DEAD_LETTER_PREFIX}.{}.{}", spec.stream, spec.durable)
}

/// A copy, and what is known of how it came to be.
#[derive(Debug)]
pub(crate) struct Letter {
    /// Its number among the dead letters.
    pub(crate) sequence: u64,
    /// The subject it lies under, which names the consumer.
    subject: String,
    /// The event's number in its stream.
    pub(crate) stream_sequence: u64,
    /// How often the event had been delivered.
    pub(crate) delivered: u64,
    /// Why the consumer gave up.
    pub(crate) error: String,
    /// When it did.
    pub(crate) at: Micros,
    /// The encoded message.
    pub(crate) payload: Bytes,
    /// The event, if it is one.
    pub(crate) event: Result<Received, Malformed>,
}

impl Letter {
    /// Whether this consumer gave it up.
    pub(crate) fn is_of(&self, spec: &ConsumerSpec) -> bool {
        self.subject == subject(spec)
    }
}

impl From<StreamMessage> for Letter {
    fn from(stored: StreamMessage) -> Self {
        let text = |name: &str| stored.headers.get(name).map_or("", HeaderValue::as_str);
        let number = |name: &str| text(name).parse().unwrap_or_default();
        let (error, subject, delivered) = (text(ERROR), text(ORIGINAL_SUBJECT), number(DELIVERED));
        let (error, stream_sequence) = (percent_decode(error).unwrap_or_default(), number(STREAM_SEQUENCE));
        let original = crate::nats::Message {
            subject: subject.into(),
            reply: None,
            payload: stored.payload.clone(),
            headers: Some(stored.headers.clone()),
            status: None,
            description: None,
            length: 0,
        };
        Self {
            sequence: stored.sequence,
            subject: stored.subject.to_string(),
            stream_sequence,
            delivered,
            error,
            at: Micros(i64::try_from(stored.time.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)),
            payload: stored.payload,
            event: Received::from_message(&original, delivered),
        }
    }
}

/// The dead letters cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LettersError {
    /// No broker is connected.
    #[error("the broker is not connected")]
    Disconnected,
    /// It does not answer as it should.
    #[error("the broker does not give its dead letters")]
    Broker(#[source] crate::nats::Error),
}

impl LettersError {
    fn new(error: impl Into<crate::nats::Error>) -> Self {
        Self::Broker(error.into())
    }
}

/// The dead letters of every consumer; `None` while no consumer has ever run.
pub(crate) struct Letters(Option<Stream>);

impl Letters {
    pub(crate) async fn open(bus: &Bus) -> Result<Self, LettersError> {
        if !bus.is_connected() {
            return Err(LettersError::Disconnected);
        }
        match bus.jetstream().get_stream(DEAD_LETTERS).await {
            Ok(stream) => Ok(Self(Some(stream))),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(cause) if cause.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    Ok(Self(None))
                }
                _ => Err(LettersError::new(error)),
            },
        }
    }

    /// How many of a consumer's wait.
    pub(crate) async fn count(&self, spec: &ConsumerSpec) -> Result<u64, LettersError> {
        let Some(stream) = &self.0 else { return Ok(0) };
        let counts = stream.info_with_subjects(subject(spec)).await.map_err(LettersError::new)?;
        let counts: Vec<(String, usize)> = counts.try_collect().await.map_err(LettersError::new)?;
        Ok(counts.into_iter().map(|(_, count)| count as u64).sum())
    }

    /// A letter of any consumer.
    pub(crate) async fn get(&self, sequence: u64) -> Result<Option<Letter>, LettersError> {
        let Some(stream) = &self.0 else { return Ok(None) };
        found(stream.direct_get(sequence).await)
    }

    /// The consumer's first letter from this number on.
    async fn next(&self, spec: &ConsumerSpec, from: u64) -> Result<Option<Letter>, LettersError> {
        let Some(stream) = &self.0 else { return Ok(None) };
        found(stream.direct_get_next_for_subject(subject(spec), Some(from)).await)
    }

    /// Up to `limit` letters of these consumers after number `after`, in order.
    pub(crate) async fn list(
        &self,
        specs: &[&ConsumerSpec],
        after: u64,
        limit: usize,
    ) -> Result<Vec<Letter>, LettersError> {
        let mut heads = Vec::new();
        for spec in specs {
            heads.extend(self.next(spec, after + 1).await?.map(|letter| (*spec, letter)));
        }
        let mut letters = Vec::new();
        while letters.len() < limit {
            let Some(first) = (0..heads.len()).min_by_key(|index| heads[*index].1.sequence) else { break };
            let (spec, letter) = heads.swap_remove(first);
            heads.extend(self.next(spec, letter.sequence + 1).await?.map(|letter| (spec, letter)));
            letters.push(letter);
        }
        Ok(letters)
    }

    /// Removes a letter; one that is gone already is removed.
    pub(crate) async fn remove(&self, letter: &Letter) -> Result<(), LettersError> {
        let Some(stream) = &self.0 else { return Ok(()) };
        match stream.delete_message(letter.sequence).await {
            Ok(_) => Ok(()),
            Err(_) if self.get(letter.sequence).await?.is_none() => Ok(()),
            Err(error) => Err(LettersError::new(error)),
        }
    }
}

fn found(answer: Result<StreamMessage, DirectGetError>) -> Result<Option<Letter>, LettersError> {
    match answer {
        Ok(stored) => Ok(Some(stored.into())),
        Err(error) if matches!(error.kind(), DirectGetErrorKind::NotFound) => Ok(None),
        Err(error) => Err(LettersError::new(error)),
    }
}
