//! Notices that the stream is behind what it once acknowledged (its store was lost, or its tail after a power cut) and has the outbox refill it.

use std::time::Duration;

use async_nats::jetstream::stream::State;
use diesel::prelude::{ExpressionMethods, QueryDsl};

use super::RelayError;
use super::publish::Publisher;
use crate::outbox;
use crate::schema::outbox_progress::dsl as p;
use crate::store::{Conn, Exec, Fetch, Micros, Store, StoreError};

/// Events marked this long before the stream's last one are sent again too: the two clocks may differ. Doing so is harmless.
const MARGIN: Duration = Duration::from_mins(2);

/// Once for every connection: the stream exists and has what it acknowledged, or what it lost is waiting again.
pub(super) async fn check(store: &Store, publisher: &mut Publisher, connection: u64) -> Result<(), RelayError> {
    if publisher.checked == Some(connection) {
        return Ok(());
    }
    publisher.bus().ensure_stream(publisher.service).await;
    let stream = publisher
        .bus()
        .jetstream()
        .get_stream(&publisher.stream)
        .await
        .map_err(|error| RelayError::Stream(error.into()))?;
    let state = &stream.cached_info().state;
    let (last, since) = (signed(state.last_sequence), since(state));
    let resent = store
        .write(move |conn| {
            let acknowledged: Option<i64> = p::outbox_progress.select(p::stream_sequence).one(conn)?;
            if acknowledged.unwrap_or(0) <= last {
                return Ok(None);
            }
            diesel::update(p::outbox_progress).set(p::stream_sequence.eq(last)).exec(conn)?;
            outbox::resend_since(conn, since).map(Some).map_err(StoreError::from)
        })
        .await
        .map_err(RelayError::Store)?;
    if let Some(events) = resent {
        tracing::error!(
            service = publisher.service,
            events,
            stream_sequence = last,
            "the stream lost acknowledged events; publishing them again from the outbox"
        );
    }
    publisher.checked = Some(connection);
    Ok(())
}

/// Remembers how far the stream came, with the rows marked in the same transaction.
pub(super) fn advance(conn: &mut Conn, sequence: u64) -> Result<(), StoreError> {
    let ahead = p::outbox_progress.filter(p::stream_sequence.lt(signed(sequence)));
    diesel::update(ahead).set(p::stream_sequence.eq(signed(sequence))).exec(conn).map(|_| ()).map_err(StoreError::from)
}

fn since(state: &State) -> Micros {
    if state.last_sequence == 0 {
        return Micros(0);
    }
    let nanos = state.last_timestamp.unix_timestamp_nanos();
    Micros(i64::try_from(nanos / 1000).unwrap_or(0)).minus(MARGIN)
}

fn signed(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
