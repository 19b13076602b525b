//! Reading a stream again, from its beginning to where it ended at a certain moment, beside its consumers and unnoticed by them.

use std::time::Duration;

use crate::nats::jetstream::ErrorCode;
use crate::nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use crate::nats::jetstream::context::GetStreamErrorKind;
use futures_util::{FutureExt as _, StreamExt as _};

use crate::bus::Bus;
use crate::event::Received;

/// A broker that gives nothing for this long, although there is more, is taken for gone.
const SILENCE: Duration = Duration::from_secs(10);

/// The stream cannot be read again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No broker is connected.
    #[error("the broker is not connected")]
    Disconnected,
    /// Its beginning, or something between, is gone.
    #[error("the stream {0} has not all of its events any more")]
    Pruned(&'static str),
    /// The broker does not answer as it should.
    #[error("the broker does not give the stream {stream}")]
    Broker {
        /// Which stream.
        stream: &'static str,
        /// Why not.
        #[source]
        source: crate::nats::Error,
    },
}

/// A stream as it was at a certain moment.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    stream: &'static str,
    last: u64,
}

impl Span {
    /// All of a stream until now. A stream that is not there is empty.
    ///
    /// # Errors
    /// When it is not complete, or the broker does not tell.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn until_now(bus: &Bus, stream: &'static str) -> Result<Self, ReplayError> {
        if !bus.is_connected() {
            return Err(ReplayError::Disconnected);
        }
        let found = match bus.jetstream().get_stream(stream).await {
            Ok(found) => found,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(cause) if cause.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    return Ok(Self { stream, last: 0 });
                }
                _ => return Err(ReplayError::Broker { stream, source: error.into() }),
            },
        };
        let state = &found.cached_info().state;
        if state.messages == state.last_sequence {
            Ok(Self { stream, last: state.last_sequence })
        } else {
            Err(ReplayError::Pruned(stream))
        }
    }

    /// The stream's name.
    #[must_use]
    pub fn stream(&self) -> &'static str {
        self.stream
    }

    /// How many events it has.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.last
    }
}

/// Events that follow each other.
#[derive(Debug, Default)]
pub struct Batch {
    /// The events.
    pub events: Vec<Received>,
    /// Messages between them that are none.
    pub malformed: u64,
}

/// A span that is being read.
pub struct Replay {
    span: Span,
    read: u64,
    messages: Option<Ordered>,
}

fn broken<E: Into<crate::nats::Error>>(stream: &'static str) -> impl FnOnce(E) -> ReplayError {
    move |error| ReplayError::Broker { stream, source: error.into() }
}

impl Replay {
    /// Begins to read.
    ///
    /// # Errors
    /// When the broker does not let us.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn begin(bus: &Bus, span: Span) -> Result<Self, ReplayError> {
        let messages = if span.last == 0 {
            None
        } else {
            let stream = bus.jetstream().get_stream(span.stream).await.map_err(broken(span.stream))?;
            let consumer = stream.create_consumer(OrderedConfig::default()).await.map_err(broken(span.stream))?;
            Some(consumer.messages().await.map_err(broken(span.stream))?)
        };
        Ok(Self { span, read: 0, messages })
    }

    /// How many of the span's messages have been read.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read
    }

    /// The next events, up to `limit`; `None` at the end of the span.
    ///
    /// # Errors
    /// When the broker gives no more although there is more.
    ///
    /// # Cancel safety
    /// Not safe: events of a call that is dropped are not given again.
    pub async fn next(&mut self, limit: usize) -> Result<Option<Batch>, ReplayError> {
        let stream = self.span.stream;
        let Some(messages) = self.messages.as_mut().filter(|_| self.read < self.span.last) else { return Ok(None) };
        let mut batch = Batch::default();
        for number in 0..limit {
            let arrived = if number == 0 {
                tokio::time::timeout(SILENCE, messages.next())
                    .await
                    .map_err(|silence| ReplayError::Broker { stream, source: silence.into() })?
            } else {
                match messages.next().now_or_never() {
                    Some(arrived) => arrived,
                    None => break,
                }
            };
            let message = match arrived {
                Some(message) => message.map_err(|error| ReplayError::Broker { stream, source: error.into() })?,
                None => return Err(ReplayError::Disconnected),
            };
            // The span is complete, so it has as many messages as its last number says.
            self.read += 1;
            match Received::from_message(&message.message, 1) {
                Ok(event) => batch.events.push(event),
                Err(_) => batch.malformed += 1,
            }
            if self.read == self.span.last {
                break;
            }
        }
        Ok(Some(batch))
    }
}
