//! The streams of a mesh as a test may abuse them: events again, in another order, and messages that are none.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::Stream;
use diesel::connection::SimpleConnection;
use futures_util::TryStreamExt;

use super::eventually;
use crate::bus::{Bus, DEAD_LETTERS};
use crate::event::MESSAGE_ID;
use crate::store::{DatabaseUrl, Id};

const PATIENCE: Duration = Duration::from_secs(60);
/// Why a consumer gave an event up.
const ERROR: &str = "holdfast-error";

/// Direct access to what the broker keeps.
pub struct Streams {
    bus: Bus,
}

/// An event that a consumer gave up.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// `holdfast.dlq.<stream>.<consumer>`.
    pub subject: String,
    /// Why, percent-encoded.
    pub error: String,
    /// As it was.
    pub payload: Vec<u8>,
}

impl Streams {
    /// Those of a broker.
    #[must_use]
    pub fn of(bus: Bus) -> Self {
        Self { bus }
    }

    /// Publishes every event of every stream again, in an order that `seed` decides, some of them twice, with nothing by which the broker could
    /// know them; answers how many messages that were.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn replay(&self, seed: u64) -> usize {
        let mut events = Vec::new();
        for stream in self.streams().await {
            if stream.cached_info().config.name != DEAD_LETTERS {
                events.extend(messages(&stream).await);
            }
        }
        let again: Vec<_> = events.iter().step_by(3).cloned().collect();
        events.extend(again);
        let mut shuffled: BTreeMap<u64, StreamMessage> = BTreeMap::new();
        let mut random = seed;
        for event in events {
            shuffled.insert(next(&mut random), event);
        }
        for event in shuffled.values() {
            self.publish(&event.subject, unknown(event), event.payload.to_vec()).await;
        }
        shuffled.len()
    }

    /// Publishes a message with the headers of the last event of this subject, which may hold wildcards, changed by `change`: its subject and its
    /// payload, too.
    ///
    /// # Panics
    /// When the broker does not answer, or there is no such event.
    pub async fn forge(
        &self,
        stream: &str,
        subject: &str,
        change: impl FnOnce(&mut String, &mut Vec<u8>, &mut dyn FnMut(&'static str, &str)),
    ) {
        let stream = self.bus.jetstream().get_stream(stream).await.expect("there");
        let event = stream.get_last_raw_message_by_subject(subject).await.expect("one of its kind");
        let (mut subject, mut payload) = (event.subject.to_string(), event.payload.to_vec());
        let mut headers = unknown(&event);
        change(&mut subject, &mut payload, &mut |name, value| headers.insert(name, value));
        self.publish(&subject, headers, payload).await;
    }

    /// Waits until every consumer of every stream has nothing left to do.
    ///
    /// # Panics
    /// When that takes longer than a minute.
    pub async fn settled(&self) {
        eventually(PATIENCE, || async {
            for stream in self.streams().await {
                let last = stream.cached_info().state.last_sequence;
                let consumers: Vec<consumer::Info> = stream.consumers().try_collect().await.ok()?;
                let is_busy = |it: &consumer::Info| it.num_pending + u64::try_from(it.num_ack_pending).unwrap_or(1) > 0;
                // The count of pending messages is brought up to date a moment after a message is stored.
                let is_behind =
                    |it: &consumer::Info| it.config.filter_subjects.is_empty() && it.delivered.stream_sequence < last;
                if consumers.iter().any(|it| is_busy(it) || is_behind(it)) {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// What consumers have given up, oldest first.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        let stream = self.bus.jetstream().get_stream(DEAD_LETTERS).await.expect("every consumer makes it");
        let letter = |message: StreamMessage| DeadLetter {
            subject: message.subject.to_string(),
            error: message.headers.get(ERROR).map(ToString::to_string).unwrap_or_default(),
            payload: message.payload.to_vec(),
        };
        messages(&stream).await.into_iter().map(letter).collect()
    }

    async fn publish(&self, subject: &str, headers: HeaderMap, payload: Vec<u8>) {
        let publishing = self.bus.jetstream().publish_with_headers(subject.to_owned(), headers, payload.into());
        publishing.await.expect("connected").await.expect("stored");
    }

    async fn streams(&self) -> Vec<Stream> {
        self.bus.connected().await;
        let jetstream = self.bus.jetstream();
        let names: Vec<String> = jetstream.stream_names().try_collect().await.expect("the broker answers");
        let mut streams = Vec::new();
        for name in names {
            streams.push(jetstream.get_stream(name).await.expect("there"));
        }
        streams
    }
}

/// The headers of an event without what the broker knows it by, and without its place in a batch.
fn unknown(event: &StreamMessage) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in event.headers.iter() {
        if let Some(value) = values.first()
            && !AsRef::<str>::as_ref(name).starts_with("Nats-")
        {
            headers.insert(name.clone(), value.clone());
        }
    }
    headers.insert(MESSAGE_ID, Id::generate().to_string());
    headers
}

async fn messages(stream: &Stream) -> Vec<StreamMessage> {
    let state = &stream.cached_info().state;
    let mut messages = Vec::new();
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        messages.push(stream.get_raw_message(sequence).await.expect("nothing was deleted"));
    }
    messages
}

/// Splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Makes a service forget which events it has dealt with, as time does; only while it is stopped.
///
/// # Panics
/// When its database cannot be opened.
pub fn forget_inbox(database: &DatabaseUrl, service: &str) {
    use diesel::Connection;
    match database {
        DatabaseUrl::Sqlite(path) => {
            let path = path.to_str().expect("a path in UTF-8");
            let mut conn = diesel::sqlite::SqliteConnection::establish(path).expect("its file");
            conn.batch_execute("DELETE FROM inbox").expect("its table");
        }
        DatabaseUrl::Postgres(url) => {
            let mut conn = diesel::pg::PgConnection::establish(url).expect("its database");
            conn.batch_execute(&format!("DELETE FROM \"{service}\".inbox")).expect("its table");
        }
    }
}
