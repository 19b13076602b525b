//! The deal a reservation is made under, and what it asks for next.

use std::time::Duration;

use mesh::value::Money;

/// Whether the host has to approve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// No.
    None,
    /// Yes; nothing is paid before.
    BeforePayment,
    /// Yes, once it is paid.
    AfterPayment,
}

/// When it is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payment {
    /// Never.
    None,
    /// With the reservation.
    AtBooking,
    /// When the host approves.
    OnApproval,
    /// By its customer, later.
    Deferred,
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

/// What a customer who cancels gets back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refund {
    /// Nothing.
    None,
    /// All, if it can be before the answer.
    Sync,
    /// All, soon after.
    Async,
}

/// What reservation decides by. The rest of a listing's policy is for others: see [`Described::policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether the host has to approve.
    pub approval: Approval,
    /// When it is paid.
    pub payment: Payment,
    /// Whether a reservation that is paid at booking waits while payment is down, instead of being undone.
    pub waits_for_payment: bool,
    /// How miles are earned.
    pub mileage: Mileage,
    /// What a customer who cancels gets back.
    pub refund: Refund,
    /// Open reservations of the listing that one customer may have; 0 for any number.
    pub max_per_person: i32,
    /// How long the host has to approve.
    pub approval_ttl: Duration,
    /// How long the customer has to pay.
    pub payment_ttl: Duration,
}

impl Default for Policy {
    /// A room's, without miles.
    fn default() -> Self {
        Self {
            approval: Approval::None,
            payment: Payment::AtBooking,
            waits_for_payment: false,
            mileage: Mileage::None,
            refund: Refund::Async,
            max_per_person: 0,
            approval_ttl: Duration::from_hours(24),
            payment_ttl: Duration::from_hours(24),
        }
    }
}

/// What listing promised when it took the places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deal {
    /// What it costs.
    pub total: Money,
    /// The subject of the listing's host.
    pub host: String,
    /// What it asks for.
    pub policy: Policy,
    /// What it is about.
    pub described: Described,
}

/// The listing as it was, for whoever reads the reservation; nothing is decided by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// Its title.
    pub title: String,
    /// What it is, as the contract numbers it.
    pub kind: i32,
    /// Where it was.
    pub region: String,
    /// The language its host is written to.
    pub host_language: String,
    /// All of its policy, as the contract encodes it.
    pub policy: Vec<u8>,
}

/// What payment has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Nothing,
    /// Take the money.
    Charge,
    /// Know of what will be paid.
    Register,
}

impl Deal {
    /// Whether it is never paid.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.total.is_zero() || self.policy.payment == Payment::None
    }

    /// Once the place is held.
    #[must_use]
    pub fn at_booking(&self) -> Next {
        match self.policy.payment {
            _ if self.is_free() || self.policy.approval == Approval::BeforePayment => Next::Nothing,
            Payment::Deferred => Next::Register,
            _ => Next::Charge,
        }
    }

    /// When the host approves.
    #[must_use]
    pub fn on_approval(&self) -> Next {
        match self.policy.payment {
            _ if self.is_free() || self.policy.approval != Approval::BeforePayment => Next::Nothing,
            Payment::Deferred => Next::Register,
            _ => Next::Charge,
        }
    }

    /// Whether it is charged with the method given at booking.
    #[must_use]
    pub fn needs_method(&self) -> bool {
        self.at_booking() == Next::Charge || self.on_approval() == Next::Charge
    }

    /// Whether the reservation waits when it cannot be charged at booking.
    #[must_use]
    pub fn waits_for_payment(&self) -> bool {
        self.policy.waits_for_payment && self.at_booking() == Next::Charge
    }
}
