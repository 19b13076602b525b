//! Bad input: each a typed answer that names the field or the reason, with nothing stored.

use std::collections::BTreeSet;

use proto::{
    google::r#type::Date,
    listing::v1::{CreateListingRequest, Listing, Stay, listing::Kind},
    reservation::v1::{CreateReservationRequest, Reservation, reservation::Slot},
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use world::{
    World,
    caller::{reason, request_id, stay, today, wish, won},
};

/// The fields a refusal names.
fn fields(status: &Status) -> BTreeSet<String> {
    let violations = status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}

fn no_internals(status: &Status) {
    let text = status.message().to_lowercase();
    for word in ["sqlite", "diesel", "panicked", "postgres", "unwrap", ".rs:", "127.0.0.1", "visa"] {
        assert!(!text.contains(word), "{text}");
    }
}

#[tokio::test]
async fn a_bad_reservation_is_refused_by_field_or_reason_and_stores_nothing() {
    let world = World::start().await;
    let listing = world.host().offer(2).await;
    let guest = world.customer("gil");
    let good = wish(&listing);
    let with = |change: &dyn Fn(&mut Reservation)| {
        let mut request = CreateReservationRequest { request_id: request_id(), ..good.clone() };
        change(request.reservation.as_mut().expect("set"));
        request
    };
    let day = |ahead: i32| -> Option<Date> { Some(today().plus(ahead).into()) };
    let (invalid, failed) = (Code::InvalidArgument, Code::FailedPrecondition);
    let stays = |check_in_date, check_out_date| {
        with(&move |r| r.slot = Some(Slot::Stay(Stay { check_in_date, check_out_date })))
    };
    let never = Some(Date { year: 2030, month: 2, day: 30 });

    let table: Vec<(&str, CreateReservationRequest, Code, &str, &[&str])> = vec![
        (
            "unknown listing",
            with(&|r| r.listing = format!("listings/{}", request_id())),
            Code::NotFound,
            "LISTING_NOT_FOUND",
            &[],
        ),
        (
            "malformed listing",
            with(&|r| r.listing = "listings/../1".to_owned()),
            invalid,
            "INVALID_FIELD",
            &["reservation.listing"],
        ),
        ("past dates", stays(day(-3), day(-1)), invalid, "DATE_IN_PAST", &["reservation.stay.check_in_date"]),
        (
            "check-out before check-in",
            stays(day(5), day(4)),
            invalid,
            "STAY_EMPTY",
            &["reservation.stay.check_out_date"],
        ),
        ("no nights", stays(day(5), day(5)), invalid, "STAY_EMPTY", &["reservation.stay.check_out_date"]),
        ("too many nights", stays(day(5), day(96)), invalid, "STAY_TOO_LONG", &["reservation.stay.check_out_date"]),
        ("no such day", stays(never, day(2000)), invalid, "DATE_INVALID", &["reservation.stay.check_in_date"]),
        ("no stay", with(&|r| r.slot = None), invalid, "SLOT_MISMATCH", &["reservation.slot"]),
        ("zero units", with(&|r| r.units = 0), invalid, "INVALID_FIELD", &["reservation.units"]),
        ("negative units", with(&|r| r.units = -1), invalid, "INVALID_FIELD", &["reservation.units"]),
        ("absurdly many units", with(&|r| r.units = 1001), invalid, "INVALID_FIELD", &["reservation.units"]),
        ("more units than there are", with(&|r| r.units = 3), failed, "NO_AVAILABILITY", &[]),
        ("nobody comes", with(&|r| r.persons = 0), invalid, "INVALID_FIELD", &["reservation.persons"]),
        (
            "no reservation",
            CreateReservationRequest { reservation: None, ..good.clone() },
            invalid,
            "INVALID_FIELD",
            &["reservation"],
        ),
        (
            "missing request_id",
            CreateReservationRequest { request_id: String::new(), ..good.clone() },
            invalid,
            "INVALID_FIELD",
            &["request_id"],
        ),
        (
            "request_id is no UUID",
            CreateReservationRequest { request_id: "1".to_owned(), ..good.clone() },
            invalid,
            "INVALID_FIELD",
            &["request_id"],
        ),
        (
            "unknown card",
            CreateReservationRequest { payment_method: "pm_card_nobody".to_owned(), ..good.clone() },
            invalid,
            "PAYMENT_METHOD_UNKNOWN",
            &["payment_method"],
        ),
        (
            "a card number",
            CreateReservationRequest {
                payment_method: "4242424242424242".to_owned(),
                request_id: request_id(),
                ..good.clone()
            },
            invalid,
            "INVALID_FIELD",
            &["payment_method"],
        ),
        (
            "no payment method",
            CreateReservationRequest { payment_method: String::new(), request_id: request_id(), ..good.clone() },
            invalid,
            "PAYMENT_METHOD_REQUIRED",
            &["payment_method"],
        ),
        (
            "another price",
            CreateReservationRequest { expected_total: Some(won(1)), request_id: request_id(), ..good.clone() },
            failed,
            "PRICE_CHANGED",
            &[],
        ),
        (
            "negative amount",
            CreateReservationRequest { expected_total: Some(won(-1)), request_id: request_id(), ..good.clone() },
            invalid,
            "MONEY_NEGATIVE",
            &["expected_total"],
        ),
        (
            "another currency",
            CreateReservationRequest {
                expected_total: Some(proto::google::r#type::Money {
                    currency_code: "EUR".to_owned(),
                    units: 1,
                    nanos: 0,
                }),
                request_id: request_id(),
                ..good.clone()
            },
            invalid,
            "CURRENCY_MISMATCH",
            &["expected_total"],
        ),
        (
            "no currency",
            CreateReservationRequest {
                expected_total: Some(proto::google::r#type::Money {
                    currency_code: "WON".to_owned(),
                    units: 1,
                    nanos: 0,
                }),
                request_id: request_id(),
                ..good.clone()
            },
            invalid,
            "CURRENCY_UNKNOWN",
            &["expected_total"],
        ),
    ];
    for (what, request, code, expected, named) in table {
        let refused = guest.reserve(&request).await.expect_err(what);
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, expected), "{what}: {refused:?}");
        assert_eq!(fields(&refused), named.iter().map(|&field| field.to_owned()).collect(), "{what}");
        no_internals(&refused);
    }
    assert!(guest.my_reservations().await.is_empty());
    assert_eq!(guest.free(&listing, &stay(30)).await, 2);
    assert_eq!(guest.miles().await, 0);
    world.audit();
}

#[tokio::test]
async fn a_bad_listing_and_a_bad_cancellation_are_refused() {
    let world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let good = Listing {
        display_name: "Room".to_owned(),
        kind: Kind::Room.into(),
        price: Some(won(1)),
        default_capacity: 1,
        time_zone: "Asia/Seoul".to_owned(),
        ..Listing::default()
    };
    let euro = |units, nanos| Some(proto::google::r#type::Money { currency_code: "EUR".to_owned(), units, nanos });
    let table = [
        ("no name", Listing { display_name: String::new(), ..good.clone() }, "listing.display_name"),
        ("a long name", Listing { display_name: "예".repeat(201), ..good.clone() }, "listing.display_name"),
        ("an unknown kind", Listing { kind: 99, ..good.clone() }, "listing.kind"),
        ("no kind", Listing { kind: 0, ..good.clone() }, "listing.kind"),
        ("no price", Listing { price: None, ..good.clone() }, "listing.price"),
        ("a negative price", Listing { price: Some(won(-1)), ..good.clone() }, "listing.price"),
        ("half a cent", Listing { price: euro(1, 5_000_000), ..good.clone() }, "listing.price"),
        ("no units", Listing { default_capacity: 0, ..good.clone() }, "listing.default_capacity"),
        ("no such zone", Listing { time_zone: "Mars/Olympus".to_owned(), ..good.clone() }, "listing.time_zone"),
    ];
    for (what, listing, field) in table {
        let request = CreateListingRequest { listing: Some(listing), request_id: request_id() };
        let refused = host.listings.clone().create_listing(request).await.expect_err(what);
        assert_eq!(refused.code(), Code::InvalidArgument, "{what}: {refused:?}");
        assert!(fields(&refused).contains(field), "{what} names {:?}", fields(&refused));
        no_internals(&refused);
    }
    let refused = guest.cancel("reservations/nonsense").await.expect_err("a malformed name");
    assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, BTreeSet::from(["name".to_owned()])));
    let refused = guest.cancel(&format!("reservations/{}", request_id())).await.expect_err("none");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "RESERVATION_NOT_FOUND"));

    // Wrong state: a refused reservation was never one.
    let listing = host.offer(1).await;
    let huge = Listing { description: "x".repeat(5 * 1024 * 1024), name: listing, ..good };
    let request = CreateListingRequest { listing: Some(huge), request_id: request_id() };
    let refused = host.listings.clone().create_listing(request).await.expect_err("5 MiB");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
}

/// A68, K49: every call carries a signed token with a role that may make it.
#[tokio::test]
async fn without_credentials_or_with_others_nothing_is_done() {
    let world = World::start().await;
    let listing = world.host().offer(1).await;
    let nobody = world::caller::Caller::new("nobody", |service| {
        mesh::client::connect(service, &world.address(service).into(), mesh::client::Credentials::Anonymous)
    });
    let refused = nobody.reserve(&wish(&listing)).await.expect_err("no token");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "CREDENTIALS_MISSING"));
    let refused = world.host().reserve(&wish(&listing)).await.expect_err("a host does not book");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_ALLOWED"));
    // An internal RPC is no user's, whatever their role.
    for role in proto::contract::Role::ALL {
        let token = world.token("eve", role);
        let credentials = mesh::client::Credentials::token(&token);
        let channel = mesh::client::connect("payment", &world.address("payment").into(), credentials);
        let mut charges = proto::payment::v1::charge_service_client::ChargeServiceClient::new(channel);
        let request =
            proto::payment::v1::RefundPaymentRequest { reservation: format!("reservations/{}", request_id()) };
        let refused = charges.refund_payment(request).await.expect_err("not a service");
        assert_eq!(refused.code(), Code::PermissionDenied, "{role}");
    }
}
