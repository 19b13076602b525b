//! Several processes of one service on one PostgreSQL database, and why there are none on an SQLite file.

use std::{collections::HashMap, fs, process::Stdio};

use mesh::testing::{Subscriber, eventually, free_port, postgres};
use proto::reservation::v1::{CreateReservationRequest, Reservation, reservation::State};
use tokio::task::JoinSet;

use world::{
    PATIENCE, Process, Replicas, SERVICES, World,
    caller::{Caller, reason, stay, wish},
};

async fn on_postgres() -> World {
    World::start_on(Some(postgres().url), &[]).await
}

/// Asks until it is decided: a replica that finds the request in the hands of another one asks its caller to come back.
async fn decided(guest: &Caller, request: &CreateReservationRequest) -> Option<Reservation> {
    eventually(PATIENCE, || async {
        match guest.reserve(request).await {
            Ok(reservation) => Some(Some(reservation)),
            Err(refused) if reason(&refused) == "NO_AVAILABILITY" => Some(None),
            Err(_) => None,
        }
    })
    .await
}

/// Once it is confirmed, whoever is asked.
async fn booked(guest: &Caller, request: &CreateReservationRequest) -> Reservation {
    let reservation = decided(guest, request).await.expect("there is room");
    assert_eq!(reservation.state(), State::Confirmed);
    reservation
}

/// Everything about each aggregate in the order of its versions, as far as it was published first.
async fn assert_in_order(streams: &[Subscriber]) {
    for stream in streams {
        let mut versions: HashMap<String, i64> = HashMap::new();
        for event in stream.wait_for(1).await {
            let last = versions.insert(event.aggregate.clone(), event.version).unwrap_or(0);
            assert!(event.version > last, "{} of {} after {last}", event.version, event.aggregate);
        }
    }
}

async fn listen(world: &World) -> Vec<Subscriber> {
    let mut streams = Vec::new();
    for stream in ["RESERVATION", "PAYMENT", "LISTING", "MILEAGE"] {
        streams.push(Subscriber::new(world.broker.bus().await, stream));
    }
    streams
}

/// A63, K5, K10: two whole meshes on one database. They never sell a room twice, answer one request id with one reservation, and what is
/// booked at one is cancelled at the other.
#[tokio::test]
async fn two_processes_of_every_service_are_one_mesh() {
    const ROOMS: usize = 24;
    let world = on_postgres().await;
    let replicas = Replicas::start(&world, &SERVICES).await;
    let streams = listen(&world).await;
    let (here, there) = (world.customer("gil"), replicas.customer(&world, "gil"));
    let listing = world.host().offer(24).await;

    let mut requests = JoinSet::new();
    for _ in 0..2 * ROOMS {
        let (here, there, request) = (here.clone(), there.clone(), wish(&listing));
        requests.spawn(async move { tokio::join!(decided(&here, &request), decided(&there, &request)) });
    }
    let answers = requests.join_all().await;
    assert!(answers.iter().all(|(one, other)| one == other), "one truth for each request id");
    let sold: Vec<_> = answers.into_iter().filter_map(|(answer, _)| answer).collect();
    assert_eq!(sold.len(), ROOMS);
    for (number, reservation) in sold.iter().enumerate() {
        let canceller = if number % 2 == 0 { &there } else { &here };
        canceller.cancel(&reservation.name).await.expect("accepted");
    }
    for reservation in &sold {
        here.until(&reservation.name, State::Cancelled).await;
        assert_eq!(there.until_told(&reservation.name, 4).await.len(), 4, "each message once");
    }
    eventually(PATIENCE, || async { (here.miles().await, there.free(&listing, &stay(30)).await) == (0, 24) }).await;
    assert_in_order(&streams).await;
    world.audit();
}

/// A63, K8, K10, K53, K55: one process after the other is killed while callers book at both. Every request ends in one reservation that is
/// charged, told and shown once.
#[tokio::test]
async fn the_survivor_goes_on_whichever_process_is_killed() {
    let mut world = on_postgres().await;
    let replicas = Replicas::start(&world, &SERVICES).await;
    let streams = listen(&world).await;
    let (here, there) = (world.customer("gil"), replicas.customer(&world, "gil"));
    let listing = world.host().offer(1_000).await;
    let mut requests = Vec::new();
    for victim in SERVICES {
        let mut calls = JoinSet::new();
        for number in 0..12 {
            let (guest, request) = (if number % 2 == 0 { here.clone() } else { there.clone() }, wish(&listing));
            requests.push(request.clone());
            calls.spawn(async move { drop(guest.reserve(&request).await) });
        }
        // Somewhere in the middle: after the first has been answered.
        calls.join_next().await;
        world.kill(victim);
        calls.join_all().await;
        // The other mesh does not notice. What the first one has begun and cannot end has to wait for the victim that it calls.
        for _ in 0..3 {
            let request = wish(&listing);
            booked(&there, &request).await;
            requests.push(request);
        }
        world.begin(victim).await;
    }
    for request in &requests {
        let reservation = booked(&here, request).await;
        assert_eq!(there.reserve(request).await.expect("a repeat"), reservation);
        assert_eq!(there.until_told(&reservation.name, 2).await.len(), 2, "each message once");
    }
    let units = i32::try_from(requests.len()).expect("few");
    eventually(PATIENCE, || async { here.miles().await == i64::from(units) }).await;
    assert_eq!(here.free(&listing, &stay(30)).await, 1_000 - units);
    assert_in_order(&streams).await;
    world.audit();
}

/// A63, K8: what a process was doing when it died, another one carries to its end, without it ever coming back.
#[tokio::test]
async fn a_saga_whose_process_died_is_carried_on_by_the_other() {
    let mut world = on_postgres().await;
    let replicas = Replicas::start(&world, &["reservation", "payment"]).await;
    let (here, there) = (world.customer("gil"), replicas.customer(&world, "gil"));
    let listing = world.host().offer(10).await;
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let request = CreateReservationRequest { payment_method: "pm_sim_slow".to_owned(), ..wish(&listing) };
        let here = here.clone();
        calls.spawn(async move { drop(here.reserve(&request).await) });
    }
    eventually(PATIENCE, || async { there.free(&listing, &stay(30)).await == 0 }).await;
    world.kill("reservation");
    world.kill("payment");
    calls.join_all().await;
    let left = there.my_reservations().await;
    assert_eq!(left.len(), 10);
    for reservation in &left {
        there.until(&reservation.name, State::Confirmed).await;
        assert_eq!(there.until_told(&reservation.name, 2).await.len(), 2, "each message once");
    }
    eventually(PATIENCE, || async { there.miles().await == 10 }).await;
    world.audit();
}

/// K55: all six of one service find no tables at first.
#[tokio::test]
async fn six_processes_start_together_on_an_empty_database() {
    for _ in 0..5 {
        let world = World::without_services(Some(postgres().url), &[]).await;
        // Each start waits only for its own; all are begun before the first is waited for.
        let starts: Vec<_> = (0..6).map(|_| Replicas::start(&world, &["reservation"])).collect();
        drop(futures_util::future::join_all(starts).await);
    }
}

/// A file has one process at a time. The second one says so and ends; the first one notices nothing.
#[tokio::test]
async fn a_second_process_on_the_same_file_is_refused() {
    let world = World::start_on(None, &[]).await;
    for service in SERVICES {
        let errors = world.data().join("errors");
        let mut command = world.serve(service);
        command.env(format!("HOLDFAST_{}_LISTEN", service.to_uppercase()), format!("127.0.0.1:{}", free_port()));
        command.stderr(Stdio::from(fs::File::create(&errors).expect("a file")));
        let status = Process::spawn(&mut command).wait().await;
        let said = fs::read_to_string(&errors).expect("what it said");
        assert_eq!(status.code(), Some(1), "{service}: {said}");
        let expected = format!("{service}.db is in use by another process: stop that one first");
        assert!(said.contains(&expected), "{said}");
    }
    let listing = world.host().offer(1).await;
    world.customer("gil").reserve(&wish(&listing)).await.expect("all is well");
    world.audit();
}
