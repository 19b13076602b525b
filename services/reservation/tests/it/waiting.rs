//! Waiting: until somebody acts, until payment is back, until the time is over; also across the death of the process.

use std::time::Duration;

use mesh::{store::Micros, testing::eventually};
use proto::{payment::v1::payment::State as Paid, reservation::v1::reservation::State};
use tonic::Code;

use crate::{
    harness::reserve_within,
    neighbours::{DECLINED, Mood},
    scene::{
        PATIENCE, Scene, a_listing, approval, approve, book, brief, by_approval, cancel, cancellation, create, get,
        patient, pay, payment, reason, reject, resort, room, taxi, until, wish,
    },
};

/// 4.3 B, C, D: `approval_ttl` and `payment_ttl` over.
#[tokio::test]
async fn what_nobody_approves_or_pays_in_time_expires() {
    let scene = Scene::of(100, brief(by_approval(), 1)).await;
    let (guest, host) = (scene.guest(), scene.host());
    let asked = book(&guest).await;
    scene.neighbours.books().policy = brief(resort(), 1);
    let unpaid = book(&guest).await;
    scene.neighbours.books().policy = brief(taxi(), 1);
    let paid = book(&guest).await;
    for waiting in [&asked, &unpaid, &paid] {
        let expired = until(&guest, &waiting.name, State::Expired).await;
        assert!(expired.expire_time.is_none());
        assert!(
            expired.update_time.expect("told").seconds >= waiting.expire_time.expect("a limit").seconds,
            "not before"
        );
        scene.told(&waiting.name, "Requested 2, Expired 3").await;
    }
    assert_eq!(reason(approve(&host, approval(&asked.name)).await), "RESERVATION_NOT_AWAITING_APPROVAL");
    assert_eq!(reason(pay(&guest, payment(&unpaid.name, "pm_card_visa")).await), "RESERVATION_NOT_AWAITING_PAYMENT");
    let audit = scene.audit().await;
    assert!(audit.sagas.is_empty(), "nothing waits any more");
    assert_eq!(reservation::audit::violations(&audit, Micros::now()), Vec::<String>::new());
    scene.end().await;
}

/// T38: with ON_APPROVAL a failed payment call leaves AWAITING_APPROVAL, and the host may approve again.
#[tokio::test]
async fn while_payment_is_away_a_host_may_approve_again() {
    let scene = Scene::of(100, by_approval()).await;
    let (guest, host) = (scene.guest(), scene.host());
    let asked = book(&guest).await;
    let request = approval(&asked.name);
    scene.neighbours.payment_is(Mood::Away);
    let refused = approve(&host, request.clone()).await.expect_err("payment is away");
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(reason(Err(refused)), "PAYMENT_UNAVAILABLE");
    assert_eq!(get(&guest, &asked.name).await, asked);

    // The money is taken and nobody is told: the next approval learns it, and takes nothing more.
    scene.neighbours.payment_is(Mood::TakesSilently);
    assert_eq!(reason(approve(&host, approval(&asked.name)).await), "PAYMENT_UNAVAILABLE");
    scene.neighbours.payment_is(Mood::Takes);
    let approved = approve(&host, request).await.expect("the first request, repeated");
    assert_eq!(approved.state(), State::Confirmed);
    let attempts = scene.neighbours.charges(&asked.name);
    assert!(attempts.iter().all(|(attempt, _)| *attempt == 1), "one attempt, however often it is asked: {attempts:?}");
    scene.end().await;
}

/// K13, T39: a charge whose outcome nobody knows is undone with the reservation, whatever ends it.
#[tokio::test]
async fn a_silent_charge_is_undone_when_its_reservation_is_cancelled() {
    let scene = Scene::of(100, by_approval()).await;
    let (guest, host) = (scene.guest(), scene.host());
    let asked = book(&guest).await;
    scene.neighbours.payment_is(Mood::TakesSilently);
    assert_eq!(reason(approve(&host, approval(&asked.name)).await), "PAYMENT_UNAVAILABLE");
    assert_eq!(scene.neighbours.payment(&asked.name), Some(Paid::Approved));
    let cancelled = cancel(&guest, cancellation(&asked.name)).await.expect("accepted");
    assert_eq!(cancelled.state(), State::CancelRequested, "there may be something to undo");
    until(&guest, &asked.name, State::Cancelled).await;
    assert_eq!(scene.neighbours.payment(&asked.name), Some(Paid::Cancelled));
    scene.told(&asked.name, "Requested 2, CancelRequested 3, Cancelled 4").await;
    scene.end().await;
}

/// T38: with DEFERRED a failed payment call leaves AWAITING_PAYMENT; another method is another attempt.
#[tokio::test]
async fn while_payment_is_away_a_customer_may_pay_again() {
    let scene = Scene::of(100, resort()).await;
    let guest = scene.guest();
    let asked = book(&guest).await;
    let request = payment(&asked.name, "pm_card_visa");
    scene.neighbours.payment_is(Mood::Away);
    assert_eq!(reason(pay(&guest, request.clone()).await), "PAYMENT_UNAVAILABLE");
    assert_eq!(reason(pay(&guest, payment(&asked.name, "pm_other")).await), "PAYMENT_UNAVAILABLE");
    assert_eq!(get(&guest, &asked.name).await, asked);
    scene.neighbours.payment_is(Mood::Takes);
    assert_eq!(pay(&guest, request).await.expect("the first request, repeated").state(), State::Confirmed);
    let charges = scene.neighbours.charges(&asked.name);
    assert_eq!(charges.iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [1, 2, 3]);
    scene.end().await;
}

/// T38, M15: PENDING does not turn the customer away, and finishes by itself.
#[tokio::test]
async fn a_patient_policy_waits_for_payment_and_goes_on_by_itself() {
    let scene = Scene::of(100, patient(room())).await;
    let guest = scene.guest();
    scene.neighbours.payment_is(Mood::Away);
    let request = wish(&a_listing(), "pm_card_visa");
    let pending = create(&guest, request.clone()).await.expect("not turned away");
    assert_eq!((pending.state(), pending.payment.as_str()), (State::AwaitingPayment, ""));
    assert_eq!(reason(pay(&guest, payment(&pending.name, "pm_other")).await), "REQUEST_IN_PROGRESS");
    let poor = create(&guest, wish(&a_listing(), DECLINED)).await.expect("not turned away either");
    scene.neighbours.books().policy = patient(taxi());
    let ordered = book(&guest).await;
    let given_up = book(&guest).await;
    assert_eq!(cancel(&guest, cancellation(&given_up.name)).await.expect("accepted").state(), State::CancelRequested);
    until(&guest, &given_up.name, State::Cancelled).await;

    scene.neighbours.payment_is(Mood::Takes);
    let confirmed = until(&guest, &pending.name, State::Confirmed).await;
    assert!(!confirmed.payment.is_empty() && confirmed.expire_time.is_none());
    assert_eq!(create(&guest, request).await.expect("a repeat"), pending, "the first answer");
    let rejected = until(&guest, &poor.name, State::Rejected).await;
    assert_eq!(rejected.reject_reason, "PAYMENT_DECLINED");
    until(&guest, &ordered.name, State::AwaitingApproval).await;
    scene.told(&pending.name, "Requested 2, Confirmed 3").await;
    scene.told(&poor.name, "Requested 2, Rejected 3").await;
    scene.told(&ordered.name, "Requested 2, Paid 3").await;
    scene.told(&given_up.name, "Requested 2, CancelRequested 3, Cancelled 4").await;
    assert!(!scene.neighbours.is_held(&given_up.name));

    scene.neighbours.books().policy = brief(patient(room()), 1);
    scene.neighbours.payment_is(Mood::Away);
    let unlucky = book(&guest).await;
    until(&guest, &unlucky.name, State::Expired).await;
    scene.told(&unlucky.name, "Requested 2, Expired 3").await;
    scene.end().await;
}

/// A32, EARN_STRICT: no miles, no payment and no reservation, also where it would wait for its payment.
#[tokio::test]
async fn without_the_miles_it_insists_on_nothing_waits() {
    let scene = Scene::of(100, patient(room())).await;
    let (guest, host) = (scene.guest(), scene.host());
    scene.neighbours.payment_is(Mood::FindsNoMiles);
    assert_eq!(reason(create(&guest, wish(&a_listing(), "pm_card_visa")).await), "MILEAGE_UNAVAILABLE");
    eventually(PATIENCE, || async { scene.neighbours.held() == 0 }).await;
    scene.neighbours.books().policy = by_approval();
    let asked = book(&guest).await;
    assert_eq!(reason(approve(&host, approval(&asked.name)).await), "MILEAGE_UNAVAILABLE");
    scene.neighbours.books().policy = resort();
    let unpaid = book(&guest).await;
    assert_eq!(reason(pay(&guest, payment(&unpaid.name, "pm_card_visa")).await), "MILEAGE_UNAVAILABLE");
    for rejected in [&asked.name, &unpaid.name] {
        let rejected = get(&guest, rejected).await;
        assert_eq!((rejected.state(), rejected.reject_reason.as_str()), (State::Rejected, "MILEAGE_UNAVAILABLE"));
        scene.told(&rejected.name, "Requested 2, Rejected 3").await;
    }
    scene.end().await;
}

/// T38, M15: also when payment is only slow, and the caller in a hurry.
#[tokio::test]
async fn a_patient_policy_answers_in_time_however_long_payment_thinks() {
    let scene = Scene::of(100, patient(room())).await;
    let guest = scene.guest();
    scene.neighbours.payment_is(Mood::Thinks);
    let request = wish(&a_listing(), "pm_card_visa");
    let pending = reserve_within(&guest, &request, Duration::from_secs(3)).await.expect("in time");
    assert_eq!(pending.state(), State::AwaitingPayment);
    scene.neighbours.payment_is(Mood::Takes);
    until(&guest, &pending.name, State::Confirmed).await;
    scene.told(&pending.name, "Requested 2, Confirmed 3").await;
    scene.end().await;
}

/// K3, K4: a process that dies in the middle of a charge leaves nothing half done.
#[tokio::test]
async fn an_approval_survives_the_death_of_the_process() {
    let mut scene = Scene::of(100, by_approval()).await;
    let (guest, host) = (scene.guest(), scene.host());
    let asked = book(&guest).await;
    let waiting = book(&guest).await;
    scene.neighbours.payment_is(Mood::Thinks);
    let request = approval(&asked.name);
    let call = {
        let (host, request) = (host.clone(), request.clone());
        mesh::deadline::spawn(async move { approve(&host, request).await })
    };
    eventually(PATIENCE, || async { !scene.neighbours.charges(&asked.name).is_empty() }).await;
    scene.kill();
    call.await.expect("no panic").expect_err("nobody is left to answer");
    scene.neighbours.payment_is(Mood::Takes);
    scene.begin().await;
    let confirmed = until(&guest, &asked.name, State::Confirmed).await;
    let repeated = eventually(PATIENCE, || async { approve(&host, request.clone()).await.ok() }).await;
    assert_eq!(repeated, confirmed, "what was asked for is answered");
    assert_eq!(get(&guest, &waiting.name).await, waiting, "what waited goes on waiting");
    scene.told(&asked.name, "Requested 2, Approved 3, Confirmed 4").await;
    scene.end().await;
}

/// K3, K4, T38.
#[tokio::test]
async fn a_pending_charge_and_a_time_limit_survive_the_death_of_the_process() {
    let mut scene = Scene::of(100, patient(room())).await;
    let guest = scene.guest();
    scene.neighbours.payment_is(Mood::Away);
    let pending = book(&guest).await;
    scene.neighbours.books().policy = brief(by_approval(), 2);
    let asked = book(&guest).await;
    scene.kill();
    scene.neighbours.payment_is(Mood::Takes);
    scene.begin().await;
    until(&guest, &pending.name, State::Confirmed).await;
    until(&guest, &asked.name, State::Expired).await;
    scene.end().await;
}

/// While a charge is under way nobody else decides, except who cancels; and what it takes is then given back.
#[tokio::test]
async fn nobody_rejects_or_approves_while_a_charge_is_under_way_but_its_customer_may_cancel() {
    let scene = Scene::of(100, by_approval()).await;
    let (guest, host) = (scene.guest(), scene.host());
    let asked = book(&guest).await;
    scene.neighbours.payment_is(Mood::Thinks);
    let request = approval(&asked.name);
    let approving = || {
        let (host, request) = (host.clone(), request.clone());
        mesh::deadline::spawn(async move { approve(&host, request).await })
    };
    let (first, repeat) = (approving(), approving());
    eventually(PATIENCE, || async { !scene.neighbours.charges(&asked.name).is_empty() }).await;
    for refused in [approve(&host, approval(&asked.name)).await, reject(&host, &asked.name).await] {
        let refused = refused.expect_err("one at a time");
        assert!(mesh::fault::Fault::from_status(&refused).retry_delay().is_some());
        assert_eq!(reason(Err(refused)), "REQUEST_IN_PROGRESS");
    }
    let cancelled = cancel(&guest, cancellation(&asked.name)).await.expect("accepted");
    assert_eq!(cancelled.state(), State::CancelRequested);
    scene.neighbours.payment_is(Mood::Takes);
    for call in [first, repeat] {
        assert_eq!(reason(call.await.expect("no panic")), "RESERVATION_CANCELLED");
    }
    until(&guest, &asked.name, State::Cancelled).await;
    assert_eq!(scene.neighbours.payment(&asked.name), Some(Paid::Cancelled), "K13: what was taken is given back");
    scene.told(&asked.name, "Requested 2, CancelRequested 3, Cancelled 4").await;
    assert_eq!(scene.neighbours.charges(&asked.name).len(), 1, "the repeat joined the first");
    scene.end().await;
}

/// Many ends at the same moment: one wins, the others are told so.
#[tokio::test]
async fn of_payments_approvals_and_expiries_at_one_moment_one_wins() {
    let scene = Scene::of(100, brief(resort(), 1)).await;
    let (guest, host) = (scene.guest(), scene.host());
    let asked = book(&guest).await;
    let last = loop {
        match pay(&guest, payment(&asked.name, DECLINED)).await {
            Err(status) if reason(Err(status.clone())) == "PAYMENT_DECLINED" => {}
            other => break reason(other),
        }
    };
    assert_eq!(last, "RESERVATION_NOT_AWAITING_PAYMENT", "paying in vain does not keep it from expiring");
    until(&guest, &asked.name, State::Expired).await;
    scene.told(&asked.name, "Requested 2, Expired 3").await;

    scene.neighbours.books().policy = taxi();
    for _ in 0..10 {
        let paid = book(&guest).await;
        let (approved, rejected, cancelled) = tokio::join!(
            approve(&host, approval(&paid.name)),
            reject(&host, &paid.name),
            cancel(&guest, cancellation(&paid.name))
        );
        let ended = get(&guest, &paid.name).await.state();
        assert!(approved.is_ok() != rejected.is_ok() || (approved.is_err() && cancelled.is_ok()), "{ended:?}");
        match ended {
            State::Cancelled => assert!(cancelled.is_ok() && rejected.is_err()),
            State::Rejected => assert!(rejected.is_ok() && cancelled.is_err()),
            other => panic!("{other:?}"),
        }
    }
    scene.end().await;
}
