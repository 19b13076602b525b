//! Copies of events that a consumer gave up on, with the reason, for an operator to look at and to send again.

use async_nats::HeaderMap;
use async_nats::jetstream::Message;

use super::ConsumerSpec;
use crate::bus::{Bus, DEAD_LETTER_PREFIX};
use crate::event::{ID, MESSAGE_ID, percent_encode};

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
) -> Result<(), async_nats::Error> {
    let mut headers = HeaderMap::new();
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        if let Some(value) = values.first()
            && AsRef::<str>::as_ref(name).starts_with("ce-")
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
    let subject = format!("{DEAD_LETTER_PREFIX}.{}.{}", spec.stream, spec.durable);
    bus.jetstream().publish_with_headers(subject, headers, message.payload.clone()).await?.await?;
    Ok(())
}
