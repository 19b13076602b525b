//! A view service with a broker, and publishers in the place of the other services.

use std::time::Duration;

use mesh::client::Channel;
use mesh::testing::{Publisher, Running, TestMesh, all_pages, eventually};
use mesh::value::format_name;
use proto::contract::Role;
use proto::reservation::v1::reservation;
use proto::view::v1::view_service_client::ViewServiceClient;
use proto::view::v1::{
    GetListingViewRequest, GetTimelineRequest, GetTripRequest, ListListingViewsRequest, ListTripsRequest, ListingView,
    TimelineEntry, Trip,
};
use tonic::Status;

use crate::story::{Place, Story};

/// Enough for every test but the one that counts them.
pub(crate) const MAX_WATCHERS: usize = 100;
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Harness {
    pub(crate) mesh: TestMesh,
    pub(crate) view: Running,
    pub(crate) publisher: Publisher,
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::start_in(TestMesh::start().await, MAX_WATCHERS).await
    }

    pub(crate) async fn start_in(mesh: TestMesh, max_watchers: usize) -> Self {
        let publisher = mesh.publisher().await;
        Self { view: serve(&mesh, max_watchers).await, mesh, publisher }
    }

    pub(crate) fn client(&self, user: &str, role: Role) -> ViewServiceClient<Channel> {
        ViewServiceClient::new(self.mesh.user("view", self.view.address, user, role))
    }

    pub(crate) fn operator(&self) -> ViewServiceClient<Channel> {
        self.client("olga", Role::Operator)
    }

    /// Waits until so many events of a story have been folded.
    pub(crate) async fn folded(&self, story: &Story, events: usize) -> Vec<TimelineEntry> {
        eventually(SOON, || async {
            timeline(self.operator(), story).await.ok().filter(|entries| entries.len() == events)
        })
        .await
    }

    /// Waits until all of a booking has been folded, and of its cancellation if there was one.
    pub(crate) async fn told(&self, story: &Story, state: reservation::State) -> Trip {
        let events = if state == reservation::State::Cancelled { 15 } else { 8 };
        self.folded(story, events).await;
        let trip = get_trip(&mut self.operator(), story).await.expect("a trip");
        assert_eq!(trip.reservation.as_ref().expect("a reservation").state(), state);
        trip
    }
}

pub(crate) async fn serve(mesh: &TestMesh, view_max_watchers: usize) -> Running {
    let node = mesh.node();
    let config = view::Config { view_listen: ([127, 0, 0, 1], 0).into(), view_max_watchers };
    Running::start(|listener, shutdown| async move { view::serve(&node, config, listener, shutdown).await }).await
}

pub(crate) fn trip_name(story: &Story) -> String {
    format_name("trips", story.reservation)
}

pub(crate) fn get_trip(
    client: &mut ViewServiceClient<Channel>,
    story: &Story,
) -> impl Future<Output = Result<Trip, Status>> + use<> {
    let (mut client, name) = (client.clone(), trip_name(story));
    async move { Ok(client.get_trip(GetTripRequest { name }).await?.into_inner().trip.expect("a trip")) }
}

pub(crate) async fn timeline(
    mut client: ViewServiceClient<Channel>,
    story: &Story,
) -> Result<Vec<TimelineEntry>, Status> {
    Ok(client.get_timeline(GetTimelineRequest { name: trip_name(story) }).await?.into_inner().entries)
}

pub(crate) async fn listing_view(mut client: ViewServiceClient<Channel>, place: &Place) -> Option<ListingView> {
    let name = format_name("listingViews", place.id);
    client.get_listing_view(GetListingViewRequest { name }).await.ok()?.into_inner().listing_view
}

/// The names of all pages.
pub(crate) async fn all_trips(mut client: ViewServiceClient<Channel>, request: ListTripsRequest) -> Vec<String> {
    all_pages(async |page_token| {
        let request = ListTripsRequest { page_token, ..request.clone() };
        let page_size = request.page_size as usize;
        let page = client.list_trips(request).await.expect("a page").into_inner();
        assert!(page.trips.len() <= page_size);
        (page.trips.into_iter().map(|trip| trip.name).collect(), page.next_page_token)
    })
    .await
}

/// The names of all pages.
pub(crate) async fn all_views(mut client: ViewServiceClient<Channel>, request: ListListingViewsRequest) -> Vec<String> {
    all_pages(async |page_token| {
        let request = ListListingViewsRequest { page_token, ..request.clone() };
        let page_size = request.page_size as usize;
        let page = client.list_listing_views(request).await.expect("a page").into_inner();
        assert!(page.listing_views.len() <= page_size);
        (page.listing_views.into_iter().map(|view| view.name).collect(), page.next_page_token)
    })
    .await
}

/// So many on each page.
pub(crate) fn pages_of(page_size: i32) -> ListTripsRequest {
    ListTripsRequest { page_size, ..ListTripsRequest::default() }
}
