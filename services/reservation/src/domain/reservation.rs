//! A reservation, and what becomes of it.

use mesh::{
    store::{Id, Micros},
    value::Money,
};

use super::{Approval, Deal, Next, Refund, Slot, State};

/// What a customer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The listing.
    pub listing: Id,
    /// When.
    pub slot: Slot,
    /// Units, on each night of a stay.
    pub units: i32,
    /// People who will come.
    pub persons: i32,
    /// What the customer needs, in their words.
    pub note: String,
    /// The language the customer is written to; empty is the platform's.
    pub language: String,
    /// The provider's token for the customer's card or account, if one was given.
    pub payment_method: Option<PaymentMethod>,
    /// When given, any other total is refused.
    pub expected_total: Option<Money>,
}

/// A payment provider's token. Kept only as long as it may be needed; not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PaymentMethod(pub String);

impl std::fmt::Debug for PaymentMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PaymentMethod(<redacted>)")
    }
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
    /// When.
    pub slot: Slot,
    /// Units, on each night of a stay.
    pub units: i32,
    /// People who will come.
    pub persons: i32,
    /// What the customer needs, in their words.
    pub note: String,
    /// The language the customer is written to; empty is the platform's.
    pub language: String,
    /// Where it stands.
    pub state: State,
    /// The deal; known once the places are held. A refused request has none.
    pub deal: Option<Deal>,
    /// Its payment: taken, or in AWAITING_PAYMENT registered.
    pub payment: Option<Id>,
    /// The host's approval.
    pub approval: Option<Id>,
    /// When it expires, while it awaits something.
    pub expires_at: Option<Micros>,
    /// Why it was rejected; empty if nobody said.
    pub reject_reason: String,
    /// Counts changes from 1.
    pub version: i64,
    /// When it was requested.
    pub created_at: Micros,
    /// When it last changed.
    pub updated_at: Micros,
}

/// What is told of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It was made.
    Requested,
    /// Its host approved.
    Approved,
    /// It was rejected.
    Rejected,
    /// It was paid and now awaits approval.
    Paid,
    /// It is confirmed.
    Confirmed,
    /// Its customer cancelled.
    CancelRequested,
    /// It is cancelled.
    Cancelled,
    /// It was cancelled because its listing was deleted.
    ForceCancelled,
    /// It was neither approved nor paid in time.
    Expired,
    /// It is over.
    Completed,
}

/// A change, and what is told of it: each fact with the reservation as it then was. The versions told are consecutive, and
/// the last one is that of `next`, so that nobody who compares versions drops one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As it is from now on.
    pub next: Reservation,
    /// What is told.
    pub told: Vec<(Fact, Reservation)>,
}

impl Change {
    fn told(fact: Fact, next: Reservation) -> Self {
        Self { told: vec![(fact, next.clone())], next }
    }

    fn both(first: (Fact, Reservation), fact: Fact, next: Reservation) -> Self {
        Self { told: vec![first, (fact, next.clone())], next }
    }

    fn untold(next: Reservation) -> Self {
        Self { next, told: Vec::new() }
    }
}

/// Who undoes what was done for a cancelled reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Nobody has to: it is CANCELLED.
    Nobody,
    /// Payment, told by the event; its PaymentCancelled ends the cancellation.
    Payment,
    /// Its saga, which may have a charge under way; that ends the cancellation.
    Saga,
}

/// What a cancellation leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// It is cancelled already, or about to be.
    Already,
    /// It changes so, and somebody undoes what was done.
    Changes(Box<Change>, Undo),
}

impl Reservation {
    /// A new one, REQUESTED.
    #[must_use]
    pub fn request(id: Id, customer: String, wish: &Wish, at: Micros) -> Self {
        Self {
            id,
            listing: wish.listing,
            customer,
            slot: wish.slot,
            units: wish.units,
            persons: wish.persons,
            note: wish.note.clone(),
            language: wish.language.clone(),
            state: State::Requested,
            deal: None,
            payment: None,
            approval: None,
            expires_at: None,
            reject_reason: String::new(),
            version: 1,
            // To the millisecond, as its id tells it: the instant is stored nowhere else.
            created_at: id.made_at(),
            updated_at: at,
        }
    }

    /// The same with its deal, before anybody is told of it.
    #[must_use]
    pub fn held(&self, deal: Deal) -> Self {
        Self { deal: Some(deal), ..self.clone() }
    }

    /// The deal of a reservation that has its place.
    ///
    /// # Panics
    /// When it has none yet.
    #[must_use]
    pub fn agreed(&self) -> &Deal {
        self.deal.as_ref().expect("the place is held under a deal")
    }

    /// The subject of its listing's host, once it is known.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.deal.as_ref().map(|deal| deal.host.as_str())
    }

    /// Whether its payment has been taken.
    #[must_use]
    pub fn is_paid(&self) -> bool {
        self.payment.is_some() && self.state != State::AwaitingPayment
    }

    /// Held, and paid or registered as the policy asks for at booking.
    #[must_use]
    pub fn booked(&self, payment: Option<Id>, at: Micros) -> Change {
        let deal = self.agreed();
        if deal.at_booking() == Next::Register {
            return Change::told(Fact::Requested, self.awaiting(State::AwaitingPayment, payment, at));
        }
        if deal.policy.approval != Approval::None {
            return Change::told(Fact::Requested, self.awaiting(State::AwaitingApproval, payment, at));
        }
        let confirmed = Self { payment, ..self.moved(State::Confirmed, at) };
        Change::both((Fact::Requested, self.clone()), Fact::Confirmed, confirmed)
    }

    /// Held, but payment cannot be reached, and the policy waits for it.
    #[must_use]
    pub fn pending(&self, at: Micros) -> Change {
        Change::told(Fact::Requested, self.awaiting(State::AwaitingPayment, None, at))
    }

    /// What was awaited is paid.
    #[must_use]
    pub fn paid(&self, payment: Option<Id>, at: Micros) -> Change {
        if self.agreed().policy.approval == Approval::AfterPayment {
            return Change::told(Fact::Paid, self.awaiting(State::AwaitingApproval, payment, at));
        }
        Change::told(Fact::Confirmed, Self { payment, ..self.moved(State::Confirmed, at) })
    }

    /// Approved, and paid or registered as the policy asks for on approval.
    #[must_use]
    pub fn approved(&self, approval: Id, payment: Option<Id>, at: Micros) -> Change {
        let approved = Self { approval: Some(approval), ..self.clone() };
        if self.agreed().on_approval() == Next::Register {
            return Change::told(Fact::Approved, approved.awaiting(State::AwaitingPayment, payment, at));
        }
        let approved = Self { version: self.version + 1, updated_at: at, ..approved };
        let confirmed = Self { payment: payment.or(self.payment), ..approved.moved(State::Confirmed, at) };
        Change::both((Fact::Approved, approved), Fact::Confirmed, confirmed)
    }

    /// Rejected, for this reason if one was given.
    #[must_use]
    pub fn rejected(&self, reason: &str, at: Micros) -> Change {
        let rejected = Self { reject_reason: reason.to_owned(), ..self.moved(State::Rejected, at) };
        Change::told(Fact::Rejected, rejected)
    }

    /// Refused before it ever rested. Nobody is told, and it keeps no deal: that marks it as never seen.
    #[must_use]
    pub fn refused(&self, at: Micros) -> Change {
        Change::untold(Self { deal: None, ..self.moved(State::Rejected, at) })
    }

    /// Not approved or not paid in time.
    #[must_use]
    pub fn expired(&self, at: Micros) -> Change {
        Change::told(Fact::Expired, self.moved(State::Expired, at))
    }

    /// Over.
    #[must_use]
    pub fn completed(&self, at: Micros) -> Change {
        Change::told(Fact::Completed, self.moved(State::Completed, at))
    }

    /// Its listing was deleted. Of a reservation that never rested it is told when all is [undone](Self::undone).
    #[must_use]
    pub fn force_cancelled(&self, at: Micros) -> Change {
        let next = self.moved(State::ForceCancelled, at);
        if self.state == State::Requested { Change::untold(next) } else { Change::told(Fact::ForceCancelled, next) }
    }

    /// Its saga has undone what was done; `payment` was taken and given back. `None` when all is stored and told already.
    #[must_use]
    pub fn undone(&self, rested: bool, payment: Option<Id>, at: Micros) -> Option<Change> {
        let paid = || Self { payment: self.payment.or(payment), ..self.clone() };
        match self.state {
            State::Requested => Some(self.refused(at)),
            State::CancelRequested => Some(paid().cancelled(rested, at)),
            State::ForceCancelled if !rested => Some(Change::told(Fact::ForceCancelled, paid())),
            _ => None,
        }
    }

    /// Whether it was ended while its saga was at the first step, so that its deal may not be stored yet.
    #[must_use]
    pub fn lacks_deal(&self) -> bool {
        self.deal.is_none() && matches!(self.state, State::CancelRequested | State::ForceCancelled)
    }

    /// Refunded, or nothing was to be. A reservation that never rested tells now that it was to be cancelled.
    #[must_use]
    pub fn cancelled(&self, rested: bool, at: Micros) -> Change {
        let cancelled = self.moved(State::Cancelled, at);
        if rested {
            Change::told(Fact::Cancelled, cancelled)
        } else {
            Change::both((Fact::CancelRequested, self.clone()), Fact::Cancelled, cancelled)
        }
    }

    /// What its customer's cancellation leads to; `charging` says that a charge is under way or its outcome unknown. `None`
    /// when there is nothing to cancel.
    #[must_use]
    pub fn cancel(&self, charging: bool, at: Micros) -> Option<Cancellation> {
        match self.state {
            State::CancelRequested | State::Cancelled => return Some(Cancellation::Already),
            State::Rejected | State::ForceCancelled | State::Expired | State::Completed => return None,
            State::Requested => {
                let next = self.moved(State::CancelRequested, at);
                return Some(Cancellation::Changes(Box::new(Change::untold(next)), Undo::Saga));
            }
            State::AwaitingApproval | State::AwaitingPayment | State::Confirmed => {}
        }
        let requested = Change::told(Fact::CancelRequested, self.moved(State::CancelRequested, at));
        let kept = self.agreed().policy.refund == Refund::None;
        let undo = match self.payment {
            _ if charging => Undo::Saga,
            None => Undo::Nobody,
            Some(_) if kept && self.is_paid() => Undo::Nobody,
            // Nothing was taken yet, but what is registered has to be void; payment passes the event over where nothing is
            // refunded.
            Some(_) if kept => Undo::Saga,
            Some(_) => Undo::Payment,
        };
        let change = match undo {
            Undo::Nobody => requested.next.cancelled(false, at),
            Undo::Payment | Undo::Saga => requested,
        };
        Some(Cancellation::Changes(Box::new(change), undo))
    }

    /// Whether an APPROVED payment has to exist: of a reservation that is paid and has not ended otherwise than COMPLETED.
    #[must_use]
    pub fn needs_payment(&self) -> bool {
        self.payment.is_some() && matches!(self.state, State::AwaitingApproval | State::Confirmed | State::Completed)
    }

    /// Whether an APPROVED payment may exist, for good or on its way to being refunded.
    #[must_use]
    pub fn may_be_paid(&self) -> bool {
        let keeps = || self.deal.as_ref().is_some_and(|deal| deal.policy.refund == Refund::None);
        self.state.is_open()
            || matches!(self.state, State::CancelRequested | State::Completed)
            || (self.state == State::Cancelled && keeps())
    }

    /// In a state that waits, with its time limit.
    fn awaiting(&self, state: State, payment: Option<Id>, at: Micros) -> Self {
        let policy = &self.agreed().policy;
        let limit = if state == State::AwaitingApproval { policy.approval_ttl } else { policy.payment_ttl };
        Self { payment, expires_at: Some(at.plus(limit)), ..self.moved(state, at) }
    }

    /// In another state, one version later, awaiting nothing.
    ///
    /// # Panics
    /// When the move does not exist: callers decide by the state they loaded.
    fn moved(&self, state: State, at: Micros) -> Self {
        assert!(self.state.may_become(state), "no move from {:?} to {state:?}", self.state);
        Self { state, version: self.version + 1, updated_at: at, expires_at: None, ..self.clone() }
    }
}
