//! Work stops between two statements once its deadline has passed: nobody waits for what would follow, and the next in the queue does.

use std::cell::Cell;

use diesel::QueryResult;
use diesel::result::Error;

use crate::deadline::Deadline;

thread_local! {
    /// Of the work that this connection thread does at the moment.
    static DEADLINE: Cell<Option<Deadline>> = const { Cell::new(None) };
}

/// Runs `work`, whose statements [`check`] this deadline. It must not panic.
pub(super) fn within<T>(deadline: Option<Deadline>, work: impl FnOnce() -> T) -> T {
    DEADLINE.set(deadline);
    let done = work();
    DEADLINE.set(None);
    done
}

/// Before each statement.
///
/// # Errors
/// The deadline has passed. Whatever the work makes of it, its caller is told so.
pub(super) fn check() -> QueryResult<()> {
    match DEADLINE.get() {
        Some(deadline) if deadline.has_passed() => Err(Error::QueryBuilderError("the deadline has passed".into())),
        _ => Ok(()),
    }
}
