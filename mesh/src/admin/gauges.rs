//! Outbox and dead letters as metrics.

use std::convert::Infallible;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Gauge;

use super::Parts;
use crate::consumer::{Letters, LettersError};
use crate::outbox;
use crate::store::{Micros, StoreError};
use crate::telemetry::{export, names};

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(15);

struct Gauges {
    waiting: Gauge<u64>,
    oldest_age: Gauge<f64>,
    dead_letters: Gauge<u64>,
}

/// Records until dropped.
pub(super) async fn record(node: &Parts) -> Infallible {
    if !export::metrics() {
        return std::future::pending().await;
    }
    let meter = opentelemetry::global::meter("holdfast");
    let gauges = Gauges {
        waiting: meter.u64_gauge(names::OUTBOX_WAITING).with_unit("{event}").build(),
        oldest_age: meter.f64_gauge(names::OUTBOX_OLDEST_AGE).with_unit("s").build(),
        dead_letters: meter.u64_gauge(names::DEAD_LETTERS_WAITING).with_unit("{event}").build(),
    };
    let mut clock = tokio::time::interval(EVERY);
    loop {
        clock.tick().await;
        if let Err(error) = gauges.outbox(node).await {
            tracing::debug!(%error, "the outbox cannot be measured now");
        }
        if let Err(error) = gauges.dead_letters(node).await {
            tracing::debug!(%error, "the dead letters cannot be measured now");
        }
    }
}

impl Gauges {
    async fn outbox(&self, node: &Parts) -> Result<(), StoreError> {
        let (waiting, oldest) = node.store.read(|conn| Ok::<_, StoreError>(outbox::backlog(conn)?)).await?;
        let service = [KeyValue::new(names::SERVICE, node.service)];
        let age = oldest.map_or(Duration::ZERO, |oldest| Micros::now().since(oldest));
        self.waiting.record(u64::try_from(waiting).unwrap_or(0), &service);
        self.oldest_age.record(age.as_secs_f64(), &service);
        Ok(())
    }

    async fn dead_letters(&self, node: &Parts) -> Result<(), LettersError> {
        let letters = Letters::open(&node.bus).await?;
        for consumer in &node.consumers {
            let consumer = consumer.spec();
            let attributes = [
                KeyValue::new(names::SERVICE, node.service),
                KeyValue::new(names::MESSAGING_CONSUMER_GROUP_NAME, consumer.durable),
            ];
            self.dead_letters.record(letters.count(consumer).await?, &attributes);
        }
        Ok(())
    }
}
