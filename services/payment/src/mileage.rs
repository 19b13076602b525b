//! Earning miles at the mileage service, in a short time or not at all.

use std::time::Duration;

use mesh::client::Channel;
use mesh::value::{format_name, format_user};
use proto::mileage::v1::AccrueMileageRequest;
use proto::mileage::v1::accrual_service_client::AccrualServiceClient;
use tonic::{Request, Status};

use crate::domain::Payment;

/// The client.
#[derive(Clone)]
pub(crate) struct MileageClient {
    client: AccrualServiceClient<Channel>,
    timeout: Duration,
}

impl MileageClient {
    pub(crate) fn new(channel: Channel, timeout: Duration) -> Self {
        Self { client: AccrualServiceClient::new(channel), timeout }
    }

    /// Earns the payment's miles, once.
    ///
    /// # Cancel safety
    /// A dropped call may have earned them; `PaymentApproved` or `PaymentCancelled` puts that right.
    pub(crate) async fn accrue(&self, payment: &Payment) -> Result<(), Status> {
        let mut request = Request::new(AccrueMileageRequest {
            payment: format_name("payments", payment.id),
            reservation: format_name("reservations", payment.reservation),
            customer: format_user(&payment.customer),
            points: payment.mileage_points,
        });
        request.set_timeout(self.timeout);
        self.client.clone().accrue_mileage(request).await.map(|_| ())
    }
}
