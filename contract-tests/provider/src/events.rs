//! What the broker carries while the checks run, and whether it is what the contracts say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::StreamExt;
use mesh::event;
use prost_reflect::DynamicMessage;

use crate::failure::{Failure, json};
use crate::model::{Event, Model};
use crate::path;
use crate::rules::{self, Written};
use crate::suite::until;

const SUBJECTS: &str = "holdfast.evt.>";
/// The mesh has come to rest when nothing is published for so long.
const REST: Duration = Duration::from_millis(500);
/// It is not waited for longer than this.
const REST_LIMIT: Duration = Duration::from_secs(20);

/// An event as it was published.
#[derive(Clone, Debug)]
pub struct Captured {
    /// The broker subject.
    pub subject: String,
    /// The first value of each header.
    pub headers: BTreeMap<String, String>,
    /// The encoded message.
    pub payload: Bytes,
}

/// Hears everything that is published under our subjects.
#[derive(Clone, Debug)]
pub struct Recorder {
    captured: Arc<Mutex<Vec<Captured>>>,
    /// Its subscription ends with it.
    _client: async_nats::Client,
}

impl Recorder {
    /// Begins to listen on a broker.
    ///
    /// # Errors
    /// There is none.
    pub async fn connect(url: &str) -> Result<Self, async_nats::Error> {
        let client = async_nats::connect(url).await?;
        let mut messages = client.subscribe(SUBJECTS).await?;
        client.flush().await?;
        let captured = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&captured);
        drop(mesh::deadline::spawn(async move {
            while let Some(message) = messages.next().await {
                let event = Captured {
                    subject: message.subject.to_string(),
                    headers: message.headers.as_ref().map(decoded).unwrap_or_default(),
                    payload: message.payload,
                };
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            }
        }));
        Ok(Self { captured, _client: client })
    }

    /// What was published until now; what a relay published again counts once.
    #[must_use]
    pub fn events(&self) -> Vec<Captured> {
        let mut seen = BTreeSet::new();
        let captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        captured
            .iter()
            .filter(|event| seen.insert((event.header("ce-id").to_owned(), event.subject.clone())))
            .cloned()
            .collect()
    }

    /// Waits until nothing more follows from what was done.
    pub async fn rest(&self) {
        let count = || self.captured.lock().unwrap_or_else(PoisonError::into_inner).len();
        let mut last = (count(), tokio::time::Instant::now());
        let rested = || {
            if count() != last.0 {
                last = (count(), tokio::time::Instant::now());
            }
            let rested = last.1.elapsed() >= REST;
            async move { rested.then_some(()) }
        };
        // A mesh that never rests is judged by what was heard.
        let _ = until(REST_LIMIT, rested).await;
    }
}

fn decoded(headers: &HeaderMap) -> BTreeMap<String, String> {
    let first = headers.iter().filter_map(|(name, values)| Some((name, values.first()?)));
    first.map(|(name, value)| (name.to_string(), unescaped(value.as_str()))).collect()
}

/// CloudEvents' header encoding, undone.
fn unescaped(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((plain, escaped)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let byte = escaped.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(b'%'));
        rest = if byte.is_some() { &escaped[2..] } else { escaped };
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Captured {
    /// A header; empty if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    pub(crate) fn type_name(&self) -> &str {
        self.header("ce-type")
    }

    /// The trace it belongs to.
    pub(crate) fn trace(&self) -> &str {
        self.header("traceparent").split('-').nth(1).unwrap_or_default()
    }
}

/// Every captured event is of a type that is declared, under a subject that is.
///
/// # Errors
/// One is not.
pub fn check_declared(model: &Model, captured: &[Captured]) -> Result<(), Failure> {
    if captured.is_empty() {
        return Err(Failure::of("calls publish events", "nothing was heard: is this the broker of the mesh?"));
    }
    for event in captured {
        let declared = model.events().iter().find(|known| known.message.full_name() == event.type_name());
        let is_declared = declared.is_some_and(|known| event.subject.starts_with(base(known)));
        if !is_declared {
            return Err(Failure::of(
                "what is published has an event option with its type and subject",
                format!("{:?} under {}", event.type_name(), event.subject),
            ));
        }
    }
    Ok(())
}

/// Every captured event of a type has the subject, headers and payload that its option promises. Answers how many there were.
///
/// # Errors
/// One has not.
pub fn check_type(model: &Model, declared: &Event, captured: &[Captured]) -> Result<usize, Failure> {
    let mine = captured.iter().filter(|event| event.type_name() == declared.message.full_name());
    let mut count = 0;
    for event in mine {
        count += 1;
        check_one(model, declared, event).map_err(|failure| Failure {
            sent: format!("{} under {}", declared.message.full_name(), event.subject),
            ..failure
        })?;
    }
    Ok(count)
}

fn check_one(model: &Model, declared: &Event, captured: &Captured) -> Result<(), Failure> {
    let payload = DynamicMessage::decode(declared.message.clone(), captured.payload.clone())
        .map_err(|error| Failure::of("the payload is the message", format!("it cannot be decoded: {error}")))?;
    if let Some(field) = unknown(&payload) {
        return Err(Failure::of("the payload holds nothing that the contract does not know", format!("field {field}")));
    }
    if let Some(broken) = rules::violations(model, &payload, Written::ByService).first() {
        return Err(Failure::of(
            "the payload keeps the rules of its fields",
            format!("{} breaks {}: {}", broken.field, broken.rule, json(&payload)),
        ));
    }
    let key = path::get(&payload, &declared.key).and_then(|key| key.as_str().map(str::to_owned)).unwrap_or_default();
    let service = declared.message.package_name().split('.').rev().nth(1).unwrap_or_default();
    let id = captured.header("ce-id");
    let expected = [
        ("its subject", captured.subject.as_str(), event::subject(base(declared), &key)),
        ("ce-subject", captured.header("ce-subject"), key.clone()),
        ("ce-source", captured.header("ce-source"), format!("//holdfast/{service}")),
        ("ce-specversion", captured.header("ce-specversion"), "1.0".to_owned()),
        ("ce-datacontenttype", captured.header("ce-datacontenttype"), "application/protobuf".to_owned()),
        ("Nats-Msg-Id", captured.header("Nats-Msg-Id"), id.to_owned()),
    ];
    for (what, found, expected) in expected {
        if found != expected {
            return Err(Failure::of(format!("{what} is {expected}"), format!("{what} is {found}")));
        }
    }
    let readable = [
        ("ce-id is a UUID", uuid::Uuid::try_parse(id).is_ok()),
        ("ce-sequence counts from 1", captured.header("ce-sequence").parse::<u64>().is_ok_and(|version| version > 0)),
        ("ce-time is a time", captured.header("ce-time").parse::<mesh::store::Micros>().is_ok()),
    ];
    match readable.into_iter().find(|(_, is)| !is) {
        Some((what, _)) => Err(Failure::of(what, format!("{:?}", captured.headers))),
        None => Ok(()),
    }
}

/// The subject without its last token.
fn base(event: &Event) -> &str {
    event.subject.strip_suffix(".{id}").unwrap_or(&event.subject)
}

/// The number of a field that the contract does not know, in the message or below.
pub(crate) fn unknown(message: &DynamicMessage) -> Option<u32> {
    message.unknown_fields().map(prost_reflect::UnknownField::number).next().or_else(|| {
        message.fields().find_map(|(_, value)| match value {
            prost_reflect::Value::Message(inner) => unknown(inner),
            prost_reflect::Value::List(items) => {
                items.iter().filter_map(prost_reflect::Value::as_message).find_map(unknown)
            }
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_cloudevents_writes_them() {
        assert_eq!(unescaped("reservations/0190"), "reservations/0190");
        assert_eq!(unescaped("a%20b%E2%82%AC%25"), "a b€%");
        assert_eq!(unescaped("100%"), "100%");
    }
}
