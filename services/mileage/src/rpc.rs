//! gRPC in and out: conversions, ownership, and the one table from errors to answers.

pub(crate) mod convert;

use std::time::Duration;

use mesh::fault::{Fault, reason};
use mesh::identity::{Principal, principal};
use mesh::store::StoreError;
use mesh::value::{Page, PageSize, format_name};
use proto::contract::Role;
use proto::mileage::v1::accrual_service_server::AccrualService;
use proto::mileage::v1::mileage_service_server::MileageService;
use proto::mileage::v1::{
    AccrueMileageRequest, AccrueMileageResponse, GetMileageAccountRequest, GetMileageAccountResponse,
    ListMileageEntriesRequest, ListMileageEntriesResponse, ReverseMileageRequest, ReverseMileageResponse,
};
use tonic::{Request, Response, Status};

use crate::app::Miles;
use crate::domain::Error;

const SOON: Duration = Duration::from_millis(200);
const LATER: Duration = Duration::from_secs(1);

/// Both services of the contract.
#[derive(Clone)]
pub(crate) struct Rpc(Miles);

impl Rpc {
    pub(crate) fn new(miles: Miles) -> Self {
        Self(miles)
    }
}

#[tonic::async_trait]
impl MileageService for Rpc {
    async fn get_mileage_account(
        &self,
        request: Request<GetMileageAccountRequest>,
    ) -> Result<Response<GetMileageAccountResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.into_inner();
        let customer = customer(&caller, request.name.strip_suffix("/mileageAccount").unwrap_or_default())?;
        let (balance, changed) = self.0.account(customer.clone()).await.map_err(Fault::from)?;
        Ok(Response::new(GetMileageAccountResponse {
            mileage_account: Some(convert::account(&customer, balance, changed)),
        }))
    }

    async fn list_mileage_entries(
        &self,
        request: Request<ListMileageEntriesRequest>,
    ) -> Result<Response<ListMileageEntriesResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.into_inner();
        let customer = customer(&caller, &request.parent)?;
        let page =
            Page::parse(PageSize::STANDARD, request.page_size, &request.page_token, &["mileageEntries", &customer])?;
        let mut entries = self.0.list(customer, page).await.map_err(Fault::from)?;
        let next_page_token = page.cut(&mut entries, |entry| entry.id);
        Ok(Response::new(ListMileageEntriesResponse {
            mileage_entries: entries.iter().map(convert::entry).collect(),
            next_page_token,
        }))
    }
}

#[tonic::async_trait]
impl AccrualService for Rpc {
    async fn accrue_mileage(
        &self,
        request: Request<AccrueMileageRequest>,
    ) -> Result<Response<AccrueMileageResponse>, Status> {
        let accrual = convert::accrual(&request.into_inner())?;
        let entry = self.0.accrue(accrual).await.map_err(Fault::from)?;
        Ok(Response::new(AccrueMileageResponse { mileage_entry: Some(convert::entry(&entry)) }))
    }

    async fn reverse_mileage(
        &self,
        request: Request<ReverseMileageRequest>,
    ) -> Result<Response<ReverseMileageResponse>, Status> {
        let payment = convert::payment(&request.into_inner().payment)?;
        let entry = self.0.reverse(payment).await.map_err(Fault::from)?;
        Ok(Response::new(ReverseMileageResponse { mileage_entry: entry.as_ref().map(convert::entry) }))
    }
}

/// The customer in `users/…`, whom the caller may ask about: a customer about themselves (`users/me` too), an operator about anybody.
/// Everybody has an account, if only an empty one, so a refusal tells nothing.
fn customer(caller: &Principal, user: &str) -> Result<String, Fault> {
    let own = caller.user_id().ok_or_else(|| Fault::denied(reason::NOT_ALLOWED, "only users have miles"))?;
    match mesh::value::user_of(user) {
        Some("me") => Ok(own.to_owned()),
        Some(other) if other == own || caller.has_role(Role::Operator) => Ok(other.to_owned()),
        _ => Err(Fault::denied(reason::NOT_ALLOWED, "the miles of others are not yours to see")),
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Reversed { payment } => {
                Self::precondition("MILEAGE_REVERSED", "MILEAGE", format_name("payments", payment), message)
            }
            Error::Mismatch { payment } => {
                Self::precondition("MILEAGE_MISMATCH", "MILEAGE", format_name("payments", payment), message)
            }
            Error::Store(StoreError::Deadline) => Self::deadline_exceeded(message),
            Error::Raced | Error::Store(StoreError::Busy | StoreError::Closed) => {
                Self::unavailable("STORE_UNAVAILABLE", message, SOON)
            }
            Error::Store(StoreError::Database(cause)) => {
                tracing::error!(error = &cause as &dyn std::error::Error, "the database failed");
                Self::unavailable("STORE_UNAVAILABLE", message, LATER)
            }
        }
    }
}
