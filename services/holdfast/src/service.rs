//! The services there are: names, ports, order.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Deserialize, Serialize};

/// Ports are this plus the service's offset, unless said otherwise.
pub(crate) const PORT_BASE: u16 = 7400;
/// The private NATS server's port is the base plus this.
pub(crate) const NATS_PORT_OFFSET: u16 = 22;

/// One of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Places, capacity, holds, reviews.
    Listing,
    /// The saga.
    Reservation,
    /// Charges and refunds.
    Payment,
    /// The ledger of miles.
    Mileage,
    /// Notifications.
    Message,
    /// What screens show.
    View,
}

impl Service {
    /// Every service, callees before callers.
    pub const ALL: [Self; 6] =
        [Self::Listing, Self::Reservation, Self::Payment, Self::Mileage, Self::Message, Self::View];

    /// The name in commands, tokens, flags and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listing => "listing",
            Self::Reservation => "reservation",
            Self::Payment => "payment",
            Self::Mileage => "mileage",
            Self::Message => "message",
            Self::View => "view",
        }
    }

    /// The full name of the gRPC service that users call.
    #[must_use]
    pub const fn rpc(self) -> &'static str {
        match self {
            Self::Listing => "holdfast.listing.v1.ListingService",
            Self::Reservation => "holdfast.reservation.v1.ReservationService",
            Self::Payment => "holdfast.payment.v1.PaymentService",
            Self::Mileage => "holdfast.mileage.v1.MileageService",
            Self::Message => "holdfast.message.v1.MessageService",
            Self::View => "holdfast.view.v1.ViewService",
        }
    }

    /// Where it listens when the ports begin at `base`.
    #[must_use]
    pub fn address(self, base: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, base + 1 + self as u16))
    }

    /// The names of all services, e.g. for their keys.
    #[must_use]
    pub fn names() -> [&'static str; 6] {
        Self::ALL.map(Self::name)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What `serve` is asked to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every service.
    All,
    /// This one.
    One(Service),
}

impl Selection {
    /// The selected services, each once, in the order of [`Service::ALL`].
    #[must_use]
    pub fn services(selected: &[Self]) -> Vec<Service> {
        let wanted = |service: &Service| selected.contains(&Self::All) || selected.contains(&Self::One(*service));
        Service::ALL.into_iter().filter(wanted).collect()
    }
}

impl ValueEnum for Selection {
    fn value_variants<'a>() -> &'a [Self] {
        const VARIANTS: [Selection; 7] = [
            Selection::All,
            Selection::One(Service::Listing),
            Selection::One(Service::Reservation),
            Selection::One(Service::Payment),
            Selection::One(Service::Mileage),
            Selection::One(Service::Message),
            Selection::One(Service::View),
        ];
        &VARIANTS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::All => PossibleValue::new("all").help("every service"),
            Self::One(service) => PossibleValue::new(service.name()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_names_each_service_once_and_in_order() {
        let one = Selection::One;
        assert_eq!(
            Selection::services(&[one(Service::View), one(Service::Listing), one(Service::View)]),
            [Service::Listing, Service::View]
        );
        assert_eq!(Selection::services(&[one(Service::View), Selection::All]), Service::ALL);
    }

    #[test]
    fn ports_follow_the_base() {
        let ports: Vec<u16> = Service::ALL.map(|service| service.address(PORT_BASE).port()).to_vec();
        assert_eq!(ports, [7401, 7402, 7403, 7404, 7405, 7406]);
    }
}
