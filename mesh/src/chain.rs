//! One level of a chain of calls repeats what failed: the one nearest to the trouble. Three attempts on each of three levels would be
//! twenty-seven of them.
//!
//! A [`Chain`] belongs to one call that this process serves. A call made for it that came to nothing is noted there, and the answer then tells
//! the caller not to repeat: what could be done was done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    static CURRENT: Chain;
}

/// Whether something that was called for the call in progress has been given up; outside of one, nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain(Option<Arc<AtomicBool>>);

/// Work for a chain.
pub(crate) type Scoped<F> = TaskLocalFuture<Chain, F>;

impl Chain {
    /// For a call that has arrived.
    pub(crate) fn begin() -> Self {
        Self(Some(Arc::default()))
    }

    /// Runs `future` as a part of it.
    pub(crate) fn scope<F: Future>(&self, future: F) -> Scoped<F> {
        CURRENT.scope(self.clone(), future)
    }

    /// Whether a call made for it came to nothing.
    pub(crate) fn has_given_up(&self) -> bool {
        self.0.as_ref().is_some_and(|given_up| given_up.load(Ordering::Relaxed))
    }
}

/// The chain of the calling task.
pub(crate) fn current() -> Chain {
    CURRENT.try_with(Chain::clone).unwrap_or_default()
}

/// A call of the calling task came to nothing.
pub(crate) fn give_up() {
    // Outside of a chain there is nobody to tell.
    let _ = CURRENT.try_with(|chain| {
        if let Some(given_up) = &chain.0 {
            given_up.store(true, Ordering::Relaxed);
        }
    });
}
