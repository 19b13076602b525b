//! The threads that own the connections.
//!
//! SQLite: one writer that commits many jobs in one transaction, each in its savepoint. There is no waiting window: a batch is whatever queued up
//! during the last commit, so a lone caller pays nothing. PostgreSQL: many threads, one transaction for each job; the server groups the commits.

use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::{ConnectionError, QueryResult};

use super::job::Job;
use super::open::Opener;
use super::signal::CommitSignal;
use super::transaction::SESSION_LIMIT_MS;
use super::{Conn, StoreError, transaction};
use crate::deadline::Deadline;

/// Jobs in one SQLite transaction at most.
const BATCH: usize = 256;
/// A batch that has run this long takes no further jobs, so that nobody waits much longer for the commit.
const BATCH_TIME: Duration = Duration::from_millis(10);
/// After a failed attempt to connect, jobs are refused at once for this long.
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);

/// A job and what it needs.
pub(super) enum Queued {
    Write(Box<dyn Job>),
    Read(Box<dyn Job>),
}

/// A connection that is opened again when it breaks.
pub(super) struct Link {
    opener: Opener,
    conn: Option<Conn>,
    failed: Option<(Instant, String)>,
    /// What a statement of this session may take, in milliseconds.
    read_limit_ms: u64,
}

impl Link {
    pub(super) fn open(opener: Opener) -> Result<Self, ConnectionError> {
        let conn = opener.open()?;
        Ok(Self { opener, conn: Some(conn), failed: None, read_limit_ms: SESSION_LIMIT_MS })
    }

    fn get(&mut self) -> Result<&mut Conn, StoreError> {
        if self.conn.is_none() {
            if let Some((at, message)) = &self.failed
                && at.elapsed() < RECONNECT_PAUSE
            {
                return Err(unreachable(message.clone()));
            }
            match self.opener.open() {
                Ok(conn) => {
                    tracing::info!(database = %self.opener, "database connection opened again");
                    self.failed = None;
                    self.read_limit_ms = SESSION_LIMIT_MS;
                    self.conn = Some(conn);
                }
                Err(error) => {
                    let message = format!("the database cannot be reached: {error}");
                    self.failed = Some((Instant::now(), message.clone()));
                    return Err(unreachable(message));
                }
            }
        }
        Ok(self.conn.as_mut().expect("opened above"))
    }

    /// Opens a transaction, on a new connection if the present one turns out to be dead. Nothing has run on it yet, so this is safe.
    fn begin(&mut self, deadline: Option<Deadline>) -> Result<&mut Conn, StoreError> {
        if let Err(error) = transaction::begin(self.get()?, deadline) {
            self.drop_broken(&error);
            transaction::begin(self.get()?, deadline)?;
        }
        self.get()
    }

    /// A connection for reading, a new one if the present one turns out to be dead.
    fn reading(&mut self, deadline: Option<Deadline>) -> Result<&mut Conn, StoreError> {
        self.get()?;
        let conn = self.conn.as_mut().expect("opened above");
        if let Err(error) = transaction::limit_read(conn, deadline, &mut self.read_limit_ms) {
            self.drop_broken(&error);
        }
        self.get()
    }

    fn drop_broken(&mut self, error: &Error) {
        tracing::warn!(database = %self.opener, %error, "database connection broke");
        self.conn = None;
    }
}

fn unreachable(message: String) -> StoreError {
    StoreError::Database(Error::DatabaseError(DatabaseErrorKind::ClosedConnection, Box::new(message)))
}

/// Diesel's errors cannot be cloned, and all jobs of a batch share this one.
fn share(error: &Error) -> StoreError {
    StoreError::Database(match error {
        Error::DatabaseError(DatabaseErrorKind::ClosedConnection, info) => {
            Error::DatabaseError(DatabaseErrorKind::ClosedConnection, Box::new(info.message().to_owned()))
        }
        other => Error::DatabaseError(DatabaseErrorKind::Unknown, Box::new(other.to_string())),
    })
}

/// Whether the job should still run. A dropped caller's job vanishes, a late one is answered.
fn admit(mut job: Box<dyn Job>) -> Option<Box<dyn Job>> {
    if !job.is_wanted() {
        return None;
    }
    if is_late(&*job) {
        job.revoke(StoreError::Deadline);
        job.answer();
        return None;
    }
    Some(job)
}

fn is_late(job: &dyn Job) -> bool {
    job.deadline().is_some_and(Deadline::has_passed)
}

/// SQLite's writer: group commit, for each of `firsts` with what queues up in `jobs` meanwhile.
pub(super) fn write_in_groups(
    link: &mut Link,
    firsts: impl Iterator<Item = Queued>,
    jobs: &Receiver<Queued>,
    signal: &CommitSignal,
) {
    let mut batch = Vec::with_capacity(BATCH);
    for queued in firsts {
        let Some(first) = admit(queued.into_job()) else { continue };
        batch.push(first);
        if let Err(error) = run_group(link, &mut batch, jobs) {
            for job in &mut batch {
                job.revoke(share_store(&error));
            }
            if let StoreError::Database(error) = &error {
                link.drop_broken(error);
            }
        } else {
            signal.committed();
        }
        for job in batch.drain(..) {
            job.answer();
        }
    }
}

fn share_store(error: &StoreError) -> StoreError {
    match error {
        StoreError::Database(error) => share(error),
        StoreError::Busy => StoreError::Busy,
        StoreError::Closed => StoreError::Closed,
        StoreError::Deadline => StoreError::Deadline,
    }
}

/// Runs the job in `batch`, and those that arrive meanwhile, in one transaction. On an error nothing of the batch was stored.
fn run_group(link: &mut Link, batch: &mut Vec<Box<dyn Job>>, jobs: &Receiver<Queued>) -> Result<(), StoreError> {
    let conn = link.begin(None)?;
    let started = Instant::now();
    let mut next = 0;
    loop {
        run_in_savepoint(conn, &mut *batch[next])?;
        next += 1;
        if next == BATCH || started.elapsed() > BATCH_TIME {
            break;
        }
        let more = std::iter::from_fn(|| jobs.try_recv().ok()).find_map(|queued| admit(queued.into_job()));
        let Some(job) = more else { break };
        batch.push(job);
    }
    Ok(transaction::commit(conn)?)
}

fn run_in_savepoint(conn: &mut Conn, job: &mut dyn Job) -> QueryResult<()> {
    transaction::savepoint(conn)?;
    let keep = job.run(conn);
    if is_late(job) {
        job.revoke(StoreError::Deadline);
        return transaction::rollback(conn);
    }
    if keep { transaction::commit(conn) } else { transaction::rollback(conn) }
}

/// SQLite's readers, and every PostgreSQL connection.
pub(super) fn serve(link: &mut Link, jobs: impl Iterator<Item = Queued>, signal: &CommitSignal) {
    for queued in jobs {
        match queued {
            Queued::Write(job) => {
                if let Some(job) = admit(job) {
                    write_one(link, job, signal);
                }
            }
            Queued::Read(job) => {
                if let Some(job) = admit(job) {
                    read_one(link, job);
                }
            }
        }
    }
}

fn write_one(link: &mut Link, mut job: Box<dyn Job>, signal: &CommitSignal) {
    match link.begin(job.deadline()) {
        Err(error) => job.revoke(error),
        Ok(conn) => {
            let keep = job.run(conn);
            let late = is_late(&*job);
            let ended = if keep && !late { transaction::commit(conn) } else { transaction::rollback(conn) };
            if late {
                job.revoke(StoreError::Deadline);
            } else if keep && ended.is_ok() {
                signal.committed();
            }
            if let Err(error) = ended {
                job.revoke(share(&error));
                if !transaction::is_usable(conn) {
                    link.drop_broken(&error);
                }
            }
        }
    }
    job.answer();
}

fn read_one(link: &mut Link, mut job: Box<dyn Job>) {
    match link.reading(job.deadline()) {
        Err(error) => job.revoke(error),
        Ok(conn) => {
            if !job.run(conn) && !transaction::is_usable(conn) {
                link.drop_broken(&Error::BrokenTransactionManager);
            }
            if is_late(&*job) {
                job.revoke(StoreError::Deadline);
            }
        }
    }
    job.answer();
}

impl Queued {
    fn into_job(self) -> Box<dyn Job> {
        match self {
            Self::Write(job) | Self::Read(job) => job,
        }
    }
}
