//! Publishes what is in the outbox, in order for each aggregate whichever process made its events, and marks it after the broker's acknowledgement.
//!
//! Woken by commits of this process, by a clock otherwise. When the broker is away it waits, and catches up in order afterwards. When the broker
//! comes back having lost acknowledged events, they are published again from the outbox. An event may reach the stream twice (a lost
//! acknowledgement); consumers drop the second by its id.

mod publish;
mod refill;

use std::time::Duration;

use diesel::QueryResult;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::publish::Publisher;
use crate::bus::Bus;
use crate::crash_point;
use crate::store::{Conn, Micros, Store, StoreError};
use crate::{outbox, requests};

/// Events read, published and marked together at most. The broker takes up to 1,000 as one batch.
const ROUND: usize = 512;
/// A round begins at the earliest so long after the one before. An event after a pause goes at once; under load events gather meanwhile, and one
/// sync of the broker's disk and one commit of ours serve them all.
const GATHER: Duration = Duration::from_millis(50);
/// Looks for events left behind by other processes this often.
const POLL: Duration = Duration::from_secs(1);
const PRUNE_EVERY: Duration = Duration::from_secs(30);
const PRUNE_STEP: i64 = 500;
/// Deletes up to so many rows that are old at this time.
type Prune = fn(&mut Conn, Micros, i64) -> QueryResult<usize>;
const PRUNE: [Prune; 2] = [outbox::prune, requests::prune];
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// Publishes `service`'s events until `shutdown`, and forgets old events and request ids. Run one for each process and database. A round in
/// progress is finished; what still waits then is published by the next relay.
///
/// # Cancel safety
/// Safe to drop: what was published and not marked is published again by the next relay.
pub async fn run(store: Store, bus: Bus, service: &'static str, shutdown: CancellationToken) {
    let publishing = publish_until(&store, Publisher::new(bus, service), &shutdown);
    tokio::select! {
        () = publishing => {}
        () = prune_forever(&store, service) => {}
    }
}

async fn publish_until(store: &Store, mut publisher: Publisher, shutdown: &CancellationToken) {
    let mut appends = store.committed().subscribe_to_appends();
    let mut retry = FIRST_RETRY;
    loop {
        let connection = tokio::select! {
            connection = publisher.bus().connected() => connection,
            () = shutdown.cancelled() => return,
        };
        let began = Instant::now();
        let wait = match check_and_publish(store, &mut publisher, connection, shutdown).await {
            Ok(left) => {
                retry = FIRST_RETRY;
                match left {
                    Left::More => Duration::ZERO,
                    Left::HeldBack => GATHER,
                    Left::Nothing => POLL,
                }
            }
            Err(error) => {
                let service = publisher.service;
                tracing::warn!(service, %error, cause = cause(&error), retry_ms = retry.as_millis(), "cannot publish; events wait in the outbox");
                publisher.checked = None;
                tokio::select! {
                    () = tokio::time::sleep(retry) => {}
                    () = shutdown.cancelled() => return,
                }
                retry = (retry * 2).min(LAST_RETRY);
                Duration::ZERO
            }
        };
        let next = async {
            appends.changed().await;
            tokio::time::sleep_until(began + GATHER).await;
        };
        // Each arm loses nothing when another one wins: the outbox is read again in any case.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = next => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn check_and_publish(
    store: &Store,
    publisher: &mut Publisher,
    connection: u64,
    shutdown: &CancellationToken,
) -> Result<Left, RelayError> {
    // Setting up the stream may take as long as the broker likes. Dropping it half-way is harmless, dropping a round is not worth it.
    tokio::select! {
        checked = refill::check(store, publisher, connection) => checked?,
        () = shutdown.cancelled() => return Ok(Left::Nothing),
    }
    round(store, publisher).await
}

/// What waits after a round.
enum Left {
    /// Nothing that is known of.
    Nothing,
    /// Only events that come after those of another process.
    HeldBack,
    /// Probably more.
    More,
}

/// Publishes and marks up to [`ROUND`] events.
async fn round(store: &Store, publisher: &mut Publisher) -> Result<Left, RelayError> {
    let outbox::Waiting { rows, held_back } = store
        .read(|conn| {
            outbox::waiting(conn, Micros::now(), i64::try_from(ROUND).expect("a small number"))
                .map_err(StoreError::from)
        })
        .await
        .map_err(RelayError::Store)?;
    let left = match (rows.len(), held_back) {
        (ROUND, _) => Left::More,
        (_, 0) => Left::Nothing,
        _ => Left::HeldBack,
    };
    if rows.is_empty() {
        return Ok(left);
    }
    crash_point!("mesh.outbox.unpublished");
    let published = publisher.publish(rows).await;
    if let Some(last) = published.last {
        crash_point!("mesh.outbox.acknowledged");
        if publisher.checked != Some(publisher.bus().connection()) {
            // The stream may have lost something just before it took these, and their numbers would hide it. They are published again.
            return Ok(Left::More);
        }
        let advanced = store
            .write(move |conn| {
                let now = Micros::now();
                outbox::mark(conn, &published.rows, now)?;
                let advanced = refill::advance(conn, last, now)?;
                crash_point!("mesh.outbox.mark.uncommitted");
                Ok(advanced)
            })
            .await
            .map_err(RelayError::Store)?;
        crash_point!("mesh.outbox.marked");
        if !advanced {
            publisher.checked = None;
        }
    }
    published.error.map_or(Ok(left), Err)
}

/// Deletes in small steps, so that no caller waits behind a large one.
async fn prune_forever(store: &Store, service: &str) {
    let mut clock = tokio::time::interval(PRUNE_EVERY);
    loop {
        clock.tick().await;
        for step in PRUNE {
            loop {
                match store.write(move |conn| step(conn, Micros::now(), PRUNE_STEP).map_err(StoreError::from)).await {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(service, %error, "cannot prune now");
                        break;
                    }
                }
            }
        }
    }
}

/// Why a round did not publish everything.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("the outbox cannot be read or marked")]
    Store(#[source] StoreError),
    #[error("the broker did not take an event")]
    Publish(#[source] crate::nats::Error),
    #[error("the broker did not describe the stream")]
    Stream(#[source] crate::nats::Error),
}

fn cause(error: &RelayError) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}
