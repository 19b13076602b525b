//! Everything a caller can get wrong: each answer has its code, its reason and its field.

use mesh::fault::reason_of;
use mesh::store::Id;
use mesh::testing::TestMesh;
use proto::contract::Role;
use proto::google::r#type::Date;
use proto::listing::v1 as pb;
use proto::listing::v1::place_hold_request::Slot;
use proto::listing::v1::reservation_policy::{Capacity, Payment};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use crate::harness::{Server, hold_message, listing_message, money, range_message, stay_message};

/// `field` is empty where the answer names none.
#[track_caller]
fn check<T: std::fmt::Debug>(answer: Result<Response<T>, Status>, code: Code, reason: &str, field: &str) {
    let status = answer.expect_err("refused");
    assert_eq!((status.code(), reason_of(&status).as_deref()), (code, Some(reason)), "{status:?}");
    let details = status.get_details_bad_request();
    let fields: Vec<_> = details
        .iter()
        .flat_map(|details| &details.field_violations)
        .map(|violation| violation.field.as_str())
        .collect();
    assert_eq!(fields.first().copied().unwrap_or_default(), field, "{status:?}");
}

/// Makes a good message bad.
type Spoil<M> = fn(&mut M);

fn date(year: i32, month: i32, day: i32) -> Option<Date> {
    Some(Date { year, month, day })
}

fn policy(listing: &mut pb::Listing) -> &mut pb::ReservationPolicy {
    listing.policy.get_or_insert_default()
}

const DOMAIN_RULE: &str = mesh::fault::reason::INVALID_FIELD;

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_cannot_be_is_refused_by_field() {
    let server = Server::start(TestMesh::without_broker()).await;
    let host = server.listings("hana", Role::Host);
    let cases: &[(&str, Spoil<pb::Listing>)] = &[
        ("listing.display_name", |listing| listing.display_name.clear()),
        ("listing.kind", |listing| listing.kind = 0),
        ("listing.price", |listing| listing.price = None),
        ("listing.price", |listing| listing.price = Some(money("KRW", -1))),
        ("listing.price", |listing| listing.price = Some(money("XXQ", 1))),
        ("listing.default_capacity", |listing| listing.default_capacity = 0),
        ("listing.time_zone", |listing| listing.time_zone.clear()),
        ("listing.time_zone", |listing| listing.time_zone = "Asia/Soul".to_owned()),
        ("listing.policy.payment", |listing| policy(listing).set_payment(Payment::OnApproval)),
        ("listing.policy.min_price", |listing| policy(listing).min_price = Some(money("EUR", 1))),
        ("listing.policy.payment_ttl", |listing| policy(listing).payment_ttl = Some(Default::default())),
    ];
    let existing = server.listing().await;
    for (field, spoil) in cases {
        let mut listing = listing_message();
        spoil(&mut listing);
        let request =
            pb::CreateListingRequest { listing: Some(listing.clone()), request_id: Id::generate().to_string() };
        check(host.clone().create_listing(request).await, Code::InvalidArgument, DOMAIN_RULE, field);
        if *field != "listing.kind" {
            let listing = Some(pb::Listing { name: existing.name.clone(), ..listing });
            let request = pb::UpdateListingRequest { listing, ..Default::default() };
            check(host.clone().update_listing(request).await, Code::InvalidArgument, DOMAIN_RULE, field);
        }
    }
    let mut stock = pb::Listing { name: existing.name.clone(), ..listing_message() };
    policy(&mut stock).set_capacity(Capacity::Stock);
    let request = pb::UpdateListingRequest { listing: Some(stock), ..Default::default() };
    check(host.clone().update_listing(request).await, Code::InvalidArgument, DOMAIN_RULE, "listing.policy.capacity");
    let twice = vec![pb::DateCapacity { date: date(2031, 1, 1), capacity: 1 }; 2];
    let listing = Some(pb::Listing { date_capacities: twice, ..listing_message() });
    let request = pb::CreateListingRequest { listing, request_id: Id::generate().to_string() };
    let field = "listing.date_capacities[1].date";
    check(host.clone().create_listing(request).await, Code::InvalidArgument, DOMAIN_RULE, field);
    let update_mask = Some(prost_types::FieldMask { paths: vec!["state".to_owned()] });
    let request = pb::UpdateListingRequest { listing: Some(existing), update_mask, ..Default::default() };
    check(host.clone().update_listing(request).await, Code::InvalidArgument, "FIELD_NOT_UPDATABLE", "update_mask");
    let request = pb::UpdateListingRequest { listing: Some(listing_message()), ..Default::default() };
    check(host.clone().update_listing(request).await, Code::InvalidArgument, DOMAIN_RULE, "listing.name");
    let request = pb::ListListingsRequest { page_size: 0, page_token: "?".to_owned() };
    check(host.clone().list_listings(request).await, Code::InvalidArgument, "PAGE_TOKEN_INVALID", "page_token");

    let request_id = Id::generate().to_string();
    let mut request = pb::CreateListingRequest { listing: Some(listing_message()), request_id };
    let first = host.clone().create_listing(request.clone()).await.expect("registered").into_inner();
    assert_eq!(host.clone().create_listing(request.clone()).await.expect("a repeat").into_inner(), first);
    request.listing = Some(pb::Listing { display_name: "Other".to_owned(), ..listing_message() });
    check(host.clone().create_listing(request).await, Code::InvalidArgument, "REQUEST_ID_REUSED", "request_id");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_cannot_be_is_refused_by_reason() {
    let server = Server::start(TestMesh::without_broker()).await;
    let listing = server.listing().await.name;
    let cases: &[(Code, &str, &str, Spoil<pb::PlaceHoldRequest>)] = &[
        (Code::InvalidArgument, "DATE_IN_PAST", "stay.check_in_date", |hold| {
            hold.slot =
                Some(Slot::Stay(pb::Stay { check_in_date: date(2020, 1, 1), check_out_date: date(2020, 1, 3) }));
        }),
        (Code::InvalidArgument, DOMAIN_RULE, "stay.check_in_date", |hold| {
            hold.slot =
                Some(Slot::Stay(pb::Stay { check_in_date: date(2031, 2, 29), check_out_date: date(2031, 3, 1) }));
        }),
        (Code::InvalidArgument, DOMAIN_RULE, "stay.check_out_date", |hold| {
            hold.slot = Some(Slot::Stay(stay_message(0, 0)));
        }),
        (Code::InvalidArgument, DOMAIN_RULE, "stay.check_out_date", |hold| {
            hold.slot = Some(Slot::Stay(stay_message(0, 91)));
        }),
        (Code::InvalidArgument, "SLOT_MISMATCH", "stay", |hold| hold.slot = None),
        (Code::InvalidArgument, "SLOT_MISMATCH", "stay", |hold| {
            hold.slot = date(2031, 2, 28).map(Slot::Date);
        }),
        (Code::InvalidArgument, DOMAIN_RULE, "date", |hold| hold.slot = date(2031, 2, 29).map(Slot::Date)),
        (Code::FailedPrecondition, "TOO_MANY_PERSONS", "", |hold| hold.persons = 5),
        (Code::InvalidArgument, "CURRENCY_MISMATCH", "expected_total", |hold| {
            hold.expected_total = Some(money("EUR", 76_000));
        }),
        (Code::InvalidArgument, DOMAIN_RULE, "expected_total", |hold| hold.expected_total = Some(money("", 76_000))),
        (Code::FailedPrecondition, "PRICE_CHANGED", "", |hold| hold.expected_total = Some(money("KRW", 75_000))),
        (Code::FailedPrecondition, "NO_AVAILABILITY", "", |hold| hold.units = 3),
        (Code::NotFound, "LISTING_NOT_FOUND", "", |hold| hold.listing = format!("listings/{}", Id::generate())),
    ];
    for (code, reason, field, spoil) in cases {
        let mut request = hold_message(&listing);
        spoil(&mut request);
        check(server.holds().place_hold(request.clone()).await, *code, reason, field);
    }
    let request = pb::PlaceHoldRequest { expected_total: Some(money("KRW", 76_000)), ..hold_message(&listing) };
    let held = server.holds().place_hold(request.clone()).await.expect("held").into_inner();
    assert_eq!((held.total, held.host.as_str()), (Some(money("KRW", 76_000)), "users/hana"));
    assert_eq!(held.policy.map(|policy| policy.mileage_points), Some(1));

    let sold_out = server.holds().place_hold(pb::PlaceHoldRequest { units: 2, ..hold_message(&listing) }).await;
    let status = sold_out.expect_err("one is left");
    let details = status.get_details_precondition_failure().expect("details");
    assert_eq!(
        (details.violations[0].r#type.as_str(), details.violations[0].subject.as_str()),
        ("AVAILABILITY", listing.as_str())
    );

    let release = pb::ReleaseHoldRequest { reservation: request.reservation.clone() };
    let released = server.holds().release_hold(release).await.expect("released").into_inner().hold.expect("a hold");
    assert_eq!(released.state(), pb::hold::State::Released);
    check(server.holds().place_hold(request).await, Code::FailedPrecondition, "HOLD_RELEASED", "");

    let request = pb::DeleteListingRequest { name: listing.clone(), etag: "\"9\"".to_owned(), ..Default::default() };
    check(server.listings("hana", Role::Host).delete_listing(request).await, Code::Aborted, "ETAG_MISMATCH", "");
    let request = pb::DeleteListingRequest { name: listing.clone(), ..Default::default() };
    server.listings("hana", Role::Host).delete_listing(request).await.expect("deleted");
    check(server.holds().place_hold(hold_message(&listing)).await, Code::FailedPrecondition, "LISTING_DELETED", "");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn capacity_is_set_and_read_for_a_year_at_most() {
    let server = Server::start(TestMesh::without_broker()).await;
    let name = server.listing().await.name;
    let host = server.listings("hana", Role::Host);
    for (nights, code) in [(366, None), (367, Some(Code::InvalidArgument))] {
        let set = pb::SetCapacityRequest {
            name: name.clone(),
            dates: range_message(0, nights),
            capacity: 3,
            ..Default::default()
        };
        let query = pb::QueryAvailabilityRequest { name: name.clone(), dates: range_message(0, nights) };
        assert_eq!(host.clone().set_capacity(set).await.err().map(|status| status.code()), code);
        assert_eq!(host.clone().query_availability(query).await.err().map(|status| status.code()), code);
    }
    let held = server.holds().place_hold(pb::PlaceHoldRequest { units: 3, ..hold_message(&name) }).await;
    held.expect("three fit");
    let set =
        pb::SetCapacityRequest { name: name.clone(), dates: range_message(0, 5), capacity: 2, ..Default::default() };
    check(host.clone().set_capacity(set).await, Code::FailedPrecondition, "CAPACITY_BELOW_HOLDS", "");
    let query = pb::QueryAvailabilityRequest { name: name.clone(), dates: None };
    check(host.clone().query_availability(query).await, Code::InvalidArgument, DOMAIN_RULE, "dates");
    let set = pb::SetCapacityRequest { name, dates: None, capacity: 9, ..Default::default() };
    check(host.clone().set_capacity(set).await, Code::InvalidArgument, DOMAIN_RULE, "dates");
    let taxi = server.create(pb::Listing { kind: pb::listing::Kind::Taxi.into(), ..listing_message() }).await.name;
    let set = pb::SetCapacityRequest { name: taxi, dates: range_message(0, 1), capacity: 9, ..Default::default() };
    check(host.clone().set_capacity(set).await, Code::InvalidArgument, DOMAIN_RULE, "dates");
    server.stop().await;
}
