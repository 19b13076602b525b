//! The ten states and the moves between them.

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Recorded; its saga runs.
    Requested,
    /// Held; its host has to approve.
    AwaitingApproval,
    /// Held; its customer has to pay, or the payment is being tried.
    AwaitingPayment,
    /// Held, and approved and paid as far as its policy asks for it.
    Confirmed,
    /// Cancelled by its customer; what was done is being undone.
    CancelRequested,
    /// Cancelled; nothing is held, and refunded is what the policy refunds.
    Cancelled,
    /// Refused, or rejected by its host; nothing is held, nothing stays paid.
    Rejected,
    /// Cancelled because its listing was deleted.
    ForceCancelled,
    /// Not approved or not paid in time.
    Expired,
    /// Over.
    Completed,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Requested,
        Self::AwaitingApproval,
        Self::AwaitingPayment,
        Self::Confirmed,
        Self::CancelRequested,
        Self::Cancelled,
        Self::Rejected,
        Self::ForceCancelled,
        Self::Expired,
        Self::Completed,
    ];

    /// Whether the move exists.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Requested => matches!(
                next,
                Self::AwaitingApproval
                    | Self::AwaitingPayment
                    | Self::Confirmed
                    | Self::Rejected
                    | Self::CancelRequested
                    | Self::ForceCancelled
            ),
            Self::AwaitingApproval => matches!(
                next,
                Self::AwaitingPayment
                    | Self::Confirmed
                    | Self::Rejected
                    | Self::Expired
                    | Self::CancelRequested
                    | Self::ForceCancelled
            ),
            Self::AwaitingPayment => matches!(
                next,
                Self::AwaitingApproval
                    | Self::Confirmed
                    | Self::Rejected
                    | Self::Expired
                    | Self::CancelRequested
                    | Self::ForceCancelled
            ),
            Self::Confirmed => matches!(next, Self::Completed | Self::CancelRequested | Self::ForceCancelled),
            Self::CancelRequested => matches!(next, Self::Cancelled),
            Self::Cancelled | Self::Rejected | Self::ForceCancelled | Self::Expired | Self::Completed => false,
        }
    }

    /// Whether it waits for somebody, for a limited time.
    #[must_use]
    pub const fn awaits(self) -> bool {
        matches!(self, Self::AwaitingApproval | Self::AwaitingPayment)
    }

    /// Whether it rests and has its place for sure. In REQUESTED and CANCEL_REQUESTED it may have one.
    #[must_use]
    pub const fn has_place(self) -> bool {
        matches!(self, Self::AwaitingApproval | Self::AwaitingPayment | Self::Confirmed)
    }

    /// Whether the deletion of its listing ends it; also what counts against a limit, once the place is held.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Requested) || self.has_place()
    }

    /// Whether no move leads on.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !self.is_open() && !matches!(self, Self::CancelRequested)
    }

    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::AwaitingApproval => "AWAITING_APPROVAL",
            Self::AwaitingPayment => "AWAITING_PAYMENT",
            Self::Confirmed => "CONFIRMED",
            Self::CancelRequested => "CANCEL_REQUESTED",
            Self::Cancelled => "CANCELLED",
            Self::Rejected => "REJECTED",
            Self::ForceCancelled => "FORCE_CANCELLED",
            Self::Expired => "EXPIRED",
            Self::Completed => "COMPLETED",
        }
    }

    /// The state stored so.
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}
