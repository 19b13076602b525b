//! What happens to a batch of deliveries: one transaction if all goes well, otherwise halves, until the events at fault stand alone.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use crate::nats::jetstream::{AckKind, Message};
use futures_util::FutureExt;

use super::{ConsumerSpec, FIRST_RETRY, Handler, HandlerError, LAST_RETRY, Repeats, RetryPolicy, dead_letter};
use crate::bus::{Bus, MAX_AGE};
use crate::crash_point;
use crate::event::Received;
use crate::inbox;
use crate::safety;
use crate::store::{Conn, Id, Micros, Store, StoreError};
use crate::telemetry::messaging;

/// One consumer: what it wants, and what it does with it.
pub(crate) struct Worker {
    spec: ConsumerSpec,
    retry: RetryPolicy,
    bus: Bus,
    store: Store,
    handler: Handler,
}

/// Why an attempt stored nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database's fault: the events are as good as before.
    Store(StoreError),
    /// The handler's, or the events'.
    Handler(HandlerError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<diesel::result::Error> for Failure {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Worker {
    pub(crate) fn new(spec: ConsumerSpec, retry: RetryPolicy, bus: Bus, store: Store, handler: Handler) -> Self {
        Self { spec, retry, bus, store, handler }
    }

    pub(crate) fn spec(&self) -> &ConsumerSpec {
        &self.spec
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Handles one event that was given up, as if it had just been delivered. One whose effect is stored already is done.
    ///
    /// # Cancel safety
    /// Safe: all of the effect is stored, or nothing.
    pub(crate) async fn redrive(&self, event: Received) -> Result<(), Failure> {
        // The letter may stay although the effect is stored, so this is remembered for as long as a letter can live.
        self.attempt(&Arc::from([event]), 0..1, Micros::now().plus(MAX_AGE)).await
    }

    pub(super) fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Settles every delivery: acknowledged, to be delivered again, or dead.
    pub(super) async fn handle(&self, deliveries: Vec<Message>) {
        crash_point!("mesh.consumer.received");
        let mut messages = Vec::with_capacity(deliveries.len());
        let mut events = Vec::with_capacity(deliveries.len());
        for message in deliveries {
            let delivered = message.info().map_or(1, |info| u64::try_from(info.delivered).unwrap_or(1));
            match Received::from_message(&message.message, delivered) {
                Ok(event) => {
                    messages.push(message);
                    events.push(event);
                }
                Err(error) => self.bury(&message, delivered, &error.to_string()).await,
            }
        }
        let events: Arc<[Received]> = events.into();
        let mut left: Vec<Range<usize>> = std::iter::once(0..events.len()).collect();
        let mut pause = FIRST_RETRY;
        while let Some(range) = left.pop() {
            if range.is_empty() {
                continue;
            }
            if safety::is_off("acknowledge after the commit") {
                acknowledge(&messages[range.clone()]).await;
            }
            match self.attempt(&events, range.clone(), Micros::now()).await {
                Ok(()) => {
                    pause = FIRST_RETRY;
                    crash_point!("mesh.consumer.effect.committed");
                    messaging::processed(self.spec.durable, &events[range.clone()]);
                    acknowledge(&messages[range]).await;
                    crash_point!("mesh.consumer.acknowledged");
                }
                Err(Failure::Store(StoreError::Closed)) => return,
                Err(Failure::Store(error)) => {
                    tracing::warn!(
                        durable = self.spec.durable,
                        error = chain(&error),
                        "cannot store events' effects; trying again"
                    );
                    left.push(range);
                    self.wait(&messages, &left, pause).await;
                    pause = (pause * 2).min(LAST_RETRY);
                }
                Err(Failure::Handler(_)) if range.len() > 1 => {
                    let middle = range.start + range.len() / 2;
                    left.push(middle..range.end);
                    left.push(range.start..middle);
                }
                Err(Failure::Handler(error)) => self.refuse(&messages[range.start], &events[range.start], error).await,
            }
        }
    }

    /// One transaction: inbox rows, kept for a while after `seen`, and effects of the events that are new.
    async fn attempt(&self, events: &Arc<[Received]>, range: Range<usize>, seen: Micros) -> Result<(), Failure> {
        let (events, handler, durable) = (Arc::clone(events), Arc::clone(&self.handler), self.spec.durable);
        let repeats = self.spec.repeats;
        let stored = self.store.write(move |conn| {
            let events = &events[range];
            if repeats == Repeats::Harmless {
                return effect(&handler, conn, events);
            }
            let ids: Vec<Id> = events.iter().map(|event| event.id).collect();
            let mut new = inbox::record(conn, durable, &ids, seen)?;
            if new.is_empty() {
                return Ok(());
            }
            if new.len() == events.len() {
                return effect(&handler, conn, events);
            }
            let fresh: Vec<Received> = events.iter().filter(|event| new.remove(&event.id)).cloned().collect();
            effect(&handler, conn, &fresh)
        });
        match AssertUnwindSafe(stored).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Handler(HandlerError::Retry("the handler panicked".to_owned()))),
        }
    }

    async fn refuse(&self, message: &Message, event: &Received, error: HandlerError) {
        let (durable, kind, aggregate, delivered) = (self.spec.durable, &event.kind, &event.aggregate, event.delivered);
        match error {
            HandlerError::Retry(error) if delivered < self.retry.max_deliver => {
                let pause = self.retry.pause(delivered);
                tracing::info!(
                    durable,
                    kind,
                    aggregate,
                    delivered,
                    error,
                    retry_ms = pause.as_millis(),
                    "event refused for now"
                );
                settle(message, AckKind::Nak(Some(pause))).await;
            }
            HandlerError::Retry(error) | HandlerError::Poison(error) => self.bury(message, delivered, &error).await,
        }
    }

    /// Copies the event to the dead letters, then ends its deliveries; in this order, so that it cannot get lost between.
    async fn bury(&self, message: &Message, delivered: u64, error: &str) {
        let (durable, subject) = (self.spec.durable, message.subject.as_str());
        tracing::error!(durable, subject, delivered, error, "event goes to the dead letters");
        match dead_letter::publish(&self.bus, &self.spec, message, delivered, error).await {
            Ok(()) => {
                crash_point!("mesh.consumer.buried");
                settle(message, AckKind::Term).await;
            }
            Err(failure) => {
                tracing::warn!(durable, subject, error = %failure, "cannot reach the dead letters; the event is delivered again");
                settle(message, AckKind::Nak(Some(self.retry.pause(delivered)))).await;
            }
        }
    }

    /// Waits with the broker told that the events are still being worked on.
    async fn wait(&self, messages: &[Message], left: &[Range<usize>], pause: Duration) {
        for message in left.iter().flat_map(|range| &messages[range.clone()]) {
            settle(message, AckKind::Progress).await;
        }
        tokio::time::sleep(pause).await;
    }
}

fn effect(handler: &Handler, conn: &mut Conn, events: &[Received]) -> Result<(), Failure> {
    handler(conn, events).map_err(Failure::Handler)?;
    crash_point!("mesh.consumer.effect.uncommitted");
    Ok(())
}

/// Without waiting for the broker to confirm: an acknowledgement that is lost means one more delivery, which the inbox drops.
async fn acknowledge(messages: &[Message]) {
    for message in messages {
        settle(message, AckKind::Ack).await;
    }
}

async fn settle(message: &Message, kind: AckKind) {
    if let Err(error) = message.ack_with(kind).await {
        tracing::debug!(%error, "cannot acknowledge; the event is delivered again");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
