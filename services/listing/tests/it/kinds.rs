//! Each kind of listing and what it counts: nights, dates, a stock. Stories of the use cases run on both databases.

use listing::app::Change;
use listing::domain::{Capacity, Draft, Field, HoldState, Kind, Slot};
use mesh::testing::TestMesh;
use proto::contract::Role;
use proto::listing::v1 as pb;
use proto::listing::v1::place_hold_request::Slot as WireSlot;
use proto::reservation::v1::ReservationCompleted;

use crate::harness::{
    Database, Server, draft, draft_of, first_day, hold_message, hold_slot, listing_message, money, name_of,
    range_message, received, request, stay,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_detail_is_kept() {
    let db = Database::new();
    for kind in [Kind::Room, Kind::Resort, Kind::Taxi, Kind::Hospital] {
        let made = db.listing_of(kind, 3).await;
        let stored = db.get_listing(made.id).await.expect("a listing");
        assert_eq!(stored, made);
        assert_eq!((stored.kind, stored.grade.as_str(), stored.max_persons), (kind, "prime", 4));
        let other = Draft {
            region: "Seoul".to_owned(),
            company: String::new(),
            grade: "basic".to_owned(),
            max_persons: 0,
            language_code: "en".to_owned(),
            ..draft_of(kind, 3)
        };
        let change = Change { listing: made.id, draft: other, fields: Field::ALL.to_vec(), etag: String::new() };
        let changed = db.update_listing("hana", change).await.expect("changed");
        assert_eq!((changed.region.as_str(), changed.company.as_str(), changed.grade.as_str()), ("Seoul", "", "basic"));
        assert_eq!((changed.max_persons, changed.language_code.as_str(), changed.version), (0, "en", 2));
        assert_eq!(db.get_listing(made.id).await.expect("a listing"), changed);
    }
}

/// T13: date × rooms.
#[tokio::test(flavor = "multi_thread")]
async fn a_date_is_reserved_by_units() {
    let db = Database::new();
    let listing = db.listing_of(Kind::Resort, 3).await.id;
    let (today, next) = (Slot::Date(first_day()), Slot::Date(first_day().plus(1)));
    let two = hold_slot(listing, today, 2);
    let placed = db.place_hold(two.clone()).await.expect("held");
    assert_eq!((placed.slot, placed.total.minor()), (today, 76_000));
    assert_eq!(db.place_hold(two.clone()).await.expect("a repeat"), placed);
    let refused = db.place_hold(hold_slot(listing, today, 2)).await.expect_err("one is left");
    assert_eq!(name_of(&refused), "NoAvailability");
    db.place_hold(hold_slot(listing, next, 3)).await.expect("another date");
    assert_eq!(db.held(listing, 3).await, [2, 3, 0]);
    let below = db.set_capacity("hana", listing, Some(stay(0, 3)), 2).await.expect_err("three are held");
    assert_eq!(name_of(&below), "CapacityBelowHolds");
    let set = db.set_capacity("hana", listing, Some(stay(0, 1)), 2).await.expect("two are held");
    assert_eq!((set.len(), set[0].available()), (1, 0));
    db.hear(vec![received(two.reservation, |reservation| ReservationCompleted { reservation })]).await;
    assert_eq!(db.held(listing, 3).await, [0, 3, 0]);
    db.assert_sound().await;
}

/// E3: a hospital offers what it has written, date by date.
#[tokio::test(flavor = "multi_thread")]
async fn dates_can_be_closed_by_default() {
    let db = Database::new();
    let dates = vec![(Ok(first_day().plus(1)), 1), (Ok(first_day()), 7)];
    let draft = Draft { dates, ..draft_of(Kind::Hospital, 0) };
    let first = request();
    let listing = db.create_listing("hana", draft.clone(), first).await.expect("a valid listing").id;
    assert_eq!(db.create_listing("hana", draft, first).await.expect("a repeat").id, listing);
    let offered: Vec<_> = db.available(listing, Some(stay(0, 3))).await.iter().map(|day| day.capacity).collect();
    assert_eq!(offered, [7, 1, 0]);
    let on = |offset| hold_slot(listing, Slot::Date(first_day().plus(offset)), 1);
    db.place_hold(on(1)).await.expect("held");
    for offset in [1, 2] {
        assert_eq!(name_of(&db.place_hold(on(offset)).await.expect_err("nothing left")), "NoAvailability");
    }
    let change = |capacity| Change {
        listing,
        draft: draft_of(Kind::Hospital, capacity),
        fields: vec![Field::DefaultCapacity],
        etag: String::new(),
    };
    db.update_listing("hana", change(2)).await.expect("opened");
    db.place_hold(on(2)).await.expect("held");
    assert_eq!(name_of(&db.update_listing("hana", change(0)).await.expect_err("held")), "CapacityBelowHolds");
    db.assert_sound().await;
}

/// T14: a taxi is free again after the ride.
#[tokio::test(flavor = "multi_thread")]
async fn a_stock_is_reserved_whatever_the_date() {
    let db = Database::new();
    let listing = db.listing_of(Kind::Taxi, 2).await.id;
    let rides = [(); 2].map(|()| hold_slot(listing, Slot::Stock, 1));
    for ride in &rides {
        db.place_hold(ride.clone()).await.expect("held");
    }
    let refused = db.place_hold(hold_slot(listing, Slot::Stock, 1)).await.expect_err("both are gone");
    assert_eq!(name_of(&refused), "NoAvailability");
    db.hear(vec![received(rides[0].reservation, |reservation| ReservationCompleted { reservation })]).await;
    let over = db.release_hold(rides[0].reservation).await.expect("answered").expect("there was one");
    assert_eq!((over.slot, over.state), (Slot::Stock, HoldState::Completed));
    db.place_hold(hold_slot(listing, Slot::Stock, 1)).await.expect("back again");
    assert_eq!(
        name_of(&db.place_hold(hold_slot(listing, Slot::Stock, 3)).await.expect_err("too many")),
        "NoAvailability"
    );
    db.assert_sound().await;
}

/// T20: what SetCapacity sets is what `default_capacity` says, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn a_stock_has_one_number() {
    let db = Database::new();
    let listing = db.listing_of(Kind::Taxi, 3).await.id;
    let numbers = || async {
        let (listing, stock) = db.query_availability(listing, None).await.expect("a listing");
        assert_eq!(stock.len(), 1);
        (listing.default_capacity, stock[0].capacity, stock[0].held, listing.version)
    };
    assert_eq!(db.set_capacity("hana", listing, None, 5).await.expect("set")[0].available(), 5);
    assert_eq!(numbers().await, (5, 5, 0, 2));
    db.place_hold(hold_slot(listing, Slot::Stock, 4)).await.expect("held");
    let change = |capacity| Change {
        listing,
        draft: draft(capacity),
        fields: vec![Field::DefaultCapacity],
        etag: String::new(),
    };
    db.update_listing("hana", change(6)).await.expect("changed");
    assert_eq!(numbers().await, (6, 6, 4, 3));
    assert_eq!(db.set_capacity("hana", listing, None, 4).await.expect("set")[0].available(), 0);
    db.set_capacity("hana", listing, None, 4).await.expect("set already");
    assert_eq!(numbers().await, (4, 4, 4, 4));
    assert_eq!(name_of(&db.set_capacity("hana", listing, None, 3).await.expect_err("held")), "CapacityBelowHolds");
    assert_eq!(name_of(&db.update_listing("hana", change(3)).await.expect_err("held")), "CapacityBelowHolds");
    let refused = db.set_capacity("hana", listing, Some(stay(0, 1)), 9).await.expect_err("a stock has no dates");
    assert_eq!(name_of(&refused), "Invalid");
    assert_eq!(numbers().await, (4, 4, 4, 4));
    db.assert_sound().await;
}

/// T12.
#[tokio::test(flavor = "multi_thread")]
async fn a_room_can_be_a_stock() {
    let db = Database::new();
    let mut draft = draft(1);
    draft.policy.set_capacity(Capacity::Stock);
    let listing = db.create_listing("hana", draft, request()).await.expect("a valid listing").id;
    let first = hold_slot(listing, Slot::Stock, 1);
    db.place_hold(first.clone()).await.expect("held");
    let refused = db.place_hold(hold_slot(listing, Slot::Stock, 1)).await.expect_err("taken");
    assert_eq!(name_of(&refused), "NoAvailability");
    let stays = db.place_hold(hold_slot(listing, Slot::Stay(stay(0, 1)), 1)).await.expect_err("no nights");
    assert_eq!(name_of(&stays), "SlotMismatch");
    db.release_hold(first.reservation).await.expect("released");
    db.place_hold(hold_slot(listing, Slot::Stock, 1)).await.expect("free again");
    db.assert_sound().await;
}

/// B25, D37: over the wire, with every field of the policy set, and the platform's word where the host said nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_answers_the_whole_deal() {
    let server = Server::start(TestMesh::without_broker()).await;
    let wanted = pb::Listing {
        kind: pb::listing::Kind::Taxi.into(),
        price: Some(money("KRW", 1_000)),
        region: "Busan".to_owned(),
        company: "Gull".to_owned(),
        grade: "platinum".to_owned(),
        language_code: "en".to_owned(),
        ..listing_message()
    };
    let taxi = server.create(wanted.clone()).await;
    let details = |listing: &pb::Listing| {
        let (kind, max_persons) = (listing.kind, listing.max_persons);
        (
            kind,
            max_persons,
            [&listing.region, &listing.company, &listing.grade, &listing.language_code].map(String::clone),
        )
    };
    assert_eq!(details(&taxi), details(&wanted));
    let request = pb::PlaceHoldRequest { slot: None, ..hold_message(&taxi.name) };
    let held = server.holds().place_hold(request.clone()).await.expect("held").into_inner();
    assert_eq!(held.total, Some(money("KRW", 3_800)));
    assert_eq!((held.listing_kind(), held.listing_region.as_str()), (pb::listing::Kind::Taxi, "Busan"));
    assert_eq!((held.host_language_code.as_str(), held.hold.as_ref().map(|hold| hold.slot)), ("en", Some(None)));
    let policy = held.policy.clone().expect("a policy");
    assert_eq!((policy.max_per_person, &policy.min_price), (10, &Some(money("KRW", 3_800))));
    assert_eq!(policy.approval(), pb::reservation_policy::Approval::AfterPayment);
    assert_eq!(taxi.policy.as_ref(), Some(&policy), "as its readers see it");
    assert_eq!(server.holds().place_hold(request).await.expect("a repeat").into_inner(), held);

    let read = pb::QueryAvailabilityRequest { name: taxi.name.clone(), dates: None };
    let read = server.listings("chris", Role::Customer).query_availability(read).await.expect("read").into_inner();
    assert_eq!(read.availabilities, [pb::Availability { date: None, capacity: 2, held: 1, available: 1 }]);

    let kind = pb::listing::Kind::Resort.into();
    let date_capacities = vec![pb::DateCapacity { date: Some(first_day().into()), capacity: 9 }];
    let resort = server.create(pb::Listing { kind, date_capacities, ..listing_message() }).await;
    assert_eq!(resort.date_capacities, []);
    let slot = Some(WireSlot::Date(first_day().into()));
    let request = pb::PlaceHoldRequest { slot, units: 3, ..hold_message(&resort.name) };
    let held = server.holds().place_hold(request).await.expect("held").into_inner();
    assert_eq!(held.hold.and_then(|hold| hold.slot), Some(pb::hold::Slot::Date(first_day().into())));
    assert_eq!(held.total, Some(money("KRW", 114_000)));
    let read = pb::QueryAvailabilityRequest { name: resort.name, dates: range_message(0, 2) };
    let read = server.listings("chris", Role::Customer).query_availability(read).await.expect("read").into_inner();
    let numbers: Vec<_> = read.availabilities.iter().map(|day| (day.capacity, day.held)).collect();
    assert_eq!(numbers, [(9, 3), (2, 0)]);
    server.stop().await;
}
