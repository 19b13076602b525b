//! Pages, filters and orders.

use mesh::fault::reason_of;
use mesh::testing::eventually;
use mesh::value::format_name;
use proto::contract::Role;
use proto::listing::v1::listing::Kind;
use proto::reservation::v1::reservation::State;
use proto::view::v1::view_service_client::ViewServiceClient;
use proto::view::v1::{ListListingViewsRequest, ListTripsRequest};
use tonic::{Code, Response, Status};

use crate::harness::{Harness, SOON, all_trips, all_views, pages_of, trip_name};
use crate::story::{Place, Story};

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
        harness.told(story, State::Confirmed).await;
    }
    stories.reverse();
    let expected: Vec<_> = stories.iter().map(trip_name).collect();
    assert_eq!(all_trips(harness.operator(), pages_of(2)).await, expected);
    assert_eq!(all_trips(harness.client("alice", Role::Host), pages_of(3)).await, expected);
    let own: Vec<_> = stories.iter().filter(|story| story.customer == "users/alice").map(trip_name).collect();
    assert_eq!(all_trips(harness.client("alice", Role::Customer), pages_of(2)).await, own);
    let both = mesh::client::Credentials::token(&harness.mesh.token("alice", &[Role::Customer, Role::Host]));
    let both = ViewServiceClient::new(mesh::client::connect("view", &harness.view.address.into(), both));
    assert_eq!(all_trips(both, pages_of(2)).await, expected);

    let first = harness.operator().list_trips(pages_of(2)).await.expect("a page").into_inner();
    let foreign = ListTripsRequest { page_token: first.next_page_token, ..pages_of(2) };
    refuses_token(harness.client("bob", Role::Customer).list_trips(foreign).await);

    let views = eventually(SOON, || async {
        let request = ListListingViewsRequest { page_size: 3, ..ListListingViewsRequest::default() };
        Some(all_views(harness.operator(), request).await).filter(|views| views.len() == 5)
    })
    .await;
    let mut names: Vec<_> = places.iter().map(|place| format_name("listingViews", place.id)).collect();
    names.reverse();
    assert_eq!(views, names);
    harness.view.stop().await;
}

/// B2, E17: a host finds what awaits them, on one of their listings or on all, in either order.
#[tokio::test(flavor = "multi_thread")]
async fn trips_are_found_by_state_and_by_listing() {
    let mut harness = Harness::start().await;
    let (place, other) = (Place::of("users/henry"), Place::of("users/henry"));
    let foreign = Story::of(&Place::of("users/hanna"), "users/alice");
    let mut stories: Vec<_> =
        (0..6).map(|at| Story::of(if at % 2 == 0 { &place } else { &other }, "users/alice")).collect();
    let tales = stories.iter().enumerate().map(|(at, story)| match at {
        0 | 1 => story.booking(),
        2 | 3 => story.expired(),
        _ => story.expired()[..1].to_vec(),
    });
    harness.publisher.publish(tales.chain([foreign.booking()]).flatten().collect()).await;
    for (story, events) in stories.iter().zip([8, 8, 2, 2, 1, 1]).chain([(&foreign, 8)]) {
        harness.folded(story, events).await;
    }
    stories.reverse();
    let names = |found: &[usize]| found.iter().map(|at| trip_name(&stories[*at])).collect::<Vec<_>>();
    let found = async |request: ListTripsRequest| all_trips(harness.client("henry", Role::Host), request).await;
    let (awaits, expired) = (State::AwaitingPayment as i32, State::Expired as i32);
    let listing = place.name();

    assert_eq!(found(ListTripsRequest { states: vec![awaits], ..pages_of(1) }).await, names(&[0, 1]));
    assert_eq!(found(ListTripsRequest { states: vec![awaits, expired], ..pages_of(3) }).await, names(&[0, 1, 2, 3]));
    assert_eq!(found(ListTripsRequest { listing: listing.clone(), ..pages_of(2) }).await, names(&[1, 3, 5]));
    let both = ListTripsRequest { listing: listing.clone(), states: vec![expired], ..pages_of(2) };
    assert_eq!(found(both).await, names(&[3]));
    let oldest = ListTripsRequest { order_by: "create_time".to_owned(), ..pages_of(2) };
    assert_eq!(found(oldest).await, names(&[5, 4, 3, 2, 1, 0]));
    let newest = ListTripsRequest { order_by: "create_time desc".to_owned(), ..pages_of(4) };
    assert_eq!(found(newest).await, names(&[0, 1, 2, 3, 4, 5]));
    assert!(found(ListTripsRequest { states: vec![State::Completed as i32], ..pages_of(2) }).await.is_empty());

    let mut henry = harness.client("henry", Role::Host);
    let page_token = henry.list_trips(pages_of(2)).await.expect("a page").into_inner().next_page_token;
    for other in [
        ListTripsRequest { states: vec![expired], ..pages_of(2) },
        ListTripsRequest { listing, ..pages_of(2) },
        ListTripsRequest { order_by: "create_time".to_owned(), ..pages_of(2) },
    ] {
        refuses_token(henry.list_trips(ListTripsRequest { page_token: page_token.clone(), ..other }).await);
    }
    harness.view.stop().await;
}

/// A8, C1, D1, E1: the overview by kind, region, grade and host, in either order.
#[tokio::test(flavor = "multi_thread")]
async fn listings_are_found_by_what_they_are() {
    let mut harness = Harness::start().await;
    let mut places = [
        Place::with("users/henry", Kind::Room, "Jeju", "basic"),
        Place::with("users/henry", Kind::Taxi, "Jeju", "prime"),
        Place::with("users/hanna", Kind::Taxi, "Seoul", "basic"),
        Place::with("users/hanna", Kind::Hospital, "Seoul", "basic"),
    ];
    harness.publisher.publish(places.iter().flat_map(Place::events).collect()).await;
    let all = ListListingViewsRequest { page_size: 2, ..ListListingViewsRequest::default() };
    let found = async |request| all_views(harness.operator(), request).await;
    eventually(SOON, || async { found(all.clone()).await.len() == 4 }).await;
    places.reverse();
    let names =
        |found: &[usize]| found.iter().map(|at| format_name("listingViews", places[*at].id)).collect::<Vec<_>>();

    let (jeju, basic, hanna) = ("Jeju".to_owned(), "basic".to_owned(), "users/hanna".to_owned());
    let taxi = ListListingViewsRequest { kind: Kind::Taxi.into(), ..all.clone() };
    assert_eq!(found(taxi.clone()).await, names(&[1, 2]));
    assert_eq!(found(ListListingViewsRequest { region: jeju.clone(), ..all.clone() }).await, names(&[2, 3]));
    assert_eq!(found(ListListingViewsRequest { region: jeju, ..taxi.clone() }).await, names(&[2]));
    assert_eq!(found(ListListingViewsRequest { grade: basic.clone(), ..all.clone() }).await, names(&[0, 1, 3]));
    let oldest = ListListingViewsRequest { order_by: "create_time".to_owned(), ..all.clone() };
    assert_eq!(found(oldest.clone()).await, names(&[3, 2, 1, 0]));
    let hers = ListListingViewsRequest { host: hanna, grade: basic, ..oldest.clone() };
    assert_eq!(found(hers.clone()).await, names(&[1, 0]));

    let mut client = harness.operator();
    let page_token = client.list_listing_views(all).await.expect("a page").into_inner().next_page_token;
    for other in [taxi, oldest, hers] {
        let other = ListListingViewsRequest { page_token: page_token.clone(), ..other };
        refuses_token(client.list_listing_views(other).await);
    }
    harness.view.stop().await;
}

/// A page token of another list.
fn refuses_token<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) {
    let status = answer.expect_err("another list's token");
    assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::InvalidArgument, Some("PAGE_TOKEN_INVALID")));
}
