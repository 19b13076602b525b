//! What mileage does when payment says something: earns what could not be earned with the payment, and takes back what a cancelled one earned.

use mesh::consumer::{ConsumerSpec, HandlerError, Repeats};
use mesh::event::{self, Received};
use mesh::store::{Conn, Micros};
use mesh::value::{id_of, user_of};
use proto::contract::Event;
use proto::payment::v1::{MileageAccrual, Payment, PaymentApproved, PaymentCancelled};

use crate::app;
use crate::domain::{Accrual, Error};
use crate::store;

/// The durable consumer of payment's events.
pub(crate) fn spec() -> ConsumerSpec {
    ConsumerSpec {
        stream: PaymentApproved::STREAM,
        durable: "mileage-on-payment",
        subjects: vec![event::filter::<PaymentApproved>(), event::filter::<PaymentCancelled>()],
        batch: 256,
        repeats: Repeats::Dropped,
    }
}

/// Handles a batch in its transaction. Most events are approvals whose miles are earned already: they touch no row.
pub(crate) fn handle(conn: &mut Conn, events: &[Received]) -> Result<(), HandlerError> {
    let now = Micros::now();
    for received in events {
        if received.is::<PaymentApproved>() {
            let payment = received.decode::<PaymentApproved>()?.payment.unwrap_or_default();
            if payment.mileage_accrual() == MileageAccrual::Pending {
                accrue(conn, received, &payment, now)?;
            }
        } else if received.is::<PaymentCancelled>() {
            let payment = received.decode::<PaymentCancelled>()?.payment.unwrap_or_default();
            // A payment that was never to earn anything has nothing to take back.
            if payment.mileage_points > 0 {
                reverse(conn, received, &payment, now)?;
            }
        }
    }
    Ok(())
}

fn accrue(conn: &mut Conn, received: &Received, payment: &Payment, now: Micros) -> Result<(), HandlerError> {
    let malformed = || HandlerError::Poison(format!("{} does not say who earns what", received.id));
    let accrual = Accrual {
        payment: id_of("payments", &payment.name).ok_or_else(malformed)?,
        reservation: id_of("reservations", &payment.reservation).ok_or_else(malformed)?,
        customer: user_of(&payment.customer).ok_or_else(malformed)?.to_owned(),
        points: payment.mileage_points,
    };
    if accrual.points <= 0 {
        return Err(malformed());
    }
    // Looked up first, because a rollback would undo the whole batch. The index still decides a race; the loser is handled again.
    match store::history(conn, accrual.payment)?.answer(&accrual) {
        None => app::accrue(conn, &accrual, Some(received.id), now).map(|_| ()).map_err(refused),
        // The call that was thought lost had arrived, or the payment is cancelled meanwhile.
        Some(Ok(_) | Err(Error::Reversed { .. })) => Ok(()),
        Some(Err(error)) => Err(refused(error)),
    }
}

fn reverse(conn: &mut Conn, received: &Received, payment: &Payment, now: Micros) -> Result<(), HandlerError> {
    let id = id_of("payments", &payment.name)
        .ok_or_else(|| HandlerError::Poison(format!("{} names no payment", received.id)))?;
    app::reverse(conn, id, Some(received.id), now).map(|_| ()).map_err(refused)
}

fn refused(error: Error) -> HandlerError {
    match error {
        Error::Raced | Error::Store(_) => HandlerError::Retry(error.to_string()),
        Error::Reversed { .. } | Error::Mismatch { .. } => HandlerError::Poison(error.to_string()),
    }
}
