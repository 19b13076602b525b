//! The view service on the wire, and the one place where its errors become answers.

use std::time::Duration;

use mesh::fault::{Chain, Fault};
use mesh::identity::principal;
use mesh::store::{Id, Store, StoreError};
use mesh::value::{Page, PageSize, format_name, id_of};
use prost::Message as _;
use proto::view::v1::view_service_server::ViewService;
use proto::view::v1::{
    self, GetListingViewRequest, GetListingViewResponse, GetTimelineRequest, GetTimelineResponse, GetTripRequest,
    GetTripResponse, ListListingViewsRequest, ListListingViewsResponse, ListTripsRequest, ListTripsResponse,
    TimelineEntry,
};
use proto::{listing, reservation};
use tonic::{Request, Response, Status};

use crate::app::{self, Error, Viewer};
use crate::projection::{Entry, Trip};
use crate::store::ListingView;

/// When a caller whose read failed may come back.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Answers from the rows.
#[derive(Clone)]
pub(crate) struct Views(pub(crate) Store);

#[tonic::async_trait]
impl ViewService for Views {
    async fn list_listing_views(
        &self,
        request: Request<ListListingViewsRequest>,
    ) -> Result<Response<ListListingViewsResponse>, Status> {
        let request = request.into_inner();
        let page = Page::parse(PageSize::STANDARD, request.page_size, &request.page_token, &["listingViews"])?;
        let mut views = app::list_listings(&self.0, page).await.map_err(Fault::from)?;
        let next_page_token = page.cut(&mut views, |view| view.id);
        let listing_views = views.iter().map(listing_view).collect::<Result<_, _>>()?;
        Ok(Response::new(ListListingViewsResponse { listing_views, next_page_token }))
    }

    async fn get_listing_view(
        &self,
        request: Request<GetListingViewRequest>,
    ) -> Result<Response<GetListingViewResponse>, Status> {
        let name = request.into_inner().name;
        let id = id_of("listingViews", &name).ok_or_else(|| no_listing_view(name))?;
        let view = app::get_listing(&self.0, id).await.map_err(Fault::from)?;
        Ok(Response::new(GetListingViewResponse { listing_view: Some(listing_view(&view)?) }))
    }

    async fn list_trips(&self, request: Request<ListTripsRequest>) -> Result<Response<ListTripsResponse>, Status> {
        let viewer = Viewer::of(&principal(&request)?);
        let request = request.into_inner();
        let [scope, customer, host] = viewer.key();
        let query = ["trips", scope, customer, host];
        let page = Page::parse(PageSize::STANDARD, request.page_size, &request.page_token, &query)?;
        let mut trips = app::list_trips(&self.0, viewer, page).await.map_err(Fault::from)?;
        let next_page_token = page.cut(&mut trips, |(id, _)| *id);
        let trips = trips.iter().map(|(id, trip)| to_wire(*id, trip)).collect::<Result<_, _>>()?;
        Ok(Response::new(ListTripsResponse { trips, next_page_token }))
    }

    async fn get_trip(&self, request: Request<GetTripRequest>) -> Result<Response<GetTripResponse>, Status> {
        let viewer = Viewer::of(&principal(&request)?);
        let id = trip_id(request.into_inner().name)?;
        let trip = app::get_trip(&self.0, &viewer, id).await.map_err(Fault::from)?;
        Ok(Response::new(GetTripResponse { trip: Some(to_wire(id, &trip)?) }))
    }

    async fn get_timeline(
        &self,
        request: Request<GetTimelineRequest>,
    ) -> Result<Response<GetTimelineResponse>, Status> {
        let viewer = Viewer::of(&principal(&request)?);
        let id = trip_id(request.into_inner().name)?;
        let entries = app::timeline(&self.0, &viewer, id).await.map_err(Fault::from)?;
        Ok(Response::new(GetTimelineResponse { entries: entries.into_iter().map(timeline_entry).collect() }))
    }
}

fn trip_id(name: String) -> Result<Id, Fault> {
    id_of("trips", &name).ok_or_else(|| no_trip(name))
}

fn no_trip(name: String) -> Fault {
    Fault::not_found("TRIP_NOT_FOUND", "holdfast.dev/Trip", name)
}

fn no_listing_view(name: String) -> Fault {
    Fault::not_found("LISTING_VIEW_NOT_FOUND", "holdfast.dev/ListingView", name)
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::TripNotFound(id) => no_trip(format_name("trips", id)),
            Error::ListingViewNotFound(id) => no_listing_view(format_name("listingViews", id)),
            Error::Store(StoreError::Deadline) => {
                Self::deadline_exceeded("the deadline passed before the views were read")
            }
            Error::Store(cause) => {
                tracing::warn!(error = %Chain(&cause), "the views cannot be read");
                Self::unavailable("STORE_UNAVAILABLE", "the views cannot be read now", RETRY_AFTER)
            }
        }
    }
}

fn to_wire(id: Id, trip: &Trip) -> Result<v1::Trip, Fault> {
    let told =
        trip.reservation.get().map(|told| reservation::v1::Reservation::decode(told.snapshot.as_slice())).transpose();
    Ok(v1::Trip {
        name: format_name("trips", id),
        reservation: told.map_err(|error| Fault::internal(&error))?,
        hold_state: trip.hold.get().copied().unwrap_or(0).into(),
        payment: trip.payment.get().map(|payment| format_name("payments", payment.id)).unwrap_or_default(),
        payment_state: trip.payment.get().map_or(0, |payment| payment.state.into()),
        mileage_points: trip.mileage_points,
        message_count: trip.message_count,
        update_time: Some(trip.updated_at.into()),
    })
}

fn listing_view(view: &ListingView) -> Result<v1::ListingView, Fault> {
    let mut told = listing::v1::Listing::decode(view.snapshot.as_slice()).map_err(|error| Fault::internal(&error))?;
    // A review changes the count, not the listing.
    told.review_count = i32::try_from(view.review_count).unwrap_or(i32::MAX);
    let latest = view.latest.as_ref();
    Ok(v1::ListingView {
        name: format_name("listingViews", view.id),
        listing: Some(told),
        confirmed_count: view.confirmed_count,
        latest_reservation: latest.map(|trip| format_name("reservations", trip.id)).unwrap_or_default(),
        latest_reservation_state: latest.map_or(0, |trip| trip.reservation_state.into()),
        latest_payment_state: latest.map_or(0, |trip| trip.payment_state.into()),
        latest_mileage_points: latest.map_or(0, |trip| trip.mileage_points),
    })
}

fn timeline_entry(entry: Entry) -> TimelineEntry {
    // `holdfast.<service>.v1.<Event>`.
    let service = entry.kind.split('.').nth(1).unwrap_or_default().to_owned();
    TimelineEntry {
        event_id: entry.event.to_string(),
        event_time: Some(entry.at.into()),
        service,
        r#type: entry.kind,
        resource: entry.resource,
        version: entry.version,
        causation_id: entry.causation.map(|id| id.to_string()).unwrap_or_default(),
        trace_id: entry.trace_id.map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect()).unwrap_or_default(),
        summary: entry.summary,
    }
}
