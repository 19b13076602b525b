//! What voucher does when reservation says something.

use mesh::consumer::{ConsumerSpec, HandlerError, Repeats};
use mesh::event::{Received, filter};
use mesh::store::{Conn, Id, Micros};
use mesh::value::{id_of, user_of};
use proto::contract::Event;
use proto::listing::v1::reservation_policy;
use proto::reservation::v1::{Reservation, ReservationCancelled, ReservationConfirmed, ReservationForceCancelled};

use crate::app;
use crate::domain::{Effect, News, Reserved, State, TicketNumber, Voucher};

/// The durable consumer of reservation's events. One that is completed keeps its voucher, so that event is none of voucher's.
pub(crate) fn spec() -> ConsumerSpec {
    ConsumerSpec {
        stream: ReservationConfirmed::STREAM,
        durable: "voucher-on-reservation",
        subjects: vec![
            filter::<ReservationConfirmed>(),
            filter::<ReservationCancelled>(),
            filter::<ReservationForceCancelled>(),
        ],
        batch: 256,
        // Rows are keyed by the reservation and move only once.
        repeats: Repeats::Harmless,
    }
}

/// Handles a batch in its transaction. A ticket number that exists already fails it: handled again, it gets another.
pub(crate) fn handle(conn: &mut Conn, events: &[Received]) -> Result<(), HandlerError> {
    let now = Micros::now();
    for received in events {
        let (news, told) = match received.kind.as_str() {
            ReservationConfirmed::TYPE => {
                let told = received.decode::<ReservationConfirmed>()?.reservation.unwrap_or_default();
                (News::Confirmed { paid: !told.payment.is_empty() }, told)
            }
            ReservationCancelled::TYPE => {
                (News::Cancelled, received.decode::<ReservationCancelled>()?.reservation.unwrap_or_default())
            }
            ReservationForceCancelled::TYPE => {
                (News::Cancelled, received.decode::<ReservationForceCancelled>()?.reservation.unwrap_or_default())
            }
            _ => continue,
        };
        // One that was cancelled while it was being made has no deal yet: no policy and no host.
        let Some(effect) = news.effect(is_promised(&told)) else { continue };
        let reserved = reserved(received, &told).ok_or_else(|| {
            HandlerError::Poison(format!("{} {} lacks what a voucher needs", received.kind, received.id))
        })?;
        match effect {
            Effect::Issue => app::issue(conn, &voucher(reserved, now), received)?,
            Effect::Cancel => app::cancel(conn, &voucher(reserved, now), received)?,
        }
    }
    Ok(())
}

fn is_promised(told: &Reservation) -> bool {
    told.policy.as_ref().is_some_and(|policy| policy.voucher() == reservation_policy::Voucher::OnPayment)
}

fn reserved(received: &Received, told: &Reservation) -> Option<Reserved> {
    Some(Reserved {
        reservation: id_of("reservations", &told.name)?,
        version: received.version,
        customer: user_of(&told.customer)?.to_owned(),
        host: user_of(&told.host)?.to_owned(),
        listing: id_of("listings", &told.listing)?,
        listing_display_name: told.listing_display_name.clone(),
    })
}

/// A new one. Its number comes from the operating system's cryptographic generator, by way of a stream cipher.
fn voucher(reserved: Reserved, now: Micros) -> Voucher {
    Voucher {
        id: Id::generate(),
        reserved,
        number: TicketNumber::new(rand::random()),
        state: State::Issued,
        version: 1,
        created_at: now,
        updated_at: now,
    }
}
