//! What reservation tells of its reservations.

use mesh::event::NewEvent;
use mesh::store::{Id, Micros};
use mesh::value::format_name;
use proto::contract::Event;
use proto::listing::v1::{ReservationPolicy, reservation_policy};
use proto::reservation::v1::{
    Reservation, ReservationCancelled, ReservationCompleted, ReservationConfirmed, ReservationForceCancelled,
};

/// A reservation of a resort by `alice`, with `hana` as host, paid and with a voucher promised.
pub(crate) fn reservation() -> Reservation {
    Reservation {
        name: format_name("reservations", Id::generate()),
        listing: format_name("listings", Id::generate()),
        customer: "users/alice".to_owned(),
        host: "users/hana".to_owned(),
        listing_display_name: "Seorak Resort".to_owned(),
        payment: format_name("payments", Id::generate()),
        policy: Some(policy(reservation_policy::Voucher::OnPayment)),
        ..Default::default()
    }
}

pub(crate) fn policy(voucher: reservation_policy::Voucher) -> ReservationPolicy {
    ReservationPolicy { voucher: voucher.into(), ..Default::default() }
}

/// Its events carry consecutive versions: requested 1, confirmed 2, cancel requested 3, cancelled 4.
pub(crate) fn confirmed(told: &Reservation) -> NewEvent {
    event(&ReservationConfirmed { reservation: Some(told.clone()) }, 2)
}

pub(crate) fn completed(told: &Reservation) -> NewEvent {
    event(&ReservationCompleted { reservation: Some(told.clone()) }, 3)
}

pub(crate) fn force_cancelled(told: &Reservation) -> NewEvent {
    event(&ReservationForceCancelled { reservation: Some(told.clone()) }, 3)
}

pub(crate) fn cancelled(told: &Reservation) -> NewEvent {
    event(&ReservationCancelled { reservation: Some(told.clone()) }, 4)
}

/// The same event once more, as another one: what an inbox would not notice.
pub(crate) fn again(event: &NewEvent) -> NewEvent {
    NewEvent { id: Id::generate(), ..event.clone() }
}

fn event<E: Event>(event: &E, version: i64) -> NewEvent {
    let reservation = event.key().rsplit('/').next().expect("reservations/{reservation}");
    NewEvent::of(event, Id::generate(), version, reservation, None, Micros::now())
}
