//! What happens while the service is not there.

use mesh::testing::eventually;
use proto::contract::Event;
use proto::reservation::v1::ReservationConfirmed;
use proto::voucher::v1::voucher::State;

use crate::harness::{SOON, World};
use crate::reservations::{cancelled, confirmed, reservation};

/// A12, A33: down while reservations are made and cancelled, it catches up with all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_was_down_catches_up() {
    let mut world = World::new().await;
    let running = world.serve().await;
    let (before, during) = (reservation(), reservation());
    world.settle(&running, [confirmed(&before)]).await;
    running.stop().await;

    world.publish([cancelled(&before), confirmed(&during)]).await;
    let running = world.serve().await;
    eventually(SOON, || async { world.state(&running, &during).await == Some(State::Issued) }).await;
    assert_eq!(world.state(&running, &before).await, Some(State::Cancelled));
    assert_eq!(world.violations(running).await, Vec::<String>::new());
}

/// A51, T32: a service that is added to a mesh which has been running begins with what happened before it existed.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_new_begins_at_the_beginning() {
    let mut world = World::new().await;
    let (kept, ended) = (reservation(), reservation());
    world.publish([confirmed(&kept), confirmed(&ended), cancelled(&ended)]).await;
    // Not before the broker has them.
    let ears = world.mesh.subscriber(ReservationConfirmed::STREAM).await;
    ears.wait_about(&kept.name, 1).await;
    ears.wait_about(&ended.name, 2).await;
    let running = world.serve().await;
    eventually(SOON, || async { world.state(&running, &ended).await == Some(State::Cancelled) }).await;
    assert_eq!(world.state(&running, &kept).await, Some(State::Issued));
    running.stop().await;
}

/// What was told while the broker was away is told once it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_back_brings_what_was_missed() {
    let mut world = World::new().await;
    let running = world.serve().await;
    let told = reservation();
    world.settle(&running, []).await;
    world.mesh.broker().stop();
    world.publish([confirmed(&told)]).await;
    world.mesh.broker().restart();
    eventually(SOON, || async { world.state(&running, &told).await == Some(State::Issued) }).await;
    running.stop().await;
}
