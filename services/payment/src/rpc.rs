//! gRPC in and out: conversions, ownership, and the one table from errors to answers.

pub(crate) mod convert;

use std::time::Duration;

use mesh::fault::{Fault, reason};
use mesh::identity::{Principal, principal};
use mesh::store::StoreError;
use mesh::value::{Page, PageSize, id_of};
use proto::contract::Role;
use proto::payment::v1::charge_service_server::ChargeService;
use proto::payment::v1::payment_service_server::PaymentService;
use proto::payment::v1::{
    ChargePaymentRequest, ChargePaymentResponse, GetPaymentRequest, GetPaymentResponse, ListPaymentsRequest,
    ListPaymentsResponse, RefundPaymentRequest, RefundPaymentResponse, RegisterPaymentRequest, RegisterPaymentResponse,
};
use tonic::{Request, Response, Status};

use crate::app::{Payments, name};
use crate::domain::Error;

const SOON: Duration = Duration::from_millis(200);
const LATER: Duration = Duration::from_secs(1);

/// Both services of the contract.
#[derive(Clone)]
pub(crate) struct Rpc(Payments);

impl Rpc {
    pub(crate) fn new(payments: Payments) -> Self {
        Self(payments)
    }
}

#[tonic::async_trait]
impl PaymentService for Rpc {
    async fn get_payment(&self, request: Request<GetPaymentRequest>) -> Result<Response<GetPaymentResponse>, Status> {
        let caller = principal(&request)?;
        let wanted = request.into_inner().name;
        let absent = || Error::NotFound { name: wanted.clone() };
        let id = id_of("payments", &wanted).ok_or_else(absent).map_err(Fault::from)?;
        let payment =
            self.0.get(id, owner(&caller)?).await.and_then(|found| found.ok_or_else(absent)).map_err(Fault::from)?;
        Ok(Response::new(GetPaymentResponse { payment: Some(convert::payment(&payment)) }))
    }

    async fn list_payments(
        &self,
        request: Request<ListPaymentsRequest>,
    ) -> Result<Response<ListPaymentsResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.into_inner();
        let owner = owner(&caller)?;
        let query = ["payments", owner.as_deref().unwrap_or_default()];
        let page = Page::parse(PageSize::STANDARD, request.page_size, &request.page_token, &query)?;
        let mut payments = self.0.list(owner, page).await.map_err(Fault::from)?;
        let next_page_token = page.cut(&mut payments, |payment| payment.id);
        Ok(Response::new(ListPaymentsResponse {
            payments: payments.iter().map(convert::payment).collect(),
            next_page_token,
        }))
    }
}

#[tonic::async_trait]
impl ChargeService for Rpc {
    async fn register_payment(
        &self,
        request: Request<RegisterPaymentRequest>,
    ) -> Result<Response<RegisterPaymentResponse>, Status> {
        let registration = convert::registration(request.into_inner())?;
        let payment = self.0.register(registration).await.map_err(Fault::from)?;
        Ok(Response::new(RegisterPaymentResponse { payment: Some(convert::payment(&payment)) }))
    }

    async fn charge_payment(
        &self,
        request: Request<ChargePaymentRequest>,
    ) -> Result<Response<ChargePaymentResponse>, Status> {
        let order = convert::order(request.into_inner())?;
        let payment = self.0.charge(order).await.map_err(Fault::from)?;
        Ok(Response::new(ChargePaymentResponse { payment: Some(convert::payment(&payment)) }))
    }

    async fn refund_payment(
        &self,
        request: Request<RefundPaymentRequest>,
    ) -> Result<Response<RefundPaymentResponse>, Status> {
        let reservation = convert::reservation(&request.into_inner().reservation)?;
        let payment = self.0.refund(reservation).await.map_err(Fault::from)?;
        Ok(Response::new(RefundPaymentResponse { payment: payment.as_ref().map(convert::payment) }))
    }
}

/// Whose payments the caller may read: a customer's own, an operator's all (`None`).
fn owner(caller: &Principal) -> Result<Option<String>, Fault> {
    if caller.has_role(Role::Operator) {
        return Ok(None);
    }
    let user = caller.user_id().ok_or_else(|| Fault::denied(reason::NOT_ALLOWED, "only users have payments"))?;
    Ok(Some(user.to_owned()))
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::NotFound { name } => Self::not_found("PAYMENT_NOT_FOUND", "payment", name),
            Error::Declined { payment, code } => {
                Self::precondition("PAYMENT_DECLINED", "PAYMENT", name(payment), message).with("decline_code", code)
            }
            Error::Cancelled { payment } => Self::precondition("PAYMENT_CANCELLED", "PAYMENT", name(payment), message),
            Error::Mismatch { payment } => Self::precondition("PAYMENT_MISMATCH", "PAYMENT", name(payment), message),
            Error::MethodUnknown => Self::invalid("payment_method", "PAYMENT_METHOD_UNKNOWN", message),
            Error::InProgress => Self::aborted("PAYMENT_IN_PROGRESS", message).retry_after(SOON),
            Error::Overloaded => Self::unavailable(reason::OVERLOADED, message, SOON),
            Error::ProviderUnavailable => Self::unavailable("PROVIDER_UNAVAILABLE", message, LATER),
            Error::MileageUnavailable => Self::unavailable("MILEAGE_UNAVAILABLE", message, LATER),
            Error::Store(error) => match &*error {
                StoreError::Deadline => Self::deadline_exceeded(message),
                StoreError::Busy | StoreError::Closed => Self::unavailable("STORE_UNAVAILABLE", message, SOON),
                StoreError::Database(cause) => {
                    tracing::error!(error = cause as &dyn std::error::Error, "the database failed");
                    Self::unavailable("STORE_UNAVAILABLE", message, LATER)
                }
            },
        }
    }
}
