//! The view service through its public surface: events in by the broker, answers out by gRPC.

mod story;

use std::collections::HashSet;
use std::time::Duration;

use mesh::client::Channel;
use mesh::fault::reason_of;
use mesh::testing::{Running, TestMesh, eventually};
use mesh::value::format_name;
use proto::contract::Role;
use proto::listing::v1::hold;
use proto::payment::v1::payment;
use proto::reservation::v1::reservation;
use proto::view::v1::view_service_client::ViewServiceClient;
use proto::view::v1::{
    GetListingViewRequest, GetTimelineRequest, GetTripRequest, ListListingViewsRequest, ListTripsRequest, ListingView,
    TimelineEntry, Trip,
};
use tonic::{Code, Status};

use self::story::{Place, Story, TRACE_ID};
use mesh::testing::Publisher;

const SOON: Duration = Duration::from_secs(20);

struct Harness {
    mesh: TestMesh,
    view: Running,
    publisher: Publisher,
}

impl Harness {
    async fn start() -> Self {
        let mut mesh = TestMesh::start().await;
        let publisher = Publisher::new(mesh.broker().bus().await, || view::MIGRATIONS);
        Self { view: serve(&mesh).await, mesh, publisher }
    }

    fn client(&self, user: &str, role: Role) -> ViewServiceClient<Channel> {
        ViewServiceClient::new(self.mesh.user("view", self.view.address, user, role))
    }

    fn operator(&self) -> ViewServiceClient<Channel> {
        self.client("olga", Role::Operator)
    }

    /// Waits until all of a booking has been folded, and of its cancellation if there was one.
    async fn told(&self, story: &Story, state: reservation::State) -> Trip {
        let events = if state == reservation::State::Cancelled { 15 } else { 8 };
        eventually(SOON, || async {
            timeline(self.operator(), story).await.is_ok_and(|entries| entries.len() == events)
        })
        .await;
        let trip = get_trip(&mut self.operator(), story).await.expect("a trip");
        assert_eq!(trip.reservation.as_ref().expect("a reservation").state(), state);
        trip
    }
}

async fn serve(mesh: &TestMesh) -> Running {
    let node = mesh.node();
    let config = view::Config { view_listen: ([127, 0, 0, 1], 0).into() };
    Running::start(|listener, shutdown| async move { view::serve(&node, config, listener, shutdown).await }).await
}

fn trip_name(story: &Story) -> String {
    format_name("trips", story.reservation)
}

fn get_trip(
    client: &mut ViewServiceClient<Channel>,
    story: &Story,
) -> impl Future<Output = Result<Trip, Status>> + use<> {
    let (mut client, name) = (client.clone(), trip_name(story));
    async move { Ok(client.get_trip(GetTripRequest { name }).await?.into_inner().trip.expect("a trip")) }
}

async fn timeline(mut client: ViewServiceClient<Channel>, story: &Story) -> Result<Vec<TimelineEntry>, Status> {
    Ok(client.get_timeline(GetTimelineRequest { name: trip_name(story) }).await?.into_inner().entries)
}

async fn listing_view(mut client: ViewServiceClient<Channel>, place: &Place) -> Option<ListingView> {
    let name = format_name("listingViews", place.id);
    client.get_listing_view(GetListingViewRequest { name }).await.ok()?.into_inner().listing_view
}

async fn all_trips(mut client: ViewServiceClient<Channel>, page_size: i32) -> Vec<String> {
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = client.list_trips(ListTripsRequest { page_size, page_token }).await.expect("a page").into_inner();
        assert!(page.trips.len() <= page_size as usize);
        names.extend(page.trips.into_iter().map(|trip| trip.name));
        if page.next_page_token.is_empty() {
            return names;
        }
        page_token = page.next_page_token;
    }
}

/// A8, B2, B3, K21, K24, K28, T18: one row for each reservation, and one for the listing with its latest one; a cancellation changes its own row.
#[tokio::test(flavor = "multi_thread")]
async fn bookings_show_up_with_everything_that_belongs_to_them() {
    let mut harness = Harness::start().await;
    let place = Place::of("users/henry");
    let (first, second) = (Story::of(&place, "users/alice"), Story::of(&place, "users/bob"));
    harness.publisher.publish([place.events(), first.booking(), second.booking()].concat()).await;

    let trip = harness.told(&first, reservation::State::Confirmed).await;
    assert_eq!((trip.hold_state(), trip.payment_state()), (hold::State::Committed, payment::State::Approved));
    assert_eq!((trip.mileage_points, trip.message_count), (30, 2));
    assert_eq!(trip.payment, format_name("payments", first.payment));
    harness.told(&second, reservation::State::Confirmed).await;
    let view = eventually(SOON, || async {
        listing_view(harness.operator(), &place).await.filter(|view| view.confirmed_count == 2)
    })
    .await;
    let listing = view.listing.as_ref().expect("a listing");
    assert_eq!((listing.display_name.as_str(), listing.host.as_str()), ("Sea View", "users/henry"));
    assert_eq!((view.latest_reservation.as_str(), view.latest_mileage_points), (second.name().as_str(), 30));
    eventually(SOON, || async {
        listing_view(harness.operator(), &place)
            .await
            .is_some_and(|view| view.listing.is_some_and(|it| it.review_count == 1))
    })
    .await;

    harness.publisher.publish(second.cancellation()).await;
    let trip = harness.told(&second, reservation::State::Cancelled).await;
    assert_eq!((trip.hold_state(), trip.mileage_points, trip.message_count), (hold::State::Released, 0, 4));
    let view = listing_view(harness.operator(), &place).await.expect("a view");
    assert_eq!((view.confirmed_count, view.latest_reservation_state()), (1, reservation::State::Cancelled));
    assert_eq!(view.latest_payment_state(), payment::State::Cancelled);
    let other = harness.told(&first, reservation::State::Confirmed).await;
    assert_eq!((other.payment_state(), other.hold_state()), (payment::State::Approved, hold::State::Committed));
    harness.view.stop().await;
}

/// A30, T34: what happened to a reservation, in order, across all services, with what caused it and in which trace.
#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_tells_it_all_in_order() {
    let mut harness = Harness::start().await;
    let place = Place::of("users/henry");
    let story = Story::of(&place, "users/alice");
    harness.publisher.publish([story.booking(), story.cancellation()].concat()).await;
    let entries = eventually(SOON, || async {
        timeline(harness.operator(), &story).await.ok().filter(|entries| entries.len() == 15)
    })
    .await;
    let lines: Vec<_> =
        entries.iter().map(|entry| (entry.service.as_str(), entry.summary.as_str(), entry.version)).collect();
    let stay = "2024-10-04 to 2024-10-06";
    assert_eq!(
        lines,
        [
            ("listing", format!("place held: 1 unit, {stay}").as_str(), 1),
            ("payment", "payment approved: KRW 120000", 1),
            ("mileage", "miles earned: 30, balance 30", 1),
            ("reservation", format!("reservation requested: Sea View, {stay}").as_str(), 1),
            ("reservation", format!("reservation confirmed: Sea View, {stay}").as_str(), 2),
            ("listing", format!("place taken for good: 1 unit, {stay}").as_str(), 2),
            ("message", "message sent: reservation confirmed", 1),
            ("message", "message sent: mileage increased", 1),
            ("reservation", format!("cancellation requested: Sea View, {stay}").as_str(), 3),
            ("payment", "payment cancelled: KRW 120000", 2),
            ("mileage", "miles taken back: 30, balance 0", 1),
            ("reservation", format!("reservation cancelled: Sea View, {stay}").as_str(), 4),
            ("listing", format!("place given back: 1 unit, {stay}").as_str(), 3),
            ("message", "message sent: reservation cancelled", 1),
            ("message", "message sent: mileage decreased", 1),
        ]
    );
    assert_eq!(entries[5].causation_id, entries[4].event_id);
    assert_eq!((entries[0].resource.as_str(), entries[0].trace_id.as_str()), (story.name().as_str(), TRACE_ID));
    assert_eq!(entries[4].r#type, "holdfast.reservation.v1.ReservationConfirmed");
    harness.view.stop().await;
}

/// A62, T33: what was published while the view was down is folded once it is back, everything once, over a restart as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_was_down_catches_up() {
    let mut harness = Harness::start().await;
    let place = Place::of("users/henry");
    let (before, during): (Vec<_>, Vec<_>) = (
        (0..20).map(|_| Story::of(&place, "users/alice")).collect(),
        (0..20).map(|_| Story::of(&place, "users/alice")).collect(),
    );
    harness.publisher.publish(before.iter().flat_map(Story::booking).collect()).await;
    harness.told(&before[19], reservation::State::Confirmed).await;
    harness.view.stop().await;
    harness
        .publisher
        .publish(before.iter().flat_map(Story::cancellation).chain(during.iter().flat_map(Story::booking)).collect())
        .await;
    harness.view = serve(&harness.mesh).await;
    for story in &before {
        let trip = harness.told(story, reservation::State::Cancelled).await;
        assert_eq!((trip.mileage_points, trip.message_count), (0, 4));
    }
    for story in &during {
        assert_eq!(harness.told(story, reservation::State::Confirmed).await.mileage_points, 30);
    }
    harness.view.stop().await;
}

/// Whoever may not see a trip gets the answer of one that does not exist.
#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_their_own_trips_only() {
    let mut harness = Harness::start().await;
    let (place, elsewhere) = (Place::of("users/henry"), Place::of("users/hanna"));
    let (story, other) = (Story::of(&place, "users/alice"), Story::of(&elsewhere, "users/bob"));
    harness.publisher.publish([story.booking(), other.booking()].concat()).await;
    harness.told(&story, reservation::State::Confirmed).await;
    harness.told(&other, reservation::State::Confirmed).await;

    for (user, role, sees) in [
        ("alice", Role::Customer, true),
        ("alice", Role::Host, false),
        ("bob", Role::Customer, false),
        ("henry", Role::Host, true),
        ("henry", Role::Customer, false),
        ("hanna", Role::Host, false),
        ("olga", Role::Operator, true),
    ] {
        let mut client = harness.client(user, role);
        let answers =
            [get_trip(&mut client, &story).await.map(|_| ()), timeline(client.clone(), &story).await.map(|_| ())];
        for answer in answers {
            match answer {
                Ok(()) => assert!(sees, "{user} {role}"),
                Err(status) => {
                    assert!(!sees, "{user} {role}");
                    assert_eq!(
                        (status.code(), reason_of(&status).as_deref()),
                        (Code::NotFound, Some("TRIP_NOT_FOUND"))
                    );
                }
            }
        }
        let listed = all_trips(client, 10).await;
        assert_eq!(listed.contains(&trip_name(&story)), sees, "{user} {role}");
        assert_eq!(
            listed.len(),
            if role == Role::Operator {
                2
            } else {
                usize::from(sees) + usize::from(matches!((user, role), ("bob", Role::Customer) | ("hanna", Role::Host)))
            }
        );
    }
    let absent = Story::of(&place, "users/alice");
    let status = get_trip(&mut harness.operator(), &absent).await.expect_err("absent");
    assert_eq!(reason_of(&status).as_deref(), Some("TRIP_NOT_FOUND"));
    let name = format_name("listingViews", absent.reservation);
    let status = harness.operator().get_listing_view(GetListingViewRequest { name }).await.expect_err("absent");
    assert_eq!(reason_of(&status).as_deref(), Some("LISTING_VIEW_NOT_FOUND"));
    harness.view.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_one_another_newest_first() {
    let mut harness = Harness::start().await;
    let place = Place::of("users/alice");
    // Alice reserves, and is the host as well: as both she sees each trip once.
    let mut stories: Vec<_> =
        (0..7).map(|at| Story::of(&place, if at % 2 == 0 { "users/alice" } else { "users/bob" })).collect();
    let places: Vec<_> = (0..5).map(|_| Place::of("users/henry")).collect();
    let events = stories.iter().flat_map(Story::booking).chain(places.iter().flat_map(Place::events)).collect();
    harness.publisher.publish(events).await;
    for story in &stories {
        harness.told(story, reservation::State::Confirmed).await;
    }
    stories.reverse();
    let expected: Vec<_> = stories.iter().map(trip_name).collect();
    assert_eq!(all_trips(harness.operator(), 2).await, expected);
    assert_eq!(all_trips(harness.client("alice", Role::Host), 3).await, expected);
    let own: Vec<_> = stories.iter().filter(|story| story.customer == "users/alice").map(trip_name).collect();
    assert_eq!(all_trips(harness.client("alice", Role::Customer), 2).await, own);
    let both = mesh::client::Credentials::token(&harness.mesh.token("alice", &[Role::Customer, Role::Host]));
    let both = ViewServiceClient::new(mesh::client::connect("view", &harness.view.address.into(), both));
    assert_eq!(all_trips(both, 2).await, expected);

    let mut operator = harness.operator();
    let page = operator
        .list_trips(ListTripsRequest { page_size: 2, page_token: String::new() })
        .await
        .expect("a page")
        .into_inner();
    let foreign = ListTripsRequest { page_size: 2, page_token: page.next_page_token };
    let status = harness.client("bob", Role::Customer).list_trips(foreign).await.expect_err("another's token");
    assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::InvalidArgument, Some("PAGE_TOKEN_INVALID")));

    let views = eventually(SOON, || async {
        let mut client = harness.operator();
        let first = client
            .list_listing_views(ListListingViewsRequest { page_size: 3, page_token: String::new() })
            .await
            .ok()?
            .into_inner();
        let rest = ListListingViewsRequest { page_size: 3, page_token: first.next_page_token };
        let rest = client.list_listing_views(rest).await.ok()?.into_inner();
        let views = [first.listing_views, rest.listing_views].concat();
        (views.len() == 5 && rest.next_page_token.is_empty()).then_some(views)
    })
    .await;
    let names: HashSet<_> = views.iter().map(|view| view.name.clone()).collect();
    assert_eq!(names, places.iter().map(|place| format_name("listingViews", place.id)).collect());
    harness.view.stop().await;
}
