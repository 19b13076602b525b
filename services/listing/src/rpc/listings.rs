//! `ListingService`.

use mesh::fault::Fault;
use mesh::value::{Page, PageSize, update_paths};
use proto::listing::v1::listing_service_server::ListingService;
use proto::listing::v1::{
    self as pb, CreateListingRequest, CreateListingResponse, DeleteListingRequest, DeleteListingResponse,
    GetListingRequest, GetListingResponse, ListListingsRequest, ListListingsResponse, QueryAvailabilityRequest,
    QueryAvailabilityResponse, SetCapacityRequest, SetCapacityResponse, UpdateListingRequest, UpdateListingResponse,
};
use tonic::{Request, Response, Status};

use super::{Rpc, caller, optional_request, parse, request, told};
use crate::app::Change;
use crate::domain::{Field, Listing};
use crate::wire;

#[tonic::async_trait]
impl ListingService for Rpc {
    async fn create_listing(
        &self,
        call: Request<CreateListingRequest>,
    ) -> Result<Response<CreateListingResponse>, Status> {
        Ok(Response::new(self.create(call).await?))
    }

    async fn get_listing(&self, call: Request<GetListingRequest>) -> Result<Response<GetListingResponse>, Status> {
        Ok(Response::new(self.get(call).await?))
    }

    async fn list_listings(
        &self,
        call: Request<ListListingsRequest>,
    ) -> Result<Response<ListListingsResponse>, Status> {
        Ok(Response::new(self.list(call).await?))
    }

    async fn update_listing(
        &self,
        call: Request<UpdateListingRequest>,
    ) -> Result<Response<UpdateListingResponse>, Status> {
        Ok(Response::new(self.update(call).await?))
    }

    async fn delete_listing(
        &self,
        call: Request<DeleteListingRequest>,
    ) -> Result<Response<DeleteListingResponse>, Status> {
        Ok(Response::new(self.delete(call).await?))
    }

    async fn set_capacity(&self, call: Request<SetCapacityRequest>) -> Result<Response<SetCapacityResponse>, Status> {
        Ok(Response::new(self.set_units(call).await?))
    }

    async fn query_availability(
        &self,
        call: Request<QueryAvailabilityRequest>,
    ) -> Result<Response<QueryAvailabilityResponse>, Status> {
        Ok(Response::new(self.query_units(call).await?))
    }
}

impl Rpc {
    async fn create(&self, call: Request<CreateListingRequest>) -> Result<CreateListingResponse, Fault> {
        let host = caller(&call)?;
        let mut message = call.into_inner();
        let request_id = std::mem::take(&mut message.request_id);
        let request = request(&host, "CreateListing", &request_id, &message);
        let draft = parse::draft(message.listing.unwrap_or_default());
        let answer = self.app.create_listing(&host, draft, request).await?;
        Ok(CreateListingResponse { listing: Some(told(answer, |listing| self.shown(listing))) })
    }

    async fn get(&self, call: Request<GetListingRequest>) -> Result<GetListingResponse, Fault> {
        let id = parse::listing_id("name", &call.get_ref().name)?;
        let listing = self.app.get_listing(id).await?;
        Ok(GetListingResponse { listing: Some(self.shown(&listing)) })
    }

    async fn list(&self, call: Request<ListListingsRequest>) -> Result<ListListingsResponse, Fault> {
        let message = call.into_inner();
        let page = Page::parse(PageSize::STANDARD, message.page_size, &message.page_token, &["listings"])?;
        let mut listings = self.app.list_listings(page).await?;
        let next_page_token = page.cut(&mut listings, |listing| listing.id);
        Ok(ListListingsResponse {
            listings: listings.iter().map(|listing| self.shown(listing)).collect(),
            next_page_token,
        })
    }

    async fn update(&self, call: Request<UpdateListingRequest>) -> Result<UpdateListingResponse, Fault> {
        let host = caller(&call)?;
        let mut message = call.into_inner();
        let request_id = std::mem::take(&mut message.request_id);
        let request = optional_request(&host, "UpdateListing", &request_id, &message);
        let listing = message.listing.unwrap_or_default();
        let paths = update_paths(message.update_mask.as_ref(), Field::NAMES)?;
        let named = Field::ALL.iter().zip(Field::NAMES).filter(|(_, name)| paths.contains(name));
        let change = Change {
            listing: parse::listing_id("listing.name", &listing.name)?,
            etag: listing.etag.clone(),
            draft: parse::draft(listing),
            fields: named.map(|(field, _)| *field).collect(),
        };
        let answer = self.app.update_listing(&host, change, request).await?;
        Ok(UpdateListingResponse { listing: Some(told(answer, |listing| self.shown(listing))) })
    }

    async fn delete(&self, call: Request<DeleteListingRequest>) -> Result<DeleteListingResponse, Fault> {
        let host = caller(&call)?;
        let mut message = call.into_inner();
        let request_id = std::mem::take(&mut message.request_id);
        let request = optional_request(&host, "DeleteListing", &request_id, &message);
        let id = parse::listing_id("name", &message.name)?;
        let answer = self.app.delete_listing(&host, id, &message.etag, request).await?;
        Ok(DeleteListingResponse { listing: Some(told(answer, |listing| self.shown(listing))) })
    }

    async fn set_units(&self, call: Request<SetCapacityRequest>) -> Result<SetCapacityResponse, Fault> {
        let host = caller(&call)?;
        let mut message = call.into_inner();
        let request_id = std::mem::take(&mut message.request_id);
        let request = optional_request(&host, "SetCapacity", &request_id, &message);
        let id = parse::listing_id("name", &message.name)?;
        let dates = parse::dates(message.dates.as_ref())?;
        let answer = self.app.set_capacity(&host, id, dates, message.capacity, request).await?;
        Ok(told(answer, |set| wire::availabilities(set)))
    }

    async fn query_units(&self, call: Request<QueryAvailabilityRequest>) -> Result<QueryAvailabilityResponse, Fault> {
        let message = call.into_inner();
        let id = parse::listing_id("name", &message.name)?;
        let dates = parse::dates(message.dates.as_ref())?;
        let (_, found) = self.app.query_availability(id, dates).await?;
        Ok(QueryAvailabilityResponse { availabilities: found.iter().map(wire::availability).collect() })
    }

    /// A listing for its reader.
    fn shown(&self, listing: &Listing) -> pb::Listing {
        wire::listing_under(self.app.platform(), listing)
    }
}
