//! Everything that can be wrong, one variant for each thing a caller would do differently.

use mesh::store::{Id, StoreError};
use mesh::value::Money;

/// A field that breaks a rule which the contract cannot express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its path in the request, e.g. `listing.price`.
    pub field: String,
    /// The rule, `UPPER_SNAKE_CASE`.
    pub reason: &'static str,
    /// One sentence for a person, without the value.
    pub description: String,
}

impl Violation {
    pub(crate) fn new(field: impl Into<String>, reason: &'static str, description: impl Into<String>) -> Self {
        Self { field: field.into(), reason, description: description.into() }
    }

    pub(crate) fn required(field: impl Into<String>) -> Self {
        Self::new(field, "REQUIRED", "must be set")
    }
}

/// Why a use case was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields break rules; never empty.
    #[error("the request breaks the rules of its contract")]
    Invalid(Vec<Violation>),
    /// The first day is over at the listing. Holds the field that names it.
    #[error("the date is in the past where the listing is")]
    DateInPast(&'static str),
    /// The listing is reserved by something else.
    #[error("the listing is reserved by {expected}")]
    SlotMismatch {
        /// The field that is missing, or is too much.
        field: &'static str,
        /// What it is reserved by.
        expected: &'static str,
    },
    /// More people than the units take.
    #[error("the units take {most} people")]
    TooManyPersons {
        /// The listing.
        listing: Id,
        /// As many people as the units take.
        most: i64,
    },
    /// The expected total is in another currency than the price.
    #[error("the listing's price is in {currency}")]
    CurrencyMismatch {
        /// The price's currency.
        currency: &'static str,
    },
    /// There is no such listing, or it is somebody else's.
    #[error("the listing does not exist")]
    ListingNotFound(Id),
    /// There is no such review, or it is somebody else's. Holds the resource name.
    #[error("the review does not exist")]
    ReviewNotFound(String),
    /// The listing takes no reservations, changes or reviews any more.
    #[error("the listing is deleted")]
    ListingDeleted(Id),
    /// More is held than the wanted capacity.
    #[error("more is held than the capacity would be")]
    CapacityBelowHolds(Id),
    /// The change is based on another version.
    #[error("somebody else changed it since; read it again")]
    EtagMismatch,
    /// A day of the slot has too few free units.
    #[error("too few units are free")]
    NoAvailability(Id),
    /// The caller expected another total.
    #[error("the total is {total}")]
    PriceChanged {
        /// The listing.
        listing: Id,
        /// What it costs.
        total: Money,
    },
    /// The reservation gave its places back already; holds the reservation.
    #[error("the reservation has released its hold")]
    HoldReleased(Id),
    /// The author has no reservation of the listing that is far enough.
    #[error("only guests with a confirmed or completed reservation may leave a review, as the platform decides")]
    ReviewNotAllowed(Id),
    /// The request id came with another request before.
    #[error("the request id was used for another request")]
    RequestIdReused,
    /// Others changed the same thing again and again. Worth repeating.
    #[error("others keep changing it")]
    Contended,
    /// The database did not do its work.
    #[error("the database did not answer")]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(StoreError::Database(error))
    }
}
