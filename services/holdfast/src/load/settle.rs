//! Waiting until what was booked has arrived everywhere.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::sleep;

use crate::audit::Stores;
use crate::duration::readable;
use crate::terminal::{done, failed};

const PAUSE: Duration = Duration::from_millis(200);

/// Where the counters stood before the load.
pub(super) struct Settling<'a> {
    stores: &'a Stores,
    begun: Instant,
    before: Counters,
}

/// The view consumes every event of every service and keeps those about reservations, so what it has is a count of what has arrived.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Counters {
    appended: u64,
    seen: u64,
}

/// How the events settled.
pub(super) struct Settled {
    events: u64,
    /// From the last answer until the view had everything; `None`: not in time.
    after: Option<Duration>,
    /// From the beginning of the load until then.
    during: Duration,
}

impl<'a> Settling<'a> {
    /// Notes where the counters stand.
    ///
    /// # Errors
    /// A database cannot be read.
    pub(super) async fn begin(stores: &'a Stores) -> Result<Self> {
        Ok(Self { stores, begun: Instant::now(), before: Counters::read(stores).await? })
    }

    /// Waits until every outbox is empty and the view has seen every event. Events cause further ones (a message is sent), so the counters must
    /// also stand still from one look to the next.
    ///
    /// # Errors
    /// A database cannot be read.
    pub(super) async fn wait(self, ended: Instant, limit: Duration) -> Result<Settled> {
        let mut last: Option<(Counters, Instant)> = None;
        loop {
            let now = Counters::read(self.stores).await?;
            let events = now.appended.saturating_sub(self.before.appended);
            let arrived = now.seen.saturating_sub(self.before.seen) >= events && self.stores.waiting().await? == 0;
            match last {
                Some((before, since)) if arrived && before == now => {
                    let after = since.saturating_duration_since(ended);
                    return Ok(Settled { events, after: Some(after), during: since - self.begun });
                }
                _ if ended.elapsed() >= limit => {
                    return Ok(Settled { events, after: None, during: self.begun.elapsed() });
                }
                _ => last = arrived.then(|| (now, Instant::now())),
            }
            sleep(PAUSE).await;
        }
    }
}

impl Counters {
    async fn read(stores: &Stores) -> Result<Self> {
        Ok(Self { appended: stores.appended().await?, seen: stores.seen_by_view().await? })
    }
}

impl Settled {
    pub(super) fn print(&self) {
        let rate = u128::from(self.events) * 1_000 / self.during.as_millis().max(1);
        match self.after {
            Some(after) => done(format_args!(
                "{} events, all arrived {} after the last booking: {rate}/s",
                self.events,
                readable(after)
            )),
            None => failed(format_args!("{} events, not all of them arrived within the settling time", self.events)),
        }
    }
}
