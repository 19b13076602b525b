//! CloudEvents attributes to NATS headers and back.
//!
//! Header names are written and read in lower case: the client library compares them exactly.

use std::borrow::Cow;

use crate::nats::HeaderMap;
use crate::nats::header::IntoHeaderName;

use super::{Malformed, Received};
use crate::store::{Id, Micros};

/// The broker drops a second message with the same value within the stream's duplicate window.
pub(crate) const MESSAGE_ID: &str = "Nats-Msg-Id";
pub(crate) const ID: &str = "ce-id";
const SOURCE: &str = "ce-source";
const SPEC_VERSION: &str = "ce-specversion";
const TYPE: &str = "ce-type";
const SUBJECT: &str = "ce-subject";
const TIME: &str = "ce-time";
const CONTENT_TYPE: &str = "ce-datacontenttype";
const SEQUENCE: &str = "ce-sequence";
const CORRELATION: &str = "ce-correlationid";
const CAUSATION: &str = "ce-causationid";
pub(crate) const TRACEPARENT: &str = "traceparent";

/// The attributes of an event on its way out.
pub(crate) struct Attributes<'a> {
    pub(crate) id: Id,
    pub(crate) kind: &'a str,
    pub(crate) source: &'a str,
    pub(crate) aggregate: &'a str,
    pub(crate) version: i64,
    pub(crate) correlation: &'a str,
    pub(crate) causation: Option<Id>,
    pub(crate) time: Micros,
    pub(crate) traceparent: Option<&'a str>,
}

/// The headers of a published event.
pub(crate) fn encode(event: &Attributes<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let id = event.id.to_string();
    put(&mut headers, MESSAGE_ID, &id);
    put(&mut headers, ID, &id);
    put(&mut headers, SOURCE, event.source);
    put(&mut headers, SPEC_VERSION, "1.0");
    put(&mut headers, TYPE, event.kind);
    put(&mut headers, SUBJECT, event.aggregate);
    put(&mut headers, TIME, &event.time.to_string());
    put(&mut headers, CONTENT_TYPE, "application/protobuf");
    put(&mut headers, SEQUENCE, &event.version.to_string());
    put(&mut headers, CORRELATION, event.correlation);
    if let Some(causation) = event.causation {
        put(&mut headers, CAUSATION, &causation.to_string());
    }
    if let Some(traceparent) = event.traceparent {
        put(&mut headers, TRACEPARENT, traceparent);
    }
    headers
}

fn put<N: IntoHeaderName>(headers: &mut HeaderMap, name: N, value: &str) {
    headers.insert(name, percent_encode(value).as_ref());
}

impl Received {
    /// Reads an event from a broker message.
    pub(crate) fn from_message(message: &crate::nats::Message, delivered: u64) -> Result<Self, Malformed> {
        let mut found = Found::default();
        for (name, values) in message.headers.as_ref().into_iter().flat_map(HeaderMap::iter) {
            let (Some(slot), Some(value)) = (found.slot(name.as_ref()), values.first()) else { continue };
            *slot = Some(value.as_str());
        }
        let optional = |name, value: Option<&str>| value.map(|value| decoded(name, value)).transpose();
        let required = |name, value| optional(name, value)?.ok_or(Malformed::Missing(name));
        Ok(Self {
            id: parsed(ID, &required(ID, found.id)?)?,
            kind: required(TYPE, found.kind)?,
            source: required(SOURCE, found.source)?,
            subject: message.subject.to_string(),
            aggregate: required(SUBJECT, found.aggregate)?,
            version: parsed(SEQUENCE, &required(SEQUENCE, found.version)?)?,
            correlation: optional(CORRELATION, found.correlation)?.unwrap_or_default(),
            causation: found.causation.map(|text| parsed(CAUSATION, text)).transpose()?,
            time: parsed(TIME, &required(TIME, found.time)?)?,
            traceparent: optional(TRACEPARENT, found.traceparent)?,
            payload: message.payload.clone(),
            delivered,
        })
    }
}

/// The raw values of the headers that matter, gathered in one pass.
#[derive(Default)]
struct Found<'a> {
    id: Option<&'a str>,
    kind: Option<&'a str>,
    source: Option<&'a str>,
    aggregate: Option<&'a str>,
    version: Option<&'a str>,
    correlation: Option<&'a str>,
    causation: Option<&'a str>,
    time: Option<&'a str>,
    traceparent: Option<&'a str>,
}

impl<'a> Found<'a> {
    fn slot(&mut self, name: &str) -> Option<&mut Option<&'a str>> {
        Some(match name {
            ID => &mut self.id,
            TYPE => &mut self.kind,
            SOURCE => &mut self.source,
            SUBJECT => &mut self.aggregate,
            SEQUENCE => &mut self.version,
            CORRELATION => &mut self.correlation,
            CAUSATION => &mut self.causation,
            TIME => &mut self.time,
            TRACEPARENT => &mut self.traceparent,
            _ => return None,
        })
    }
}

fn decoded(name: &'static str, value: &str) -> Result<String, Malformed> {
    percent_decode(value).ok_or(Malformed::Invalid(name))
}

fn parsed<T: std::str::FromStr>(name: &'static str, text: &str) -> Result<T, Malformed> {
    text.parse().map_err(|_| Malformed::Invalid(name))
}

/// CloudEvents' header encoding: space, double quote, percent and everything outside U+0021–U+007E become `%XX` of their UTF-8 bytes.
pub(crate) fn percent_encode(value: &str) -> Cow<'_, str> {
    let plain = |byte: u8| matches!(byte, 0x21..=0x7e) && byte != b'"' && byte != b'%';
    if value.bytes().all(plain) {
        return Cow::Borrowed(value);
    }
    let mut encoded = String::with_capacity(value.len() + 8);
    for byte in value.bytes() {
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    Cow::Owned(encoded)
}

/// Decodes once; `None` when an escape is cut off or the result is not UTF-8.
pub(crate) fn percent_decode(value: &str) -> Option<String> {
    if !value.contains('%') {
        return Some(value.to_owned());
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_as_cloudevents_says() {
        let check = |value: &str, encoded: &str| {
            assert_eq!(percent_encode(value), encoded);
            assert_eq!(percent_decode(encoded).as_deref(), Some(value));
        };
        check("reservations/0190-a!~", "reservations/0190-a!~");
        check("Euro € \u{1F600}", "Euro%20%E2%82%AC%20%F0%9F%98%80");
        check("100% \"sure\"", "100%25%20%22sure%22");
        check("a\r\nb\u{7f}", "a%0D%0Ab%7F");
        check("%2541", "%252541");
        check("", "");
    }

    #[test]
    fn lower_case_escapes_are_read_and_broken_ones_refused() {
        assert_eq!(percent_decode("%e2%82%ac").as_deref(), Some("€"));
        for broken in ["%", "%4", "%zz", "%ff", "%+1", "a%E2%82"] {
            assert_eq!(percent_decode(broken), None, "{broken}");
        }
    }

    fn attributes() -> Attributes<'static> {
        Attributes {
            id: Id::from_bytes([7; 16]),
            kind: "holdfast.test.v1.Made",
            source: "//holdfast/test",
            aggregate: "things/a b",
            version: 3,
            correlation: "things/€",
            causation: Some(Id::from_bytes([9; 16])),
            time: Micros(1_700_000_000_123_456),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        }
    }

    fn message(headers: Option<HeaderMap>) -> crate::nats::Message {
        crate::nats::Message {
            subject: "holdfast.evt.test.thing.made.v1.a_b".into(),
            reply: None,
            payload: "payload".into(),
            headers,
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn an_event_survives_its_headers() {
        let received = Received::from_message(&message(Some(encode(&attributes()))), 2).expect("well formed");
        let sent = attributes();
        assert_eq!((received.id, received.causation, received.version), (sent.id, sent.causation, sent.version));
        assert_eq!((received.kind.as_str(), received.source.as_str()), (sent.kind, sent.source));
        assert_eq!((received.aggregate.as_str(), received.correlation.as_str()), (sent.aggregate, sent.correlation));
        assert_eq!((received.time, received.traceparent.as_deref()), (sent.time, sent.traceparent));
        assert_eq!((received.payload.as_ref(), received.delivered), (b"payload".as_slice(), 2));
    }

    #[test]
    fn the_broker_sees_the_event_id_as_message_id() {
        let headers = encode(&attributes());
        assert_eq!(headers.get(MESSAGE_ID), headers.get(ID));
    }

    #[test]
    fn foreign_messages_are_refused_with_the_header_at_fault() {
        assert_eq!(Received::from_message(&message(None), 1), Err(Malformed::Missing(ID)));
        let with = |name: &'static str, value: &str| {
            let mut headers = encode(&attributes());
            headers.insert(name, value);
            Received::from_message(&message(Some(headers)), 1)
        };
        assert_eq!(with(ID, "not-an-id"), Err(Malformed::Invalid(ID)));
        assert_eq!(with(SEQUENCE, "3.5"), Err(Malformed::Invalid(SEQUENCE)));
        assert_eq!(with(SUBJECT, "%ff"), Err(Malformed::Invalid(SUBJECT)));
        assert_eq!(with(TIME, "yesterday"), Err(Malformed::Invalid(TIME)));
    }
}
