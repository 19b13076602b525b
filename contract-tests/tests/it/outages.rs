//! What callers are told while something is down, and what happens when it is back. The table of ARCHITECTURE.md, row by row.

mod broker;
mod clock;
mod crashes;
mod database;
mod events;
mod network;
mod provider;
mod services;

use mesh::testing::eventually;
use proto::reservation::v1::{CreateReservationRequest, Reservation, reservation::State};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use world::{
    PATIENCE,
    caller::{Caller, reason},
};

/// Come back, and when.
pub(crate) fn come_back(status: &Status, expected: &str) {
    assert_eq!((status.code(), reason(status).as_str()), (Code::Unavailable, expected), "{status:?}");
    invited(status);
}

/// Told when to come back, whatever the reason.
pub(crate) fn invited(status: &Status) {
    assert!(matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Aborted), "{status:?}");
    assert!(status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()), "{status:?}");
}

/// Repeats the same request, as told, until it is confirmed.
pub(crate) async fn until_booked(guest: &Caller, request: &CreateReservationRequest) -> Reservation {
    let booked = eventually(PATIENCE, || async { guest.reserve(request).await.ok() }).await;
    assert_eq!(booked.state(), State::Confirmed);
    booked
}

/// Everything a customer is shown of a cancelled or confirmed reservation is there, once: the two or four messages, the trip's state.
pub(crate) async fn until_complete(guest: &Caller, reservation: &Reservation) {
    let messages = if reservation.state() == State::Cancelled { 4 } else { 2 };
    assert_eq!(guest.until_told(&reservation.name, messages).await.len(), messages, "each message once");
    guest
        .until_trip(&reservation.name, |trip| {
            trip.reservation.as_ref().is_some_and(|shown| shown.state() == reservation.state())
        })
        .await;
}
