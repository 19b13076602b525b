//! Events that consumers should not see: again, in another order, of long ago, and none at all.

use std::fmt::Debug;

use mesh::testing::{Streams, eventually, forget_inbox};
use proto::reservation::v1::reservation::State;

use world::{
    PATIENCE, SERVICES, World,
    caller::{Caller, stay, wish, wish_on},
    offers,
};

use super::{until_booked, until_complete};

/// Everything that hosts and customers can be shown.
async fn shown(guests: &[&Caller], host: &Caller, listings: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut note = |thing: &dyn Debug| lines.push(format!("{thing:?}"));
    for guest in guests {
        for reservation in guest.my_reservations().await {
            note(&guest.messages(&reservation.name).await);
            note(&guest.trip(&reservation.name).await);
            note(&guest.timeline(&reservation.name).await);
            note(&reservation);
        }
        note(&guest.my_payments().await);
        note(&guest.mileage_entries().await);
        note(&guest.miles().await);
        note(&guest.my_vouchers().await);
    }
    for listing in listings {
        note(&host.listing_view(listing).await);
    }
    note(&guests[0].free(&listings[0], &stay(30)).await);
    lines
}

/// Reservations that were confirmed, cancelled, approved, rejected, ended with their listing, and paid with a ticket; everything is told and shown.
async fn journeys(world: &World) -> (Vec<String>, Caller, Caller, Caller) {
    let (host, gil, ann) = (world.host(), world.customer("gil"), world.customer("ann"));
    let room = host.offer(5).await;
    let by_approval = host.offer_listing(offers::room_by_approval(5)).await;
    let resort = host.offer_listing(offers::resort(5)).await;
    let gone = host.offer(2).await;
    for guest in [&gil, &ann] {
        until_complete(guest, &until_booked(guest, &wish(&room)).await).await;
        let cancelled = until_booked(guest, &wish(&room)).await;
        guest.cancel(&cancelled.name).await.expect("accepted");
        until_complete(guest, &guest.until(&cancelled.name, State::Cancelled).await).await;
        let forced = until_booked(guest, &wish(&gone)).await;
        until_complete(guest, &forced).await;
        let approved = guest.reserve(&wish(&by_approval)).await.expect("asked for");
        host.approve(&approved.name).await.expect("their own room");
        guest.until(&approved.name, State::Confirmed).await;
        let rejected = guest.reserve(&wish(&by_approval)).await.expect("asked for");
        host.reject(&rejected.name, "full").await.expect("their own room");
        let ticketed = guest.reserve(&wish_on(&resort, 30)).await.expect("a room");
        guest.pay(&ticketed.name, "pm_card_visa").await.expect("paid");
        eventually(PATIENCE, || async { !guest.my_vouchers().await.is_empty() }).await;
    }
    host.review(&room, "mine").await.err();
    host.withdraw(&gone).await.expect("their own");
    for guest in [&gil, &ann] {
        eventually(PATIENCE, || async {
            guest.my_reservations().await.iter().any(|it| it.state() == State::ForceCancelled)
        })
        .await;
    }
    (vec![room, by_approval, resort, gone], host, gil, ann)
}

/// Waits until nothing moves: consumers' effects publish events of their own.
async fn at_rest(streams: &Streams, guests: &[&Caller], host: &Caller, listings: &[String]) -> Vec<String> {
    eventually(PATIENCE, || async {
        streams.settled().await;
        let first = shown(guests, host, listings).await;
        streams.settled().await;
        (shown(guests, host, listings).await == first).then_some(first)
    })
    .await
}

fn same(before: &[String], after: &[String], what: &str) {
    assert_eq!(before.len(), after.len(), "{what}");
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before, after, "{what}");
    }
}

/// K2, K10: each consumer is fed every event again, shuffled, some twice; then once more with an inbox that has forgotten them all, as it does with
/// very old ones. What anybody is shown stays as it was, to the byte.
#[tokio::test]
async fn events_again_in_any_order_and_of_any_age_change_nothing() {
    let mut world = World::start().await;
    let (listings, host, gil, ann) = journeys(&world).await;
    let guests = [&gil, &ann];
    let streams = Streams::of(world.broker.bus().await);
    let before = at_rest(&streams, &guests, &host, &listings).await;
    let seed = seed();
    for seed in seed..seed + 3 {
        eprintln!("seed {seed}: {} events again", streams.replay(seed).await);
        same(&before, &at_rest(&streams, &guests, &host, &listings).await, &format!("seed {seed}"));
    }
    for service in SERVICES {
        world.stop(service).await;
        forget_inbox(&world.database(service), service);
    }
    for service in SERVICES {
        world.begin(service).await;
    }
    eprintln!("seed {seed}: {} events that are not known any more", streams.replay(seed).await);
    same(&before, &at_rest(&streams, &guests, &host, &listings).await, &format!("seed {seed}, very old"));
    assert_eq!(streams.dead_letters().await.iter().map(|it| &it.error).collect::<Vec<_>>(), Vec::<&String>::new());
    world.audit();
}

/// `HOLDFAST_TEST_SEED`, or another one each time.
fn seed() -> u64 {
    let given = std::env::var("HOLDFAST_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0))
}

/// K9: poison, of three kinds: it ends in the dead letters with its reason, for each consumer that cannot take it, and nobody waits for it. Nor do later
/// events of the same aggregate: none of the consumers needs every version of what it is told, each event carries the whole state.
#[tokio::test]
async fn poison_ends_in_the_dead_letters_and_others_flow() {
    let world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(9).await;
    let booked = until_booked(&guest, &wish(&listing)).await;
    until_complete(&guest, &booked).await;
    let streams = Streams::of(world.broker.bus().await);
    let confirmed = "holdfast.evt.reservation.reservation.confirmed.v1.*";
    let fresh = || uuid::Uuid::now_v7().to_string();
    // A kind that nobody knows is passed over, or given up by those that want all.
    streams
        .forge("RESERVATION", confirmed, |subject, _, header| {
            *subject = "holdfast.evt.reservation.reservation.vanished.v1.x".to_owned();
            header("ce-id", &fresh());
            header("ce-type", "holdfast.reservation.v1.ReservationVanished");
        })
        .await;
    // Its handlers refuse it: it is about nothing they know.
    streams
        .forge("RESERVATION", confirmed, |_, payload, header| {
            payload.clear();
            header("ce-id", &fresh());
            header("ce-subject", "elsewhere/1");
        })
        .await;
    // No event at all.
    streams.forge("RESERVATION", confirmed, |_, _, header| header("ce-id", "nonsense")).await;
    // Not what it says it is.
    streams
        .forge("RESERVATION", confirmed, |_, payload, header| {
            *payload = b"\xff\xff\xff".to_vec();
            header("ce-id", &fresh());
        })
        .await;
    // The same aggregate and others go on at once.
    guest.cancel(&booked.name).await.expect("accepted");
    until_complete(&guest, &guest.until(&booked.name, State::Cancelled).await).await;
    until_complete(&guest, &until_booked(&guest, &wish(&listing)).await).await;
    streams.settled().await;
    let letters = streams.dead_letters().await;
    let of = |consumer: &str| letters.iter().filter(|it| it.subject.ends_with(consumer)).count();
    // Listing reads no payload: whom an event is about is in its headers.
    for (consumer, least) in [
        ("listing-on-reservation", 2),
        ("message-on-reservation", 3),
        ("view-on-reservation", 3),
        ("voucher-on-reservation", 2),
    ] {
        assert!(of(consumer) >= least, "{consumer}: {letters:?}");
    }
    assert!(letters.iter().all(|it| !it.error.is_empty()), "{letters:?}");
    world.audit();
}
