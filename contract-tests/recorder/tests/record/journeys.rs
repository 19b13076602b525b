//! What customers and hosts do, so that consumers are given events of every kind.

use std::time::Duration;

use holdfast::api::TargetArgs;
use holdfast::business::Business;
use holdfast::demo::{self, DemoArgs, Language, Story};
use holdfast::home::HomeArgs;
use mesh::fault::Fault;
use mesh::testing::eventually;
use proto::contract::Role;
use proto::listing::v1::reservation_policy::{Approval, Payment};
use proto::listing::v1::{DeleteReviewRequest, Listing, ReservationPolicy, Review, UpdateReviewRequest};
use proto::reservation::v1::{CreateReservationRequest, reservation::State};
use world::caller::{Caller, today, wish, wish_on};
use world::{PATIENCE, offers};

use crate::stage::{Lie, Stage};

/// Nothing follows any more when no batch came for so long.
const REST: Duration = Duration::from_secs(1);

/// Those that wait for no alarm.
const STORIES: [Business; 4] = [Business::Airbnb, Business::Approval, Business::Resort, Business::Taxi];

/// The stories of the businesses in these languages, and what they leave out.
pub(crate) async fn all(stage: &Stage, languages: &[Language]) {
    for language in languages {
        for story in STORIES.map(Story::Of) {
            let args = DemoArgs { story, language: *language, patience: PATIENCE, target: target(stage) };
            demo::run(&args).await.expect("the story of a business");
        }
    }
    let (hana, gil) = (caller(stage, "hana", Role::Host), caller(stage, "gil", Role::Customer));
    a_listing_changes(&hana, &gil).await;
    a_review_is_written(&hana, &gil).await;
    nobody_approves_in_time(&hana, &gil).await;
    the_last_unit_goes(&hana, &gil).await;
    a_screening_is_over_and_another_is_not(&hana, &gil).await;
    a_paid_listing_is_withdrawn(&hana, &gil).await;
    miles_follow_later(stage, &hana, &gil).await;
    it_is_paid_before_it_is_approved(&hana, &gil).await;
}

fn target(stage: &Stage) -> TargetArgs {
    let url = |service: &str| Some(format!("http://{}", stage.addresses[service]));
    TargetArgs {
        home: HomeArgs { data_dir: Some(stage.mesh.folder().join("home")) },
        keys: Some(stage.mesh.folder().join("keys")),
        tls_dir: None,
        listing_url: url("listing"),
        reservation_url: url("reservation"),
        payment_url: url("payment"),
        mileage_url: url("mileage"),
        message_url: url("message"),
        view_url: url("view"),
        voucher_url: url("voucher"),
    }
}

pub(crate) fn caller(stage: &Stage, subject: &str, role: Role) -> Caller {
    Caller::new(subject, |service| stage.user(service, subject, role))
}

async fn a_listing_changes(hana: &Caller, gil: &Caller) {
    let listing = hana.offer_listing(offers::room_by_approval(2)).await;
    let reservation = gil.reserve(&wish(&listing)).await.expect("a request");
    hana.set_capacity(&listing, Some(today().plus(60)), 3).await.expect("more of them");
    let named = Listing { name: listing.clone(), display_name: "Another name".to_owned(), ..Listing::default() };
    hana.modify(named, &["display_name"]).await.expect("changed");
    hana.withdraw(&listing).await.expect("deleted");
    gil.until(&reservation.name, State::ForceCancelled).await;
}

async fn a_review_is_written(hana: &Caller, gil: &Caller) {
    let room = hana.offer_listing(offers::room(1)).await;
    gil.reserve(&wish(&room)).await.expect("reserved");
    // Listing has to hear of the reservation first.
    let review = eventually(PATIENCE, || async { gil.review(&room, "quiet").await.ok() }).await;
    let review = Review { content: "very quiet".to_owned(), ..review };
    let request = UpdateReviewRequest { review: Some(review), ..UpdateReviewRequest::default() };
    let changed = gil.reviews.clone().update_review(request).await.expect("changed").into_inner();
    let name = changed.review.expect("the review").name;
    let request = DeleteReviewRequest { name, ..DeleteReviewRequest::default() };
    gil.reviews.clone().delete_review(request).await.expect("deleted");
}

async fn nobody_approves_in_time(hana: &Caller, gil: &Caller) {
    let brief =
        |policy: &mut ReservationPolicy| policy.approval_ttl = Some(Duration::from_secs(1).try_into().expect("short"));
    let listing = hana.offer_listing(offers::with(offers::room_by_approval(1), brief)).await;
    let reservation = gil.reserve(&wish(&listing)).await.expect("a request");
    gil.until(&reservation.name, State::Expired).await;
}

/// Marketing asks for more.
async fn the_last_unit_goes(hana: &Caller, gil: &Caller) {
    let listing = hana.offer_listing(offers::hospital(1)).await;
    let request = CreateReservationRequest { payment_method: String::new(), ..wish_on(&listing, 40) };
    gil.reserve(&request).await.expect("reserved");
}

async fn a_screening_is_over_and_another_is_not(hana: &Caller, gil: &Caller) {
    let listing = hana.offer_listing(offers::hospital(9)).await;
    let request = |day| CreateReservationRequest { payment_method: String::new(), ..wish_on(&listing, day) };
    let reservation = gil.reserve(&request(41)).await.expect("reserved");
    hana.complete(&reservation.name).await.expect("completed");
    let reservation = gil.reserve(&request(42)).await.expect("reserved");
    gil.cancel(&reservation.name).await.expect("cancelled");
    gil.until(&reservation.name, State::Cancelled).await;
}

/// Money, miles and voucher go with it.
async fn a_paid_listing_is_withdrawn(hana: &Caller, gil: &Caller) {
    let listing = hana.offer_listing(offers::resort(2)).await;
    let request = CreateReservationRequest { payment_method: String::new(), ..wish_on(&listing, 40) };
    let reservation = gil.reserve(&request).await.expect("reserved");
    gil.pay(&reservation.name, "pm_card_visa").await.expect("paid");
    eventually(PATIENCE, || async { !gil.my_vouchers().await.is_empty() }).await;
    hana.withdraw(&listing).await.expect("deleted");
    gil.until(&reservation.name, State::ForceCancelled).await;
}

/// Mileage is down while it is paid.
async fn miles_follow_later(stage: &Stage, hana: &Caller, gil: &Caller) {
    let room = hana.offer_listing(offers::room(1)).await;
    let down = Fault::unavailable("CONNECTION_FAILED", "the test says so", Duration::from_secs(1));
    let accrue = "holdfast.mileage.v1.AccrualService.AccrueMileage".to_owned();
    stage.wire.begin(Some((accrue, Lie::Refused(down.into()))));
    gil.reserve(&wish(&room)).await.expect("reserved");
    stage.wire.begin(None);
}

async fn it_is_paid_before_it_is_approved(hana: &Caller, gil: &Caller) {
    let later = |policy: &mut ReservationPolicy| {
        policy.payment = Payment::Deferred.into();
        policy.approval = Approval::AfterPayment.into();
    };
    let listing = hana.offer_listing(offers::with(offers::resort(1), later)).await;
    let request = CreateReservationRequest { payment_method: String::new(), ..wish_on(&listing, 40) };
    let reservation = gil.reserve(&request).await.expect("reserved");
    let paid = gil.pay(&reservation.name, "pm_card_visa").await.expect("paid");
    assert_eq!(paid.state(), State::AwaitingApproval);
}

/// Waits until nothing more follows.
pub(crate) async fn rest(stage: &Stage) {
    let mut last = (stage.deliveries.count(), std::time::Instant::now());
    eventually(PATIENCE, || {
        let count = stage.deliveries.count();
        if count != last.0 {
            last = (count, std::time::Instant::now());
        }
        let is_over = last.1.elapsed() >= REST;
        async move { is_over }
    })
    .await;
}
