//! `HoldService`.

use mesh::fault::Fault;
use proto::listing::v1::hold_service_server::HoldService;
use proto::listing::v1::{PlaceHoldRequest, PlaceHoldResponse, ReleaseHoldRequest, ReleaseHoldResponse};
use tonic::{Request, Response, Status};

use super::{Rpc, parse};
use crate::domain::HoldRequest;
use crate::wire;

#[tonic::async_trait]
impl HoldService for Rpc {
    async fn place_hold(&self, call: Request<PlaceHoldRequest>) -> Result<Response<PlaceHoldResponse>, Status> {
        Ok(Response::new(self.place(call.into_inner()).await?))
    }

    async fn release_hold(&self, call: Request<ReleaseHoldRequest>) -> Result<Response<ReleaseHoldResponse>, Status> {
        Ok(Response::new(self.release(&call.into_inner()).await?))
    }
}

impl Rpc {
    async fn place(&self, message: PlaceHoldRequest) -> Result<PlaceHoldResponse, Fault> {
        let request = HoldRequest {
            reservation: parse::reservation_id("reservation", &message.reservation)?,
            listing: parse::listing_id("listing", &message.listing)?,
            customer: parse::customer(&message.customer)?,
            slot: parse::slot(message.slot.as_ref())?,
            units: message.units,
            persons: message.persons,
            expected_total: parse::expected_total(message.expected_total.as_ref())?,
        };
        let hold = self.app.place_hold(request).await?;
        Ok(PlaceHoldResponse {
            hold: Some(wire::hold(&hold)),
            total: Some(wire::money(hold.total)),
            policy: Some(hold.policy.message().clone()),
            host: mesh::value::format_user(&hold.host),
            listing_display_name: hold.display_name,
            listing_kind: wire::kind(hold.kind).into(),
            listing_region: hold.region,
            host_language_code: hold.host_language_code,
        })
    }

    async fn release(&self, message: &ReleaseHoldRequest) -> Result<ReleaseHoldResponse, Fault> {
        let reservation = parse::reservation_id("reservation", &message.reservation)?;
        let hold = self.app.release_hold(reservation).await?;
        Ok(ReleaseHoldResponse { hold: hold.as_ref().map(wire::hold) })
    }
}
