//! What a reservation is, which moves it may make and what a customer may be refused for. Pure: no clock, no SQL, no wire.

use mesh::{
    store::{Id, Micros},
    value::{Day, Money},
};

/// A stay is at most so many nights.
pub const NIGHTS_MAX: i32 = 90;

/// The nights from check-in to the day of check-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The first night.
    pub check_in: Day,
    /// The day of leaving.
    pub check_out: Day,
}

impl Stay {
    /// A stay of 1 to [`NIGHTS_MAX`] nights.
    ///
    /// # Errors
    /// [`StayError`] otherwise.
    pub fn new(check_in: Day, check_out: Day) -> Result<Self, StayError> {
        match check_in.until(check_out) {
            ..=0 => Err(StayError::Empty),
            1..=NIGHTS_MAX => Ok(Self { check_in, check_out }),
            _ => Err(StayError::TooLong),
        }
    }
}

/// Why two days make no stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StayError {
    /// Check-out is not after check-in.
    #[error("must be after the check-in date")]
    Empty,
    /// More than [`NIGHTS_MAX`] nights.
    #[error("must be at most 90 nights after the check-in date")]
    TooLong,
}

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Recorded; its saga runs.
    Requested,
    /// Held and paid.
    Confirmed,
    /// Cancelled by its customer; the refund is on its way.
    CancelRequested,
    /// Cancelled and refunded.
    Cancelled,
    /// Refused; nothing held, nothing paid.
    Rejected,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Requested, Self::Confirmed, Self::CancelRequested, Self::Cancelled, Self::Rejected];

    /// Whether the move exists.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Requested, Self::Confirmed | Self::Rejected | Self::CancelRequested)
                | (Self::Confirmed, Self::CancelRequested)
                | (Self::CancelRequested, Self::Cancelled)
        )
    }

    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::Confirmed => "CONFIRMED",
            Self::CancelRequested => "CANCEL_REQUESTED",
            Self::Cancelled => "CANCELLED",
            Self::Rejected => "REJECTED",
        }
    }

    /// The state stored so.
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// What a customer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The listing.
    pub listing: Id,
    /// The nights.
    pub stay: Stay,
    /// Units on each night.
    pub units: i32,
    /// People who will come.
    pub persons: i32,
    /// The provider's token for the customer's card or account.
    pub payment_method: PaymentMethod,
    /// When given, any other total is refused.
    pub expected_total: Option<Money>,
}

/// A payment provider's token. Kept only as long as the saga runs; not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PaymentMethod(pub String);

impl std::fmt::Debug for PaymentMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PaymentMethod(<redacted>)")
    }
}

/// How a reservation's miles are earned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mileage {
    /// None are.
    None,
    /// With the payment, or as soon as mileage is back.
    Graceful(i64),
    /// With the payment, or there is no payment.
    Strict(i64),
}

/// What listing promised when it took the places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deal {
    /// What it costs.
    pub total: Money,
    /// The subject of the listing's host.
    pub host: String,
    /// The listing's title.
    pub listing_title: String,
    /// How its miles are earned.
    pub mileage: Mileage,
}

/// A reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its id.
    pub id: Id,
    /// The listing.
    pub listing: Id,
    /// The subject of the customer.
    pub customer: String,
    /// The nights.
    pub stay: Stay,
    /// Units on each night.
    pub units: i32,
    /// People who will come.
    pub persons: i32,
    /// Where it stands.
    pub state: State,
    /// The deal; known once the places are held and confirmed.
    pub deal: Option<Deal>,
    /// Its payment, if it costs anything and is confirmed.
    pub payment: Option<Id>,
    /// Counts changes from 1.
    pub version: i64,
    /// When it was requested.
    pub created_at: Micros,
    /// When it last changed.
    pub updated_at: Micros,
}

impl Reservation {
    /// A new one, REQUESTED.
    #[must_use]
    pub fn request(id: Id, customer: String, wish: &Wish, at: Micros) -> Self {
        Self {
            id,
            listing: wish.listing,
            customer,
            stay: wish.stay,
            units: wish.units,
            persons: wish.persons,
            state: State::Requested,
            deal: None,
            payment: None,
            version: 1,
            // To the millisecond, as its id tells it: the instant is stored nowhere else.
            created_at: id.made_at(),
            updated_at: at,
        }
    }

    /// Held and paid under this deal.
    #[must_use]
    pub fn confirm(&self, deal: Deal, payment: Option<Id>, at: Micros) -> Self {
        Self { deal: Some(deal), payment, ..self.moved(State::Confirmed, at) }
    }

    /// What the customer's cancellation leads to.
    ///
    /// # Errors
    /// [`NotCancellable`] for a refused one.
    pub fn cancel(&self, at: Micros) -> Result<Cancellation, NotCancellable> {
        match self.state {
            State::Requested => Ok(Cancellation::Unwind(self.moved(State::CancelRequested, at))),
            State::Confirmed if self.payment.is_none() => {
                let requested = self.moved(State::CancelRequested, at);
                let cancelled = requested.moved(State::Cancelled, at);
                Ok(Cancellation::Free { requested, cancelled })
            }
            State::Confirmed => Ok(Cancellation::Refund(self.moved(State::CancelRequested, at))),
            State::CancelRequested | State::Cancelled => Ok(Cancellation::Already),
            State::Rejected => Err(NotCancellable),
        }
    }

    /// In another state, one version later.
    ///
    /// # Panics
    /// When the move does not exist: callers decide by the state they loaded.
    #[must_use]
    pub fn moved(&self, state: State, at: Micros) -> Self {
        assert!(self.state.may_become(state), "no move from {:?} to {state:?}", self.state);
        Self { state, version: self.version + 1, updated_at: at, ..self.clone() }
    }
}

/// What a cancellation leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// Its saga still runs and will undo what it has done.
    Unwind(Reservation),
    /// It cost nothing: cancelled at once, over the state in between.
    Free {
        /// In between.
        requested: Reservation,
        /// At the end.
        cancelled: Reservation,
    },
    /// The payment has to be refunded first.
    Refund(Reservation),
    /// It is cancelled already, or about to be.
    Already,
}

/// A refused reservation has nothing to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reservation was refused; there is nothing to cancel")]
pub struct NotCancellable;

/// Why a request did not become a confirmed reservation.
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
    /// Not enough units on some night.
    NoAvailability,
    /// It would cost something else than expected.
    PriceChanged,
    /// The first night has passed at the listing.
    DateInPast,
    /// The expected total is in another currency than the listing's.
    CurrencyMismatch,
    /// The provider said no; why, in its own word.
    PaymentDeclined(String),
    /// The provider does not know the payment method.
    PaymentMethodUnknown,
    /// The customer cancelled before it was confirmed.
    Cancelled,
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
        PLAIN.iter().find(|failure| failure.reason() == text).cloned()
    }

    /// The stable name told to callers.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => match refusal {
                Refusal::ListingNotFound => "LISTING_NOT_FOUND",
                Refusal::ListingDeleted => "LISTING_DELETED",
                Refusal::NoAvailability => "NO_AVAILABILITY",
                Refusal::PriceChanged => "PRICE_CHANGED",
                Refusal::DateInPast => "DATE_IN_PAST",
                Refusal::CurrencyMismatch => "CURRENCY_MISMATCH",
                Refusal::PaymentDeclined(_) => "PAYMENT_DECLINED",
                Refusal::PaymentMethodUnknown => "PAYMENT_METHOD_UNKNOWN",
                Refusal::Cancelled => "RESERVATION_CANCELLED",
            },
            Self::ComeBack(trouble) => match trouble {
                Trouble::ListingUnavailable => "LISTING_UNAVAILABLE",
                Trouble::PaymentUnavailable => "PAYMENT_UNAVAILABLE",
                Trouble::MileageUnavailable => "MILEAGE_UNAVAILABLE",
                Trouble::OutOfTime => "DEADLINE_EXCEEDED",
            },
        }
    }
}

/// Every failure without a word of its own.
const PLAIN: &[Failure] = &[
    Failure::Refused(Refusal::ListingNotFound),
    Failure::Refused(Refusal::ListingDeleted),
    Failure::Refused(Refusal::NoAvailability),
    Failure::Refused(Refusal::PriceChanged),
    Failure::Refused(Refusal::DateInPast),
    Failure::Refused(Refusal::CurrencyMismatch),
    Failure::Refused(Refusal::PaymentMethodUnknown),
    Failure::Refused(Refusal::Cancelled),
    Failure::ComeBack(Trouble::ListingUnavailable),
    Failure::ComeBack(Trouble::PaymentUnavailable),
    Failure::ComeBack(Trouble::MileageUnavailable),
    Failure::ComeBack(Trouble::OutOfTime),
];

#[cfg(test)]
mod tests {
    use mesh::value::Currency;

    use super::*;

    fn day(number: i32) -> Day {
        Day::from_number(number)
    }

    fn requested() -> Reservation {
        let wish = Wish {
            listing: Id::generate(),
            stay: Stay::new(day(20_000), day(20_002)).expect("a stay"),
            units: 1,
            persons: 2,
            payment_method: PaymentMethod("pm_card_visa".to_owned()),
            expected_total: None,
        };
        Reservation::request(Id::generate(), "alice".to_owned(), &wish, Micros(1))
    }

    fn confirmed(payment: Option<Id>) -> Reservation {
        let deal = Deal {
            total: Money::from_minor(if payment.is_some() { 100 } else { 0 }, Currency::KRW),
            host: "bob".to_owned(),
            listing_title: "Loft".to_owned(),
            mileage: Mileage::None,
        };
        requested().confirm(deal, payment, Micros(2))
    }

    #[test]
    fn a_stay_has_one_to_ninety_nights() {
        assert_eq!(Stay::new(day(5), day(5)), Err(StayError::Empty));
        assert_eq!(Stay::new(day(5), day(4)), Err(StayError::Empty));
        assert!(Stay::new(day(5), day(6)).is_ok());
        assert!(Stay::new(day(5), day(95)).is_ok());
        assert_eq!(Stay::new(day(5), day(96)), Err(StayError::TooLong));
    }

    #[test]
    fn only_the_moves_of_the_contract_exist() {
        let moves: Vec<_> = State::ALL
            .into_iter()
            .flat_map(|from| State::ALL.into_iter().filter(move |to| from.may_become(*to)).map(move |to| (from, to)))
            .collect();
        assert_eq!(
            moves,
            [
                (State::Requested, State::Confirmed),
                (State::Requested, State::CancelRequested),
                (State::Requested, State::Rejected),
                (State::Confirmed, State::CancelRequested),
                (State::CancelRequested, State::Cancelled),
            ]
        );
    }

    #[test]
    fn cancelling_depends_on_where_it_stands() {
        assert!(
            matches!(requested().cancel(Micros(3)), Ok(Cancellation::Unwind(_))),
            "T39: also before it is confirmed"
        );
        assert!(matches!(confirmed(Some(Id::generate())).cancel(Micros(3)), Ok(Cancellation::Refund(_))));
        let Ok(Cancellation::Free { cancelled, .. }) = confirmed(None).cancel(Micros(3)) else {
            panic!("free ones end at once")
        };
        assert_eq!((cancelled.state, cancelled.version), (State::Cancelled, 4));
        assert_eq!(cancelled.cancel(Micros(4)), Ok(Cancellation::Already));
        assert_eq!(requested().moved(State::Rejected, Micros(3)).cancel(Micros(4)), Err(NotCancellable));
    }

    #[test]
    fn states_and_failures_survive_being_stored() {
        for state in State::ALL {
            assert_eq!(State::from_stored(state.as_str()), Some(state));
        }
        let declined = Failure::Refused(Refusal::PaymentDeclined("insufficient_funds".to_owned()));
        for failure in PLAIN.iter().chain([&declined]) {
            assert_eq!(Failure::from_stored(&failure.to_stored()).as_ref(), Some(failure));
        }
        assert_eq!(Failure::from_stored("WHATEVER"), None);
    }

    #[test]
    fn a_payment_method_is_never_printed() {
        assert!(!format!("{:?}", PaymentMethod("pm_card_visa".to_owned())).contains("visa"));
    }
}
