//! One caller's closure on its way through a connection thread and back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use tokio::sync::oneshot;

use super::{Conn, StoreError, late};
use crate::deadline::Deadline;

/// What comes back: the closure's result, or its panic.
pub(super) type Outcome<T, E> = thread::Result<Result<T, E>>;

/// A closure of any type, as the connection threads see it.
pub(super) trait Job: Send {
    /// Whether somebody still waits for the answer.
    fn is_wanted(&self) -> bool;
    fn deadline(&self) -> Option<Deadline>;
    /// Runs the closure; `true` if its writes shall be kept.
    fn run(&mut self, conn: &mut Conn) -> bool;
    /// Turns a success (or no outcome yet) into this error. A failure of the closure's own stays, unless it was only that the time was over.
    fn revoke(&mut self, error: StoreError);
    /// Sends the outcome to the caller.
    fn answer(self: Box<Self>);
}

pub(super) struct Task<F, T, E> {
    work: Option<F>,
    deadline: Option<Deadline>,
    outcome: Option<Outcome<T, E>>,
    reply: oneshot::Sender<Outcome<T, E>>,
}

impl<F, T, E> Task<F, T, E> {
    pub(super) fn new(work: F, deadline: Option<Deadline>) -> (Self, oneshot::Receiver<Outcome<T, E>>) {
        let (reply, answer) = oneshot::channel();
        (Self { work: Some(work), deadline, outcome: None, reply }, answer)
    }
}

impl<F, T, E> Job for Task<F, T, E>
where
    F: FnOnce(&mut Conn) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    fn run(&mut self, conn: &mut Conn) -> bool {
        let work = self.work.take().expect("a job runs once");
        let outcome = late::within(self.deadline, || catch_unwind(AssertUnwindSafe(|| work(conn))));
        let keep = matches!(outcome, Ok(Ok(_)));
        self.outcome = Some(outcome);
        keep
    }

    fn revoke(&mut self, error: StoreError) {
        let late = matches!(error, StoreError::Deadline);
        if matches!(self.outcome, None | Some(Ok(Ok(_)))) || late && matches!(self.outcome, Some(Ok(Err(_)))) {
            self.outcome = Some(Ok(Err(E::from(error))));
        }
    }

    fn answer(self: Box<Self>) {
        let outcome = self.outcome.expect("a job is answered after it ran or was revoked");
        // The caller may have gone meanwhile: then the outcome concerns nobody.
        let _ = self.reply.send(outcome);
    }
}
