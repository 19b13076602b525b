//! Recording a payment that is charged later.
//!
//! Nothing is asked of the provider and no event is published: that a payment is registered says nothing about money.

use mesh::crash_point;
use mesh::store::Id;

use super::{Payments, now, write};
use crate::domain::{Error, Payment, Registration};
use crate::store::{self, Opened};

impl Payments {
    /// Records the payment of a reservation, once; a repeat gets it as it is by then.
    ///
    /// # Cancel safety
    /// Safe: a repeat finds what was stored.
    pub(crate) async fn register(&self, registration: Registration) -> Result<Payment, Error> {
        let payment = Payment::registered(Id::generate(), registration.clone(), now());
        let opened = write(&self.store, |conn| store::open(conn, payment)).await?;
        crash_point!("payment.registered");
        match opened {
            Opened::New(payment) => Ok(payment),
            Opened::Found(payment) => payment.check(&registration.customer, registration.amount).map(|()| payment),
        }
    }
}
