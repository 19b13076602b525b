//! What reservation and mileage tell of a booking and of its cancellation.

use mesh::event::NewEvent;
use mesh::store::{Id, Micros};
use mesh::value::{Currency, Day, Money, format_name};
use proto::contract::Event;
use proto::listing::v1::Stay;
use proto::mileage::v1::{MileageDecreased, MileageEntry, MileageIncreased, mileage_entry};
use proto::reservation::v1::reservation::{self, Slot};
use proto::reservation::v1::{Reservation, ReservationCancelled, ReservationConfirmed};

/// One reservation that earns 30 miles.
#[derive(Clone, Debug)]
pub(crate) struct Booking {
    pub(crate) reservation: Id,
    customer: &'static str,
}

impl Booking {
    pub(crate) fn of(customer: &'static str) -> Self {
        Self { reservation: Id::generate(), customer }
    }

    pub(crate) fn name(&self) -> String {
        format_name("reservations", self.reservation)
    }

    pub(crate) fn made(&self) -> Vec<NewEvent> {
        let confirmed = ReservationConfirmed { reservation: Some(self.told(reservation::State::Confirmed)) };
        vec![
            self.event(&confirmed, 2),
            self.event(&MileageIncreased { mileage_entry: Some(self.miles(mileage_entry::Kind::Accrual, 30)) }, 1),
        ]
    }

    pub(crate) fn cancelled(&self) -> Vec<NewEvent> {
        let cancelled = ReservationCancelled { reservation: Some(self.told(reservation::State::Cancelled)) };
        vec![
            self.event(&cancelled, 4),
            self.event(&MileageDecreased { mileage_entry: Some(self.miles(mileage_entry::Kind::Reversal, -30)) }, 1),
        ]
    }

    /// The reservation, as its events show it.
    pub(crate) fn told(&self, state: reservation::State) -> Reservation {
        let first = Day::from_number(20_000);
        Reservation {
            name: self.name(),
            listing: format_name("listings", Id::generate()),
            slot: Some(Slot::Stay(Stay {
                check_in_date: Some(first.into()),
                check_out_date: Some(first.plus(2).into()),
            })),
            units: 1,
            persons: 2,
            customer: self.customer.to_owned(),
            host: "users/henry".to_owned(),
            listing_display_name: "Sea View".to_owned(),
            state: state.into(),
            total: Some(Money::from_minor(120_000, Currency::KRW).into()),
            payment: format_name("payments", Id::generate()),
            ..Reservation::default()
        }
    }

    pub(crate) fn miles(&self, kind: mileage_entry::Kind, points: i64) -> MileageEntry {
        MileageEntry {
            name: format!("{}/mileageEntries/{}", self.customer, Id::generate()),
            kind: kind.into(),
            points,
            balance: points.max(0),
            payment: format_name("payments", Id::generate()),
            reservation: self.name(),
            create_time: None,
        }
    }

    pub(crate) fn event(&self, event: &impl Event, version: i64) -> NewEvent {
        NewEvent::of(event, Id::generate(), version, &self.reservation.to_string(), None, Micros::now())
    }
}
