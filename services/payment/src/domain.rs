//! Payments: what they are, which moves exist, and what a repeated charge is answered.
//!
//! Pure: no clock, no SQL, no protobuf. A reservation has one payment, and that is charged in attempts, one after the other. It is WAITING while
//! it is registered and nothing was asked of the provider yet (attempt 0), and while the provider's answer to an attempt is not known. The answer
//! makes it APPROVED or DECLINED. A declined one waits again when a later attempt is made, and whatever is not CANCELLED yet can be, for good.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mesh::store::{Id, Micros, StoreError};
use mesh::value::Money;

/// The decline code of a payment whose method the provider does not know.
pub const METHOD_UNKNOWN: &str = "payment_method_unknown";
/// The decline code of an attempt that a later one has replaced: it took nothing and never will.
pub const SUPERSEDED: &str = "attempt_superseded";

/// How long whoever works on a payment is left alone. Taking over earlier would be safe (the provider knows the payment's key), only wasteful.
pub const LEASE: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Recorded; not charged yet, or the provider's answer is not known yet.
    Waiting,
    /// Taken.
    Approved,
    /// Refused by the provider.
    Declined,
    /// Refunded, or void because nothing was taken.
    Cancelled,
}

/// Whether and how a payment's miles are earned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mileage {
    /// It earns none.
    None,
    /// To be earned; the payment stands without.
    Graceful,
    /// To be earned, or the payment is undone.
    Strict,
    /// Earned with the payment.
    Earned,
    /// Left to be earned from the event `PaymentApproved`.
    Pending,
}

/// The provider's token for a customer's card or account. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PaymentMethod(String);

impl PaymentMethod {
    /// The token, e.g. `pm_…`.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self(token)
    }

    /// For the provider and for the row of a waiting payment; for nothing else.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PaymentMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaymentMethod(…)")
    }
}

/// What reservation announces: this customer is going to pay for that reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// What it pays for; there is one payment for each.
    pub reservation: Id,
    /// Who is to pay, the `sub` of their tokens.
    pub customer: String,
    /// How much; more than zero.
    pub amount: Money,
}

/// What reservation asks for: charge this customer for that reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What it pays for; there is one payment for each.
    pub reservation: Id,
    /// Who pays, the `sub` of their tokens.
    pub customer: String,
    /// How much; more than zero.
    pub amount: Money,
    /// Which try it is, from 1.
    pub attempt: i32,
    /// With what.
    pub method: PaymentMethod,
    /// Miles to earn with it; zero if [`Mileage::None`].
    pub mileage_points: i64,
    /// [`Mileage::None`], [`Mileage::Graceful`] or [`Mileage::Strict`].
    pub mileage: Mileage,
}

/// Money taken, or to be taken, for a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Identifies it, here and (with the attempt) at the provider. Carries the time it was recorded.
    pub id: Id,
    /// What it pays for.
    pub reservation: Id,
    /// Who pays.
    pub customer: String,
    /// How much.
    pub amount: Money,
    /// The attempt it stands at; 0 as long as nothing was asked of the provider.
    pub attempt: i32,
    /// With what; blank unless waiting.
    pub method: PaymentMethod,
    /// Where it stands.
    pub state: State,
    /// Miles it earns.
    pub mileage_points: i64,
    /// Whether they are earned.
    pub mileage: Mileage,
    /// The provider's reference, or the code of a declined payment.
    pub provider_answer: Option<String>,
    /// Who wants the money back: the event that asked, or the reservation.
    pub refund_requested_by: Option<Id>,
    /// When somebody has to look at it.
    pub due_at: Option<Micros>,
    /// Whether `due_at` is the end of somebody's lease.
    pub leased: bool,
    /// Events so far.
    pub version: i64,
    /// When it last changed.
    pub updated_at: Micros,
}

impl Payment {
    /// A payment to come: nobody works on it.
    #[must_use]
    pub fn registered(id: Id, registration: Registration, now: Micros) -> Self {
        Self {
            id,
            reservation: registration.reservation,
            customer: registration.customer,
            amount: registration.amount,
            attempt: 0,
            method: PaymentMethod::default(),
            state: State::Waiting,
            mileage_points: 0,
            mileage: Mileage::None,
            provider_answer: None,
            refund_requested_by: None,
            due_at: None,
            leased: false,
            version: 0,
            updated_at: now,
        }
    }

    /// The intent to charge, leased to whoever records it.
    #[must_use]
    pub fn intent(id: Id, order: Order, now: Micros) -> Self {
        let Order { reservation, customer, amount, attempt, method, mileage_points, mileage } = order;
        Self {
            attempt,
            method,
            mileage_points,
            mileage,
            due_at: Some(now.plus(LEASE)),
            leased: true,
            ..Self::registered(id, Registration { reservation, customer, amount }, now)
        }
    }

    /// When it was recorded, to the millisecond.
    #[must_use]
    pub fn created_at(&self) -> Micros {
        self.id.made_at()
    }

    /// A time not later than its attempt was first made. While it waits nothing changes but by the next attempt, or by a refund.
    #[must_use]
    pub fn tried_since(&self) -> Micros {
        if self.refund_requested_by.is_some() { self.created_at() } else { self.updated_at }
    }

    /// Whether the provider has taken money, or may yet do so.
    #[must_use]
    pub fn may_take_money(&self) -> bool {
        self.attempt > 0 && matches!(self.state, State::Waiting | State::Approved)
    }

    /// The provider's name for it, once it was taken.
    #[must_use]
    pub fn reference(&self) -> Option<&str> {
        self.provider_answer.as_deref().filter(|_| self.state != State::Declined)
    }

    /// Why the provider refused, if it did.
    #[must_use]
    pub fn decline_code(&self) -> Option<&str> {
        self.provider_answer.as_deref().filter(|_| self.state == State::Declined)
    }

    /// Whether money has to go back, or a charge be prevented.
    #[must_use]
    pub fn owes_refund(&self) -> bool {
        self.refund_requested_by.is_some() && self.state != State::Cancelled
    }

    /// The event that asked for the refund, if one did.
    #[must_use]
    pub fn refund_causation(&self) -> Option<Id> {
        self.refund_requested_by.filter(|by| *by != self.reservation)
    }

    /// What an attempt came to, `None` if somebody has to make it: this one is open, or a later one may follow. A payment that is to be
    /// refunded counts as cancelled, and one that is approved answers every later attempt too.
    #[must_use]
    pub fn outcome(&self, attempt: i32) -> Option<Result<(), Error>> {
        match self.state {
            _ if self.is_given_up() => Some(Err(self.cancellation())),
            _ if attempt < self.attempt => Some(Err(Error::Declined { payment: self.id, code: SUPERSEDED.to_owned() })),
            State::Approved => Some(Ok(())),
            State::Declined if attempt == self.attempt => Some(Err(self.refusal())),
            State::Waiting if attempt > self.attempt && self.attempt > 0 => Some(Err(Error::InProgress)),
            State::Waiting | State::Declined | State::Cancelled => None,
        }
    }

    /// What `order` is answered, `None` if somebody has to make its attempt.
    #[must_use]
    pub fn answer(&self, order: &Order) -> Option<Result<(), Error>> {
        self.refused(&order.customer, order.amount).map(Err).or_else(|| self.outcome(order.attempt))
    }

    /// Whether a registration may be answered with this payment.
    ///
    /// # Errors
    /// When it is cancelled, or another one.
    pub fn check(&self, customer: &str, amount: Money) -> Result<(), Error> {
        self.refused(customer, amount).map_or(Ok(()), Err)
    }

    fn refused(&self, customer: &str, amount: Money) -> Option<Error> {
        if self.is_given_up() {
            return Some(self.cancellation());
        }
        (self.amount != amount || self.customer != customer).then_some(Error::Mismatch { payment: self.id })
    }

    fn is_given_up(&self) -> bool {
        self.refund_requested_by.is_some() || self.state == State::Cancelled
    }

    fn cancellation(&self) -> Error {
        Error::Cancelled { payment: self.id }
    }

    /// The error of a declined payment.
    fn refusal(&self) -> Error {
        match self.decline_code() {
            Some(METHOD_UNKNOWN) => Error::MethodUnknown,
            code => Error::Declined { payment: self.id, code: code.unwrap_or_default().to_owned() },
        }
    }

    /// Taken. The next version.
    #[must_use]
    pub fn approved(self, reference: String, mileage: Mileage, now: Micros) -> Self {
        Self { state: State::Approved, provider_answer: Some(reference), mileage, ..self.settled(now) }
    }

    /// Refused by the provider. The next version.
    #[must_use]
    pub fn declined(self, code: String, now: Micros) -> Self {
        Self { state: State::Declined, provider_answer: Some(code), ..self.settled(now) }
    }

    /// Refunded or void. The next version.
    #[must_use]
    pub fn cancelled(self, now: Micros) -> Self {
        let provider_answer = self.reference().map(str::to_owned);
        Self { state: State::Cancelled, provider_answer, ..self.settled(now) }
    }

    fn settled(self, now: Micros) -> Self {
        let method = PaymentMethod::default();
        Self { method, due_at: None, leased: false, version: self.version + 1, updated_at: now, ..self }
    }
}

/// When to try again something wanted since `since`: after a quarter of the time it has been tried already, so that the pauses grow with it.
#[must_use]
pub fn next_try(since: Micros, now: Micros) -> Micros {
    now.plus((now.since(since) / 4).clamp(FIRST_RETRY, LAST_RETRY))
}

/// Why a command was not carried out. Cloned to everybody who waits for the same payment.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no such payment, or it is somebody else's.
    #[error("there is no such payment")]
    NotFound {
        /// The name that was asked for.
        name: String,
    },
    /// The provider refused.
    #[error("the provider declined the payment: {code}")]
    Declined {
        /// Which payment.
        payment: Id,
        /// Why, in the provider's words.
        code: String,
    },
    /// The reservation was given up.
    #[error("the payment is cancelled")]
    Cancelled {
        /// Which payment.
        payment: Id,
    },
    /// The reservation has a payment of another amount or customer.
    #[error("the reservation has another payment")]
    Mismatch {
        /// Which payment.
        payment: Id,
    },
    /// The provider does not know the payment method.
    #[error("the provider does not know the payment method")]
    MethodUnknown,
    /// Somebody else is charging right now.
    #[error("the payment is being made")]
    InProgress,
    /// More payments are under way than this process drives at once; nothing was begun.
    #[error("too many payments are under way")]
    Overloaded,
    /// The outcome at the provider is not known.
    #[error("the payment provider gave no answer")]
    ProviderUnavailable,
    /// The miles could not be earned, so the payment was undone.
    #[error("the miles cannot be earned now")]
    MileageUnavailable,
    /// The database did not take it.
    #[error("the payment cannot be stored")]
    Store(#[source] Arc<StoreError>),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        StoreError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use mesh::value::Currency;

    use super::*;

    const NOW: Micros = Micros(1_700_000_000_000_000);

    fn order() -> Order {
        Order {
            reservation: Id::generate(),
            customer: "alice".to_owned(),
            amount: Money::from_minor(38_000, Currency::KRW),
            attempt: 1,
            method: PaymentMethod::new("pm_card_visa".to_owned()),
            mileage_points: 1,
            mileage: Mileage::Graceful,
        }
    }

    fn waiting(order: &Order) -> Payment {
        Payment::intent(Id::generate(), order.clone(), NOW)
    }

    fn registered(order: &Order) -> Payment {
        let Order { reservation, customer, amount, .. } = order.clone();
        Payment::registered(Id::generate(), Registration { reservation, customer, amount }, NOW)
    }

    fn name(answer: Option<Result<(), Error>>) -> &'static str {
        match answer {
            None => "open",
            Some(Ok(())) => "same",
            Some(Err(Error::Declined { code, .. })) if code == SUPERSEDED => "superseded",
            Some(Err(Error::Declined { .. })) => "declined",
            Some(Err(Error::MethodUnknown)) => "method unknown",
            Some(Err(Error::Cancelled { .. })) => "cancelled",
            Some(Err(Error::Mismatch { .. })) => "mismatch",
            Some(Err(Error::InProgress)) => "in progress",
            Some(Err(_)) => "other",
        }
    }

    #[test]
    fn a_repeat_gets_the_answer_of_the_first() {
        let order = order();
        let waiting = waiting(&order);
        let marked = Payment { refund_requested_by: Some(Id::generate()), ..waiting.clone() };
        let approved = waiting.clone().approved("ref".to_owned(), Mileage::Earned, NOW);
        let check = |payment: &Payment, order: &Order, expected: &str| {
            assert_eq!(name(payment.answer(order)), expected, "{payment:?}");
        };

        check(&waiting, &order, "open");
        check(&approved, &order, "same");
        check(&waiting.clone().declined("insufficient_funds".to_owned(), NOW), &order, "declined");
        check(&waiting.clone().declined(METHOD_UNKNOWN.to_owned(), NOW), &order, "method unknown");
        check(&waiting.clone().cancelled(NOW), &order, "cancelled");
        check(&marked, &order, "cancelled");

        let dearer = Order { amount: Money::from_minor(38_001, Currency::KRW), ..order.clone() };
        let other = Order { customer: "mallory".to_owned(), ..order.clone() };
        for payment in [&waiting, &approved] {
            check(payment, &dearer, "mismatch");
            check(payment, &other, "mismatch");
        }
        let other_card = Order { method: PaymentMethod::new("pm_other".to_owned()), ..order };
        check(&approved, &other_card, "same");
    }

    #[test]
    fn an_attempt_is_made_once_and_only_where_the_one_before_was_declined() {
        let check = |payment: &Payment, attempt: i32, expected: &str| {
            let order = Order {
                customer: payment.customer.clone(),
                amount: payment.amount,
                reservation: payment.reservation,
                attempt,
                ..order()
            };
            assert_eq!(name(payment.answer(&order)), expected, "attempt {attempt} of {payment:?}");
        };
        let second = waiting(&Order { attempt: 2, ..order() });
        let declined = second.clone().declined("insufficient_funds".to_owned(), NOW);
        let approved = second.clone().approved("ref".to_owned(), Mileage::None, NOW);
        for (payment, [lower, same, higher]) in [
            (&second, ["superseded", "open", "in progress"]),
            (&declined, ["superseded", "declined", "open"]),
            (&approved, ["superseded", "same", "same"]),
            (&approved.clone().cancelled(NOW), ["cancelled"; 3]),
            (&declined.clone().cancelled(NOW), ["cancelled"; 3]),
        ] {
            check(payment, 1, lower);
            check(payment, 2, same);
            check(payment, 3, higher);
        }
        check(&registered(&order()), 1, "open");
        check(&registered(&order()), 2, "open");
        check(&registered(&order()).cancelled(NOW), 1, "cancelled");
    }

    #[test]
    fn only_what_was_asked_of_the_provider_may_have_taken_money() {
        let waiting = waiting(&order());
        assert!(
            waiting.may_take_money() && waiting.clone().approved("ref".to_owned(), Mileage::None, NOW).may_take_money()
        );
        assert!(!registered(&order()).may_take_money() && !waiting.declined("no".to_owned(), NOW).may_take_money());
    }

    #[test]
    fn the_provider_is_asked_as_if_the_attempt_were_older_never_younger() {
        // Stripe forgets keys after a day: an attempt taken for a younger one could be charged twice.
        let later = NOW.plus(Duration::from_hours(30));
        let waiting = waiting(&order());
        let again = Payment { attempt: 2, updated_at: later, ..waiting.clone() };
        assert_eq!((waiting.tried_since(), again.tried_since()), (NOW, later));
        let marked = Payment { refund_requested_by: Some(Id::generate()), updated_at: later, ..waiting };
        assert_eq!(marked.tried_since(), marked.created_at());
    }

    #[test]
    fn a_settled_payment_forgets_the_payment_method_and_is_not_due() {
        let waiting = waiting(&order());
        let approved = waiting.clone().approved("ref".to_owned(), Mileage::Pending, NOW);
        for payment in [
            approved.clone(),
            approved.cancelled(NOW),
            waiting.clone().declined("no".to_owned(), NOW),
            waiting.cancelled(NOW),
        ] {
            assert_eq!((payment.method.token(), payment.due_at, payment.leased), ("", None, false));
        }
    }

    #[test]
    fn each_move_is_one_version() {
        let waiting = waiting(&order());
        let approved = waiting.clone().approved("ref".to_owned(), Mileage::Earned, NOW);
        assert_eq!((waiting.version, approved.version, approved.cancelled(NOW).version), (0, 1, 2));
        assert_eq!(waiting.cancelled(NOW).version, 1);
    }

    #[test]
    fn the_answer_is_a_reference_or_a_code_never_both() {
        let waiting = waiting(&order());
        let declined = waiting.clone().declined("expired_card".to_owned(), NOW);
        assert_eq!((declined.reference(), declined.decline_code()), (None, Some("expired_card")));
        let void = declined.cancelled(NOW);
        assert_eq!((void.reference(), void.decline_code()), (None, None));
        let approved = waiting.approved("ref".to_owned(), Mileage::Earned, NOW);
        assert_eq!((approved.reference(), approved.decline_code()), (Some("ref"), None));
        assert_eq!(approved.cancelled(NOW).reference(), Some("ref"));
    }

    #[test]
    fn pauses_grow_with_the_time_tried_and_stay_within_limits() {
        let check = |tried_ms: u64, pause_ms: u64| {
            let now = NOW.plus(Duration::from_millis(tried_ms));
            assert_eq!(next_try(NOW, now).since(now), Duration::from_millis(pause_ms), "after {tried_ms} ms");
        };
        check(0, 250);
        check(4_000, 1_000);
        check(86_400_000, 30_000);
    }

    #[test]
    fn a_payment_method_is_never_printed() {
        assert!(!format!("{:?}", order()).contains("pm_card_visa"));
    }
}
