//! Getting rows of the outbox into the stream: many as one atomic batch, few side by side.

use std::collections::HashSet;

use crate::nats::HeaderMap;
use crate::nats::jetstream::ErrorCode;
use crate::nats::jetstream::publish::PublishAck;
use crate::nats::jetstream::response::Response;
use bytes::Bytes;
use futures_util::future::join_all;

use super::RelayError;
use crate::bus::{Bus, stream_name};
use crate::crash_point;
use crate::event::{Attributes, encode};
use crate::outbox::Row;
use crate::store::Id;

/// From this many waiting events on, one atomic batch is cheaper than one message each: the broker syncs its disk once.
const BATCH_FROM: usize = 4;
/// Messages without an acknowledgement at most when they are published one by one.
const WINDOW: usize = 256;

/// Publishes for one service over one connection.
pub(super) struct Publisher {
    bus: Bus,
    pub(super) service: &'static str,
    pub(super) stream: String,
    source: String,
    /// The connection for which the stream was last checked.
    pub(super) checked: Option<u64>,
}

/// An event, and the number the stream gave it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Acknowledged {
    pub(super) sequence: u64,
    pub(super) event: Id,
}

/// How far a call came.
#[derive(Default)]
pub(super) struct Published {
    /// The rows the stream has, ascending.
    pub(super) rows: Vec<i64>,
    /// The one of them that is last in the stream.
    pub(super) last: Option<Acknowledged>,
    /// Why the others are not published.
    pub(super) error: Option<RelayError>,
}

impl Publisher {
    pub(super) fn new(bus: Bus, service: &'static str) -> Self {
        Self { bus, service, stream: stream_name(service), source: format!("//holdfast/{service}"), checked: None }
    }

    pub(super) fn bus(&self) -> &Bus {
        &self.bus
    }

    pub(super) async fn publish(&self, rows: Vec<Row>) -> Published {
        if rows.len() >= BATCH_FROM && self.bus.takes_atomic_batches() {
            match self.publish_batch(&rows).await {
                Ok(Some(last)) => {
                    let rows = rows.iter().map(|row| row.seq).collect();
                    return Published { rows, last: Some(last), error: None };
                }
                // Most likely an event was stored before and only its acknowledgement lost: one by one, that does no harm.
                Ok(None) => {}
                Err(error) => return Published { error: Some(RelayError::Publish(error)), ..Published::default() },
            }
        }
        self.publish_each(rows).await
    }

    /// All or nothing; the last one, or `None` if the broker refused the batch as a batch.
    async fn publish_batch(&self, rows: &[Row]) -> Result<Option<Acknowledged>, crate::nats::Error> {
        let batch = Id::generate().to_string();
        let client = self.bus.client();
        let (last, others) = rows.split_last().expect("not empty");
        let mut number = 0u64;
        let mut headers = |row: &Row| {
            number += 1;
            let mut headers = self.headers(row);
            headers.insert("Nats-Batch-Id", batch.as_str());
            headers.insert("Nats-Batch-Sequence", number.to_string());
            headers
        };
        for row in others {
            client.publish_with_headers(row.subject.clone(), headers(row), payload(row)).await?;
        }
        crash_point!("mesh.outbox.batch.uncommitted");
        let mut headers = headers(last);
        headers.insert("Nats-Batch-Commit", "1");
        let answer = client.request_with_headers(last.subject.clone(), headers, payload(last)).await?;
        match serde_json::from_slice::<Response<PublishAck>>(&answer.payload)? {
            // A broker that knows no batches takes the messages as ordinary ones and gives no size.
            Response::Ok(ack) if ack.batch_size == u64::try_from(rows.len()).ok() => {
                Ok(Some(Acknowledged { sequence: ack.sequence, event: last.id }))
            }
            Response::Ok(ack) => {
                tracing::warn!(
                    service = self.service,
                    size = rows.len(),
                    taken = ack.batch_size,
                    "the broker did not take a batch as one"
                );
                Ok(None)
            }
            Response::Err { error } => {
                if error.error_code() != DUPLICATE_IN_BATCH {
                    tracing::warn!(service = self.service, %error, "the broker refused a batch");
                }
                Ok(None)
            }
        }
    }

    /// One message each, never two of one aggregate at a time, so their order holds even if one fails.
    async fn publish_each(&self, rows: Vec<Row>) -> Published {
        let mut done = Published::default();
        let mut waiting = rows;
        while !waiting.is_empty() {
            let mut aggregates = HashSet::new();
            let (wave, rest): (Vec<Row>, Vec<Row>) = {
                let mut size = 0;
                waiting.into_iter().partition(|row| {
                    // An aggregate whose turn is later stays behind as a whole, so its rows keep their order.
                    let first = aggregates.insert(row.aggregate.clone());
                    size += usize::from(first);
                    first && size <= WINDOW
                })
            };
            waiting = rest;
            let acks = join_all(wave.iter().map(|row| self.publish_one(row))).await;
            for (row, ack) in wave.iter().zip(acks) {
                match ack {
                    Ok(sequence) => {
                        done.rows.push(row.seq);
                        done.last = done.last.max(Some(Acknowledged { sequence, event: row.id }));
                    }
                    Err(error) => done.error = Some(RelayError::Publish(error)),
                }
            }
            if done.error.is_some() {
                break;
            }
            if !waiting.is_empty() {
                crash_point!("mesh.outbox.wave.acknowledged");
            }
        }
        done.rows.sort_unstable();
        done
    }

    async fn publish_one(&self, row: &Row) -> Result<u64, crate::nats::Error> {
        let ack =
            self.bus.jetstream().publish_with_headers(row.subject.clone(), self.headers(row), payload(row)).await?;
        crash_point!("mesh.outbox.published");
        Ok(ack.await?.sequence)
    }

    fn headers(&self, row: &Row) -> HeaderMap {
        encode(&Attributes {
            id: row.id,
            kind: &row.kind,
            source: &self.source,
            aggregate: &row.aggregate,
            version: row.version,
            correlation: &row.correlation,
            causation: row.causation,
            time: row.created_at,
            traceparent: row.traceparent.as_deref(),
        })
    }
}

/// A message of the batch repeats the id of one the stream has; nothing of the batch was stored.
const DUPLICATE_IN_BATCH: ErrorCode = ErrorCode(10201);

fn payload(row: &Row) -> Bytes {
    Bytes::copy_from_slice(&row.payload)
}
