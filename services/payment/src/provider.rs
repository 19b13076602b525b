//! The port to whoever moves the money, with two adapters: [`simulator`] and [`stripe`].
//!
//! What an adapter promises: a payment id is charged at most once, however often it is asked; every call ends within the adapter's own
//! time limit; and an outcome that is not known for sure is an error, never a guess.

pub mod simulator;
pub mod stripe;

use futures_util::future::BoxFuture;
use mesh::store::{Id, Micros};
use mesh::value::Money;

use crate::domain::{Payment, PaymentMethod};

/// A charge, the same each time it is asked for.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The idempotency key.
    pub payment: Id,
    /// How much.
    pub amount: Money,
    /// With what; blank once the outcome is known.
    pub method: PaymentMethod,
    /// When it was first wanted.
    pub since: Micros,
}

impl From<&Payment> for Charge {
    fn from(payment: &Payment) -> Self {
        Self { payment: payment.id, amount: payment.amount, method: payment.method.clone(), since: payment.created_at }
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
}
