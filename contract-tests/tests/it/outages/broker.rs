//! The broker is down, hangs, or comes back without what it had.

use proto::reservation::v1::{Reservation, reservation::State};

use world::{
    World,
    caller::{Caller, wish},
};

use super::until_complete;

async fn book(guest: &Caller, listing: &str, count: usize) -> Vec<Reservation> {
    let mut booked = Vec::new();
    for _ in 0..count {
        booked.push(guest.reserve(&wish(listing)).await.expect("bookings go on"));
    }
    booked
}

/// Books and cancels while the broker is as it is.
async fn book_and_cancel(guest: &Caller, listing: &str) -> Vec<Reservation> {
    let booked = book(guest, listing, 3).await;
    assert_eq!(guest.cancel(&booked[0].name).await.expect("accepted").state(), State::CancelRequested);
    booked
}

/// What became of those from [`book_and_cancel`], once all of it is told and shown.
async fn all_complete(guest: &Caller, booked: &[Reservation]) {
    until_complete(guest, &guest.until(&booked[0].name, State::Cancelled).await).await;
    for reservation in &booked[1..] {
        until_complete(guest, reservation).await;
    }
}

/// K2: the broker is down, bookings go on, and every event arrives once it is back.
#[tokio::test]
async fn without_the_broker_bookings_go_on_and_events_follow() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(20).await;
    world.broker.stop();
    let mut booked = Vec::new();
    for _ in 0..5 {
        booked.push(guest.reserve(&wish(&listing)).await.expect("bookings go on"));
    }
    assert_eq!(guest.cancel(&booked[0].name).await.expect("accepted").state(), State::CancelRequested);
    world.broker.restart();
    guest.until(&booked[0].name, State::Cancelled).await;
    for reservation in &booked[1..] {
        assert_eq!(guest.until_told(&reservation.name, 2).await.len(), 2);
    }
    world.audit();
}

/// K2: the broker is there and says nothing.
#[tokio::test]
async fn a_broker_that_hangs_hinders_nobody() {
    let world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(20).await;
    until_complete(&guest, &guest.reserve(&wish(&listing)).await.expect("a room")).await;
    world.broker.freeze(true);
    let booked = book_and_cancel(&guest, &listing).await;
    world.broker.freeze(false);
    all_complete(&guest, &booked).await;
    world.audit();
}

/// K2: the broker's disk is gone. Outboxes refill the streams for who has not seen all of it, and no consumer acts twice on what it knows.
#[tokio::test]
async fn a_broker_that_lost_everything_is_told_all_again() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(20).await;
    let before = book_and_cancel(&guest, &listing).await;
    all_complete(&guest, &before).await;
    world.stop("message").await;
    world.stop("view").await;
    let unseen = book_and_cancel(&guest, &listing).await;
    guest.until(&unseen[0].name, State::Cancelled).await;
    world.broker.stop();
    world.broker.lose_everything();
    let meanwhile = book_and_cancel(&guest, &listing).await;
    world.broker.restart();
    let after = book_and_cancel(&guest, &listing).await;
    world.begin("message").await;
    world.begin("view").await;
    for booked in [&before, &unseen, &meanwhile, &after] {
        all_complete(&guest, booked).await;
    }
    world.audit();
}

/// K2: the broker comes back as it was a while ago, and gives numbers again that consumers know with other events. What it lost, some have dealt
/// with, and some have never seen.
#[tokio::test]
async fn a_broker_that_lost_its_last_seconds_is_told_them_again() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(30).await;
    let kept = book_and_cancel(&guest, &listing).await;
    all_complete(&guest, &kept).await;
    world.broker.stop();
    world.broker.remember();
    world.broker.restart();
    world.stop("message").await;
    world.stop("view").await;
    let lost = book_and_cancel(&guest, &listing).await;
    // Its cancellation comes after the others in the stream, and has been there and back.
    guest.until(&lost[0].name, State::Cancelled).await;
    world.broker.kill();
    world.broker.set_back();
    let meanwhile = book_and_cancel(&guest, &listing).await;
    world.broker.restart();
    let after = book_and_cancel(&guest, &listing).await;
    world.begin("message").await;
    world.begin("view").await;
    for booked in [&kept, &lost, &meanwhile, &after] {
        all_complete(&guest, booked).await;
    }
    world.audit();
}
