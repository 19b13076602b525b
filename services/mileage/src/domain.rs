//! The ledger's rules: a payment earns once, is reversed once, and never earns after it was reversed.
//!
//! Pure: no clock, no SQL, no protobuf.

use mesh::store::{Id, Micros, StoreError};

/// What an entry records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Earned.
    Accrual,
    /// Taken back.
    Reversal,
}

/// One line of the ledger. Never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Identifies it.
    pub id: Id,
    /// Whose, the `sub` of their tokens.
    pub customer: String,
    /// What it records.
    pub kind: Kind,
    /// Miles: more than zero for an accrual, less for a reversal, zero for a tombstone.
    pub points: i64,
    /// The balance after it.
    pub balance: i64,
    /// The payment that earned them.
    pub payment: Id,
    /// Its reservation.
    pub reservation: Id,
    /// When it was written.
    pub created_at: Micros,
}

impl Entry {
    /// Whether it only says that its payment never will earn anything.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.points == 0
    }
}

/// Miles to be earned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accrual {
    /// What earns them.
    pub payment: Id,
    /// Its reservation.
    pub reservation: Id,
    /// Who earns, the `sub` of their tokens.
    pub customer: String,
    /// How many, one or more.
    pub points: i64,
}

/// What the ledger has about a payment: at most one entry of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What it earned, or the tombstone.
    pub accrual: Option<Entry>,
    /// What was taken back.
    pub reversal: Option<Entry>,
}

impl FromIterator<Entry> for History {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut history = Self::default();
        for entry in entries {
            match entry.kind {
                Kind::Accrual => history.accrual = Some(entry),
                Kind::Reversal => history.reversal = Some(entry),
            }
        }
        history
    }
}

/// What remains to be done for a reversal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reverse {
    /// Nothing was earned: see to it that nothing will be.
    Close,
    /// Take this back.
    TakeBack(Entry),
    /// It is done already; with the entry, if there is one.
    Done(Option<Entry>),
}

impl History {
    /// What an accrual is answered, `None` if it has still to be made.
    #[must_use]
    pub fn answer(self, wanted: &Accrual) -> Option<Result<Entry, Error>> {
        let accrual = self.accrual?;
        Some(if accrual.is_tombstone() || self.reversal.is_some() {
            Err(Error::Reversed { payment: wanted.payment })
        } else if accrual.points != wanted.points || accrual.customer != wanted.customer {
            Err(Error::Mismatch { payment: wanted.payment })
        } else {
            Ok(accrual)
        })
    }

    /// What a reversal has to do.
    #[must_use]
    pub fn reverse(self) -> Reverse {
        match (self.accrual, self.reversal) {
            (None, _) => Reverse::Close,
            (Some(accrual), None) if accrual.is_tombstone() => Reverse::Done(None),
            (Some(accrual), None) => Reverse::TakeBack(accrual),
            (Some(_), Some(reversal)) => Reverse::Done(Some(reversal)),
        }
    }
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The payment was cancelled.
    #[error("the payment's miles were taken back")]
    Reversed {
        /// Which payment.
        payment: Id,
    },
    /// The payment earned other miles, or for another customer.
    #[error("the payment earned other miles")]
    Mismatch {
        /// Which payment.
        payment: Id,
    },
    /// Somebody else wrote about the same payment at the same moment: look again.
    #[error("somebody else wrote about the payment")]
    Raced,
    /// The database did not take it.
    #[error("the miles cannot be stored")]
    Store(#[source] StoreError),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, points: i64) -> Entry {
        Entry {
            id: Id::generate(),
            customer: if points == 0 { String::new() } else { "alice".to_owned() },
            kind,
            points,
            balance: 10,
            payment: Id::generate(),
            reservation: Id::generate(),
            created_at: Micros(0),
        }
    }

    #[test]
    fn a_payment_earns_once_and_never_after_its_reversal() {
        let (earned, reversed, tombstone) =
            (entry(Kind::Accrual, 5), entry(Kind::Reversal, -5), entry(Kind::Accrual, 0));
        let wanted = |customer: &str, points| Accrual {
            payment: earned.payment,
            reservation: earned.reservation,
            customer: customer.to_owned(),
            points,
        };
        let check = |entries: &[&Entry], wanted: &Accrual, expected: &str| {
            let history: History = entries.iter().map(|&entry| entry.clone()).collect();
            let found = match history.answer(wanted) {
                None => "open",
                Some(Ok(entry)) if entry == earned => "same",
                Some(Err(Error::Reversed { .. })) => "reversed",
                Some(Err(Error::Mismatch { .. })) => "mismatch",
                Some(_) => "other",
            };
            assert_eq!(found, expected, "{entries:?}");
        };
        check(&[], &wanted("alice", 5), "open");
        check(&[&earned], &wanted("alice", 5), "same");
        check(&[&earned], &wanted("alice", 6), "mismatch");
        check(&[&earned], &wanted("mallory", 5), "mismatch");
        check(&[&earned, &reversed], &wanted("alice", 5), "reversed");
        check(&[&reversed, &earned], &wanted("alice", 6), "reversed");
        check(&[&tombstone], &wanted("alice", 5), "reversed");
    }

    #[test]
    fn a_reversal_takes_back_what_was_earned_once() {
        let (earned, reversed, tombstone) =
            (entry(Kind::Accrual, 5), entry(Kind::Reversal, -5), entry(Kind::Accrual, 0));
        let history = |entries: &[&Entry]| entries.iter().map(|&entry| entry.clone()).collect::<History>();
        assert_eq!(history(&[]).reverse(), Reverse::Close);
        assert_eq!(history(&[&tombstone]).reverse(), Reverse::Done(None));
        assert_eq!(history(&[&earned]).reverse(), Reverse::TakeBack(earned.clone()));
        assert_eq!(history(&[&earned, &reversed]).reverse(), Reverse::Done(Some(reversed)));
    }
}
