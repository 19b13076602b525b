//! The services there are: names, ports, tables, order.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use clap::ValueEnum;
use clap::builder::PossibleValue;
use mesh::store::Migrations;
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
    /// Tickets.
    Voucher,
    /// Demand. No part of the mesh: it runs only where it is named.
    Marketing,
}

impl Service {
    /// Every service of the mesh, callees before callers.
    pub const ALL: [Self; 7] =
        [Self::Listing, Self::Reservation, Self::Payment, Self::Mileage, Self::Message, Self::View, Self::Voucher];
    /// Services that others have added to the mesh.
    pub const ADDED: [Self; 1] = [Self::Marketing];

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
            Self::Voucher => "voucher",
            Self::Marketing => "marketing",
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
            Self::Voucher => "holdfast.voucher.v1.VoucherService",
            Self::Marketing => "holdfast.marketing.v1.MarketingService",
        }
    }

    /// Its tables.
    #[must_use]
    pub const fn migrations(self) -> Migrations {
        match self {
            Self::Listing => listing::MIGRATIONS,
            Self::Reservation => reservation::MIGRATIONS,
            Self::Payment => payment::MIGRATIONS,
            Self::Mileage => mileage::MIGRATIONS,
            Self::Message => message::MIGRATIONS,
            Self::View => view::MIGRATIONS,
            Self::Voucher => voucher::MIGRATIONS,
            Self::Marketing => marketing::MIGRATIONS,
        }
    }

    /// Where it listens when the ports begin at `base`.
    #[must_use]
    pub fn address(self, base: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, base + 1 + self as u16))
    }

    /// The names of all services, added ones too, e.g. for their keys.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        Self::ALL.into_iter().chain(Self::ADDED).map(Self::name).collect()
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
    /// Every service of the mesh.
    All,
    /// This one.
    One(Service),
}

impl Selection {
    /// The selected services, each once, in the order of [`Service::ALL`], added ones last.
    #[must_use]
    pub fn services(selected: &[Self]) -> Vec<Service> {
        let mesh = Service::ALL.into_iter().map(|service| (service, selected.contains(&Self::All)));
        let added = Service::ADDED.into_iter().map(|service| (service, false));
        let wanted = |(service, by_all)| (by_all || selected.contains(&Self::One(service))).then_some(service);
        mesh.chain(added).filter_map(wanted).collect()
    }
}

impl ValueEnum for Selection {
    fn value_variants<'a>() -> &'a [Self] {
        const VARIANTS: [Selection; 9] = [
            Selection::All,
            Selection::One(Service::Listing),
            Selection::One(Service::Reservation),
            Selection::One(Service::Payment),
            Selection::One(Service::Mileage),
            Selection::One(Service::Message),
            Selection::One(Service::View),
            Selection::One(Service::Voucher),
            Selection::One(Service::Marketing),
        ];
        &VARIANTS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::All => PossibleValue::new("all").help("every service of the mesh"),
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
        let named = Selection::services(&[one(Service::Marketing), one(Service::Voucher)]);
        assert_eq!(named, [Service::Voucher, Service::Marketing]);
    }

    /// A27: each service has a port of its own.
    #[test]
    fn ports_follow_the_base() {
        let services = Service::ALL.into_iter().chain(Service::ADDED);
        assert!(services.map(|service| service.address(PORT_BASE).port()).eq(7401..=7408));
    }
}
