//! Listings: what their hosts do with them.

use listing::app::Change;
use listing::domain::{Field, ListingState};
use mesh::store::Id;
use proto::contract::Role;
use proto::listing::v1 as pb;
use proto::reservation::v1::{ReservationConfirmed, ReservationForceCancelled};

use crate::harness::{
    Database, Server, draft, hold, hold_message, name_of, range_message, received, request, stay, won,
};
use mesh::testing::{TestMesh, all_pages};

/// T22: its reservations hear of it and give their places back one by one.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_is_deleted_whatever_it_holds() {
    let db = Database::new();
    let listing = db.listing(2).await.id;
    let (one, two) = (hold(listing, stay(0, 1), 1), hold(listing, stay(5, 1), 1));
    db.place_hold(one.clone()).await.expect("held");
    db.place_hold(two.clone()).await.expect("held");
    db.hear(vec![received(two.reservation, |reservation| ReservationConfirmed { reservation })]).await;
    let deleted = db.delete_listing("hana", listing, "").await.expect("deleted");
    assert_eq!(deleted.state, ListingState::Deleted);
    assert_eq!(db.delete_listing("hana", listing, "\"1\"").await.expect("a repeat"), deleted);
    assert_eq!(db.get_listing(listing).await.expect("still readable"), deleted);
    assert_eq!(name_of(&db.place_hold(hold(listing, stay(0, 1), 1)).await.expect_err("deleted")), "ListingDeleted");
    assert_eq!(db.place_hold(one.clone()).await.expect("a repeat").reservation, one.reservation);
    let refused = db.set_capacity("hana", listing, Some(stay(0, 1)), 3).await.expect_err("deleted");
    assert_eq!(name_of(&refused), "ListingDeleted");
    let change = Change { listing, draft: draft(9), fields: Field::ALL.to_vec(), etag: String::new() };
    assert_eq!(name_of(&db.update_listing("hana", change).await.expect_err("deleted")), "ListingDeleted");
    assert_eq!(db.held(listing, 6).await, [1, 0, 0, 0, 0, 1]);
    let ended = [one, two]
        .map(|request| received(request.reservation, |reservation| ReservationForceCancelled { reservation }));
    db.hear(ended.to_vec()).await;
    assert_eq!(db.held(listing, 6).await, [0; 6]);
    db.assert_sound().await;
}

/// K19: an update that changes nothing tells nobody anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_changes_nothing_is_no_change() {
    let db = Database::new();
    let listing = db.listing(2).await;
    let change = Change { listing: listing.id, draft: draft(2), fields: Field::ALL.to_vec(), etag: String::new() };
    assert_eq!(db.update_listing("hana", change).await.expect("the same"), listing);
    db.set_capacity("hana", listing.id, Some(stay(0, 2)), 4).await.expect("set");
    let set = db.get_listing(listing.id).await.expect("a listing").version;
    db.set_capacity("hana", listing.id, Some(stay(0, 2)), 4).await.expect("set already");
    assert_eq!(db.get_listing(listing.id).await.expect("a listing").version, set);
    let waiting =
        db.store.read(|conn| Ok::<_, mesh::store::StoreError>(mesh::outbox::backlog(conn)?)).await.expect("a count");
    assert_eq!(waiting.0, 2, "registered, capacity changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_etag_is_refused() {
    let db = Database::new();
    let listing = db.listing(2).await;
    let mut cheaper = draft(2);
    cheaper.price = Some(Ok(won(1)));
    let change = |etag: &str| Change {
        listing: listing.id,
        draft: cheaper.clone(),
        fields: vec![Field::Price],
        etag: etag.to_owned(),
    };
    assert_eq!(name_of(&db.update_listing("hana", change("\"7\"")).await.expect_err("stale")), "EtagMismatch");
    assert_eq!(db.update_listing("hana", change("\"1\"")).await.expect("current").version, 2);
    assert_eq!(name_of(&db.delete_listing("hana", listing.id, "\"1\"").await.expect_err("stale")), "EtagMismatch");
    db.delete_listing("hana", listing.id, "\"2\"").await.expect("current");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_answers_its_own_request_only() {
    let db = Database::new();
    let first = request();
    let listing = db.create_listing("hana", draft(2), first).await.expect("registered");
    assert_eq!(db.create_listing("hana", draft(2), first).await.expect("a repeat"), listing);
    let other = listing::app::Request { fingerprint: [1; 32], ..first };
    assert_eq!(name_of(&db.create_listing("hana", draft(3), other).await.expect_err("reused")), "RequestIdReused");
}

/// T20.
#[tokio::test(flavor = "multi_thread")]
async fn a_default_below_the_holds_is_refused() {
    let db = Database::new();
    let listing = db.listing(3).await.id;
    db.place_hold(hold(listing, stay(0, 2), 3)).await.expect("held");
    let change = |capacity| Change {
        listing,
        draft: draft(capacity),
        fields: vec![Field::DefaultCapacity],
        etag: String::new(),
    };
    assert_eq!(name_of(&db.update_listing("hana", change(2)).await.expect_err("three are held")), "CapacityBelowHolds");
    assert_eq!(db.get_listing(listing).await.expect("a listing").default_capacity, 3);
    db.update_listing("hana", change(4)).await.expect("room for more");
    db.place_hold(hold(listing, stay(0, 2), 1)).await.expect("the fourth");
    db.assert_sound().await;
}

/// A1: registered, read, changed by mask, listed and deleted over the wire.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_registers_changes_and_deletes_a_listing() {
    let server = Server::start(TestMesh::without_broker()).await;
    let mut host = server.listings("hana", Role::Host);
    let listing = server.listing().await;
    assert_eq!((listing.host.as_str(), listing.etag.as_str()), ("users/hana", "\"1\""));
    let policy = listing.policy.clone().expect("every field set");
    assert_eq!((policy.mileage(), policy.mileage_points), (pb::reservation_policy::Mileage::EarnGraceful, 1));

    let changed = pb::Listing {
        name: listing.name.clone(),
        display_name: "Villa".to_owned(),
        etag: listing.etag.clone(),
        ..Default::default()
    };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["display_name".to_owned()] });
    let request = pb::UpdateListingRequest { listing: Some(changed), update_mask, ..Default::default() };
    let updated = host.update_listing(request).await.expect("changed").into_inner().listing.expect("the listing");
    let expected = pb::Listing {
        display_name: "Villa".to_owned(),
        etag: "\"2\"".to_owned(),
        update_time: updated.update_time,
        ..listing.clone()
    };
    assert_eq!(updated, expected);

    let request = pb::DeleteListingRequest { name: listing.name.clone(), ..Default::default() };
    let deleted = host.delete_listing(request).await.expect("deleted").into_inner().listing.expect("the listing");
    assert_eq!(deleted.state(), pb::listing::State::Deleted);
    let request = pb::GetListingRequest { name: listing.name };
    let read = server.listings("chris", Role::Customer).get_listing(request).await.expect("readable").into_inner();
    assert_eq!(read.listing, Some(deleted));
    let listed = host.list_listings(pb::ListListingsRequest::default()).await.expect("a page").into_inner();
    assert_eq!(listed.listings, []);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_each_listing_once_newest_first() {
    let server = Server::start(TestMesh::without_broker()).await;
    let mut names = Vec::new();
    for _ in 0..7 {
        names.insert(0, server.listing().await.name);
    }
    let mut client = server.listings("chris", Role::Customer);
    let seen = all_pages(async |page_token| {
        let request = pb::ListListingsRequest { page_size: 3, page_token };
        let page = client.list_listings(request).await.expect("a page").into_inner();
        assert!(page.listings.len() <= 3);
        (page.listings, page.next_page_token)
    })
    .await;
    assert_eq!(seen.into_iter().map(|listing| listing.name).collect::<Vec<_>>(), names);
    let other = pb::ListReviewsRequest { parent: format!("listings/{}", Id::generate()), ..Default::default() };
    let refused = server.reviews("chris", Role::Customer).list_reviews(other).await.expect_err("no such listing");
    assert_eq!(mesh::fault::reason_of(&refused).as_deref(), Some("LISTING_NOT_FOUND"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn availability_counts_held_and_free_units() {
    let server = Server::start(TestMesh::without_broker()).await;
    let listing = server.listing().await.name;
    server.holds().place_hold(hold_message(&listing)).await.expect("held");
    let request =
        pb::SetCapacityRequest { name: listing.clone(), dates: range_message(1, 2), capacity: 5, ..Default::default() };
    let set = server.listings("hana", Role::Host).set_capacity(request).await.expect("set").into_inner();
    let request = pb::QueryAvailabilityRequest { name: listing, dates: range_message(0, 4) };
    let read = server.listings("chris", Role::Customer).query_availability(request).await.expect("read").into_inner();
    let numbers: Vec<_> = read.availabilities.iter().map(|day| (day.capacity, day.held, day.available)).collect();
    assert_eq!(numbers, [(2, 1, 1), (5, 1, 4), (5, 0, 5), (2, 0, 2)]);
    assert_eq!(read.availabilities[1..3], set.availabilities);
    server.stop().await;
}
