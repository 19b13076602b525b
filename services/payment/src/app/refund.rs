//! The drive that gives money back, or sees to it that none is taken.

use mesh::crash_point;
use mesh::outbox;
use mesh::store::Id;
use proto::payment::v1::PaymentCancelled;

use super::{Payments, event, now, write};
use crate::NAME;
use crate::domain::{Error, LEASE, Payment};
use crate::drives::Running;
use crate::provider::Charge;
use crate::rpc::convert;
use crate::store::{self, Marked, Refund};

impl Payments {
    /// Marks the payment of a reservation, leased to whoever asked; from now on a charge is refused.
    pub(super) async fn request_refund(&self, reservation: Id) -> Result<Marked, Error> {
        let (now, tombstone) = (now(), Id::generate());
        let refund = Refund { reservation, by: reservation, keeps_approved: false, due_at: now.plus(LEASE), now };
        let marked = write(&self.store, move |conn| store::request_refund(conn, refund, tombstone)).await?;
        crash_point!("payment.refund.requested");
        Ok(marked)
    }

    /// Gives back what a marked payment took, once for all who want it at this moment.
    pub(crate) fn start_refund(&self, payment: Payment) -> Running<Result<Payment, Error>> {
        let this = self.clone();
        self.refunds.join_or_start(payment.id, || async move { this.undo(payment, None).await })
    }

    /// Undoes its attempt at the provider, if that was asked for one which it has not declined, and stores that. `reference` is the
    /// provider's, where the row does not have it.
    pub(super) async fn undo(&self, payment: Payment, reference: Option<String>) -> Result<Payment, Error> {
        if payment.may_take_money() {
            let known = reference.as_deref().or(payment.reference());
            crash_point!("payment.refund.calling");
            let undone = self.provider.undo(&Charge::from(&payment), known).await;
            crash_point!("payment.refund.answered");
            if let Err(error) = undone {
                tracing::warn!(payment = %payment.id, error = &error as &dyn std::error::Error, "refund not settled yet");
                self.try_again_later(&payment).await?;
                return Err(Error::ProviderUnavailable);
            }
        }
        let (id, now) = (payment.id, now());
        let cancelled = write(&self.store, move |conn| {
            let Some(cancelled) = store::cancel(conn, id, now)? else { return Ok(None) };
            let done = PaymentCancelled { payment: Some(convert::payment(&cancelled)) };
            outbox::push(conn, NAME, &event(&done, &cancelled, cancelled.refund_causation()))?;
            crash_point!("payment.refund.uncommitted");
            Ok(Some(cancelled))
        })
        .await?;
        crash_point!("payment.refund.committed");
        match cancelled {
            Some(cancelled) => {
                self.log.note(&cancelled);
                Ok(cancelled)
            }
            // Somebody else stored it first.
            None => write(&self.store, move |conn| store::find(conn, id)).await.map(|found| found.unwrap_or(payment)),
        }
    }
}
