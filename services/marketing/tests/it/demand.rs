//! Counting, and asking for more.

use mesh::event::NewEvent;
use mesh::store::Id;
use mesh::testing::{Running, postgres};
use proto::contract::{Event, Role};
use proto::listing::v1::{ListingRegistered, Stay};
use proto::marketing::v1::IncrementRequested;
use proto::reservation::v1::{ReservationConfirmed, reservation::Slot};

use crate::harness::{World, cancelled, capacity, confirmed, date, listing, modified, registered, reservation};

/// E33, K45: one request when a date is nearly full, one more only when its capacity was raised and it is so again.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_asked_once_for_each_date_and_capacity() {
    let world = World::new(None).await;
    let replicas = vec![world.serve().await];
    asks_once(world, replicas).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_asked_once_by_two_replicas_on_postgres() {
    let database = tokio::task::spawn_blocking(postgres).await.expect("no panic");
    let world = World::new(Some(database.url)).await;
    let replicas = vec![world.serve().await, world.serve().await];
    asks_once(world, replicas).await;
}

async fn asks_once(mut world: World, replicas: Vec<Running>) {
    let running = &replicas[0];
    let asked = world.mesh.subscriber(IncrementRequested::STREAM).await;
    let hospital = listing("users/hana", 0);
    let day = date(30);
    let book = |units| reservation(&hospital, Some(Slot::Date(day.into())), units);
    world.publish([registered(&hospital), capacity(&hospital, (day, day.plus(1)), 5, 2)]).await;
    world.until(running, &hospital, (0, 0, 0)).await;
    let (three, one, another) = (book(3), book(1), book(4));
    world.publish([confirmed(&three)]).await;
    world.until(running, &hospital, (1, 0, 0)).await;
    // The fourth of five is 80 %.
    let fourth = confirmed(&one);
    world.publish([fourth.clone()]).await;
    world.until(running, &hospital, (2, 0, 1)).await;
    // Fewer, then as many again: asked before.
    world.publish([cancelled(&one), confirmed(&book(1))]).await;
    world.until(running, &hospital, (2, 1, 1)).await;
    // Its host offered more, and that is nearly gone too.
    world.publish([capacity(&hospital, (day.plus(-1), day.plus(2)), 10, 3)]).await;
    world.publish([confirmed(&another)]).await;
    world.until(running, &hospital, (3, 1, 2)).await;

    let heard = asked.wait_for(2).await;
    assert_eq!(heard.iter().map(|event| event.version).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(heard[0].causation, Some(fourth.id));
    let told: Vec<IncrementRequested> = heard.iter().map(|event| event.decode().expect("well formed")).collect();
    let expected = |confirmed_units, capacity| IncrementRequested {
        listing: hospital.name.clone(),
        date: Some(day.into()),
        confirmed_units,
        capacity,
    };
    assert_eq!(told, [expected(4, 5), expected(8, 10)]);
    for replica in replicas {
        replica.stop().await;
    }
}

/// A51, T32: added to a mesh that has been running, it reads what was told before it existed; again in whatever order it comes (K11).
#[tokio::test(flavor = "multi_thread")]
async fn it_begins_with_what_happened_before_it_existed() {
    let mut world = World::new(None).await;
    let taxi = listing("users/tara", 3);
    let (first, second, third) =
        (reservation(&taxi, None, 2), reservation(&taxi, None, 1), reservation(&taxi, None, 1));
    let past = [cancelled(&third), confirmed(&first), confirmed(&second), confirmed(&third)];
    world.publish(past.into_iter().chain([modified(&taxi, 2, 2), registered(&taxi)])).await;
    // Not before the broker has it all.
    world.mesh.subscriber(ReservationConfirmed::STREAM).await.wait_for(4).await;
    world.mesh.subscriber(ListingRegistered::STREAM).await.wait_for(2).await;

    let running = world.serve().await;
    world.until(&running, &taxi, (2, 1, 1)).await;
    let heard = world.mesh.subscriber(IncrementRequested::STREAM).await.wait_for(1).await;
    let told: IncrementRequested = heard[0].decode().expect("well formed");
    // The newer capacity, although the older was told later.
    assert_eq!((told.capacity, told.date), (2, None));
    running.stop().await;
}

/// A12: down for a while, it catches up; K10: what is told again counts once.
#[tokio::test(flavor = "multi_thread")]
async fn repeats_and_outages_change_no_count() {
    let mut world = World::new(None).await;
    let running = world.serve().await;
    let room = listing("users/hana", 1);
    let nights = || Some(Slot::Stay(Stay::default()));
    let (kept, ended) = (reservation(&room, nights(), 1), reservation(&room, nights(), 1));
    let facts = [registered(&room), confirmed(&kept), confirmed(&ended)];
    world.publish(facts.clone()).await;
    world.until(&running, &room, (2, 0, 0)).await;
    running.stop().await;
    world.publish(facts.map(|event| NewEvent { id: Id::generate(), ..event })).await;
    world.publish([cancelled(&ended)]).await;
    let running = world.serve().await;
    // Nights are counted and never asked for, though all of them are taken.
    world.until(&running, &room, (1, 1, 0)).await;
    running.stop().await;
}

/// Nobody is asked for places of yesterday, nor for a listing whose capacity was told before the stream begins.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_past_or_unknown_is_not_asked_for() {
    let mut world = World::new(None).await;
    let running = world.serve().await;
    let (clinic, old) = (listing("users/hana", 1), listing("users/hana", 1));
    let on = |ahead| Some(Slot::Date(date(ahead).into()));
    world.publish([registered(&clinic)]).await;
    world.publish([(&clinic, -3), (&old, 3)].map(|(of, ahead)| confirmed(&reservation(of, on(ahead), 1)))).await;
    world.until(&running, &clinic, (1, 0, 0)).await;
    world.until(&running, &old, (1, 0, 0)).await;
    world.publish([confirmed(&reservation(&clinic, on(3), 1))]).await;
    world.until(&running, &clinic, (2, 0, 1)).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_see_their_own_listings_and_operators_all() {
    let mut world = World::new(None).await;
    let running = world.serve().await;
    let (hers, his) = (listing("users/hana", 1), listing("users/hugo", 1));
    // Of the second one only a reservation is known, which names the host.
    world.publish([registered(&hers), confirmed(&reservation(&his, None, 1))]).await;
    world.until(&running, &hers, (0, 0, 0)).await;
    world.until(&running, &his, (1, 0, 0)).await;
    for (user, role, expected) in [
        ("hana", Role::Host, vec![&hers.name]),
        ("hugo", Role::Host, vec![&his.name]),
        ("olga", Role::Operator, vec![&his.name, &hers.name]),
        ("nina", Role::Host, vec![]),
    ] {
        let demands = world.demands(&running, user, role).await;
        assert_eq!(demands.iter().map(|demand| &demand.listing).collect::<Vec<_>>(), expected, "{user}");
    }
    running.stop().await;
}
