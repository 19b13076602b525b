//! The one table from errors to answers. Reasons are those that the contract declares.

use std::time::Duration;

use mesh::fault::Fault;
use mesh::store::StoreError;

use crate::domain::Error;
use crate::wire::{listing_name, reservation_name};

/// When a call refused for want of the database is worth repeating.
const STORE_RETRY: Duration = Duration::from_millis(200);
/// When a call that lost against others again and again is worth repeating.
const CONTENTION_RETRY: Duration = Duration::from_millis(50);

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Invalid(violations) => Self::invalid_fields(
                violations
                    .into_iter()
                    .map(|violation| (violation.field, violation.reason.to_owned(), violation.description)),
            ),
            Error::DateInPast(field) => Self::invalid(field, "DATE_IN_PAST", message),
            Error::SlotMismatch { field, expected } => {
                Self::invalid(field, "SLOT_MISMATCH", message).with("expected", expected)
            }
            Error::TooManyPersons { listing, most } => {
                Self::precondition("TOO_MANY_PERSONS", "PERSONS", listing_name(listing), message)
                    .with("most", most.to_string())
            }
            Error::CurrencyMismatch { currency } => {
                Self::invalid("expected_total", "CURRENCY_MISMATCH", message).with("currency", currency)
            }
            Error::RequestIdReused => Self::invalid("request_id", "REQUEST_ID_REUSED", message),
            Error::ListingNotFound(id) => Self::not_found("LISTING_NOT_FOUND", "listing", listing_name(id)),
            Error::ReviewNotFound(name) => Self::not_found("REVIEW_NOT_FOUND", "review", name),
            Error::ListingDeleted(id) => Self::precondition("LISTING_DELETED", "STATE", listing_name(id), message),
            Error::CapacityBelowHolds(id) => {
                Self::precondition("CAPACITY_BELOW_HOLDS", "CAPACITY", listing_name(id), message)
            }
            Error::NoAvailability(id) => {
                Self::precondition("NO_AVAILABILITY", "AVAILABILITY", listing_name(id), message)
            }
            Error::PriceChanged { listing, total } => {
                Self::precondition("PRICE_CHANGED", "PRICE", listing_name(listing), message)
                    .with("total", total.to_string())
            }
            Error::HoldReleased(reservation) => {
                Self::precondition("HOLD_RELEASED", "STATE", reservation_name(reservation), message)
            }
            Error::ReviewNotAllowed(id) => {
                Self::precondition("REVIEW_NOT_ALLOWED", "RESERVATION", listing_name(id), message)
            }
            Error::EtagMismatch => Self::aborted("ETAG_MISMATCH", message),
            Error::Contended => Self::unavailable("STORE_UNAVAILABLE", message, CONTENTION_RETRY),
            Error::Store(StoreError::Deadline) => Self::deadline_exceeded(message),
            Error::Store(cause @ (StoreError::Busy | StoreError::Closed | StoreError::Database(_))) => {
                tracing::warn!(error = &cause as &dyn std::error::Error, "the database did not answer");
                Self::unavailable("STORE_UNAVAILABLE", message, STORE_RETRY)
            }
        }
    }
}
