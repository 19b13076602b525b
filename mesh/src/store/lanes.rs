//! The ways to the database: queues, and behind them threads that own a connection each.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::open::Opener;
use super::worker::{self, Link, Queued};
use super::{CommitSignal, DatabaseUrl, OpenError, POSTGRES_CONNECTIONS, StoreError};

/// Closures waiting for a connection at most; one more is answered [`StoreError::Busy`].
const QUEUE: usize = 1024;
const SQLITE_READERS: usize = 2;

pub(super) struct Lanes {
    writes: Option<Sender<Queued>>,
    reads: Option<Sender<Queued>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Lanes {
    pub(super) fn open(
        url: &DatabaseUrl,
        service: &'static str,
        signal: &Arc<CommitSignal>,
    ) -> Result<Self, OpenError> {
        let (writes, write_queue) = bounded(QUEUE);
        let mut threads = Vec::new();
        let reads = match url {
            DatabaseUrl::Sqlite(path) => {
                let (reads, read_queue) = bounded(QUEUE);
                let mut writer = Link::open(Opener::SqliteWriter(path.clone()))?;
                let committed = Arc::clone(signal);
                threads.push(spawn(service, move || {
                    worker::write_in_groups(&mut writer, write_queue.iter(), &write_queue, &committed);
                })?);
                for _ in 0..SQLITE_READERS {
                    threads.push(serve(service, Opener::SqliteReader(path.clone()), &read_queue, signal)?);
                }
                reads
            }
            DatabaseUrl::Postgres(url) => {
                let opener = Opener::Postgres { url: url.clone(), service };
                for _ in 0..POSTGRES_CONNECTIONS {
                    threads.push(serve(service, opener.clone(), &write_queue, signal)?);
                }
                writes.clone()
            }
        };
        Ok(Self { writes: Some(writes), reads: Some(reads), threads: Mutex::new(threads) })
    }

    pub(super) fn open_read_only(
        url: &DatabaseUrl,
        service: &'static str,
        signal: &Arc<CommitSignal>,
    ) -> Result<Self, OpenError> {
        let (reads, queue) = bounded(QUEUE);
        let threads = vec![serve(service, Opener::reader(url, service), &queue, signal)?];
        Ok(Self { writes: None, reads: Some(reads), threads: Mutex::new(threads) })
    }

    /// Puts it into its queue.
    pub(super) async fn send(&self, queued: Queued) -> Result<(), StoreError> {
        let queue = match queued {
            Queued::Write(_) => &self.writes,
            Queued::Read(_) => &self.reads,
        };
        queue.as_ref().ok_or(StoreError::Closed)?.try_send(queued).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Closed,
        })
    }
}

fn serve(
    service: &str,
    opener: Opener,
    queue: &Receiver<Queued>,
    signal: &Arc<CommitSignal>,
) -> Result<JoinHandle<()>, OpenError> {
    let mut link = Link::open(opener)?;
    let (queue, signal) = (queue.clone(), Arc::clone(signal));
    spawn(service, move || worker::serve(&mut link, queue.iter(), &signal))
}

fn spawn(service: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    thread::Builder::new().name(format!("{service}-db")).spawn(run).map_err(OpenError::Thread)
}

impl Drop for Lanes {
    /// Closes the queues and waits for the connection threads, so that the file's lock is free once this returns.
    fn drop(&mut self) {
        self.writes = None;
        self.reads = None;
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A closure may own the last handle; its thread cannot wait for itself.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}
