//! The ledger of money, and whether a payment is what its entries say.
//!
//! The database writes the entries by itself, with each move of a payment, and refuses to change them (see the migrations); here they are only
//! read. A payment and its entries are read by one statement, so that nothing can move between them.

use std::fmt;

use diesel::prelude::QueryResult;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, SmallInt, Text};
use mesh::statement;
use mesh::store::{Conn, Fetch, Id, Micros};
use mesh::value::format_name;

use crate::domain::State;
use crate::store::state_of;

/// A payment beside the sum of its entries of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Which payment.
    pub payment: Id,
    /// Where it stands.
    pub state: State,
    /// The attempt it stands at.
    pub attempt: i32,
    /// What it is over, in minor units.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// The provider's reference or decline code.
    pub provider_answer: Option<String>,
    /// Whether a refund was requested.
    pub refund_requested: bool,
    /// Events so far.
    pub version: i64,
    /// Taken, in its currency.
    pub charged_minor: i64,
    /// Given back, in its currency; not more than zero.
    pub refunded_minor: i64,
    /// Entries that say nothing was kept.
    pub voids: i64,
}

impl Balance {
    /// What the entries say is held.
    #[must_use]
    pub fn held_minor(&self) -> i64 {
        self.charged_minor + self.refunded_minor
    }

    /// The provider's name for what it took.
    #[must_use]
    pub fn reference(&self) -> Option<&str> {
        self.provider_answer.as_deref().filter(|_| self.state != State::Declined)
    }

    /// Whether nobody is going to move it by himself: its outcome is known, and no refund is under way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match self.state {
            State::Waiting => false,
            State::Approved | State::Declined => !self.refund_requested,
            State::Cancelled => true,
        }
    }

    /// What is wrong between the payment and its entries, in one sentence.
    #[must_use]
    pub fn difference(&self) -> Option<String> {
        let amount = self.amount_minor;
        let expected = match self.state {
            State::Waiting | State::Declined => (0, 0, 0),
            State::Approved => (amount, 0, 0),
            // Only one that was approved has kept its reference.
            State::Cancelled if self.provider_answer.is_some() => (amount, -amount, 0),
            State::Cancelled => (0, 0, 1),
        };
        let found = (self.charged_minor, self.refunded_minor, self.voids);
        (found != expected).then(|| {
            let (charged, refunded, voids) = found;
            format!("{self}, its entries charge {charged}, refund {refunded} and void {voids} times")
        })
    }

    /// What is wrong between the entries and what the provider holds, in one sentence. Nothing to say before the payment is settled.
    #[must_use]
    pub fn difference_from(&self, kept_minor: i64) -> Option<String> {
        let differs = self.is_settled() && kept_minor != self.held_minor();
        differs.then(|| format!("{self}, its entries hold {}, the provider {kept_minor}", self.held_minor()))
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format_name("payments", self.payment);
        write!(f, "{name} is {:?} over {} {}", self.state, self.currency, self.amount_minor)
    }
}

type Columns =
    (Binary, SmallInt, Integer, BigInt, Text, Nullable<Text>, Nullable<Binary>, BigInt, BigInt, BigInt, BigInt);
type Row = (Id, i16, i32, i64, String, Option<String>, Option<Id>, i64, i64, i64, i64);

/// Of some payments, given as a table expression. The casts are for PostgreSQL, where the sum of BIGINT is NUMERIC.
macro_rules! balances_of {
    ($payments:literal) => {
        concat!(
            "SELECT p.id, p.state, p.attempt, p.amount_minor, p.currency, p.provider_answer, p.refund_requested_by, p.version, \
             CAST(COALESCE(SUM(CASE WHEN e.kind = 1 AND e.currency = p.currency THEN e.amount_minor END), 0) AS BIGINT), \
             CAST(COALESCE(SUM(CASE WHEN e.kind = 2 AND e.currency = p.currency THEN e.amount_minor END), 0) AS BIGINT), \
             CAST(COUNT(CASE WHEN e.kind = 3 THEN 1 END) AS BIGINT) \
             FROM (SELECT * FROM payments WHERE amount_minor > 0 AND ",
            $payments,
            ") AS p LEFT JOIN entries AS e ON e.payment_id = p.id \
             GROUP BY p.id, p.state, p.attempt, p.amount_minor, p.currency, p.provider_answer, p.refund_requested_by, p.version ORDER BY p.id"
        )
    };
}

impl From<Row> for Balance {
    fn from(row: Row) -> Self {
        let (
            payment,
            state,
            attempt,
            amount_minor,
            currency,
            provider_answer,
            refund,
            version,
            charged,
            refunded,
            voids,
        ) = row;
        Self {
            payment,
            state: state_of(state),
            attempt,
            amount_minor,
            currency,
            provider_answer,
            refund_requested: refund.is_some(),
            version,
            charged_minor: charged,
            refunded_minor: refunded,
            voids,
        }
    }
}

fn read(rows: Vec<Row>) -> Vec<Balance> {
    rows.into_iter().map(Balance::from).collect()
}

/// Payments with ids after `after` and before `before`, at most `limit`, in the order of their ids. Tombstones are none.
pub(crate) fn balances(conn: &mut Conn, after: Id, before: Id, limit: i64) -> QueryResult<Vec<Balance>> {
    statement!(balances_of!("id > ? AND id < ? ORDER BY id LIMIT ?"), after, before, limit)
        .returning::<Columns>()
        .all(conn)
        .map(read)
}

/// One payment; `None` for a tombstone.
pub(crate) fn balance(conn: &mut Conn, payment: Id) -> QueryResult<Option<Balance>> {
    let found: Option<Row> = statement!(balances_of!("id = ?"), payment).returning::<Columns>().one(conn)?;
    Ok(found.map(Balance::from))
}

/// The entries written after one and before a time, at most `limit`: their numbers and payments.
pub(crate) fn moves(conn: &mut Conn, after: i64, before: Micros, limit: i64) -> QueryResult<Vec<(i64, Id)>> {
    statement!(
        "SELECT seq, payment_id FROM entries WHERE seq > ? AND created_at < ? ORDER BY seq LIMIT ?",
        after,
        before,
        limit
    )
    .returning::<(BigInt, Binary)>()
    .all(conn)
}

/// The number of the last entry; 0 if there is none.
pub(crate) fn last_move(conn: &mut Conn) -> QueryResult<i64> {
    let last: Option<i64> = statement!("SELECT COALESCE(MAX(seq), 0) FROM entries").returning::<BigInt>().one(conn)?;
    Ok(last.unwrap_or(0))
}

/// Payments that have entries and do not exist.
pub(crate) fn orphans(conn: &mut Conn) -> QueryResult<Vec<Id>> {
    statement!(
        "SELECT DISTINCT payment_id FROM entries WHERE NOT EXISTS \
         (SELECT 1 FROM payments WHERE payments.id = entries.payment_id AND payments.amount_minor > 0)"
    )
    .returning::<Binary>()
    .all(conn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance(state: State, answer: Option<&str>, charged_minor: i64, refunded_minor: i64, voids: i64) -> Balance {
        Balance {
            payment: Id::generate(),
            state,
            attempt: 1,
            amount_minor: 5,
            currency: "KRW".to_owned(),
            provider_answer: answer.map(str::to_owned),
            refund_requested: false,
            version: 1,
            charged_minor,
            refunded_minor,
            voids,
        }
    }

    #[test]
    fn a_payment_is_the_sum_of_its_entries() {
        let (waiting, approved, declined, cancelled) =
            (State::Waiting, State::Approved, State::Declined, State::Cancelled);
        for right in [
            balance(waiting, None, 0, 0, 0),
            balance(approved, Some("ref"), 5, 0, 0),
            balance(declined, Some("no"), 0, 0, 0),
            balance(cancelled, Some("ref"), 5, -5, 0),
            balance(cancelled, None, 0, 0, 1),
        ] {
            assert_eq!(right.difference(), None);
            assert_eq!(right.difference_from(right.held_minor()), None);
        }
        for wrong in [
            balance(waiting, None, 5, 0, 0),
            balance(approved, Some("ref"), 0, 0, 0),
            balance(approved, Some("ref"), 4, 0, 0),
            balance(approved, Some("ref"), 5, -5, 0),
            balance(declined, Some("no"), 5, 0, 0),
            balance(cancelled, Some("ref"), 5, 0, 0),
            balance(cancelled, Some("ref"), 0, 0, 1),
            balance(cancelled, None, 0, 0, 0),
        ] {
            assert!(wrong.difference().is_some(), "{wrong:?}");
        }
    }

    #[test]
    fn the_provider_is_compared_only_with_what_is_settled() {
        let approved = balance(State::Approved, Some("ref"), 5, 0, 0);
        assert!(approved.difference_from(0).is_some());
        let refunding = Balance { refund_requested: true, ..approved };
        assert_eq!(refunding.difference_from(0), None);
        assert_eq!(balance(State::Waiting, None, 0, 0, 0).difference_from(5), None);
        assert!(balance(State::Cancelled, None, 0, 0, 1).difference_from(5).is_some());
    }
}
