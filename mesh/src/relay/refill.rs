//! Notices that the stream has lost what it once acknowledged (its store, or its tail after a power cut) and has the outbox refill it.
//!
//! A stream that lost its tail gives the same sequence numbers again, and an event that was on its way while the broker died may have taken one of
//! them. So it is not enough that the stream is long enough: the last event acknowledged has to be where it was. Nor may a consumer stay where it
//! was: it would take new events for those it knows by their numbers.

use std::time::Duration;

use crate::nats::jetstream::consumer::{self, DeliverPolicy, FromConsumer, pull};
use crate::nats::jetstream::message::StreamMessage;
use crate::nats::jetstream::stream::{RawMessageError, RawMessageErrorKind, Stream};
use diesel::prelude::{ExpressionMethods, QueryDsl, QueryResult, Queryable};
use futures_util::TryStreamExt;

use super::RelayError;
use super::publish::{Acknowledged, Publisher};
use crate::event::MESSAGE_ID;
use crate::outbox;
use crate::safety;
use crate::schema::outbox_progress::dsl as p;
use crate::store::{Conn, Exec, Fetch, Id, Micros, Store, StoreError};

/// Events marked this long before the stream's last intact one are sent again too: replicas publish side by side. Doing so is harmless.
const MARGIN: Duration = Duration::from_mins(2);

/// How far the stream is known to have come.
#[derive(Queryable)]
struct Progress {
    sequence: i64,
    event: Option<Id>,
    at: Option<Micros>,
}

/// The last of the events that the stream had before it lost others.
struct Intact {
    sequence: u64,
    event: Option<Id>,
}

/// Once for every connection, and whenever there is doubt: the stream exists and has what it acknowledged, or what it lost is waiting again.
pub(super) async fn check(store: &Store, publisher: &mut Publisher, connection: u64) -> Result<(), RelayError> {
    if publisher.checked == Some(connection) || safety::is_off("refill of a stream that lost events") {
        return Ok(());
    }
    publisher.bus().ensure_stream(publisher.service).await;
    let progress = store.read(|conn| progress(conn).map_err(StoreError::from)).await.map_err(RelayError::Store)?;
    let jetstream = publisher.bus().jetstream();
    let stream = jetstream.get_stream(&publisher.stream).await.map_err(|error| RelayError::Stream(error.into()))?;
    if !is_intact(&stream, &progress).await? {
        let last = signed(stream.cached_info().state.last_sequence);
        let intact = intact(&stream, progress.at).await?;
        set_consumers_back(publisher.service, &stream, intact.sequence).await.map_err(RelayError::Stream)?;
        let resent = store
            .write(move |conn| {
                // Which event has that number now is not known, and matters no more.
                let lost = p::outbox_progress.filter(p::stream_sequence.eq(progress.sequence));
                diesel::update(lost).set((p::stream_sequence.eq(last), p::event_id.eq(None::<Id>))).exec(conn)?;
                outbox::resend_after(conn, intact.event, MARGIN).map_err(StoreError::from)
            })
            .await
            .map_err(RelayError::Store)?;
        tracing::error!(
            service = publisher.service,
            events = resent,
            stream_sequence = last,
            "the stream lost acknowledged events; publishing them again from the outbox"
        );
    } else {
        // It may have lost events whose acknowledgement never came, and others may have taken their numbers since. Nothing tells; but only the
        // numbers after the last acknowledgement can be meant, and what comes twice does no harm.
        let certain = u64::try_from(progress.sequence).unwrap_or(0);
        set_consumers_back(publisher.service, &stream, certain).await.map_err(RelayError::Stream)?;
    }
    publisher.checked = Some(connection);
    Ok(())
}

/// Remembers how far the stream came, with the rows marked in the same transaction. `false` when it had been further: another replica was
/// faster, or the stream lost something while the connection stood, as a cluster may when its leader changes.
pub(super) fn advance(conn: &mut Conn, last: Acknowledged, now: Micros) -> Result<bool, StoreError> {
    let behind = p::outbox_progress.filter(p::stream_sequence.lt(signed(last.sequence)));
    let ahead = (
        p::stream_sequence.eq(signed(last.sequence)),
        p::event_id.eq(Some(last.event)),
        p::acknowledged_at.eq(Some(now)),
    );
    Ok(diesel::update(behind).set(ahead).exec(conn)? == 1)
}

fn progress(conn: &mut Conn) -> QueryResult<Progress> {
    let row = p::outbox_progress.select((p::stream_sequence, p::event_id, p::acknowledged_at)).one(conn)?;
    row.ok_or(diesel::NotFound)
}

/// Whether the last event that was acknowledged is where it was.
async fn is_intact(stream: &Stream, progress: &Progress) -> Result<bool, RelayError> {
    let state = &stream.cached_info().state;
    let Ok(sequence @ 1..) = u64::try_from(progress.sequence) else { return Ok(true) };
    if state.last_sequence < sequence {
        return Ok(false);
    }
    let Some(event) = progress.event.filter(|_| state.first_sequence <= sequence) else {
        // Too old to be kept; or there is nothing to compare it with.
        return Ok(true);
    };
    // Of the leader: a follower may not have caught up.
    let message = found(stream.get_raw_message(sequence).await)?;
    let id = message.map(|message| message.headers.get(MESSAGE_ID).map(ToString::to_string));
    // None if somebody has deleted it by hand.
    Ok(id.is_none_or(|id| id == Some(event.to_string())))
}

/// The last event that is certainly intact: the latest one from before the last acknowledgement.
async fn intact(stream: &Stream, acknowledged_at: Option<Micros>) -> Result<Intact, RelayError> {
    let info = stream.cached_info();
    let subjects = info.config.subjects.first().map_or(">", String::as_str);
    let (mut low, mut high) = (info.state.first_sequence.max(1), info.state.last_sequence + 1);
    let mut intact = Intact { sequence: 0, event: None };
    while low < high {
        let middle = low + (high - low) / 2;
        match found(stream.get_first_raw_message_by_subject(subjects, middle).await)? {
            Some(next) if acknowledged_at.is_none_or(|acknowledged_at| stored_at(&next) <= acknowledged_at) => {
                let event = next.headers.get(MESSAGE_ID).and_then(|id| id.as_str().parse().ok());
                intact = Intact { sequence: next.sequence, event };
                low = next.sequence + 1;
            }
            _ => high = middle,
        }
    }
    Ok(intact)
}

/// Has consumers that are beyond this place begin after it again; the inbox drops what comes twice. Servers from 2.14 on do so themselves when
/// they start, but not with streams that have replicas.
async fn set_consumers_back(service: &str, stream: &Stream, sequence: u64) -> Result<(), crate::nats::Error> {
    let consumers: Vec<consumer::Info> = stream.consumers().try_collect().await?;
    for ahead in consumers.into_iter().filter(|consumer| consumer.delivered.stream_sequence > sequence) {
        let Some(durable) = ahead.config.durable_name.clone() else { continue };
        let start_sequence = ahead.ack_floor.stream_sequence.min(sequence) + 1;
        let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence };
        let config = pull::Config { deliver_policy, ..pull::Config::try_from_consumer_config(ahead.config)? };
        stream.delete_consumer(&durable).await?;
        stream.create_consumer(config).await?;
        tracing::warn!(
            service,
            durable,
            start_sequence,
            "a consumer was beyond what the stream certainly kept; it was set back"
        );
    }
    Ok(())
}

fn found(answer: Result<StreamMessage, RawMessageError>) -> Result<Option<StreamMessage>, RelayError> {
    match answer {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(RelayError::Stream(error.into())),
    }
}

fn stored_at(message: &StreamMessage) -> Micros {
    Micros(i64::try_from(message.time.unix_timestamp_nanos() / 1000).unwrap_or(0))
}

fn signed(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
