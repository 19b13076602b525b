//! Tells tasks of this process that something was committed, so that they need not poll.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Id;

thread_local! {
    static APPENDED: Cell<bool> = const { Cell::new(false) };
    static CHANGED: RefCell<Vec<Id>> = const { RefCell::new(Vec::new()) };
}

/// Fires after every commit of this process.
#[derive(Debug)]
pub struct CommitSignal {
    commits: watch::Sender<()>,
    appends: watch::Sender<()>,
    changes: Arc<Changes>,
}

impl CommitSignal {
    pub(super) fn new() -> Self {
        Self { commits: watch::Sender::new(()), appends: watch::Sender::new(()), changes: Arc::default() }
    }

    /// Starts watching: commits from now on are seen, also those made between two waits.
    #[must_use]
    pub fn subscribe(&self) -> CommitWatch {
        CommitWatch(self.commits.subscribe())
    }

    /// Watches only for commits that put an event into the outbox.
    pub(crate) fn subscribe_to_appends(&self) -> CommitWatch {
        CommitWatch(self.appends.subscribe())
    }

    /// Watches only for commits that change what `id` names, as [`note_change`] tells.
    #[must_use]
    pub fn subscribe_to(&self, id: Id) -> ChangeWatch {
        let mut watched = self.changes.lock();
        let (watchers, changed) = watched.entry(id).or_default();
        *watchers += 1;
        ChangeWatch { id, changed: changed.subscribe(), changes: self.changes.clone() }
    }

    /// Wakes every watcher, as a commit does.
    pub fn wake(&self) {
        self.commits.send_replace(());
        self.appends.send_replace(());
    }

    /// Called by the thread that committed.
    pub(super) fn committed(&self) {
        self.commits.send_replace(());
        if APPENDED.take() {
            self.appends.send_replace(());
        }
        let changed = CHANGED.take();
        if !changed.is_empty() {
            self.changes.wake(&changed);
        }
    }
}

/// How many watch what, and how they are told. What nobody watches has no entry.
#[derive(Debug, Default)]
struct Changes(Mutex<Watched>);

type Watched = HashMap<Id, (usize, watch::Sender<()>)>;

impl Changes {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, changed: &[Id]) {
        let watched = self.lock();
        if watched.is_empty() {
            return;
        }
        for (_, changed) in changed.iter().filter_map(|id| watched.get(id)) {
            changed.send_replace(());
        }
    }
}

/// One watcher of a [`CommitSignal`].
#[derive(Debug)]
pub struct CommitWatch(watch::Receiver<()>);

impl CommitWatch {
    /// Waits for a commit since the last call (or since the subscription). Several commits count as one.
    ///
    /// # Cancel safety
    /// Safe: a commit that was not reported is reported by the next call.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The store is gone, so nothing will ever be committed again.
            std::future::pending::<()>().await;
        }
    }
}

/// One watcher of what an id names.
#[derive(Debug)]
pub struct ChangeWatch {
    id: Id,
    changed: watch::Receiver<()>,
    changes: Arc<Changes>,
}

impl ChangeWatch {
    /// Waits for a change since the last call (or since the subscription). Several changes count as one.
    ///
    /// # Cancel safety
    /// Safe: a change that was not reported is reported by the next call.
    pub async fn changed(&mut self) {
        self.changed.changed().await.expect("a watched id keeps its sender");
    }
}

impl Drop for ChangeWatch {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.changes.lock().entry(self.id) {
            entry.get_mut().0 -= 1;
            if entry.get().0 == 0 {
                entry.remove();
            }
        }
    }
}

/// Notes that the transaction on this thread changes what `id` names, for [`CommitSignal::subscribe_to`]. If it is undone, watchers may be
/// woken for nothing.
pub fn note_change(id: Id) {
    CHANGED.with_borrow_mut(|changed| changed.push(id));
}

/// Notes that the transaction on this thread added to the outbox.
pub(crate) fn note_append() {
    APPENDED.set(true);
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_watcher_is_woken_by_its_own_changes_and_by_several_once() {
        let signal = CommitSignal::new();
        let (id, other) = (Id::generate(), Id::generate());
        let mut watches = [signal.subscribe_to(id), signal.subscribe_to(id)];
        note_change(other);
        signal.committed();
        assert!(watches.iter_mut().all(|watch| watch.changed().now_or_never().is_none()), "another's change");
        note_change(id);
        assert!(watches.iter_mut().all(|watch| watch.changed().now_or_never().is_none()), "not committed yet");
        signal.committed();
        note_change(id);
        signal.committed();
        assert!(watches.iter_mut().all(|watch| watch.changed().now_or_never().is_some()));
        assert!(watches.iter_mut().all(|watch| watch.changed().now_or_never().is_none()), "two changes count as one");
    }

    #[test]
    fn what_nobody_watches_any_more_takes_no_room() {
        let signal = CommitSignal::new();
        let id = Id::generate();
        let (first, second) = (signal.subscribe_to(id), signal.subscribe_to(id));
        drop(first);
        assert_eq!(signal.changes.lock().len(), 1);
        drop(second);
        assert!(signal.changes.lock().is_empty());
    }
}
