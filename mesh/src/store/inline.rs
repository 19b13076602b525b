//! The ways to the database on a simulated machine, which has one thread: the same queues, emptied by the task that put something in.
//!
//! Before that, and between the commit and its answer, the disk takes its time: others' work gathers for the same commit, and a crash, or a
//! caller that leaves, can come at either moment. A transaction itself is never cut in two; that one is all or nothing is SQLite's part.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::open::Opener;
use super::worker::{self, Link, Queued};
use super::{CommitSignal, DatabaseUrl, OpenError, StoreError};
use crate::simulation;

/// Closures waiting for a connection at most; one more is answered [`StoreError::Busy`].
const QUEUE: usize = 1024;

pub(super) struct Lanes {
    writes: Option<Lane>,
    reads: Lane,
    service: &'static str,
    signal: Arc<CommitSignal>,
}

struct Lane {
    sender: Sender<Queued>,
    receiver: Receiver<Queued>,
    link: Mutex<Link>,
}

impl Lane {
    fn open(opener: Opener) -> Result<Self, OpenError> {
        let (sender, receiver) = bounded(QUEUE);
        Ok(Self { sender, receiver, link: Mutex::new(Link::open(opener)?) })
    }
}

impl Lanes {
    /// SQLite only: nothing simulates PostgreSQL's server.
    pub(super) fn open(
        url: &DatabaseUrl,
        service: &'static str,
        signal: &Arc<CommitSignal>,
    ) -> Result<Self, OpenError> {
        let DatabaseUrl::Sqlite(path) = url else { unreachable!("the simulation runs on SQLite") };
        let writes = Some(Lane::open(Opener::SqliteWriter(path.clone()))?);
        Ok(Self { writes, ..Self::open_read_only(url, service, signal)? })
    }

    pub(super) fn open_read_only(
        url: &DatabaseUrl,
        service: &'static str,
        signal: &Arc<CommitSignal>,
    ) -> Result<Self, OpenError> {
        let reads = Lane::open(Opener::reader(url, service))?;
        Ok(Self { writes: None, reads, service, signal: Arc::clone(signal) })
    }

    /// Runs it, unless somebody else does meanwhile.
    pub(super) async fn send(&self, queued: Queued) -> Result<(), StoreError> {
        let (lane, writes) = match queued {
            Queued::Write(_) => (self.writes.as_ref().ok_or(StoreError::Closed)?, true),
            Queued::Read(_) => (&self.reads, false),
        };
        lane.sender.try_send(queued).map_err(|_| StoreError::Busy)?;
        simulation::disk(self.service).await;
        {
            let mut link = lane.link.lock().unwrap_or_else(PoisonError::into_inner);
            if writes {
                worker::write_in_groups(&mut link, lane.receiver.try_iter(), &lane.receiver, &self.signal);
            } else {
                worker::serve(&mut link, lane.receiver.try_iter(), &self.signal);
            }
        }
        simulation::disk(self.service).await;
        Ok(())
    }
}
