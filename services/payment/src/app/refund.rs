//! The drive that gives money back, or sees to it that none is taken.

use mesh::outbox;
use mesh::store::Id;
use proto::payment::v1::PaymentCancelled;

use super::{Payments, event, now, write};
use crate::NAME;
use crate::domain::{Error, LEASE, Payment, next_attempt};
use crate::drives::Running;
use crate::provider::Charge;
use crate::rpc::convert;
use crate::store::{self, Marked};

impl Payments {
    /// Marks the payment of a reservation, leased to whoever asked; from now on a charge is refused.
    pub(super) async fn request_refund(&self, reservation: Id) -> Result<Marked, Error> {
        let (now, tombstone) = (now(), Id::generate());
        write(&self.store, move |conn| {
            store::request_refund(conn, reservation, reservation, tombstone, now.plus(LEASE), now)
        })
        .await
    }

    /// Gives back what a marked payment took, once for all who want it at this moment.
    pub(crate) fn start_refund(&self, payment: Payment) -> Running<Result<Payment, Error>> {
        let this = self.clone();
        self.refunds.join_or_start(payment.id, || async move { this.undo(payment, None).await })
    }

    /// Undoes it at the provider and stores that. `reference` is the provider's, where the row does not have it.
    pub(super) async fn undo(&self, payment: Payment, reference: Option<String>) -> Result<Payment, Error> {
        let charge = Charge::from(&payment);
        let known = reference.as_deref().or(payment.reference());
        if let Err(error) = self.provider.undo(&charge, known).await {
            tracing::warn!(payment = %payment.id, error = &error as &dyn std::error::Error, "refund not settled yet");
            let (id, next) = (payment.id, next_attempt(payment.updated_at, now()));
            write(&self.store, move |conn| store::release(conn, id, next)).await?;
            return Err(Error::ProviderUnavailable);
        }
        let (id, now) = (payment.id, now());
        let cancelled = write(&self.store, move |conn| {
            let Some(cancelled) = store::cancel(conn, id, now)? else { return Ok(None) };
            let done = PaymentCancelled { payment: Some(convert::payment(&cancelled)) };
            outbox::push(conn, NAME, &event(&done, &cancelled, cancelled.refund_causation()))?;
            Ok(Some(cancelled))
        })
        .await?;
        match cancelled {
            Some(cancelled) => Ok(cancelled),
            // Somebody else stored it first.
            None => write(&self.store, move |conn| store::find(conn, id)).await.map(|found| found.unwrap_or(payment)),
        }
    }
}
