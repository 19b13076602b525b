//! A model of JetStream: streams, durable consumers, acknowledgements; and what a broker may do to its clients.
//!
//! It delivers at least once, in any order, to consumers that acknowledge. It may be away, and may come back having lost the end of what it had
//! acknowledged.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::stream::Config;
use async_nats::{Event, HeaderMap, Message};
use bytes::Bytes;

use super::{happens, note, roughness, up_to};
use crate::event::{ID, MESSAGE_ID};
use crate::store::Micros;

/// An event that was delivered and not acknowledged is delivered again after so long at most. A real one waits [ten seconds]; nothing depends
/// on it but how long a simulation lasts.
///
/// [ten seconds]: crate::consumer
const ACK_WAIT: Duration = Duration::from_secs(2);
/// A late delivery is late by up to so much.
const LATE: Duration = Duration::from_secs(1);

/// What the broker has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events stored.
    pub stored: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Deliveries after the first of an event to a consumer, or of an event that was stored twice.
    pub repeated: u64,
    /// Deliveries that were late.
    pub late: u64,
    /// Publications and acknowledgements that got lost.
    pub lost: u64,
    /// Acknowledged events that the broker lost itself.
    pub forgotten: u64,
    /// Events that consumers gave up on.
    pub dead: u64,
}

#[derive(Default)]
struct Broker {
    away: bool,
    streams: BTreeMap<String, Stream>,
    clients: Vec<Weak<Callback>>,
    batches: HashMap<String, Vec<Publication>>,
    counts: Counts,
}

struct Stream {
    config: Config,
    stored: Vec<Stored>,
    consumers: BTreeMap<String, Consumer>,
}

struct Stored {
    id: Option<String>,
    message: Message,
    at: Micros,
}

struct Consumer {
    config: pull::Config,
    /// The highest sequence number it was given; it is given none that is not higher, except again.
    position: u64,
    /// By sequence number: events it has not acknowledged.
    due: BTreeMap<u64, Due>,
    waker: Option<Waker>,
}

#[derive(Clone, Copy)]
struct Due {
    at: Micros,
    delivered: i64,
}

/// What a client is told of its connection.
pub(super) type Callback = Box<dyn Fn(Event) + Send + Sync>;

/// A message on its way to the broker.
#[derive(Clone)]
pub(super) struct Publication {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// What a consumer gets.
pub(super) struct Delivery {
    pub(super) message: Message,
    pub(super) sequence: u64,
    pub(super) delivered: i64,
}

/// Why an atomic batch was refused.
#[derive(Debug)]
pub(super) struct Duplicate;

thread_local! {
    static BROKER: RefCell<Broker> = RefCell::default();
}

pub(super) fn reset() {
    BROKER.take();
}

/// What it has done so far.
#[must_use]
pub fn counts() -> Counts {
    BROKER.with_borrow(|broker| broker.counts)
}

/// How many deliveries are due or on their way.
#[must_use]
pub fn pending() -> usize {
    BROKER.with_borrow(|broker| {
        let consumers = broker.streams.values().flat_map(|stream| stream.consumers.values());
        consumers.map(|consumer| consumer.due.len()).sum()
    })
}

/// The broker goes away: what is sent to it is lost.
pub fn leave() {
    note(format_args!("broker leaves"));
    tell(true, &Event::Disconnected);
}

/// The broker is back; of each stream it has lost up to `forgotten` of the last events. Where consumers stand it has not forgotten: what takes
/// the place of a lost event is not given to a consumer that was given the lost one.
pub fn come_back(forgotten: usize) {
    BROKER.with_borrow_mut(|broker| {
        for (name, stream) in &mut broker.streams {
            let kept = stream.stored.len().saturating_sub(forgotten);
            let lost = stream.stored.len() - kept;
            if lost > 0 {
                note(format_args!("broker has lost {lost} of {name}"));
                broker.counts.forgotten += lost as u64;
            }
            stream.stored.truncate(kept);
            for consumer in stream.consumers.values_mut() {
                consumer.due.retain(|sequence, _| *sequence <= kept as u64);
            }
        }
    });
    note(format_args!("broker is back"));
    tell(false, &Event::Connected);
}

fn tell(away: bool, event: &Event) {
    let clients: Vec<_> = BROKER.with_borrow_mut(|broker| {
        broker.away = away;
        broker.clients.iter().filter_map(Weak::upgrade).collect()
    });
    for client in clients {
        client(event.clone());
    }
    wake_all();
}

fn wake_all() {
    let wakers: Vec<Waker> = BROKER.with_borrow_mut(|broker| {
        let consumers = broker.streams.values_mut().flat_map(|stream| stream.consumers.values_mut());
        consumers.filter_map(|consumer| consumer.waker.take()).collect()
    });
    wakers.into_iter().for_each(Waker::wake);
}

pub(super) fn is_away() -> bool {
    BROKER.with_borrow(|broker| broker.away)
}

pub(super) fn connect(callback: Callback) -> Arc<Callback> {
    let client = Arc::new(callback);
    BROKER.with_borrow_mut(|broker| {
        broker.clients.retain(|client| client.strong_count() > 0);
        broker.clients.push(Arc::downgrade(&client));
    });
    client
}

pub(super) fn count_lost() {
    BROKER.with_borrow_mut(|broker| broker.counts.lost += 1);
}

/// The stream's settings, and its last sequence number.
pub(super) fn describe(stream: &str) -> Option<(Config, u64)> {
    BROKER.with_borrow(|broker| {
        let stream = broker.streams.get(stream)?;
        Some((stream.config.clone(), stream.stored.len() as u64))
    })
}

/// A stored message, and since when it is stored.
pub(super) fn stored(stream: &str, sequence: u64) -> Option<(Message, Micros)> {
    BROKER.with_borrow(|broker| {
        let index = usize::try_from(sequence.checked_sub(1)?).ok()?;
        let stored = broker.streams.get(stream)?.stored.get(index)?;
        Some((stored.message.clone(), stored.at))
    })
}

/// The numbers of the messages whose subject fits, from `first` on.
pub(super) fn numbers(stream: &str, subject: &str, first: u64) -> Vec<u64> {
    BROKER.with_borrow(|broker| {
        let stored = broker.streams.get(stream).map(|stream| stream.stored.as_slice()).unwrap_or_default();
        let fitting = (1..).zip(stored).filter(|(_, stored)| matches(subject, &stored.message.subject));
        fitting.map(|(sequence, _)| sequence).filter(|sequence| *sequence >= first).collect()
    })
}

pub(super) fn create_stream(config: Config) {
    BROKER.with_borrow_mut(|broker| match broker.streams.get_mut(&config.name) {
        Some(stream) => stream.config = config,
        None => {
            let name = config.name.clone();
            broker.streams.insert(name, Stream { config, stored: Vec::new(), consumers: BTreeMap::new() });
        }
    });
}

/// A new consumer gets what is stored from where it is to begin; one that is there stays as it is.
pub(super) fn create_consumer(stream: &str, config: pull::Config) -> bool {
    BROKER.with_borrow_mut(|broker| {
        let Some(stream) = broker.streams.get_mut(stream) else { return false };
        let durable = config.durable_name.clone().unwrap_or_default();
        stream.consumers.entry(durable).or_insert_with(|| {
            let position = match config.deliver_policy {
                DeliverPolicy::ByStartSequence { start_sequence } => start_sequence.saturating_sub(1),
                _ => 0,
            };
            let mut consumer = Consumer { config, position, due: BTreeMap::new(), waker: None };
            for (sequence, stored) in (1..).zip(&stream.stored) {
                consumer.schedule(sequence, &stored.message, &mut broker.counts);
            }
            consumer
        });
        true
    })
}

/// Whoever waits for its deliveries is told that it is gone.
pub(super) fn delete_consumer(stream: &str, durable: &str) {
    let gone = BROKER.with_borrow_mut(|broker| broker.streams.get_mut(stream)?.consumers.remove(durable));
    if let Some(waker) = gone.and_then(|consumer| consumer.waker) {
        waker.wake();
    }
}

/// A consumer's settings, the highest sequence number it was given, and up to where it has acknowledged all.
pub(super) type Standing = (pull::Config, u64, u64);

/// Every consumer of a stream.
pub(super) fn consumers(stream: &str) -> Vec<Standing> {
    BROKER.with_borrow(|broker| {
        let consumers = broker.streams.get(stream).into_iter().flat_map(|stream| stream.consumers.values());
        consumers.map(Consumer::standing).collect()
    })
}

/// One consumer of a stream.
pub(super) fn consumer(stream: &str, durable: &str) -> Option<Standing> {
    BROKER.with_borrow(|broker| broker.streams.get(stream)?.consumers.get(durable).map(Consumer::standing))
}

/// Keeps a message of a batch until its last one.
pub(super) fn add_to_batch(batch: &str, publication: Publication) -> Vec<Publication> {
    BROKER.with_borrow_mut(|broker| {
        let batch = broker.batches.entry(batch.to_owned()).or_default();
        batch.push(publication);
        batch.clone()
    })
}

pub(super) fn take_batch(batch: &str) -> Vec<Publication> {
    BROKER.with_borrow_mut(|broker| broker.batches.remove(batch).unwrap_or_default())
}

/// Stores one message, unless it is there; answers its sequence number, and the stream's name.
pub(super) fn store(publication: Publication) -> Option<(String, u64)> {
    let notices = !happens(roughness().stored_twice);
    let stored = BROKER.with_borrow_mut(|broker| broker.store(publication, notices));
    wake_all();
    stored
}

/// Stores all, or none if one is there already.
pub(super) fn store_batch(batch: Vec<Publication>) -> Result<Option<(String, u64)>, Duplicate> {
    let known = BROKER.with_borrow(|broker| {
        batch.iter().any(|publication| {
            let Some(stream) = broker.stream_of(&publication.subject) else { return false };
            message_id(&publication.headers).is_some_and(|id| broker.streams[&stream].find(&id).is_some())
        })
    });
    if known {
        return Err(Duplicate);
    }
    Ok(batch.into_iter().filter_map(store).last())
}

impl Broker {
    fn stream_of(&self, subject: &str) -> Option<String> {
        let takes = |stream: &Stream| stream.config.subjects.iter().any(|pattern| matches(pattern, subject));
        self.streams.iter().find(|(_, stream)| takes(stream)).map(|(name, _)| name.clone())
    }

    fn store(&mut self, publication: Publication, notices: bool) -> Option<(String, u64)> {
        let name = self.stream_of(&publication.subject)?;
        let stream = self.streams.get_mut(&name).expect("just found");
        let id = message_id(&publication.headers);
        if let Some(before) = id.as_deref().filter(|_| notices).and_then(|id| stream.find(id)) {
            return Some((name, before));
        }
        note(format_args!("stored {} {}", publication.subject, id.as_deref().unwrap_or_default()));
        self.counts.stored += 1;
        self.counts.dead += u64::from(name == crate::bus::DEAD_LETTERS);
        let message = Message {
            subject: publication.subject.into(),
            reply: None,
            length: publication.payload.len(),
            payload: publication.payload,
            headers: Some(publication.headers),
            status: None,
            description: None,
        };
        let sequence = stream.stored.len() as u64 + 1;
        for consumer in stream.consumers.values_mut() {
            consumer.schedule(sequence, &message, &mut self.counts);
        }
        stream.stored.push(Stored { id, message, at: Micros::now() });
        Some((name, sequence))
    }
}

impl Stream {
    fn find(&self, id: &str) -> Option<u64> {
        let index = self.stored.iter().position(|stored| stored.id.as_deref() == Some(id))?;
        Some(index as u64 + 1)
    }
}

impl Consumer {
    fn standing(&self) -> Standing {
        // What others have overtaken on its way counts, too: a real broker has handed it out before them.
        let unacknowledged = self.due.keys().next().filter(|sequence| **sequence <= self.position);
        (self.config.clone(), self.position, unacknowledged.map_or(self.position, |sequence| sequence - 1))
    }

    fn schedule(&mut self, sequence: u64, message: &Message, counts: &mut Counts) {
        let filters = &self.config.filter_subjects;
        let is_wanted = filters.is_empty() || filters.iter().any(|filter| matches(filter, &message.subject));
        if !is_wanted || sequence <= self.position {
            return;
        }
        let late = happens(roughness().late_delivery);
        counts.late += u64::from(late);
        let at = Micros::now().plus(up_to(if late { LATE } else { roughness().latency }));
        self.due.insert(sequence, Due { at, delivered: 0 });
    }
}

/// Why there is no delivery.
pub(super) enum Nothing {
    /// There is no such consumer.
    Gone,
    /// The waker is called when that changes.
    Yet,
    /// There may be one after so long.
    For(Duration),
}

/// The next event for a consumer.
pub(super) fn deliver(stream: &str, durable: &str, waker: &Waker) -> Result<Delivery, Nothing> {
    let now = Micros::now();
    let delivery = BROKER.with_borrow_mut(|broker| {
        let away = broker.away;
        let stream = broker.streams.get_mut(stream).ok_or(Nothing::Gone)?;
        let consumer = stream.consumers.get_mut(durable).ok_or(Nothing::Gone)?;
        let next = consumer.due.iter_mut().min_by_key(|(sequence, due)| (due.at, **sequence));
        match next {
            Some((&sequence, due)) if !away && due.at <= now => {
                due.at = now.plus(ACK_WAIT);
                due.delivered += 1;
                let delivered = due.delivered;
                consumer.position = consumer.position.max(sequence);
                let index = usize::try_from(sequence - 1).expect("an index of a vector");
                let stored = &stream.stored[index];
                let repeated = delivered > 1 || stream.stored[..index].iter().any(|before| before.id == stored.id);
                broker.counts.delivered += 1;
                broker.counts.repeated += u64::from(repeated);
                Ok(Delivery { message: stored.message.clone(), sequence, delivered })
            }
            next => {
                let wait = match next.filter(|_| !away) {
                    Some((_, due)) => Nothing::For(due.at.since(now)),
                    None => Nothing::Yet,
                };
                consumer.waker = Some(waker.clone());
                Err(wait)
            }
        }
    });
    if let Ok(delivery) = &delivery {
        let id = delivery.message.headers.as_ref().and_then(|headers| headers.get(ID));
        let (id, delivered) = (id.map_or("", |id| id.as_str()), delivery.delivered);
        note(format_args!("{durable} gets {} {id} ({delivered})", delivery.message.subject));
    }
    delivery
}

/// A consumer's answer to a delivery.
pub(super) fn settle(stream: &str, durable: &str, sequence: u64, kind: AckKind) {
    let lost = happens(roughness().lost_ack);
    BROKER.with_borrow_mut(|broker| {
        if lost || broker.away {
            broker.counts.lost += 1;
            return;
        }
        let Some(consumer) = broker.streams.get_mut(stream).and_then(|stream| stream.consumers.get_mut(durable)) else {
            return;
        };
        let Some(due) = consumer.due.get_mut(&sequence) else { return };
        match kind {
            AckKind::Ack | AckKind::Term | AckKind::Next => {
                consumer.due.remove(&sequence);
            }
            AckKind::Nak(pause) => due.at = Micros::now().plus(pause.unwrap_or_default()),
            AckKind::Progress => due.at = Micros::now().plus(ACK_WAIT),
        }
    });
}

fn message_id(headers: &HeaderMap) -> Option<String> {
    headers.get(MESSAGE_ID).map(ToString::to_string)
}

/// NATS's wildcards: `*` for a token, `>` for the rest.
fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in pattern.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}
