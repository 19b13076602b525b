//! Each policy from the wish to its end, as the contract's tables say.

use proto::{payment::v1::payment::State as Paid, reservation::v1::reservation::State};

use crate::{
    harness::list,
    neighbours::{DECLINED, Mood, UNKNOWN},
    scene::{
        Scene, a_listing, approval, approve, book, by_approval, cancel, cancellation, complete, create, get, pay,
        payment, reason, reject, resort, room, screening, taxi, until, wish,
    },
};

/// 4.3 A.
#[tokio::test]
async fn a_room_is_paid_and_confirmed_at_once() {
    let mut scene = Scene::of(100, room()).await;
    let (guest, host) = (scene.guest(), scene.host());
    let booked = book(&guest).await;
    assert_eq!(booked.state(), State::Confirmed);
    assert_eq!((booked.note.as_str(), booked.language_code.as_str()), ("by the window", "ko"));
    assert_eq!((booked.listing_region.as_str(), booked.host_language_code.as_str()), ("Jeju", "ko"));
    assert_eq!(booked.policy.as_ref(), Some(&room()), "the deal goes with it");
    assert!(booked.expire_time.is_none());
    scene.told(&booked.name, "Requested 1, Confirmed 2").await;

    assert_eq!(complete(&host, &booked.name).await.expect("over").state(), State::Completed);
    assert_eq!(complete(&host, &booked.name).await.expect("again").state(), State::Completed);
    scene.told(&booked.name, "Requested 1, Confirmed 2, Completed 3").await;

    let other = book(&guest).await;
    let request = cancellation(&other.name);
    let requested = cancel(&guest, request.clone()).await.expect("accepted");
    assert_eq!(requested.state(), State::CancelRequested);
    scene.tell_refunded(&other).await;
    until(&guest, &other.name, State::Cancelled).await;
    assert_eq!(cancel(&guest, request).await.expect("a repeat"), requested, "the first answer");
    scene.told(&other.name, "Requested 1, Confirmed 2, CancelRequested 3, Cancelled 4").await;
    scene.end().await;
}

/// 4.3 B.
#[tokio::test]
async fn a_host_approves_before_anything_is_charged() {
    let scene = Scene::of(100, by_approval()).await;
    let (guest, host) = (scene.guest(), scene.host());
    let asked = book(&guest).await;
    assert_eq!((asked.state(), asked.payment.as_str()), (State::AwaitingApproval, ""));
    assert!(asked.expire_time.is_some());
    assert!(scene.neighbours.charges(&asked.name).is_empty());

    let request = approval(&asked.name);
    let approved = approve(&host, request.clone()).await.expect("approved");
    assert_eq!(approved.state(), State::Confirmed);
    assert_eq!(approved.approval_number.len(), 10);
    assert!(approved.approve_time.is_some() && approved.expire_time.is_none());
    assert_eq!(approve(&host, request).await.expect("a repeat"), approved);
    assert_eq!(scene.neighbours.charges(&asked.name), [(1, "pm_card_visa".to_owned())]);
    scene.told(&asked.name, "Requested 2, Approved 3, Confirmed 4").await;

    let unwanted = book(&guest).await;
    let rejected = reject(&host, &unwanted.name).await.expect("rejected");
    assert_eq!((rejected.state(), rejected.reject_reason.as_str()), (State::Rejected, "no room"));
    scene.told(&unwanted.name, "Requested 2, Rejected 3").await;

    let poor = create(&guest, wish(&a_listing(), DECLINED)).await.expect("not charged yet");
    let request = approval(&poor.name);
    for _ in 0..2 {
        assert_eq!(reason(approve(&host, request.clone()).await), "PAYMENT_DECLINED");
    }
    let rejected = get(&guest, &poor.name).await;
    assert_eq!((rejected.state(), rejected.reject_reason.as_str()), (State::Rejected, "PAYMENT_DECLINED"));
    scene.told(&poor.name, "Requested 2, Rejected 3").await;

    assert_eq!(reason(create(&guest, wish(&a_listing(), "")).await), "PAYMENT_METHOD_REQUIRED");
    let listed: Vec<_> = list(&guest).await.into_iter().map(|found| found.name).collect();
    let expected = [&poor.name, &unwanted.name, &asked.name].map(Clone::clone);
    assert_eq!(listed, expected, "T42: what was rejected is shown, what was refused is not");
    assert_eq!(scene.neighbours.held(), 3, "the last one's place is given back; the others' are, by their events");

    let given_up = book(&guest).await;
    let cancelled = cancel(&guest, cancellation(&given_up.name)).await.expect("nothing was paid");
    assert_eq!(cancelled.state(), State::Cancelled);
    scene.told(&given_up.name, "Requested 2, CancelRequested 3, Cancelled 4").await;
    scene.end().await;
}

/// 4.3 C.
#[tokio::test]
async fn a_resort_is_registered_and_paid_later_with_whatever_method_works() {
    let mut scene = Scene::of(100, resort()).await;
    let guest = scene.guest();
    let asked = create(&guest, wish(&a_listing(), "")).await.expect("no method is needed yet");
    assert_eq!(asked.state(), State::AwaitingPayment);
    assert!(!asked.payment.is_empty() && asked.expire_time.is_some());
    assert_eq!(scene.neighbours.payment(&asked.name), Some(Paid::Waiting), "C19: registered");

    let refused = payment(&asked.name, DECLINED);
    for _ in 0..2 {
        assert_eq!(reason(pay(&guest, refused.clone()).await), "PAYMENT_DECLINED");
    }
    assert_eq!(reason(pay(&guest, payment(&asked.name, UNKNOWN)).await), "PAYMENT_METHOD_UNKNOWN");
    assert_eq!(get(&guest, &asked.name).await, asked, "it goes on waiting");
    let paid = pay(&guest, payment(&asked.name, "pm_card_visa")).await.expect("paid");
    assert_eq!((paid.state(), &paid.payment), (State::Confirmed, &asked.payment));
    let attempts: Vec<i32> = scene.neighbours.charges(&asked.name).iter().map(|(attempt, _)| *attempt).collect();
    assert_eq!(attempts, [1, 2, 3], "the repeat of a refused payment charged nothing");
    scene.told(&asked.name, "Requested 2, Confirmed 3").await;

    let given_up = book(&guest).await;
    let requested = cancel(&guest, cancellation(&given_up.name)).await.expect("accepted");
    assert_eq!(requested.state(), State::CancelRequested, "what is registered has to be void");
    scene.tell_refunded(&given_up).await;
    until(&guest, &given_up.name, State::Cancelled).await;
    scene.told(&given_up.name, "Requested 2, CancelRequested 3, Cancelled 4").await;

    scene.neighbours.payment_is(Mood::Away);
    let refused = create(&guest, wish(&a_listing(), "")).await;
    assert_eq!(reason(refused), "PAYMENT_UNAVAILABLE", "C19: it has to be registered");
    scene.end().await;
}

/// 4.3 D, and T5: the refund is in the answer, or follows.
#[tokio::test]
async fn a_taxi_is_paid_then_approved_and_refunded_before_the_answer() {
    let mut scene = Scene::of(100, taxi()).await;
    let (guest, host) = (scene.guest(), scene.host());
    let paid = book(&guest).await;
    assert_eq!(paid.state(), State::AwaitingApproval);
    assert_eq!(scene.neighbours.payment(&paid.name), Some(Paid::Approved));
    let approved = approve(&host, approval(&paid.name)).await.expect("approved");
    assert_eq!((approved.state(), &approved.payment), (State::Confirmed, &paid.payment));
    scene.told(&paid.name, "Requested 2, Approved 3, Confirmed 4").await;

    let cancelled = cancel(&guest, cancellation(&paid.name)).await.expect("cancelled");
    assert_eq!(cancelled.state(), State::Cancelled, "T5: in the answer");
    assert_eq!(scene.neighbours.payment(&paid.name), Some(Paid::Cancelled));
    scene.told(&paid.name, "Requested 2, Approved 3, Confirmed 4, CancelRequested 5, Cancelled 6").await;

    let other = book(&guest).await;
    scene.neighbours.books().refunds_work = false;
    let request = cancellation(&other.name);
    let requested = cancel(&guest, request.clone()).await.expect("accepted all the same");
    assert_eq!(requested.state(), State::CancelRequested, "T5: payment is down");
    scene.neighbours.books().refunds_work = true;
    assert_eq!(cancel(&guest, request).await.expect("a repeat"), requested, "the answer stays");
    let again = cancel(&guest, cancellation(&other.name)).await.expect("once more");
    assert_eq!(again.state(), State::Cancelled, "another cancellation tries the refund again");
    scene.tell_refunded(&other).await;
    scene.told(&other.name, "Requested 2, CancelRequested 3, Cancelled 4").await;

    let declined = create(&guest, wish(&a_listing(), DECLINED)).await;
    assert_eq!(reason(declined), "PAYMENT_DECLINED");
    scene.end().await;
}

/// 4.3 E.
#[tokio::test]
async fn a_screening_is_confirmed_and_cancelled_without_any_payment() {
    let scene = Scene::of(0, screening()).await;
    let guest = scene.guest();
    let booked = create(&guest, wish(&a_listing(), "")).await.expect("reserved");
    assert_eq!((booked.state(), booked.payment.as_str()), (State::Confirmed, ""));
    let cancelled = cancel(&guest, cancellation(&booked.name)).await.expect("cancelled");
    assert_eq!(cancelled.state(), State::Cancelled);
    scene.told(&booked.name, "Requested 1, Confirmed 2, CancelRequested 3, Cancelled 4").await;
    assert!(scene.neighbours.books().payments.is_empty(), "payment never heard of it");
    scene.end().await;
}
