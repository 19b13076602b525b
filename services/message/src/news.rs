//! What happened, as far as a message needs to know. The words for it are the [templates](crate::templates)'.

use mesh::value::{Day, Money};

use crate::domain::Topic;

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Audience {
    /// Who reserved.
    Customer,
    /// Who offers it.
    Host,
}

/// A reservation in a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Booking<'a> {
    /// What the listing is.
    pub(crate) kind: Kind,
    /// The listing's title.
    pub(crate) title: &'a str,
    /// When.
    pub(crate) slot: Slot,
    /// How many people come.
    pub(crate) persons: i32,
    /// The year the message is of; days of other years are told with theirs.
    pub(crate) year: i32,
}

/// What a listing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Room,
    Resort,
    Taxi,
    Hospital,
}

/// When a reservation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The nights between two days.
    Nights { check_in: Day, check_out: Day },
    /// One day.
    Date(Day),
    /// No day in particular.
    Open,
}

/// What happened to a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    Requested(Awaits),
    Approved(Awaits),
    Rejected(Refusal<'a>),
    Confirmed(Price),
    Cancelled(Refund),
    ForceCancelled(Refund),
    Expired(Lapse, Refund),
    Completed,
}

/// What a reservation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// Nothing.
    Nothing,
    /// The host's approval; what has been paid for it.
    Approval { paid: Option<Money> },
    /// The customer, who has to pay so much, if that is known.
    Payment(Option<Money>),
    /// The payment, which is being tried.
    Charge,
}

/// Why a reservation was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal<'a> {
    /// It could not be paid.
    Declined,
    /// The host did not want it; their words, if any.
    Host(&'a str, Refund),
}

/// What was paid for a confirmed reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Price {
    /// Nobody speaks of money: it is not paid here, or not known.
    Unsaid,
    /// Nothing.
    Free,
    /// So much.
    Paid(Money),
}

/// What goes back to the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refund {
    /// Nothing.
    Nothing,
    /// So much.
    Amount(Money),
    /// Whatever was paid: the reservation does not tell whether it was.
    Any,
}

/// What did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lapse {
    /// The approval.
    Approval,
    /// The payment.
    Payment,
    /// One of them: the reservation does not tell which.
    Either,
}

/// A movement of miles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Miles {
    /// Where to.
    pub(crate) movement: Movement,
    /// How many, without sign.
    pub(crate) points: u64,
    /// The balance after it.
    pub(crate) balance: i64,
}

/// Where miles move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Movement {
    /// They were earned.
    Increased,
    /// They were taken back.
    Decreased,
}

impl Change<'_> {
    /// What a message about it tells.
    pub(crate) fn topic(&self) -> Topic {
        match self {
            Self::Requested(_) => Topic::ReservationRequested,
            Self::Approved(_) => Topic::ReservationApproved,
            Self::Rejected(_) => Topic::ReservationRejected,
            Self::Confirmed(_) => Topic::ReservationConfirmed,
            Self::Cancelled(_) => Topic::ReservationCancelled,
            Self::ForceCancelled(_) => Topic::ReservationForceCancelled,
            Self::Expired(..) => Topic::ReservationExpired,
            Self::Completed => Topic::ReservationCompleted,
        }
    }
}

impl Movement {
    /// What a message about it tells.
    pub(crate) fn topic(self) -> Topic {
        match self {
            Self::Increased => Topic::MileageIncreased,
            Self::Decreased => Topic::MileageDecreased,
        }
    }
}
