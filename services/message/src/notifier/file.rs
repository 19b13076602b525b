//! Delivery into a file: one JSON object a line. For development, and for handing messages to whatever reads a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::{Content, DeliveryError, Notifier, Outcome};
use crate::domain::Message;

const BATCH: usize = 256;
/// A file that takes longer is as good as gone.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Appends messages to a file. A batch is one write in append mode, so that lines stay whole even when two processes share the file; it is
/// synced before the messages count as delivered. Replicas on different machines have files of their own.
#[derive(Clone, Debug)]
pub struct FileNotifier {
    file: Arc<File>,
    path: Arc<Path>,
    log: bool,
}

impl FileNotifier {
    /// Opens the file, and makes it and its folder if need be. With `log`, each delivery is a line in the log as well, without the text.
    ///
    /// # Errors
    /// When the file cannot be opened or made.
    pub fn open(path: impl Into<PathBuf>, log: bool) -> io::Result<Self> {
        let path = path.into();
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(Self { file: Arc::new(file), path: path.into(), log })
    }

    async fn write(&self, batch: &[Message]) -> Vec<Outcome> {
        let lines = lines(batch);
        let file = Arc::clone(&self.file);
        let write = mesh::blocking::run(move || append(&file, &lines));
        let outcome = match tokio::time::timeout(TIME_LIMIT, write).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(DeliveryError::File(Arc::new(error))),
            Ok(Err(panic)) => Err(DeliveryError::File(Arc::new(io::Error::other(panic)))),
            Err(_) => Err(DeliveryError::TooLong),
        };
        if self.log && outcome.is_ok() {
            self.report(batch);
        }
        vec![outcome; batch.len()]
    }

    fn report(&self, batch: &[Message]) {
        for message in batch {
            tracing::info!(message_id = %message.id, reservation_id = %message.reservation, topic = ?message.topic, path = %self.path.display(), "message delivered");
        }
    }
}

impl Notifier for FileNotifier {
    fn batch_size(&self) -> usize {
        BATCH
    }

    fn time_limit(&self) -> Duration {
        TIME_LIMIT
    }

    fn deliver<'a>(&'a self, batch: &'a [Message]) -> BoxFuture<'a, Vec<Outcome>> {
        self.write(batch).boxed()
    }
}

fn lines(batch: &[Message]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(batch.len() * 384);
    for message in batch {
        serde_json::to_writer(&mut lines, &Content::of(message))
            .expect("text and numbers are JSON, and memory takes every write");
        lines.push(b'\n');
    }
    lines
}

fn append(mut file: &File, lines: &[u8]) -> io::Result<()> {
    // One call to write(2): in append mode nothing can come between its bytes. What a full disk cuts short is ended with a new line by
    // the next write, and the whole batch is written again.
    let written = file.write(lines)?;
    if written < lines.len() {
        let _ = file.write(b"\n");
        return Err(io::Error::new(
            io::ErrorKind::WriteZero,
            format!("{written} of {} bytes were written", lines.len()),
        ));
    }
    file.sync_data()
}
