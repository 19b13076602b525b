//! The recovery worker: takes over payments that nobody works on any more, and refunds that are due.
//!
//! It sleeps until something is committed in this process, the next payment is due, or a second has passed (for what other replicas left
//! behind). It never gives up: a payment is tried again, in growing pauses, until the provider has answered.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use mesh::crash_point;
use mesh::store::{Micros, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::Payments;
use crate::domain::{Error, Payment};
use crate::store;

/// Payments worked on at a time.
const CONCURRENCY: usize = 64;
/// Looks at the database are at least this far apart, so that a busy service does not look after every commit.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const FALLBACK: Duration = Duration::from_secs(1);

/// Works until `shutdown`; drives in progress are left to [`Payments::finish`].
///
/// # Cancel safety
/// Safe to drop: what was claimed is due again when its lease ends.
pub(crate) async fn run(payments: Payments, alone: bool, shutdown: CancellationToken) {
    if alone
        && let Err(error) =
            payments.store().write(|conn| Ok::<_, StoreError>(store::end_leases(conn, Micros::now())?)).await
    {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "cannot end the leases of the process before; they end by themselves"
        );
    }
    let _ = shutdown.run_until_cancelled(work(payments)).await;
}

async fn work(payments: Payments) {
    let mut commits = payments.store().committed().subscribe();
    let mut running: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    loop {
        let room = CONCURRENCY - running.len();
        let next = match claim(&payments, room).await {
            Ok((claimed, next)) => {
                running.extend(claimed.into_iter().map(|payment| drive(payments.clone(), payment)));
                next
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot look for payments left behind");
                FALLBACK
            }
        };
        let looked = Instant::now();
        // Each arm only waits: nothing is lost when another wins.
        tokio::select! {
            Some(()) = running.next() => {}
            () = commits.changed(), if running.len() < CONCURRENCY => {}
            () = tokio::time::sleep(next), if running.len() < CONCURRENCY => {}
        }
        tokio::time::sleep_until(looked + LOOK_EVERY).await;
        while let Some(Some(())) = running.next().now_or_never() {}
    }
}

/// Takes over at most `room` payments; also how long until the next is due.
async fn claim(payments: &Payments, room: usize) -> Result<(Vec<Payment>, Duration), Error> {
    let limit = i64::try_from(room).unwrap_or(i64::MAX).saturating_add(1);
    let soon = payments.store().read(move |conn| Ok::<_, Error>(store::due(conn, limit)?)).await?;
    let now = Micros::now();
    let next = soon.iter().find(|(_, at)| *at > now).map_or(FALLBACK, |(_, at)| at.since(now).min(FALLBACK));
    let due: Vec<_> = soon.into_iter().filter(|(_, at)| *at <= now).map(|(id, _)| id).take(room).collect();
    if due.is_empty() {
        return Ok((Vec::new(), next));
    }
    let claimed = payments
        .store()
        .write(move |conn| {
            let claimed = due.into_iter().map(|id| store::claim_due(conn, id, now));
            Ok::<_, Error>(claimed.filter_map(Result::transpose).collect::<diesel::QueryResult<Vec<_>>>()?)
        })
        .await?;
    crash_point!("payment.takeover.committed");
    Ok((claimed, next))
}

fn drive(payments: Payments, payment: Payment) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        if payment.owes_refund() {
            // Only the row matters; the drive has stored what it found.
            let _ = payments.start_refund(payment).outcome().await;
        } else {
            payments.recover_charge(payment).await;
        }
    })
}
