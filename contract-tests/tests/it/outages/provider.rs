//! Whoever moves the money is slow, fails, or answers when nobody listens any more.

use std::time::Duration;

use mesh::testing::{Program, eventually};
use proto::{
    listing::v1::reservation_policy::PaymentWait,
    payment::v1::{Payment, payment::State as PaymentState},
    reservation::v1::{CreateReservationRequest, reservation::State},
};
use tonic::Code;
use tonic_types::StatusExt;

use world::{
    PATIENCE, World,
    caller::{stay, wish},
    link::{Link, Way},
    offers,
};

use super::{come_back, invited, until_booked};

/// T38, K3: the caller's time runs out during the charge. The answer says so in time, nothing stays, a late charge is refunded.
#[tokio::test]
async fn a_slow_payment_is_undone_and_its_caller_told_in_time() {
    let world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    let request = CreateReservationRequest { payment_method: "pm_sim_slow".to_owned(), ..wish(&listing) };
    let late = guest.reserve_within(&request, Duration::from_millis(500)).await.expect_err("the charge takes 2 s");
    // Which of the two depends on who notices first: payment, that its provider takes too long, or reservation.
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Unavailable), "{late:?}");
    assert!(late.get_details_retry_info().is_some(), "{late:?}");
    eventually(PATIENCE, || async { guest.free(&listing, &stay(30)).await == 1 }).await;
    world.audit();
    assert!(guest.my_reservations().await.iter().all(|reservation| reservation.state() != State::Confirmed));
}

/// K3: the provider charged, and its answer was lost. It is asked again, not guessed, and charged once.
#[tokio::test]
async fn a_lost_answer_of_the_provider_is_asked_for_again() {
    let world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    let request = CreateReservationRequest { payment_method: "pm_sim_lost_answer".to_owned(), ..wish(&listing) };
    let booked = eventually(PATIENCE, || async { guest.reserve(&request).await.ok() }).await;
    assert_eq!(booked.state(), State::Confirmed);
    world.audit();
}

/// A11, D29: the provider is down. Strict: told at once, nothing kept. Pending: the place waits for its payment.
#[tokio::test]
async fn a_failing_provider_keeps_no_place_unless_the_policy_waits() {
    let world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let strict = host.offer(1).await;
    let waiting =
        host.offer_listing(offers::with(offers::room(1), |it| it.payment_wait = PaymentWait::Pending.into())).await;
    let failing =
        |listing: &str| CreateReservationRequest { payment_method: "pm_sim_unavailable".to_owned(), ..wish(listing) };
    come_back(&guest.reserve(&failing(&strict)).await.expect_err("down"), "PAYMENT_UNAVAILABLE");
    eventually(PATIENCE, || async { guest.free(&strict, &stay(30)).await == 1 }).await;
    assert_eq!(guest.reserve(&failing(&waiting)).await.expect("it waits").state(), State::AwaitingPayment);
    assert_eq!(guest.free(&waiting, &stay(30)).await, 0);
    world.audit();
}

/// M15, T38: the provider takes longer than most callers wait. Each is told in time, and learns one truth later.
#[tokio::test]
async fn callers_of_a_slow_provider_are_told_in_time_and_learn_one_truth_later() {
    let world = World::start_with(&[("HOLDFAST_PAYMENT_SIMULATOR_MAX_LATENCY_MS", "1500")]).await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(10).await;
    let requests: Vec<_> = (0..10).map(|_| wish(&listing)).collect();
    let mut calls = tokio::task::JoinSet::new();
    for request in &requests {
        let (guest, request) = (guest.clone(), request.clone());
        calls.spawn(async move { guest.reserve_within(&request, Duration::from_millis(700)).await });
    }
    for late in calls.join_all().await.into_iter().filter_map(Result::err) {
        invited(&late);
    }
    for request in &requests {
        let booked = until_booked(&guest, request).await;
        assert_eq!(guest.reserve(request).await.expect("a repeat"), booked);
    }
    assert_eq!(guest.free(&listing, &stay(30)).await, 0);
    world.audit();
}

/// Stripe's stand-in that keeps intents and refunds, behind a link.
async fn stripe() -> (Program, Link) {
    let program = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("python/stripe_server.py");
    let server = Program::python(program, &[]).await;
    let link = Link::start().await;
    link.lead_to(server.address);
    (server, link)
}

async fn on_stripe(link: &Link) -> World {
    World::start_with(&[
        ("HOLDFAST_PAYMENT_PROVIDER", "stripe"),
        ("HOLDFAST_PAYMENT_STRIPE_URL", &format!("{}/", link.url())),
        ("HOLDFAST_PAYMENT_STRIPE_KEY", "sk_test_123456789"),
        ("HOLDFAST_PAYMENT_STRIPE_TIMEOUT_MS", "1000"),
    ])
    .await
}

/// K3: Stripe charges, its answer does not arrive, and the caller gives up: undone, given back, and the same request succeeds later.
#[tokio::test]
async fn stripes_answer_after_the_caller_gave_up_leads_to_a_refund() {
    let (_server, link) = stripe().await;
    let world = on_stripe(&link).await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    link.spoil(Way::Open, Way::Silent);
    let request = wish(&listing);
    invited(&guest.reserve_within(&request, Duration::from_millis(800)).await.expect_err("no answer"));
    link.mend();
    eventually(PATIENCE, || async { guest.free(&listing, &stay(30)).await == 1 }).await;
    until_booked(&guest, &request).await;
    let settled = || async {
        let payments = guest.my_payments().await;
        let of = |state| payments.iter().filter(|payment| payment.state() == state).count();
        of(PaymentState::Approved) == 1 && of(PaymentState::Approved) + of(PaymentState::Cancelled) == payments.len()
    };
    eventually(PATIENCE, settled).await;
}

/// D29: Stripe cannot be reached; where the policy waits it is asked again until it answers, and charges once.
#[tokio::test]
async fn what_waits_for_stripe_is_paid_once_it_answers() {
    let (_server, link) = stripe().await;
    let world = on_stripe(&link).await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let waiting = offers::with(offers::room(1), |it| it.payment_wait = PaymentWait::Pending.into());
    let listing = host.offer_listing(waiting).await;
    link.cut();
    let booked = guest.reserve(&wish(&listing)).await.expect("it waits");
    assert_eq!(booked.state(), State::AwaitingPayment);
    link.mend();
    guest.until(&booked.name, State::Confirmed).await;
    let states: Vec<_> = guest.my_payments().await.iter().map(Payment::state).collect();
    assert_eq!(states, [PaymentState::Approved]);
}
