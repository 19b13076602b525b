//! Which reservations get a voucher, and how it ends.

use std::collections::HashSet;

use mesh::testing::eventually;
use proto::contract::Event;
use proto::listing::v1::reservation_policy;
use proto::reservation::v1::Reservation;
use proto::voucher::v1::{VoucherCancelled, VoucherIssued, voucher::State};

use crate::harness::{SOON, World};
use crate::reservations::{again, cancelled, completed, confirmed, force_cancelled, policy, reservation};

/// C18, K7: issued with the confirmation, void with the cancellation; each is one event that names its cause.
#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_lives_and_ends_with_its_reservation() {
    let mut world = World::new().await;
    let running = world.serve().await;
    let ears = world.mesh.subscriber(VoucherIssued::STREAM).await;
    let told = reservation();
    let (first, last) = (confirmed(&told), cancelled(&told));

    world.publish([first.clone()]).await;
    eventually(SOON, || async { world.state(&running, &told).await == Some(State::Issued) }).await;
    let voucher = world.vouchers(&running, &told).await.remove(0);
    assert_eq!((voucher.customer.as_str(), voucher.host.as_str()), ("users/alice", "users/hana"));
    assert_eq!((&voucher.listing, voucher.listing_display_name.as_str()), (&told.listing, "Seorak Resort"));
    assert_eq!(voucher.ticket_number.len(), "7K3M-PW9X-R2TD".len());

    world.publish([last.clone()]).await;
    eventually(SOON, || async { world.state(&running, &told).await == Some(State::Cancelled) }).await;
    let void = world.vouchers(&running, &told).await.remove(0);
    assert_eq!((&void.name, &void.ticket_number), (&voucher.name, &voucher.ticket_number));

    let heard = ears.wait_about(&voucher.name, 2).await;
    let (issued, ended) = (&heard[0], &heard[1]);
    assert_eq!((issued.kind.as_str(), ended.kind.as_str()), (VoucherIssued::TYPE, VoucherCancelled::TYPE));
    assert_eq!((issued.version, ended.version), (1, 2));
    assert_eq!((issued.causation, ended.causation), (Some(first.id), Some(last.id)));
    assert!(heard.iter().all(|event| told.name.ends_with(&event.correlation)));
    assert_eq!(issued.decode::<VoucherIssued>().expect("well formed").voucher, Some(voucher));
    assert_eq!(ended.decode::<VoucherCancelled>().expect("well formed").voucher, Some(void));
    assert_eq!(world.violations(running).await, Vec::<String>::new());
}

/// K26: only what is paid, and only where it is promised.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_issued_for_what_is_unpaid_or_promises_none() {
    let mut world = World::new().await;
    let running = world.serve().await;
    let free = Reservation { payment: String::new(), ..reservation() };
    let none = Reservation { policy: Some(policy(reservation_policy::Voucher::None)), ..reservation() };
    let old = Reservation { policy: None, ..reservation() };
    let events = [&free, &none, &old].map(|told| [confirmed(told), cancelled(told)]);
    world.settle(&running, events.into_iter().flatten()).await;
    for told in [&free, &none, &old] {
        assert_eq!(world.state(&running, told).await, None);
    }
    assert_eq!(world.violations(running).await, Vec::<String>::new());
}

/// Its listing's deletion ends a voucher; its own completion does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_listing_voids_a_voucher_and_a_completed_stay_keeps_it() {
    let mut world = World::new().await;
    let running = world.serve().await;
    let (deleted, done) = (reservation(), reservation());
    let events = [confirmed(&deleted), confirmed(&done), force_cancelled(&deleted), completed(&done)];
    world.settle(&running, events).await;
    assert_eq!(world.state(&running, &deleted).await, Some(State::Cancelled));
    assert_eq!(world.state(&running, &done).await, Some(State::Issued));
    running.stop().await;
}

/// K10: delivered again, published again, or told twice: one voucher, one number, one event for each fact.
#[tokio::test(flavor = "multi_thread")]
async fn repeats_issue_once_and_cancel_once() {
    let mut world = World::new().await;
    let running = world.serve().await;
    let ears = world.mesh.subscriber(VoucherIssued::STREAM).await;
    let (kept, ended) = (reservation(), reservation());
    let [first, second, last] = [confirmed(&kept), confirmed(&ended), cancelled(&ended)];
    let events = [&first, &second, &last, &second, &last, &first].map(again);
    world.settle(&running, [first, second, last].into_iter().chain(events)).await;
    assert_eq!(world.state(&running, &kept).await, Some(State::Issued));
    assert_eq!(world.state(&running, &ended).await, Some(State::Cancelled));
    let [kept, ended] = [world.vouchers(&running, &kept).await, world.vouchers(&running, &ended).await];
    // The outbox is drained in order, so what the last one says comes after all of these.
    let after = reservation();
    world.settle(&running, [confirmed(&after)]).await;
    let after = world.vouchers(&running, &after).await;
    ears.wait_about(&after[0].name, 1).await;
    assert_eq!(ears.wait_about(&kept[0].name, 1).await.len(), 1);
    assert_eq!(ears.wait_about(&ended[0].name, 2).await.len(), 2);
    assert_eq!(world.violations(running).await, Vec::<String>::new());
}

/// K11, K12: a cancellation that arrives first is the last word.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_confirmation_of_a_cancelled_reservation_issues_nothing() {
    let mut world = World::new().await;
    let running = world.serve().await;
    let (own, forced) = (reservation(), reservation());
    world.settle(&running, [cancelled(&own), confirmed(&own), force_cancelled(&forced), confirmed(&forced)]).await;
    assert_eq!(world.state(&running, &own).await, None);
    assert_eq!(world.state(&running, &forced).await, None);
    assert_eq!(world.violations(running).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_does_not_stop_the_others() {
    let mut world = World::new().await;
    let running = world.serve().await;
    let nobody = Reservation { customer: String::new(), ..reservation() };
    world.settle(&running, [confirmed(&nobody)]).await;
    assert_eq!(world.state(&running, &nobody).await, None);
    running.stop().await;
}

/// T39: it is cancelled before its deal is known, and no dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn one_cancelled_while_it_was_being_made_is_passed_over() {
    let mut world = World::new().await;
    let running = world.serve().await;
    let early = Reservation { host: String::new(), policy: None, ..reservation() };
    let nobody = Reservation { customer: String::new(), ..reservation() };
    let events = [cancelled(&early), confirmed(&nobody)];
    world.settle(&running, events).await;
    let dead = world.mesh.subscriber(mesh::bus::DEAD_LETTERS).await;
    assert_eq!(dead.wait_about(&nobody.name, 1).await.len(), 1);
    assert!(dead.about(&early.name).is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_vouchers_have_one_number() {
    let mut world = World::new().await;
    let running = world.serve().await;
    let many: Vec<_> = (0..300).map(|_| reservation()).collect();
    world.settle(&running, many.iter().map(confirmed)).await;
    let client = world.client(&running, "olga", proto::contract::Role::Operator);
    let vouchers = crate::harness::list(client, 500).await;
    let numbers: HashSet<_> = vouchers.iter().map(|voucher| &voucher.ticket_number).collect();
    assert_eq!((vouchers.len(), numbers.len()), (301, 301));
    running.stop().await;
}
