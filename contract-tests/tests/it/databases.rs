//! What happens to a PostgreSQL database that a file is spared: its connections are cut, its migrations are killed, it is too new.

use std::{fs, process::Stdio};

use mesh::testing::{eventually, postgres};
use tokio::task::JoinSet;

use world::{
    PATIENCE, Process, World,
    caller::{stay, wish},
};

use crate::outages::{invited, until_booked, until_complete};

/// Every connection is cut again and again while callers book. Whoever is refused asks again, and everything has happened once.
#[tokio::test]
async fn cut_connections_lose_nothing_and_double_nothing() {
    let database = postgres();
    let world = World::start_on(Some(database.url.clone()), &[]).await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1_000).await;
    let mut requests = Vec::new();
    for _ in 0..5 {
        let mut calls = JoinSet::new();
        for _ in 0..12 {
            let (guest, request) = (guest.clone(), wish(&listing));
            requests.push(request.clone());
            calls.spawn(async move { guest.reserve(&request).await });
        }
        // In the middle: after the first has been answered.
        calls.join_next().await;
        database.cut_connections();
        calls.join_all().await.iter().filter_map(|answer| answer.as_ref().err()).for_each(invited);
    }
    for request in &requests {
        until_complete(&guest, &until_booked(&guest, request).await).await;
    }
    let units = i32::try_from(requests.len()).expect("few");
    assert_eq!(guest.free(&listing, &stay(30)).await, 1_000 - units);
    eventually(PATIENCE, || async { guest.miles().await == i64::from(units) }).await;
    world.audit();
}

/// K55: killed when its tables are made and that is not yet noted, a migration leaves nothing behind, and the next start makes them.
#[tokio::test]
async fn a_killed_migration_is_repeated() {
    let database = postgres();
    let mut world = World::without_services(Some(database.url.clone()), &[]).await;
    database.run(
        "CREATE SCHEMA reservation; CREATE TABLE reservation.__diesel_schema_migrations \
         (version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)",
    );
    let mut session = database.session();
    session.run("BEGIN; LOCK TABLE reservation.__diesel_schema_migrations IN SHARE MODE");
    let migrating = Process::spawn(&mut world.serve("reservation"));
    eventually(PATIENCE, || {
        let blocks = session.blocks_somebody();
        async move { blocks }
    })
    .await;
    migrating.kill();
    drop(session);
    world.begin("reservation").await;
    let guest = world.customer("gil");
    assert_eq!(guest.my_reservations().await, [], "it reads its tables");
}

/// What a later release has upgraded this one does not touch: it says so and ends.
#[tokio::test]
async fn a_database_of_a_later_release_is_refused() {
    let database = postgres();
    let mut world = World::without_services(Some(database.url.clone()), &[]).await;
    world.begin("voucher").await;
    world.stop("voucher").await;
    database.run("INSERT INTO voucher.__diesel_schema_migrations (version) VALUES ('9999')");
    let errors = world.keys().join("errors");
    let mut command = world.serve("voucher");
    command.stderr(Stdio::from(fs::File::create(&errors).expect("a file")));
    let status = Process::spawn(&mut command).wait().await;
    let said = fs::read_to_string(&errors).expect("what it said");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("upgraded by a later release (to 9999, unknown to this one)"), "{said}");
}
