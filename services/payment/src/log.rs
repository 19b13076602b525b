//! The payment log: a line of JSON for each approved, declined or cancelled payment, for whoever reads files.
//!
//! Each process appends to a file of its own, so replicas may share a folder, on a shared volume too, and no two of them write to one file.
//! Whoever commits an outcome notes it, and a task of its own writes the lines, one write(2) each; no payment waits for the file.
//!
//! It is a copy for convenience; the database and the events are the truth. A process that is killed loses the lines of what it committed in
//! its last moments, a power cut also those that the operating system had not written yet, and a folder that cannot be written for so long that
//! [`QUEUE`] lines wait loses those that come after, which the process's own log then says. Nothing is ever logged that was not committed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh::store::Id;
use mesh::value::format_name;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::name;
use crate::domain::Payment;
use crate::rpc::convert;

/// Lines that wait at most.
const QUEUE: usize = 16_384;
/// Lines handed to a thread at a time.
const BATCH: usize = 256;
/// The pause after a failed write.
const PAUSE: Duration = Duration::from_secs(1);

/// Notes what payments came to, or does nothing where no log is wanted. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PaymentLog(Option<Arc<Notes>>);

struct Notes {
    provider: &'static str,
    lines: mpsc::Sender<Vec<u8>>,
    lost: Arc<AtomicU64>,
}

/// The task that writes them.
pub(crate) struct Writer {
    file: Arc<File>,
    path: PathBuf,
    lines: mpsc::Receiver<Vec<u8>>,
    lost: Arc<AtomicU64>,
}

/// A line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: String,
    payment: String,
    reservation: String,
    amount_minor: i64,
    currency: &'a str,
    state: &'a str,
    attempt: i32,
    provider: &'a str,
}

impl PaymentLog {
    /// No log.
    pub(crate) fn off() -> Self {
        Self(None)
    }

    /// A log in this folder, which is made if it is missing, in a new file named after the time and this process.
    pub(crate) fn open(folder: &Path, provider: &'static str) -> io::Result<(Self, Writer)> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("payments-{}.jsonl", Id::generate()));
        let file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        let (sender, lines) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let notes = Notes { provider, lines: sender, lost: Arc::clone(&lost) };
        Ok((Self(Some(Arc::new(notes))), Writer { file: Arc::new(file), path, lines, lost }))
    }

    /// Notes what was committed.
    pub(crate) fn note(&self, payment: &Payment) {
        let Some(notes) = &self.0 else { return };
        if notes.lines.try_send(line(payment, notes.provider)).is_err() {
            notes.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn line(payment: &Payment, provider: &str) -> Vec<u8> {
    let line = Line {
        time: payment.updated_at.to_string(),
        payment: name(payment.id),
        reservation: format_name("reservations", payment.reservation),
        amount_minor: payment.amount.minor(),
        currency: payment.amount.currency().code(),
        state: convert::state(payment.state).as_str_name(),
        attempt: payment.attempt,
        provider,
    };
    let mut line = serde_json::to_vec(&line).expect("text and numbers are JSON");
    line.push(b'\n');
    line
}

impl Writer {
    /// Writes until `last`, then what is noted already, and ends.
    ///
    /// # Cancel safety
    /// A dropped one loses the lines that wait.
    pub(crate) async fn run(mut self, last: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            // Receiving loses nothing when the other arm wins.
            let received = tokio::select! {
                received = self.lines.recv_many(&mut batch, BATCH) => received,
                () = last.cancelled(), if !self.lines.is_closed() => {
                    self.lines.close();
                    continue;
                }
            };
            if received == 0 {
                return;
            }
            self.write(std::mem::take(&mut batch), &last).await;
        }
    }

    /// Writes the lines, in the end; after `last` it tries only once.
    async fn write(&self, mut batch: Vec<Vec<u8>>, last: &CancellationToken) {
        loop {
            let is_last = last.is_cancelled();
            let file = Arc::clone(&self.file);
            let Ok((left, written)) = mesh::blocking::run(move || append(&file, batch)).await else { return };
            batch = left;
            let lost = self.lost.swap(0, Ordering::Relaxed) + if is_last { batch.len() as u64 } else { 0 };
            if lost > 0 {
                tracing::error!(lost, path = %self.path.display(), "lines of the payment log are lost");
            }
            let Err(error) = written else { return };
            tracing::warn!(path = %self.path.display(), error = &error as &dyn std::error::Error, "the payment log cannot be written");
            if is_last {
                return;
            }
            let _ = tokio::time::timeout(PAUSE, last.cancelled()).await;
        }
    }
}

/// Appends the lines one by one; also those that are left when that fails.
fn append(mut file: &File, mut lines: Vec<Vec<u8>>) -> (Vec<Vec<u8>>, io::Result<()>) {
    for at in 0..lines.len() {
        // One call: in append mode nothing can come between its bytes. What a full disk cuts short is ended by a new line, and written again.
        let written = match file.write(&lines[at]) {
            Ok(written) if written == lines[at].len() => continue,
            Ok(_) => file.write(b"\n").and(Err(io::ErrorKind::WriteZero.into())),
            Err(error) => Err(error),
        };
        return (lines.split_off(at), written);
    }
    (Vec::new(), Ok(()))
}

#[cfg(test)]
mod tests {
    use mesh::store::Micros;
    use mesh::value::{Currency, Money};

    use super::*;
    use crate::domain::{Mileage, Registration};

    fn approved() -> Payment {
        let amount = Money::from_minor(38_000, Currency::KRW);
        let registration = Registration { reservation: Id::generate(), customer: "alice".to_owned(), amount };
        let registered = Payment::registered(Id::generate(), registration, Micros(0));
        Payment { attempt: 2, ..registered }.approved("ref".to_owned(), Mileage::None, Micros(1_700_000_000_000_000))
    }

    #[test]
    fn a_line_says_what_became_of_a_payment_and_nothing_of_its_customer() {
        let payment = approved();
        let line: serde_json::Value = serde_json::from_slice(&line(&payment, "simulator")).expect("JSON");
        let expected = serde_json::json!({
            "time": "2023-11-14T22:13:20Z",
            "payment": format!("payments/{}", payment.id),
            "reservation": format!("reservations/{}", payment.reservation),
            "amountMinor": 38_000,
            "currency": "KRW",
            "state": "STATE_APPROVED",
            "attempt": 2,
            "provider": "simulator",
        });
        assert_eq!(line, expected);
    }

    #[tokio::test]
    async fn what_was_noted_before_the_end_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, writer) = PaymentLog::open(folder.path(), "simulator").expect("opens");
        let path = writer.path.clone();
        (0..1_000).for_each(|_| log.note(&approved()));
        let last = CancellationToken::new();
        last.cancel();
        writer.run(last).await;
        assert_eq!(std::fs::read_to_string(path).expect("a file").lines().count(), 1_000);
    }

    #[tokio::test]
    async fn a_queue_that_is_full_loses_lines_and_counts_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, writer) = PaymentLog::open(folder.path(), "simulator").expect("opens");
        (0..QUEUE + 3).for_each(|_| log.note(&approved()));
        assert_eq!(writer.lost.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_left() {
        let full = OpenOptions::new().append(true).open("/dev/full").expect("Linux has it");
        let (left, written) = append(&full, vec![b"one\n".to_vec(), b"two\n".to_vec()]);
        assert_eq!((left.len(), written.map_err(|error| error.kind())), (2, Err(io::ErrorKind::StorageFull)));
    }
}
