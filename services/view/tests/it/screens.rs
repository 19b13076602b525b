//! Trips, listing views and timelines.

use mesh::fault::reason_of;
use mesh::testing::eventually;
use mesh::value::format_name;
use proto::contract::Role;
use proto::listing::v1::hold;
use proto::payment::v1::payment;
use proto::reservation::v1::reservation;
use proto::view::v1::{GetListingViewRequest, TimelineEntry, WatchTripRequest};
use proto::voucher::v1::voucher;
use tonic::Code;

use crate::harness::{
    Harness, MAX_WATCHERS, SOON, all_trips, get_trip, listing_view, pages_of, serve, timeline, trip_name,
};
use crate::story::{APPROVAL, Place, Story, TICKET, TRACE_ID, When};

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
    let entries = harness.folded(&story, 15).await;
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

/// B1, C1, C4, D4, E9, T14, T22, T44: every move a reservation can make, its voucher too, in words and on the screens.
#[tokio::test(flavor = "multi_thread")]
async fn every_move_of_a_reservation_is_shown_and_told() {
    let mut harness = Harness::start().await;
    let place = Place::of("users/henry");
    let [approved, rejected, declined, expired, forced] = [(); 5].map(|()| Story::of(&place, "users/alice"));
    let (approved, expired, forced) = (approved.on(When::Date), expired.on(When::AnyTime), forced.on(When::AnyTime));
    let tales = [
        place.events(),
        approved.approved(),
        rejected.rejected("No dogs."),
        declined.rejected("PAYMENT_DECLINED"),
        expired.expired(),
        forced.booking(),
        forced.forced(),
    ];
    harness.publisher.publish(tales.concat()).await;

    let date = "2024-10-04";
    check(
        &harness.folded(&approved, 9).await,
        &[
            format!("place held: 1 unit, {date}"),
            format!("reservation requested: Sea View, {date}; awaits its host's approval"),
            format!("approved by its host, number {APPROVAL}; awaits its payment"),
            "payment approved: KRW 120000".to_owned(),
            format!("reservation confirmed: Sea View, {date}"),
            format!("place taken for good: 1 unit, {date}"),
            format!("voucher {TICKET} issued"),
            format!("reservation completed: Sea View, {date}"),
            format!("place given back: 1 unit, {date}"),
        ],
    );
    let trip = get_trip(&mut harness.client("alice", Role::Customer), &approved).await.expect("her own");
    assert_eq!(trip.hold_state(), hold::State::Completed);
    assert_eq!((trip.voucher_state(), trip.ticket_number.as_str()), (voucher::State::Issued, TICKET));
    assert_eq!(trip.voucher, format_name("vouchers", approved.voucher));

    let nights = "2024-10-04 to 2024-10-06";
    let awaits = [
        format!("reservation requested: Sea View, {nights}; awaits its payment"),
        format!("paid: Sea View, {nights}; awaits its host's approval"),
    ];
    let [requested, paid] = awaits.clone();
    check(&harness.folded(&rejected, 3).await, &[requested, paid, "rejected: No dogs.".to_owned()]);
    let [requested, paid] = awaits;
    check(&harness.folded(&declined, 3).await, &[requested, paid, "rejected: payment declined".to_owned()]);
    check(
        &harness.folded(&expired, 2).await,
        &[
            "reservation requested: Sea View; awaits its payment".to_owned(),
            "expired, neither approved nor paid in time: Sea View".to_owned(),
        ],
    );
    check(
        &harness.folded(&forced, 15).await[8..],
        &[
            format!("voucher {TICKET} issued"),
            "cancelled because its listing was deleted: Sea View".to_owned(),
            "payment cancelled: KRW 120000".to_owned(),
            "miles taken back: 30, balance 0".to_owned(),
            format!("voucher {TICKET} cancelled"),
            "place given back: 1 unit".to_owned(),
            "message sent: reservation force cancelled, by SMS".to_owned(),
        ],
    );
    let view = listing_view(harness.operator(), &place).await.expect("a view");
    assert_eq!((view.latest_reservation.as_str(), view.confirmed_count), (forced.name().as_str(), 0));
    assert_eq!(view.latest_reservation_state(), reservation::State::ForceCancelled);
    assert_eq!(view.latest_voucher_state(), voucher::State::Cancelled);
    harness.view.stop().await;
}

fn check(entries: &[TimelineEntry], lines: &[String]) {
    assert_eq!(entries.iter().map(|entry| entry.summary.as_str()).collect::<Vec<_>>(), lines);
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
    harness.view = serve(&harness.mesh, MAX_WATCHERS).await;
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
        let watched = client.watch_trip(WatchTripRequest { name: trip_name(&story) }).await;
        let answers = [
            get_trip(&mut client, &story).await.map(|_| ()),
            timeline(client.clone(), &story).await.map(|_| ()),
            watched.map(|_| ()),
        ];
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
        let listed = all_trips(client, pages_of(10)).await;
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
