//! The port to whoever moves the money, with two adapters: [`simulator`] and [`stripe`].
//!
//! What an adapter promises: a [`ChargeKey`] is charged at most once, however often it is asked; every call ends within the adapter's own
//! time limit; and an outcome that is not known for sure is an error, never a guess. Each attempt of a payment has a key of its own, and is
//! made only when the one before was declined, so a payment is charged at most once too.

pub mod simulator;
pub mod stripe;

use std::fmt;
use std::str::FromStr;

use futures_util::future::BoxFuture;
use mesh::store::{Id, InvalidId, Micros};
use mesh::value::{Currency, Money};

use crate::domain::{Payment, PaymentMethod};

/// Names an attempt at the provider: the payment's id, and from the second attempt on `-` and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChargeKey {
    /// Which payment.
    pub payment: Id,
    /// Which try, from 1.
    pub attempt: i32,
}

impl fmt::Display for ChargeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempt {
            1 => fmt::Display::fmt(&self.payment, f),
            attempt => write!(f, "{}-{attempt}", self.payment),
        }
    }
}

impl FromStr for ChargeKey {
    type Err = InvalidId;

    /// Accepts exactly what `Display` writes.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (payment, rest) = text.split_at_checked(36).ok_or(InvalidId)?;
        let attempt = match rest.strip_prefix('-') {
            None if rest.is_empty() => 1,
            None => return Err(InvalidId),
            Some(number) => number.parse().map_err(|_| InvalidId)?,
        };
        let key = Self { payment: payment.parse()?, attempt };
        if key.to_string() == text { Ok(key) } else { Err(InvalidId) }
    }
}

/// A charge, the same each time it is asked for.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The idempotency key.
    pub key: ChargeKey,
    /// How much.
    pub amount: Money,
    /// With what; blank once the outcome is known.
    pub method: PaymentMethod,
    /// Not later than it was first wanted.
    pub since: Micros,
}

impl From<&Payment> for Charge {
    fn from(payment: &Payment) -> Self {
        let key = ChargeKey { payment: payment.id, attempt: payment.attempt };
        Self { key, amount: payment.amount, method: payment.method.clone(), since: payment.tried_since() }
    }
}

/// A known outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The money is taken.
    Approved {
        /// The provider's name for it.
        reference: String,
    },
    /// Refused for good; nothing is taken.
    Declined {
        /// Why, e.g. `insufficient_funds`.
        code: String,
    },
    /// The provider does not know this payment method; nothing is taken.
    UnknownMethod,
}

/// No outcome: ask again, with the same charge.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The provider does not work at present.
    #[error("the payment provider is unavailable: {0}")]
    Unavailable(String),
    /// The provider may or may not have done it.
    #[error("the payment provider's answer did not arrive: {0}")]
    OutcomeUnknown(String),
}

/// Charges and gives back.
pub trait Provider: Send + Sync {
    /// Takes the money, once.
    ///
    /// # Errors
    /// When the outcome is not known.
    ///
    /// # Cancel safety
    /// A dropped call may have taken the money; asking again tells.
    fn charge<'a>(&'a self, charge: &'a Charge) -> BoxFuture<'a, Result<Outcome, ProviderError>>;

    /// Gives back what the charge took. After `Ok` nothing is taken for it, and nothing will be, also if a call to
    /// [`Provider::charge`] is still under way. `reference` is the provider's, when it is known.
    ///
    /// # Errors
    /// When that is not certain.
    ///
    /// # Cancel safety
    /// A dropped call may have given it back; asking again tells.
    fn undo<'a>(&'a self, charge: &'a Charge, reference: Option<&'a str>) -> BoxFuture<'a, Result<(), ProviderError>>;

    /// What the provider holds of an attempt by its own books: what it took less what it gave back, in minor units. `None` if it cannot tell.
    /// `reference` is the provider's, when it is known.
    ///
    /// # Errors
    /// When it does not answer.
    ///
    /// # Cancel safety
    /// Safe.
    fn kept<'a>(
        &'a self,
        key: ChargeKey,
        currency: Currency,
        reference: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<i64>, ProviderError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_has_a_key_of_its_own_with_one_spelling() {
        let payment = Id::generate();
        for (attempt, text) in
            [(1, payment.to_string()), (2, format!("{payment}-2")), (1000, format!("{payment}-1000"))]
        {
            let key = ChargeKey { payment, attempt };
            assert_eq!((key.to_string(), text.parse()), (text.clone(), Ok(key)));
        }
        for none in [
            "",
            "-2",
            &format!("{payment}-1"),
            &format!("{payment}-02"),
            &format!("{payment}-"),
            &format!("{payment}2"),
        ] {
            assert_eq!(none.parse::<ChargeKey>(), Err(InvalidId), "{none}");
        }
    }
}
