//! The view service on the wire, and the one place where its errors become answers.

mod admin;

use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt as _};
use mesh::fault::{Chain, Fault};
use mesh::identity::principal;
use mesh::store::{Id, Store, StoreError};
use mesh::value::{Page, PageSize, format_name, id_of};
use prost::Message as _;
use proto::view::v1::view_service_server::ViewService;
use proto::view::v1::{
    self, GetListingViewRequest, GetListingViewResponse, GetTimelineRequest, GetTimelineResponse, GetTripRequest,
    GetTripResponse, ListListingViewsRequest, ListListingViewsResponse, ListTripsRequest, ListTripsResponse,
    TimelineEntry, WatchTripRequest, WatchTripResponse,
};
use proto::{listing, reservation};
use tonic::{Request, Response, Status};

use crate::app::{self, Error, Viewer};
use crate::projection::{Entry, Trip};
use crate::store::{ListingQuery, ListingView, Order, TripQuery};
use crate::watch::Watchers;

pub(crate) use admin::Admin;

/// When a caller whose read failed may come back.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// When a caller for whom there was no place to watch may come back: watching lasts.
const WATCH_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Answers from the rows.
#[derive(Clone)]
pub(crate) struct Views {
    pub(crate) store: Store,
    pub(crate) watchers: Watchers,
}

#[tonic::async_trait]
impl ViewService for Views {
    async fn list_listing_views(
        &self,
        request: Request<ListListingViewsRequest>,
    ) -> Result<Response<ListListingViewsResponse>, Status> {
        let query = listing_query(request.into_inner())?;
        let page = query.page;
        let mut views = app::list_listings(&self.store, query).await.map_err(Fault::from)?;
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
        let view = app::get_listing(&self.store, id).await.map_err(Fault::from)?;
        Ok(Response::new(GetListingViewResponse { listing_view: Some(listing_view(&view)?) }))
    }

    async fn list_trips(&self, request: Request<ListTripsRequest>) -> Result<Response<ListTripsResponse>, Status> {
        let viewer = Viewer::of(&principal(&request)?);
        let query = trip_query(&request.into_inner(), &viewer)?;
        let page = query.page;
        let mut trips = app::list_trips(&self.store, viewer, query).await.map_err(Fault::from)?;
        let next_page_token = page.cut(&mut trips, |(id, _)| *id);
        let trips = trips.iter().map(|(id, trip)| to_wire(*id, trip)).collect::<Result<_, _>>()?;
        Ok(Response::new(ListTripsResponse { trips, next_page_token }))
    }

    async fn get_trip(&self, request: Request<GetTripRequest>) -> Result<Response<GetTripResponse>, Status> {
        let viewer = Viewer::of(&principal(&request)?);
        let id = trip_id(request.into_inner().name)?;
        let trip = app::get_trip(&self.store, &viewer, id).await.map_err(Fault::from)?;
        Ok(Response::new(GetTripResponse { trip: Some(to_wire(id, &trip)?) }))
    }

    type WatchTripStream = BoxStream<'static, Result<WatchTripResponse, Status>>;

    async fn watch_trip(&self, request: Request<WatchTripRequest>) -> Result<Response<Self::WatchTripStream>, Status> {
        let viewer = Viewer::of(&principal(&request)?);
        let id = trip_id(request.into_inner().name)?;
        let trips = self.watchers.watch(viewer, id).await.map_err(Fault::from)?;
        let told = move |trip: Result<Trip, Error>| {
            Ok(WatchTripResponse { trip: Some(to_wire(id, &trip.map_err(Fault::from)?)?) })
        };
        Ok(Response::new(trips.map(told).boxed()))
    }

    async fn get_timeline(
        &self,
        request: Request<GetTimelineRequest>,
    ) -> Result<Response<GetTimelineResponse>, Status> {
        let viewer = Viewer::of(&principal(&request)?);
        let id = trip_id(request.into_inner().name)?;
        let entries = app::timeline(&self.store, &viewer, id).await.map_err(Fault::from)?;
        Ok(Response::new(GetTimelineResponse { entries: entries.into_iter().map(timeline_entry).collect() }))
    }
}

fn listing_query(request: ListListingViewsRequest) -> Result<ListingQuery, Fault> {
    let order = order(&request.order_by);
    let kind = request.kind.to_string();
    let bound = ["listingViews", order_key(order), &kind, &request.region, &request.grade, &request.host];
    let page = Page::parse(PageSize::STANDARD, request.page_size, &request.page_token, &bound)?;
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(ListingQuery {
        kind: i16::try_from(request.kind).ok().filter(|kind| *kind != 0),
        region: given(request.region),
        grade: given(request.grade),
        host: given(request.host),
        order,
        page,
    })
}

fn trip_query(request: &ListTripsRequest, viewer: &Viewer) -> Result<TripQuery, Fault> {
    let order = order(&request.order_by);
    let states = format!("{:?}", request.states);
    let [scope, customer, host] = viewer.key();
    let bound = ["trips", scope, customer, host, order_key(order), &states, &request.listing];
    let page = Page::parse(PageSize::STANDARD, request.page_size, &request.page_token, &bound)?;
    let states = request.states.iter().filter_map(|state| i16::try_from(*state).ok()).collect();
    Ok(TripQuery { states, listing: id_of("listings", &request.listing), order, page })
}

/// The contract's pattern lets nothing else through.
fn order(order_by: &str) -> Order {
    if order_by == "create_time" { Order::OldestFirst } else { Order::NewestFirst }
}

fn order_key(order: Order) -> &'static str {
    match order {
        Order::NewestFirst => "desc",
        Order::OldestFirst => "asc",
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
            Error::TooManyWatchers(max) => Self::exhausted(
                "TOO_MANY_WATCHERS",
                "watched trips",
                format!("{max} trips are being watched already"),
                Some(WATCH_AGAIN_AFTER),
            )
            .with("max", max.to_string()),
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
    let voucher = trip.voucher.get();
    Ok(v1::Trip {
        name: format_name("trips", id),
        reservation: told.map_err(|error| Fault::internal(&error))?,
        hold_state: trip.hold.get().copied().unwrap_or(0).into(),
        payment: trip.payment.get().map(|payment| format_name("payments", payment.id)).unwrap_or_default(),
        payment_state: trip.payment.get().map_or(0, |payment| payment.state.into()),
        mileage_points: trip.mileage_points,
        message_count: trip.message_count,
        update_time: Some(trip.updated_at.into()),
        voucher: voucher.map(|voucher| format_name("vouchers", voucher.id)).unwrap_or_default(),
        voucher_state: voucher.map_or(0, |voucher| voucher.state.into()),
        ticket_number: voucher.map(|voucher| voucher.ticket_number.clone()).unwrap_or_default(),
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
        latest_voucher_state: latest.map_or(0, |trip| trip.voucher_state.into()),
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
