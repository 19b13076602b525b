//! What the contracts say besides their shapes, in a form the program can use.
//!
//! Everything here is read from the `.proto` files when this crate is built: who may call an RPC and how long it may
//! take ([`METHODS`]), which values a request may carry ([`Validate`]), where an event is published ([`Event`]), and the
//! encoded descriptors that reflection serves ([`FILE_DESCRIPTOR_SET`]). An RPC without an access rule, or a validation
//! rule this crate cannot enforce, fails the build: nothing that the contract promises is left to a reviewer's eye.

use std::{fmt, str::FromStr};

pub use crate::validation::{FieldPath, Validate, Violation};

/// Descriptors of every contract, encoded, custom options included.
///
/// Keep them encoded: decoding into `prost_types` drops the options.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));

include!(concat!(env!("OUT_DIR"), "/methods.rs"));

#[cfg(feature = "reencode")]
include!(concat!(env!("OUT_DIR"), "/reencode.rs"));

/// What a user may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Books for themselves.
    Customer,
    /// Offers listings and sees the reservations on them.
    Host,
    /// Runs the platform: reads everything, mends what is stuck.
    Operator,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Customer, Self::Host, Self::Operator];

    /// The name used in tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Host => "host",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownRole;

impl fmt::Display for UnknownRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected customer, host or operator")
    }
}

impl std::error::Error for UnknownRole {}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// How long a call may take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlineBudget {
    /// Used when the caller names no deadline.
    pub default_ms: u32,
    /// Longer deadlines are cut to this.
    pub max_ms: u32,
    /// A call with less left is refused before any work.
    pub min_ms: u32,
}

/// What a server under pressure finds room for: the higher, the later refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Begins something.
    New,
    /// Only looks.
    Read,
    /// Carries on or ends what was begun.
    Finish,
    /// Runs the platform. Never refused for want of room.
    Admin,
}

impl Priority {
    /// Every priority, the first to be refused first.
    pub const ALL: [Self; 4] = [Self::New, Self::Read, Self::Finish, Self::Admin];

    /// The name in telemetry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Read => "read",
            Self::Finish => "finish",
            Self::Admin => "admin",
        }
    }
}

/// One RPC's rules: `holdfast.options.v1.access`, `.deadline`, `.priority` and the standard `idempotency_level`.
#[derive(Clone, Copy, Debug)]
pub struct MethodRule {
    /// The HTTP/2 path, e.g. `/holdfast.listing.v1.ListingService/GetListing`.
    pub path: &'static str,
    /// Users with any of these roles may call.
    pub roles: &'static [Role],
    /// Services that may call.
    pub services: &'static [&'static str],
    /// How long it may take.
    pub deadline: DeadlineBudget,
    /// What a server under pressure makes of it.
    pub priority: Priority,
    /// Reads only.
    pub no_side_effects: bool,
    /// Repeating it changes nothing more.
    pub idempotent: bool,
}

/// A message that is published as an event.
///
/// Implemented by the build for every message with the option `holdfast.options.v1.event`.
pub trait Event: prost::Message + Default {
    /// The full name, e.g. `holdfast.reservation.v1.ReservationConfirmed`.
    const TYPE: &'static str;
    /// The JetStream stream, e.g. `RESERVATION`.
    const STREAM: &'static str;
    /// The subject without its last token, which is the aggregate's id.
    const SUBJECT: &'static str;

    /// The resource name of the aggregate it is about, e.g. `reservations/0190…`; empty when the message lacks it.
    fn key(&self) -> &str;
}
