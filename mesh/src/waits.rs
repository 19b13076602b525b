//! How long work waits for its turn: the one sign of overload that a slow callee or a large request does not give as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Gathers waiting times of one queue until somebody takes them. Cheap to clone; clones share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits(Arc<Sums>);

#[derive(Debug, Default)]
struct Sums {
    count: AtomicU64,
    total_us: AtomicU64,
}

impl Waits {
    /// Something waited so long.
    pub(crate) fn note(&self, waited: Duration) {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        self.0.total_us.fetch_add(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The mean since it was last taken; zero if nothing waited. What is noted meanwhile may be counted to either side.
    pub(crate) fn take(&self) -> Duration {
        let count = self.0.count.swap(0, Ordering::Relaxed);
        let total_us = self.0.total_us.swap(0, Ordering::Relaxed);
        Duration::from_micros(total_us.checked_div(count).unwrap_or(0))
    }
}
