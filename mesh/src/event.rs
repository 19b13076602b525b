//! Events as they are written ([`NewEvent`]) and as they arrive ([`Received`]): CloudEvents 1.0 in the binary mode of its NATS binding.
//!
//! The payload is the protobuf message, every attribute a `ce-` header. Left out are attributes that repeat another: `dataschema` (the type
//! names the schema), `partitionkey` (equals the subject) and `ce-traceparent` (the plain W3C header is there).

mod headers;

use bytes::Bytes;
use proto::contract::Event;

pub(crate) use self::headers::{Attributes, ID, MESSAGE_ID, TRACEPARENT, encode, percent_decode, percent_encode};
use crate::store::{Id, Micros};

/// An event about to be put into the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Identifies the event everywhere.
    pub id: Id,
    /// The message's full name.
    pub kind: &'static str,
    /// The broker subject, aggregate included.
    pub subject: String,
    /// The resource name of the aggregate it is about.
    pub aggregate: String,
    /// The aggregate's version after the event; consecutive.
    pub version: i64,
    /// What it belongs to as a whole, e.g. the reservation.
    pub correlation: String,
    /// The event that led to it.
    pub causation: Option<Id>,
    /// When it happened.
    pub at: Micros,
    /// The trace it was made in.
    pub traceparent: Option<String>,
    /// The encoded message.
    pub payload: Vec<u8>,
}

impl NewEvent {
    /// An event of the calling task's trace.
    #[must_use]
    pub fn of<E: Event>(event: &E, id: Id, version: i64, correlation: &str, causation: Option<Id>, at: Micros) -> Self {
        let aggregate = event.key();
        Self {
            id,
            kind: E::TYPE,
            subject: subject(E::SUBJECT, aggregate),
            aggregate: aggregate.to_owned(),
            version,
            correlation: correlation.to_owned(),
            causation,
            at,
            traceparent: crate::telemetry::current_traceparent(),
            payload: event.encode_to_vec(),
        }
    }

    /// The same event, as an effect of another: it names its cause and belongs to its trace.
    #[must_use]
    pub fn because_of(self, cause: &Received) -> Self {
        Self { causation: Some(cause.id), traceparent: cause.traceparent.clone(), ..self }
    }
}

/// The subject of an aggregate's event: the contract's subject and, as the last token, the id at the end of the resource name. Characters that
/// mean something to the broker become `_`.
#[must_use]
pub fn subject(base: &str, aggregate: &str) -> String {
    let id = aggregate.rsplit('/').next().filter(|id| !id.is_empty()).unwrap_or("_");
    let mut subject = String::with_capacity(base.len() + 1 + id.len());
    subject.push_str(base);
    subject.push('.');
    subject.extend(id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' }));
    subject
}

/// The subjects under which all events of a type arrive, for a consumer's filter.
#[must_use]
pub fn filter<E: Event>() -> String {
    format!("{}.*", E::SUBJECT)
}

/// An event that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Identifies the event; the same in every delivery.
    pub id: Id,
    /// The message's full name.
    pub kind: String,
    /// Who published it: `//holdfast/<service>`.
    pub source: String,
    /// The broker subject.
    pub subject: String,
    /// The resource name of the aggregate it is about.
    pub aggregate: String,
    /// The aggregate's version after the event.
    pub version: i64,
    /// What it belongs to as a whole.
    pub correlation: String,
    /// The event that led to it.
    pub causation: Option<Id>,
    /// When it happened.
    pub time: Micros,
    /// The trace it was made in.
    pub traceparent: Option<String>,
    /// The encoded message.
    pub payload: Bytes,
    /// How often it has been delivered, this time included.
    pub delivered: u64,
}

impl Received {
    /// Whether it is an `E`.
    #[must_use]
    pub fn is<E: Event>(&self) -> bool {
        self.kind == E::TYPE
    }

    /// The message. Look at [`Received::is`] first: protobuf cannot tell types apart.
    ///
    /// # Errors
    /// When the payload is not an encoded `E`.
    pub fn decode<E: Event>(&self) -> Result<E, prost::DecodeError> {
        E::decode(self.payload.clone())
    }
}

/// The message is not an event of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A required header is not there.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// A header says nothing sensible.
    #[error("the header {0} is not valid")]
    Invalid(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_ends_with_a_safe_id() {
        let check = |aggregate, expected: &str| {
            assert_eq!(subject("holdfast.evt.a.b.made.v1", aggregate), format!("holdfast.evt.a.b.made.v1.{expected}"));
        };
        check("reservations/0190-ab_C", "0190-ab_C");
        check("users/a/accounts/b.c *>é", "b_c____");
        check("plain", "plain");
        check("", "_");
        check("reservations/", "_");
    }
}
