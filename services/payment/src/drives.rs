//! Work that is done once for all who ask for it at the same time, and goes on when they leave.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mesh::deadline;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// A drive's own limit: long enough for every step's limit, so that what was begun is also stored.
const LIMIT: Duration = Duration::from_secs(60);

/// Drives of one kind at once. They go on when their callers leave and give up their places at the server, a minute at most, so they have a
/// limit of their own.
const DRIVES_MAX: usize = 2048;

/// The drives of this process, at most one for each key.
pub(crate) struct Drives<K, T>(Arc<Inner<K, T>>);

type Table<K, T> = HashMap<K, watch::Receiver<Option<T>>>;

struct Inner<K, T> {
    running: Mutex<Table<K, T>>,
    tasks: TaskTracker,
}

/// A drive that somebody waits for.
pub(crate) struct Running<T> {
    outcome: watch::Receiver<Option<T>>,
    /// Whether this caller started it.
    pub(crate) is_ours: bool,
}

impl<K, T> Clone for Drives<K, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Copy + Eq + Hash + Send + 'static, T: Clone + Send + Sync + 'static> Drives<K, T> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner { running: Mutex::default(), tasks: TaskTracker::new() }))
    }

    /// Whether no more should be started for callers.
    pub(crate) fn is_full(&self) -> bool {
        self.0.running().len() >= DRIVES_MAX
    }

    /// Joins the drive of `key`, or starts it as a task of its own with a deadline of its own.
    pub(crate) fn join_or_start<F>(&self, key: K, drive: impl FnOnce() -> F) -> Running<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut running = self.0.running();
        if let Some(outcome) = running.get(&key) {
            return Running { outcome: outcome.clone(), is_ours: false };
        }
        let (sender, outcome) = watch::channel(None);
        running.insert(key, outcome.clone());
        drop(running);
        let (drive, entry) = (drive(), Entry { drives: self.clone(), key });
        drop(deadline::spawn(self.0.tasks.track_future(deadline::detach(LIMIT, async move {
            let outcome = drive.await;
            // Removed before anybody is told, so that who asks after the answer starts afresh.
            drop(entry);
            sender.send_replace(Some(outcome));
        }))));
        Running { outcome, is_ours: true }
    }

    /// Waits until no drive is left; for shutdown, when no more are started.
    pub(crate) async fn finish(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl<K, T> Inner<K, T> {
    fn running(&self) -> MutexGuard<'_, Table<K, T>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a drive from the table, also when it panics.
struct Entry<K: Eq + Hash, T> {
    drives: Drives<K, T>,
    key: K,
}

impl<K: Eq + Hash, T> Drop for Entry<K, T> {
    fn drop(&mut self) {
        self.drives.0.running().remove(&self.key);
    }
}

impl<T: Clone> Running<T> {
    /// The outcome, or `None` if it is not there in time (or never will be, because the drive panicked).
    ///
    /// # Cancel safety
    /// Safe: the drive does not notice.
    pub(crate) async fn outcome_by(mut self, at: Instant) -> Option<T> {
        let outcome = tokio::time::timeout_at(at, self.outcome.wait_for(Option::is_some)).await;
        outcome.ok()?.ok()?.clone()
    }

    /// The outcome, however long it takes; `None` if the drive panicked.
    ///
    /// # Cancel safety
    /// Safe: the drive does not notice.
    pub(crate) async fn outcome(mut self) -> Option<T> {
        self.outcome.wait_for(Option::is_some).await.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use mesh::store::Id;

    use super::*;

    #[tokio::test]
    async fn many_callers_share_one_drive() {
        let drives = Drives::new();
        let (key, count) = (Id::generate(), Arc::new(AtomicU32::new(0)));
        let (go, wait) = watch::channel(false);
        let all: Vec<_> = (0..64)
            .map(|_| {
                let (count, mut wait) = (Arc::clone(&count), wait.clone());
                drives.join_or_start(key, || async move {
                    let _ = wait.wait_for(|go| *go).await;
                    count.fetch_add(1, Ordering::Relaxed)
                })
            })
            .collect();
        assert_eq!(all.iter().filter(|running| running.is_ours).count(), 1);
        go.send_replace(true);
        for running in all {
            assert_eq!(running.outcome().await, Some(0));
        }
        let next = drives.join_or_start(key, || async move { 7 });
        assert_eq!(next.outcome().await, Some(7), "a finished drive is not joined");
    }

    #[tokio::test]
    async fn there_are_only_so_many_drives_at_once() {
        let drives: Drives<usize, ()> = Drives::new();
        let (go, wait) = watch::channel(false);
        let mut running = Vec::new();
        for key in 0..DRIVES_MAX {
            assert!(!drives.is_full());
            let mut wait = wait.clone();
            running.push(drives.join_or_start(key, || async move {
                let _ = wait.wait_for(|go| *go).await;
            }));
        }
        assert!(drives.is_full());
        go.send_replace(true);
        for running in running {
            running.outcome().await.expect("no panic");
        }
        assert!(!drives.is_full());
    }

    #[tokio::test]
    async fn a_panic_ends_the_waiting_and_frees_the_key() {
        let drives: Drives<Id, u32> = Drives::new();
        let key = Id::generate();
        let panicking = drives.join_or_start(key, || async { panic!("as asked") });
        assert_eq!(panicking.outcome().await, None);
        assert_eq!(drives.join_or_start(key, || async { 1 }).outcome().await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drive_goes_on_when_its_caller_leaves() {
        let drives = Drives::new();
        let (go, mut wait) = watch::channel(false);
        let (done, mut is_done) = watch::channel(false);
        let running = drives.join_or_start(Id::generate(), || async move {
            let _ = wait.wait_for(|go| *go).await;
            done.send_replace(true);
        });
        assert_eq!(running.outcome_by(Instant::now() + Duration::from_millis(50)).await, None);
        go.send_replace(true);
        is_done.wait_for(|done| *done).await.expect("the drive ends");
        drives.finish().await;
    }
}
