//! Every command in every state, by everybody.

use proto::reservation::v1::{Reservation, reservation::State};
use tonic::Code;

use crate::{
    neighbours::Mood,
    scene::{
        Client, Scene, a_listing, approval, approve, book, brief, by_approval, cancel, cancellation, complete, create,
        get, pay, payment, reason, reject, request_id, resort, room, until, wish,
    },
};

const COMMANDS: [&str; 5] = ["approve", "reject", "pay", "complete", "cancel"];

async fn command(which: &str, guest: &Client, host: &Client, name: &str) -> Result<Reservation, tonic::Status> {
    match which {
        "approve" => approve(host, approval(name)).await,
        "reject" => reject(host, name).await,
        "pay" => pay(guest, payment(name, "pm_card_visa")).await,
        "complete" => complete(host, name).await,
        "cancel" => cancel(guest, cancellation(name)).await,
        other => unreachable!("{other}"),
    }
}

/// A reservation in this state, under the policy in force.
async fn make(scene: &mut Scene, state: State) -> String {
    let (guest, host) = (scene.guest(), scene.host());
    let policy = match state {
        State::AwaitingApproval | State::Rejected => by_approval(),
        State::AwaitingPayment => resort(),
        State::Expired => brief(by_approval(), 1),
        _ => room(),
    };
    scene.neighbours.books().policy = policy;
    let booked = book(&guest).await;
    match state {
        State::CancelRequested | State::Cancelled => {
            cancel(&guest, cancellation(&booked.name)).await.expect("accepted");
            if state == State::Cancelled {
                scene.tell_refunded(&booked).await;
            }
        }
        State::Rejected => drop(reject(&host, &booked.name).await.expect("rejected")),
        State::Completed => drop(complete(&host, &booked.name).await.expect("completed")),
        State::ForceCancelled => scene.tell_deleted(&booked.listing).await,
        _ => {}
    }
    until(&guest, &booked.name, state).await;
    booked.name
}

/// 4.4, K13: what each command does in each state that rests. `Ok` names the state it leads to.
#[tokio::test]
async fn a_command_is_carried_out_where_the_contract_says_so_and_refused_elsewhere() {
    use State::{
        AwaitingApproval, AwaitingPayment, CancelRequested, Cancelled, Completed, Confirmed, Expired, ForceCancelled,
        Rejected,
    };
    const NO_APPROVAL: Result<State, &str> = Err("RESERVATION_NOT_AWAITING_APPROVAL");
    const NO_PAYMENT: Result<State, &str> = Err("RESERVATION_NOT_AWAITING_PAYMENT");
    const UNCONFIRMED: Result<State, &str> = Err("RESERVATION_NOT_CONFIRMED");
    const OVER: Result<State, &str> = Err("RESERVATION_NOT_CANCELLABLE");
    let table = [
        (AwaitingApproval, [Ok(Confirmed), Ok(Rejected), NO_PAYMENT, UNCONFIRMED, Ok(Cancelled)]),
        (AwaitingPayment, [NO_APPROVAL, NO_APPROVAL, Ok(Confirmed), UNCONFIRMED, Ok(CancelRequested)]),
        (Confirmed, [NO_APPROVAL, NO_APPROVAL, NO_PAYMENT, Ok(Completed), Ok(CancelRequested)]),
        (CancelRequested, [NO_APPROVAL, NO_APPROVAL, NO_PAYMENT, UNCONFIRMED, Ok(CancelRequested)]),
        (Cancelled, [NO_APPROVAL, NO_APPROVAL, NO_PAYMENT, UNCONFIRMED, Ok(Cancelled)]),
        (Rejected, [NO_APPROVAL, NO_APPROVAL, NO_PAYMENT, UNCONFIRMED, OVER]),
        (ForceCancelled, [NO_APPROVAL, NO_APPROVAL, NO_PAYMENT, UNCONFIRMED, OVER]),
        (Expired, [NO_APPROVAL, NO_APPROVAL, NO_PAYMENT, UNCONFIRMED, OVER]),
        (Completed, [NO_APPROVAL, NO_APPROVAL, NO_PAYMENT, Ok(Completed), OVER]),
    ];
    let mut scene = Scene::of(100, room()).await;
    let (guest, host) = (scene.guest(), scene.host());
    for (state, row) in table {
        let mut name = make(&mut scene, state).await;
        for (which, expected) in COMMANDS.into_iter().zip(row) {
            let answer = command(which, &guest, &host, &name).await;
            match expected {
                Ok(next) => {
                    let answered = answer.unwrap_or_else(|status| panic!("{which} in {state:?}: {status:?}"));
                    assert_eq!(answered.state(), next, "{which} in {state:?}");
                    if next != state {
                        name = make(&mut scene, state).await;
                    }
                }
                Err(refusal) => {
                    assert_eq!(reason(answer), refusal, "{which} in {state:?}");
                    assert_eq!(get(&guest, &name).await.state(), state, "{which} changed it");
                }
            }
        }
    }
    scene.end().await;
}

/// K13, T39: before it rests there is already something to cancel, and all of it is undone.
#[tokio::test]
async fn a_requested_one_can_be_cancelled_and_nothing_else() {
    let scene = Scene::of(100, room()).await;
    let (guest, host) = (scene.guest(), scene.host());
    scene.neighbours.payment_is(Mood::Thinks);
    let request = wish(&a_listing(), "pm_card_visa");
    let call = {
        let (guest, request) = (guest.clone(), request.clone());
        mesh::deadline::spawn(async move { create(&guest, request).await })
    };
    let name = mesh::testing::eventually(crate::scene::PATIENCE, || async {
        scene.neighbours.books().charges.first().map(|(reservation, ..)| reservation.clone())
    })
    .await;
    assert_eq!(get(&guest, &name).await.state(), State::Requested);
    assert_eq!(reason(pay(&guest, payment(&name, "pm_card_visa")).await), "RESERVATION_NOT_AWAITING_PAYMENT");
    assert_eq!(reason(complete(&host, &name).await), "RESERVATION_NOT_FOUND", "its host knows nothing of it yet");
    let cancelled = cancel(&guest, cancellation(&name)).await.expect("accepted");
    assert_eq!(cancelled.state(), State::CancelRequested);
    scene.neighbours.payment_is(Mood::Takes);
    assert_eq!(reason(call.await.expect("no panic")), "RESERVATION_CANCELLED");
    until(&guest, &name, State::Cancelled).await;
    assert!(!scene.neighbours.is_held(&name), "given back");
    assert_eq!(scene.neighbours.payment(&name), Some(proto::payment::v1::payment::State::Cancelled));
    assert_eq!(reason(create(&guest, request).await), "RESERVATION_CANCELLED", "a repeat");
    scene.told(&name, "CancelRequested 2, Cancelled 3").await;
    scene.end().await;
}

#[tokio::test]
async fn others_find_nothing_and_old_etags_and_reused_ids_are_refused() {
    let scene = Scene::of(100, by_approval()).await;
    let (guest, host) = (scene.guest(), scene.host());
    let (other, stranger) = (scene.customer("mina"), scene.stranger());
    let asked = book(&guest).await;
    for which in COMMANDS {
        let answer = command(which, &other, &stranger, &asked.name).await;
        assert_eq!(reason(answer), "RESERVATION_NOT_FOUND", "{which} by others");
    }
    let unknown = format!("reservations/{}", request_id());
    assert_eq!(reason(cancel(&guest, cancellation(&unknown)).await), "RESERVATION_NOT_FOUND");

    let old = |request| proto::reservation::v1::ApproveReservationRequest { etag: "\"1\"".to_owned(), ..request };
    let request = approval(&asked.name);
    let refused = approve(&host, old(request.clone())).await.expect_err("an old etag");
    assert_eq!((refused.code(), reason(Err(refused)).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    let current = proto::reservation::v1::ApproveReservationRequest { etag: asked.etag.clone(), ..request };
    let approved = approve(&host, current.clone()).await.expect("current, and the id was not used up");
    assert_eq!(approve(&host, current.clone()).await.expect("a repeat"), approved, "though its etag is old by now");
    assert_eq!(reason(approve(&host, old(current)).await), "REQUEST_ID_REUSED");

    let late = approval(&asked.name);
    for _ in 0..2 {
        assert_eq!(reason(approve(&host, late.clone()).await), "RESERVATION_NOT_AWAITING_APPROVAL");
    }
    scene.end().await;
}
