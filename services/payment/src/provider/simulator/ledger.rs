//! The simulator's books: a file of JSON lines that is only ever appended to, one write for each entry.
//!
//! Several processes may share one: whoever decides holds the file's lock and has first read what the others wrote. A killed process loses
//! nothing it answered for (the write has reached the operating system); a power cut may, as nothing is synced. No payment method, no card
//! number and no customer is ever written.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use mesh::safety;
use mesh::store::Id;
use serde::{Deserialize, Serialize};

use crate::provider::{Charge, ChargeKey};

/// What an entry records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Money was taken.
    Charge,
    /// Money was given back.
    Refund,
    /// Nothing was taken, and nothing will be.
    Void,
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What happened.
    pub kind: EntryKind,
    /// Which attempt of which payment: a [`ChargeKey`].
    pub key: String,
    /// Minor units.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// The provider's name for it.
    pub reference: String,
}

impl Entry {
    /// The payment it belongs to; `None` if the key is none of ours.
    #[must_use]
    pub fn payment(&self) -> Option<Id> {
        self.key.parse().ok().map(|key: ChargeKey| key.payment)
    }
}

/// The ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file failed.
    #[error("the simulator's ledger cannot be read or written")]
    File(#[from] io::Error),
    /// Not a line of a ledger.
    #[error("the simulator's ledger has a line that is none: {0}")]
    Line(String),
}

/// What a charge came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was made by this call.
    Now { reference: String },
    /// It was made before.
    Before { reference: String },
    /// It was undone before it was made.
    Voided,
}

/// The open ledger.
#[derive(Debug)]
pub struct Ledger(Mutex<Books>);

#[derive(Debug)]
struct Books {
    file: File,
    read_to: u64,
    last: HashMap<ChargeKey, Last>,
}

/// The last entry of an attempt.
#[derive(Clone, Copy, Debug)]
struct Last {
    kind: EntryKind,
    amount_minor: i64,
}

impl Ledger {
    /// Every entry of the ledger at `path`, oldest first; none if there is no file. For audits; may be called while others write.
    ///
    /// # Errors
    /// When the file cannot be read or is not a ledger.
    pub fn read(path: &Path) -> Result<Vec<Entry>, LedgerError> {
        match std::fs::read_to_string(path) {
            Ok(text) => lines(&text).map(|(_, line)| parse(line)).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the ledger, and creates it if missing.
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        let mut books = Books { file, read_to: 0, last: HashMap::new() };
        books.locked(|_| Ok(()))?;
        Ok(Self(Mutex::new(books)))
    }

    /// Takes the money, once for each key.
    pub(super) fn charge(&self, charge: &Charge) -> Result<Taken, LedgerError> {
        let reference = reference(charge.key);
        self.locked(|books| {
            match books.last_kind(charge.key).filter(|_| !safety::is_off("idempotency key of the provider")) {
                Some(EntryKind::Charge) => Ok(Taken::Before { reference }),
                Some(EntryKind::Refund | EntryKind::Void) => Ok(Taken::Voided),
                None => {
                    books.append(EntryKind::Charge, charge)?;
                    Ok(Taken::Now { reference })
                }
            }
        })
    }

    /// Gives the money back if it was taken, and sees to it that it never will be.
    pub(super) fn undo(&self, charge: &Charge) -> Result<(), LedgerError> {
        self.locked(|books| match books.last_kind(charge.key) {
            Some(EntryKind::Charge) => books.append(EntryKind::Refund, charge),
            Some(EntryKind::Refund | EntryKind::Void) => Ok(()),
            None => books.append(EntryKind::Void, charge),
        })
    }

    /// What is held of an attempt, in minor units.
    pub(super) fn kept(&self, key: ChargeKey) -> Result<i64, LedgerError> {
        let held = |last: &Last| if last.kind == EntryKind::Charge { last.amount_minor } else { 0 };
        self.locked(|books| Ok(books.last.get(&key).map_or(0, held)))
    }

    fn locked<T>(&self, decide: impl FnOnce(&mut Books) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).locked(decide)
    }
}

impl Books {
    fn last_kind(&self, key: ChargeKey) -> Option<EntryKind> {
        self.last.get(&key).map(|last| last.kind)
    }

    /// Decides while no other process can, on everything written so far.
    fn locked<T>(&mut self, decide: impl FnOnce(&mut Self) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.file.lock()?;
        let result = self.catch_up().and_then(|()| decide(self));
        self.file.unlock()?;
        result
    }

    fn catch_up(&mut self) -> Result<(), LedgerError> {
        let length = self.file.metadata()?.len();
        if length == self.read_to {
            return Ok(());
        }
        let mut text = String::new();
        self.file.seek(SeekFrom::Start(self.read_to))?;
        self.file.read_to_string(&mut text)?;
        let mut whole = 0;
        for (end, line) in lines(&text) {
            let entry = parse(line)?;
            let key = entry.key.parse().map_err(|_| LedgerError::Line(line.to_owned()))?;
            self.last.insert(key, Last { kind: entry.kind, amount_minor: entry.amount_minor });
            whole = end;
        }
        self.read_to += whole as u64;
        if self.read_to < length {
            // A write that a full disk or a power cut broke off. It was never answered for.
            self.file.set_len(self.read_to)?;
        }
        Ok(())
    }

    fn append(&mut self, kind: EntryKind, charge: &Charge) -> Result<(), LedgerError> {
        let entry = Entry {
            kind,
            key: charge.key.to_string(),
            amount_minor: charge.amount.minor(),
            currency: charge.amount.currency().code().to_owned(),
            reference: reference(charge.key),
        };
        let mut line = serde_json::to_vec(&entry).map_err(io::Error::from)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.read_to += line.len() as u64;
        self.last.insert(charge.key, Last { kind, amount_minor: entry.amount_minor });
        Ok(())
    }
}

fn reference(key: ChargeKey) -> String {
    format!("sim_{key}")
}

/// The complete lines with the offsets of their ends.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut end = 0;
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(move |line| {
        end += line.len();
        (end, line.trim_end())
    })
}

fn parse(line: &str) -> Result<Entry, LedgerError> {
    serde_json::from_str(line).map_err(|_| LedgerError::Line(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use mesh::store::Micros;
    use mesh::value::{Currency, Money};

    use super::*;
    use crate::domain::PaymentMethod;

    fn charge() -> Charge {
        Charge {
            key: ChargeKey { payment: Id::generate(), attempt: 1 },
            amount: Money::from_minor(38_000, Currency::KRW),
            method: PaymentMethod::new("pm_card_visa".to_owned()),
            since: Micros::now(),
        }
    }

    fn kinds(path: &Path) -> Vec<EntryKind> {
        Ledger::read(path).expect("a ledger").into_iter().map(|entry| entry.kind).collect()
    }

    #[test]
    fn each_step_is_recorded_once_also_by_two_processes() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ledger.jsonl");
        let (one, two) = (Ledger::open(&path).expect("opens"), Ledger::open(&path).expect("opens"));
        let charge = charge();
        let reference = reference(charge.key);
        assert_eq!(two.kept(charge.key).expect("tells"), 0);
        assert_eq!(one.charge(&charge).expect("charges"), Taken::Now { reference: reference.clone() });
        assert_eq!(two.charge(&charge).expect("charges"), Taken::Before { reference });
        assert_eq!(two.kept(charge.key).expect("tells"), 38_000);
        two.undo(&charge).expect("refunds");
        one.undo(&charge).expect("refunds");
        assert_eq!(one.charge(&charge).expect("answers"), Taken::Voided);
        assert_eq!(one.kept(charge.key).expect("tells"), 0);
        assert_eq!(kinds(&path), [EntryKind::Charge, EntryKind::Refund]);
    }

    #[test]
    fn each_attempt_is_an_entry_of_its_own_also_after_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ledger.jsonl");
        let first = charge();
        let second = Charge { key: ChargeKey { attempt: 2, ..first.key }, ..first.clone() };
        Ledger::open(&path).expect("opens").undo(&first).expect("voids");
        Ledger::open(&path).expect("opens").charge(&second).expect("charges");
        let ledger = Ledger::open(&path).expect("opens again");
        assert!(matches!(ledger.charge(&second), Ok(Taken::Before { .. })));
        assert_eq!(ledger.charge(&first).expect("answers"), Taken::Voided);
        let payments: Vec<_> = Ledger::read(&path).expect("a ledger").iter().map(Entry::payment).collect();
        assert_eq!(payments, [Some(first.key.payment); 2]);
    }

    #[test]
    fn a_charge_after_its_undoing_takes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ledger.jsonl");
        let charge = charge();
        Ledger::open(&path).expect("opens").undo(&charge).expect("voids");
        assert_eq!(Ledger::open(&path).expect("opens again").charge(&charge).expect("answers"), Taken::Voided);
        assert_eq!(kinds(&path), [EntryKind::Void]);
    }

    #[test]
    fn a_write_broken_off_is_dropped_and_the_rest_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ledger.jsonl");
        let (first, second) = (charge(), charge());
        Ledger::open(&path).expect("opens").charge(&first).expect("charges");
        let mut text = std::fs::read_to_string(&path).expect("a file");
        text.push_str("{\"kind\":\"cha");
        std::fs::write(&path, text).expect("written");
        let ledger = Ledger::open(&path).expect("opens");
        assert!(matches!(ledger.charge(&first), Ok(Taken::Before { .. })));
        assert!(matches!(ledger.charge(&second), Ok(Taken::Now { .. })));
        assert_eq!(kinds(&path).len(), 2);
    }

    #[test]
    fn the_books_name_no_payment_method() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ledger.jsonl");
        Ledger::open(&path).expect("opens").charge(&charge()).expect("charges");
        assert!(!std::fs::read_to_string(&path).expect("a file").contains("pm_"));
    }
}
