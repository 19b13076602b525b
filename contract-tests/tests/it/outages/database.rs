//! A database is away, held by somebody else, or has no room.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use mesh::{
    store::DatabaseUrl,
    testing::{PostgresServer, eventually, tool},
};
use proto::reservation::v1::{CreateReservationRequest, reservation::State};

use world::{
    PATIENCE, Process, SERVICES, World,
    caller::{stay, wish},
    link::{Link, Way},
};

use super::{come_back, invited, until_booked, until_complete};

async fn all_serving(world: &World, expected: bool) {
    for service in SERVICES {
        eventually(PATIENCE, || async { world.is_serving(service).await == expected }).await;
    }
}

/// PostgreSQL is stopped, and started again: told so, not ready, nothing half done, and all goes on by itself.
#[tokio::test]
async fn without_postgres_callers_come_back_and_all_heals_by_itself() {
    let mut server = PostgresServer::start();
    let world = World::start_on(Some(server.create_database("holdfast").url), &[]).await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(3).await;
    let before = until_booked(&guest, &wish(&listing)).await;
    // One is between its charge's beginning and its end.
    let slow = CreateReservationRequest { payment_method: "pm_sim_slow".to_owned(), ..wish(&listing) };
    let call = {
        let (guest, slow) = (guest.clone(), slow.clone());
        mesh::deadline::spawn(async move { guest.reserve(&slow).await })
    };
    eventually(PATIENCE, || async { guest.free(&listing, &stay(30)).await == 1 }).await;
    server.stop();
    let request = wish(&listing);
    come_back(&guest.reserve(&request).await.expect_err("no database"), "STORE_UNAVAILABLE");
    come_back(&guest.reservation(&before.name).await.expect_err("no database"), "STORE_UNAVAILABLE");
    let cut_off = call.await.expect("no panic");
    assert!(cut_off.is_err(), "the caller cannot know: {cut_off:?}");
    all_serving(&world, false).await;
    server.restart();
    all_serving(&world, true).await;
    for request in [&request, &slow] {
        let booked = until_booked(&guest, request).await;
        assert_eq!(guest.reserve(request).await.expect("a repeat"), booked);
        until_complete(&guest, &booked).await;
    }
    assert_eq!(guest.my_reservations().await.iter().filter(|it| it.state() == State::Confirmed).count(), 3);
    assert_eq!(guest.free(&listing, &stay(30)).await, 0);
    world.audit();
}

/// PostgreSQL's host falls silent: connections stand, nothing comes back. Deadlines hold all the same, and it heals with the network.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_postgres_costs_no_caller_more_than_the_deadline() {
    let server = PostgresServer::start();
    let DatabaseUrl::Postgres(url) = server.create_database("holdfast").url else { unreachable!("PostgreSQL's") };
    let (_, rest) = url.split_once('@').expect("a user");
    let (address, _) = rest.split_once('/').expect("a database");
    let link = Link::start().await;
    link.lead_to(address.parse().expect("an address"));
    let linked = DatabaseUrl::Postgres(url.replace(address, &link.address().to_string()));
    let world = World::start_on(Some(linked), &[]).await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(2).await;
    until_booked(&guest, &wish(&listing)).await;
    link.spoil(Way::Silent, Way::Silent);
    let request = wish(&listing);
    invited(&guest.reserve_within(&request, Duration::from_secs(1)).await.expect_err("silence"));
    all_serving(&world, false).await;
    link.mend();
    all_serving(&world, true).await;
    until_complete(&guest, &until_booked(&guest, &request).await).await;
    world.audit();
}

/// Somebody holds the write lock of an SQLite file, as a careless backup does.
#[tokio::test]
async fn a_file_locked_by_somebody_else_delays_and_loses_nothing() {
    const HOLD: &str = "import sqlite3, sys, time\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\nc.execute('BEGIN IMMEDIATE')\nopen(sys.argv[2], 'w').close()\ntime.sleep(600)";
    let world = World::start_on(None, &[]).await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(3).await;
    for service in ["reservation", "listing", "payment"] {
        let DatabaseUrl::Sqlite(file) = world.database(service) else { unreachable!("started on files") };
        let held = world.data().join("held");
        let mut holder = Command::new(tool("python/bin/python"));
        holder.args(["-c", HOLD]).args([&file, &held]).stdout(Stdio::null());
        let holder = Process::spawn(&mut holder);
        eventually(PATIENCE, || async { held.exists() }).await;
        let request = wish(&listing);
        invited(&guest.reserve_within(&request, Duration::from_secs(1)).await.expect_err("locked"));
        holder.kill();
        std::fs::remove_file(held).expect("it is there");
        until_booked(&guest, &request).await;
    }
    world.audit();
}

/// No room on the disk of one service after the other: told so, alive, nothing half stored, and well again with room. The limit is on the
/// process's files, which needs no rights and works everywhere.
#[tokio::test]
async fn a_full_disk_is_told_and_forgotten_once_there_is_room() {
    let mut world = World::start_on(None, &[]).await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let victims = ["reservation", "listing", "payment", "mileage", "message", "view", "voucher"];
    let listing = host.offer(i32::try_from(victims.len()).expect("few")).await;
    for victim in victims {
        world.stop(victim).await;
        world.begin_limitable(victim).await;
        world.limit_files(victim, Some(4096));
        let request = wish(&listing);
        match (victim, guest.reserve(&request).await) {
            ("reservation" | "listing" | "payment", answer) => invited(&answer.expect_err("no room")),
            (_, answer) => assert_eq!(answer.expect("nobody notices").state(), State::Confirmed),
        }
        assert!(world.runs(victim), "{victim} lives");
        world.limit_files(victim, None);
        until_complete(&guest, &until_booked(&guest, &request).await).await;
    }
    assert_eq!(guest.free(&listing, &stay(30)).await, 0);
    world.audit();
}
