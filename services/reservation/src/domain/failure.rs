//! Why something asked for did not happen.

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// An answer that stays.
    Refused(Refusal),
    /// Nothing stays; the same request may be repeated.
    ComeBack(Trouble),
}

/// A refusal: repeating the request gives it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such listing.
    ListingNotFound,
    /// The listing takes no more reservations.
    ListingDeleted,
    /// Not enough units on some night, or date, or at all.
    NoAvailability,
    /// It would cost something else than expected.
    PriceChanged,
    /// The first day has passed at the listing.
    DateInPast,
    /// The expected total is in another currency than the listing's.
    CurrencyMismatch,
    /// The listing offers stays, or dates, or neither: not what was asked for.
    SlotMismatch,
    /// More people than the units take.
    TooManyPersons,
    /// The customer has as many open reservations as allowed.
    PersonLimitReached,
    /// The policy charges, and no method was given.
    PaymentMethodRequired,
    /// The provider said no; why, in its own word.
    PaymentDeclined(String),
    /// The provider does not know the payment method.
    PaymentMethodUnknown,
    /// It was cancelled before what was asked for had happened.
    Cancelled,
    /// There is nothing to approve or reject.
    NotAwaitingApproval,
    /// There is nothing to pay.
    NotAwaitingPayment,
    /// There is nothing to complete.
    NotConfirmed,
    /// There is nothing to cancel.
    NotCancellable,
}

/// Why a request should be repeated later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Listing cannot be reached.
    ListingUnavailable,
    /// Payment, or its provider, cannot be reached or does not know yet.
    PaymentUnavailable,
    /// Miles cannot be earned, and the policy insists.
    MileageUnavailable,
    /// The caller's time ran out.
    OutOfTime,
}

impl Failure {
    /// As stored with the saga and the request: a reason, and for a declined payment the provider's word behind a colon.
    #[must_use]
    pub fn to_stored(&self) -> String {
        match self {
            Self::Refused(Refusal::PaymentDeclined(code)) => format!("PAYMENT_DECLINED:{code}"),
            other => other.reason().to_owned(),
        }
    }

    /// The failure stored so.
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        if let Some(code) = text.strip_prefix("PAYMENT_DECLINED:") {
            return Some(Self::Refused(Refusal::PaymentDeclined(code.to_owned())));
        }
        Self::PLAIN.iter().find(|failure| failure.reason() == text).cloned()
    }

    /// The stable name told to callers.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::ComeBack(trouble) => match trouble {
                Trouble::ListingUnavailable => "LISTING_UNAVAILABLE",
                Trouble::PaymentUnavailable => "PAYMENT_UNAVAILABLE",
                Trouble::MileageUnavailable => "MILEAGE_UNAVAILABLE",
                Trouble::OutOfTime => "DEADLINE_EXCEEDED",
            },
        }
    }

    /// Every failure without a word of its own.
    pub(super) const PLAIN: &[Self] = &[
        Self::Refused(Refusal::ListingNotFound),
        Self::Refused(Refusal::ListingDeleted),
        Self::Refused(Refusal::NoAvailability),
        Self::Refused(Refusal::PriceChanged),
        Self::Refused(Refusal::DateInPast),
        Self::Refused(Refusal::CurrencyMismatch),
        Self::Refused(Refusal::SlotMismatch),
        Self::Refused(Refusal::TooManyPersons),
        Self::Refused(Refusal::PersonLimitReached),
        Self::Refused(Refusal::PaymentMethodRequired),
        Self::Refused(Refusal::PaymentMethodUnknown),
        Self::Refused(Refusal::Cancelled),
        Self::Refused(Refusal::NotAwaitingApproval),
        Self::Refused(Refusal::NotAwaitingPayment),
        Self::Refused(Refusal::NotConfirmed),
        Self::Refused(Refusal::NotCancellable),
        Self::ComeBack(Trouble::ListingUnavailable),
        Self::ComeBack(Trouble::PaymentUnavailable),
        Self::ComeBack(Trouble::MileageUnavailable),
        Self::ComeBack(Trouble::OutOfTime),
    ];
}

impl Refusal {
    /// The stable name told to callers.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ListingNotFound => "LISTING_NOT_FOUND",
            Self::ListingDeleted => "LISTING_DELETED",
            Self::NoAvailability => "NO_AVAILABILITY",
            Self::PriceChanged => "PRICE_CHANGED",
            Self::DateInPast => "DATE_IN_PAST",
            Self::CurrencyMismatch => "CURRENCY_MISMATCH",
            Self::SlotMismatch => "SLOT_MISMATCH",
            Self::TooManyPersons => "TOO_MANY_PERSONS",
            Self::PersonLimitReached => "PERSON_LIMIT_REACHED",
            Self::PaymentMethodRequired => "PAYMENT_METHOD_REQUIRED",
            Self::PaymentDeclined(_) => "PAYMENT_DECLINED",
            Self::PaymentMethodUnknown => "PAYMENT_METHOD_UNKNOWN",
            Self::Cancelled => "RESERVATION_CANCELLED",
            Self::NotAwaitingApproval => "RESERVATION_NOT_AWAITING_APPROVAL",
            Self::NotAwaitingPayment => "RESERVATION_NOT_AWAITING_PAYMENT",
            Self::NotConfirmed => "RESERVATION_NOT_CONFIRMED",
            Self::NotCancellable => "RESERVATION_NOT_CANCELLABLE",
        }
    }
}
