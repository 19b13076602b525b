//! gRPC out: conversions, ownership, and the one table from errors to answers.

use std::time::Duration;

use mesh::fault::{Chain, Fault, reason};
use mesh::identity::{Principal, principal};
use mesh::store::{Store, StoreError};
use mesh::value::{Page, PageSize, format_name, format_user};
use proto::contract::Role;
use proto::marketing::v1::marketing_service_server::MarketingService;
use proto::marketing::v1::{ListListingDemandsRequest, ListListingDemandsResponse, ListingDemand};
use tonic::{Request, Response, Status};

use crate::app;
use crate::domain::Demand;

/// When a caller whose read failed may come back.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Answers from the rows.
#[derive(Clone)]
pub(crate) struct Rpc(pub(crate) Store);

#[tonic::async_trait]
impl MarketingService for Rpc {
    async fn list_listing_demands(
        &self,
        request: Request<ListListingDemandsRequest>,
    ) -> Result<Response<ListListingDemandsResponse>, Status> {
        let host = host(&principal(&request)?)?;
        let request = request.into_inner();
        let query = ["listingDemands", host.as_deref().unwrap_or_default()];
        let page = Page::parse(PageSize::STANDARD, request.page_size, &request.page_token, &query)?;
        let mut demands = app::list(&self.0, host, page).await.map_err(fault)?;
        let next_page_token = page.cut(&mut demands, |demand| demand.listing);
        let listing_demands = demands.into_iter().map(to_wire).collect();
        Ok(Response::new(ListListingDemandsResponse { listing_demands, next_page_token }))
    }
}

/// Whose listings the caller sees: a host their own, an operator all (`None`).
fn host(caller: &Principal) -> Result<Option<String>, Fault> {
    let own = caller.user_id().ok_or_else(|| Fault::denied(reason::NOT_ALLOWED, "only users see demand"))?;
    Ok(if caller.has_role(Role::Operator) { None } else { Some(own.to_owned()) })
}

fn fault(error: StoreError) -> Fault {
    match error {
        StoreError::Deadline => Fault::deadline_exceeded("the deadline passed before the demand was read"),
        cause => {
            tracing::warn!(error = %Chain(&cause), "the demand cannot be read");
            Fault::unavailable("STORE_UNAVAILABLE", "the demand cannot be read now", RETRY_AFTER)
        }
    }
}

fn to_wire(demand: Demand) -> ListingDemand {
    ListingDemand {
        name: format_name("listingDemands", demand.listing),
        listing: format_name("listings", demand.listing),
        host: demand.host.as_deref().map(format_user).unwrap_or_default(),
        confirmed_count: demand.confirmed,
        cancelled_count: demand.cancelled,
        increment_request_count: demand.increments,
    }
}
