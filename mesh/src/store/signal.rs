//! Tells tasks of this process that something was committed, so that they need not poll.

use std::cell::Cell;

use tokio::sync::watch;

thread_local! {
    static APPENDED: Cell<bool> = const { Cell::new(false) };
}

/// Fires after every commit of this process.
#[derive(Debug)]
pub struct CommitSignal {
    commits: watch::Sender<()>,
    appends: watch::Sender<()>,
}

impl CommitSignal {
    pub(super) fn new() -> Self {
        Self { commits: watch::Sender::new(()), appends: watch::Sender::new(()) }
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

/// Notes that the transaction on this thread added to the outbox.
pub(crate) fn note_append() {
    APPENDED.set(true);
}
