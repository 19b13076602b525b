//! The one table from errors to answers.

use std::time::Duration;

use mesh::{
    fault::{Fault, reason},
    store::{Id, StoreError},
    value::format_name,
};

use crate::{
    app::{Error, SagaError},
    domain::{Failure, Refusal, Slot, Trouble},
};

/// Told to callers who should come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Told to callers whose first call, or somebody else's, is still under way.
const RETRY_REPEAT_AFTER: Duration = Duration::from_millis(200);

/// What a call was about, for the details of its error.
pub(super) enum About {
    /// A reservation to be made.
    Listing(Id, Slot),
    /// One that was made.
    Reservation(Id),
    /// Several.
    List,
}

impl About {
    fn name(&self) -> String {
        match self {
            Self::Listing(id, _) => format_name("listings", *id),
            Self::Reservation(id) => format_name("reservations", *id),
            Self::List => "reservations".to_owned(),
        }
    }

    /// The field that says when.
    fn slot(&self) -> &'static str {
        match self {
            Self::Listing(_, Slot::Stay(_)) => "reservation.stay.check_in_date",
            _ => "reservation.date",
        }
    }
}

/// The answer to an error.
pub(super) fn fault(error: Error, about: &About) -> Fault {
    match error {
        Error::Failed(Failure::Refused(refusal)) => refused(&refusal, about),
        Error::Failed(Failure::ComeBack(Trouble::OutOfTime)) => {
            let message = "it was not done in time; repeat the request to learn what came of it";
            Fault::deadline_exceeded(message).retry_after(RETRY_AFTER)
        }
        Error::Failed(failure @ Failure::ComeBack(_)) => {
            let message = "a service that is needed does not answer; nothing has changed, try again";
            Fault::unavailable(failure.reason(), message, RETRY_AFTER)
        }
        Error::NotFound => Fault::not_found("RESERVATION_NOT_FOUND", "holdfast.dev/Reservation", about.name()),
        Error::RequestIdReused => {
            Fault::invalid("request_id", "REQUEST_ID_REUSED", "was used with another request; make a new one")
        }
        Error::InProgress => {
            let message = "this request, or another one for the same reservation, is under way";
            Fault::aborted("REQUEST_IN_PROGRESS", message).retry_after(RETRY_REPEAT_AFTER)
        }
        Error::Conflict => Fault::aborted("ETAG_MISMATCH", "somebody else changed it since; read it again"),
        Error::Overloaded => {
            let message = "more reservations are under way than can be driven; try again";
            Fault::unavailable(reason::OVERLOADED, message, RETRY_AFTER)
        }
        Error::Store(error) => store_fault(error),
    }
}

/// The answer to an operator's error.
pub(super) fn saga_fault(error: SagaError, id: Id) -> Fault {
    let name = format_name("sagas", id);
    match error {
        SagaError::NotFound => Fault::not_found("SAGA_NOT_FOUND", "holdfast.dev/Saga", name),
        SagaError::Waits => {
            let message =
                "the saga waits for its host or its customer, and ends by itself when the reservation expires";
            Fault::precondition("SAGA_WAITS", "STATE", name, message)
        }
        SagaError::NotUndoing => {
            let message = "the saga goes forward; abandon it without giving up first, so that all is undone";
            Fault::precondition("SAGA_NOT_UNDOING", "STATE", name, message)
        }
        SagaError::Changed => {
            Fault::aborted("SAGA_CHANGED", "the saga has moved meanwhile; look again").retry_after(RETRY_REPEAT_AFTER)
        }
        SagaError::Store(error) => store_fault(error),
    }
}

fn store_fault(error: StoreError) -> Fault {
    match error {
        StoreError::Deadline => Fault::deadline_exceeded("the database was not done in time"),
        error => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the database did not do its work");
            Fault::unavailable("STORE_UNAVAILABLE", "the service cannot reach its data; try again", RETRY_AFTER)
        }
    }
}

fn refused(refusal: &Refusal, about: &About) -> Fault {
    let reason = refusal.reason();
    let precondition = |kind: &'static str, message: &str| Fault::precondition(reason, kind, about.name(), message);
    match refusal {
        Refusal::ListingNotFound => Fault::not_found(reason, "holdfast.dev/Listing", about.name()),
        Refusal::ListingDeleted => precondition("STATE", "the listing takes no more reservations"),
        Refusal::NoAvailability => precondition("AVAILABILITY", "too few units are free then"),
        Refusal::PriceChanged => precondition("PRICE", "it costs something else than expected"),
        Refusal::TooManyPersons => precondition("CAPACITY", "more people than these units take"),
        Refusal::PersonLimitReached => precondition("LIMIT", "you have as many open reservations as one person may"),
        Refusal::DateInPast => Fault::invalid(about.slot(), reason, "has passed at the listing"),
        Refusal::CurrencyMismatch => Fault::invalid("expected_total", reason, "is not in the listing's currency"),
        Refusal::SlotMismatch => Fault::invalid("reservation.slot", reason, "is not what the listing offers"),
        Refusal::PaymentMethodRequired => Fault::invalid("payment_method", reason, "must be set: it has to be paid"),
        Refusal::PaymentMethodUnknown => {
            Fault::invalid("payment_method", reason, "is not known to the payment provider")
        }
        Refusal::PaymentDeclined(code) => {
            precondition("PAYMENT", "the payment provider declined the payment").with("decline_code", code.clone())
        }
        Refusal::Cancelled => precondition("STATE", "it was cancelled before it was done"),
        Refusal::NotAwaitingApproval => precondition("STATE", "the reservation does not await its host's approval"),
        Refusal::NotAwaitingPayment => precondition("STATE", "the reservation does not await its customer's payment"),
        Refusal::NotConfirmed => precondition("STATE", "the reservation is not confirmed"),
        Refusal::NotCancellable => precondition("STATE", "the reservation has ended; there is nothing to cancel"),
    }
}
