//! Many callers at once. Each story runs on both databases.

use std::future::Future;

use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};
use listing::app::Change;
use listing::domain::{Error, Field, Hold, Kind, Slot};
use mesh::store::{Fetch, Id, StoreError};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::harness::{Database, draft, first_day, hold, hold_slot, name_of, stay};

const CALLERS: usize = 64;

/// Runs all at once and waits for all.
async fn together<F: Future<Output = T> + Send + 'static, T: Send + 'static>(calls: impl Iterator<Item = F>) -> Vec<T> {
    let tasks: Vec<_> = calls.map(mesh::deadline::spawn).collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        answers.push(task.await.expect("no panic"));
    }
    answers
}

fn refusals(answers: &[Result<Hold, Error>]) -> Vec<String> {
    answers.iter().filter_map(|answer| answer.as_ref().err().map(name_of)).collect()
}

/// K5: 64 callers want the same three nights of one room.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_gets_the_last_room() {
    let db = Database::new();
    for round in 0..40 {
        let listing = db.listing(1).await.id;
        let answers = together((0..CALLERS).map(|_| {
            let app = db.app.clone();
            async move { app.place_hold(hold(listing, stay(0, 3), 1)).await }
        }))
        .await;
        assert_eq!(refusals(&answers), vec!["NoAvailability"; CALLERS - 1], "round {round}");
        assert_eq!(db.held(listing, 4).await, [1, 1, 1, 0]);
    }
    db.assert_sound().await;
}

/// K10: the same reservation asks 64 times at once.
#[tokio::test(flavor = "multi_thread")]
async fn twins_place_one_hold() {
    let db = Database::new();
    for _ in 0..20 {
        let listing = db.listing(1).await.id;
        let request = hold(listing, stay(0, 2), 1);
        let answers = together((0..CALLERS).map(|_| {
            let (app, request) = (db.app.clone(), request.clone());
            async move { app.place_hold(request).await }
        }))
        .await;
        let first = answers[0].as_ref().expect("held");
        assert!(
            answers.iter().all(|answer| answer.as_ref().is_ok_and(|hold| hold == first)),
            "{:?}",
            refusals(&answers)
        );
        assert_eq!(db.held(listing, 2).await, [1, 1]);
    }
    db.assert_sound().await;
}

/// Overlapping stays of random length and size; each success is repeated, some are released, some of those twice.
#[tokio::test(flavor = "multi_thread")]
async fn random_stays_are_counted_exactly() {
    let db = Database::new();
    const DAYS: i32 = 12;
    let listing = db.listing(3).await.id;
    let kept = together((0..CALLERS).map(|seed| {
        let app = db.app.clone();
        async move {
            let mut random = StdRng::seed_from_u64(seed as u64);
            let mut kept: Vec<Hold> = Vec::new();
            for _ in 0..16 {
                let first = random.random_range(0..DAYS - 4);
                let request = hold(listing, stay(first, random.random_range(1..=4)), random.random_range(1..=2));
                match app.place_hold(request.clone()).await {
                    Ok(hold) if random.random_bool(0.5) => {
                        for _ in 0..random.random_range(1..=2) {
                            app.release_hold(hold.reservation).await.expect("released");
                        }
                    }
                    Ok(hold) => {
                        assert_eq!(app.place_hold(request).await.expect("a repeat"), hold);
                        kept.push(hold);
                    }
                    Err(error) => assert_eq!(name_of(&error), "NoAvailability"),
                }
            }
            kept
        }
    }))
    .await;
    let mut expected = vec![0; DAYS as usize];
    for hold in kept.iter().flatten() {
        for night in hold.slot.days().iter() {
            expected[first_day().until(night) as usize] += hold.units;
        }
    }
    assert!(expected.iter().all(|held| *held <= 3) && expected.contains(&3), "{expected:?}");
    assert_eq!(db.held(listing, DAYS).await, expected);
    db.assert_sound().await;
}

/// The saga gives up while its own PlaceHold is still under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_and_its_release_leave_nothing() {
    let db = Database::new();
    let listing = db.listing(100_000).await.id;
    for _ in 0..20 {
        let reservations: Vec<_> = (0..CALLERS / 2).map(|_| hold(listing, stay(0, 2), 1)).collect();
        together(reservations.iter().flat_map(|request| [(request.clone(), true), (request.clone(), false)]).map(
            |(request, place)| {
                let app = db.app.clone();
                async move {
                    if place {
                        let placed = app.place_hold(request).await;
                        assert!(placed.is_ok() || placed.is_err_and(|error| name_of(&error) == "HoldReleased"));
                    } else {
                        app.release_hold(request.reservation).await.expect("released");
                    }
                }
            },
        ))
        .await;
        assert_eq!(db.held(listing, 2).await, [0, 0]);
    }
    db.assert_sound().await;
}

/// K46: a repeated release raises nothing.
#[tokio::test(flavor = "multi_thread")]
async fn many_releases_give_back_once() {
    let db = Database::new();
    let listing = db.listing(5).await.id;
    let (mine, other) = (hold(listing, stay(0, 3), 2), hold(listing, stay(1, 3), 1));
    db.place_hold(mine.clone()).await.expect("held");
    db.place_hold(other).await.expect("held");
    let ended = together((0..CALLERS).map(|_| {
        let (app, reservation) = (db.app.clone(), mine.reservation);
        async move { app.release_hold(reservation).await.expect("released").expect("there was one").version }
    }))
    .await;
    assert_eq!(ended, vec![2; CALLERS]);
    // K7: the other reservation's nights stay held.
    assert_eq!(db.held(listing, 4).await, [0, 1, 1, 1]);
    db.assert_sound().await;
}

/// K5 for the other capacities: 64 callers want one of five.
#[tokio::test(flavor = "multi_thread")]
async fn a_date_and_a_stock_are_never_oversold() {
    let db = Database::new();
    for (kind, slot) in
        [(Kind::Resort, Slot::Date(first_day())), (Kind::Hospital, Slot::Date(first_day())), (Kind::Taxi, Slot::Stock)]
    {
        for round in 0..10 {
            let listing = db.listing_of(kind, 5).await.id;
            let answers = together((0..CALLERS).map(|_| {
                let app = db.app.clone();
                async move { app.place_hold(hold_slot(listing, slot, 1)).await }
            }))
            .await;
            assert_eq!(refusals(&answers), vec!["NoAvailability"; CALLERS - 5], "round {round}");
            let dates = (slot != Slot::Stock).then(|| stay(0, 2));
            let held: Vec<_> = db.available(listing, dates).await.iter().map(|day| day.held).collect();
            assert_eq!(held, if slot == Slot::Stock { vec![5] } else { vec![5, 0] });
        }
    }
    db.assert_sound().await;
}

#[derive(diesel::QueryableByName)]
struct Told {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    kind: String,
}

/// T22: whoever hears of the deletion finds every hold that was granted, because it was stored, and told, before.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_before_the_deletion_or_refused() {
    let db = Database::new();
    let mut refused = 0;
    for round in 0..40 {
        let before = told(&db).await.len();
        let listing = db.listing(100).await.id;
        let answers = together((0..8).map(|caller| {
            let app = db.app.clone();
            async move {
                if caller == round % 8 {
                    app.delete_listing("hana", listing, "", None)
                        .await
                        .map(|_| "deleted")
                        .map_err(|error| name_of(&error))
                } else {
                    app.place_hold(hold(listing, stay(0, 1), 1)).await.map(|_| "held").map_err(|error| name_of(&error))
                }
            }
        }))
        .await;
        assert!(answers.contains(&Ok("deleted")), "{answers:?}");
        let held = answers.iter().filter(|answer| **answer == Ok("held")).count();
        let errors: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert_eq!(errors, vec!["ListingDeleted"; 7 - held], "{answers:?}");
        assert_eq!(db.held(listing, 1).await, [i32::try_from(held).expect("few")]);
        let told: Vec<_> = told(&db).await.split_off(before).into_iter().map(|told| told.kind).collect();
        assert_eq!(told.len(), held + 2);
        assert_eq!(told.last().map(String::as_str), Some("holdfast.listing.v1.ListingDeleted"), "{told:?}");
        refused += errors.len();
    }
    println!("{refused} of {} refused", 40 * 7);
    db.assert_sound().await;
}

/// What was told so far, in the order of the outbox.
async fn told(db: &Database) -> Vec<Told> {
    let mut told: Vec<Told> = db
        .store
        .read(|conn| Ok::<_, StoreError>(sql_query("SELECT seq, kind FROM outbox").all(conn)?))
        .await
        .expect("an outbox");
    told.sort_by_key(|told| told.seq);
    told
}

/// T20: a stock shrinks, by one command or the other, while it is taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_smaller_stock_never_cuts_a_hold() {
    let db = Database::new();
    for round in 0..20 {
        let listing = db.listing_of(Kind::Taxi, 6).await.id;
        let change = Change { listing, draft: draft(2), fields: vec![Field::DefaultCapacity], etag: String::new() };
        let answers = together((0..9).map(|caller| {
            let (app, change) = (db.app.clone(), change.clone());
            async move {
                let answer = match caller {
                    4 if round % 2 == 0 => app.update_listing("hana", change, None).await.map(|_| ()),
                    4 => app.set_capacity("hana", listing, None, 2, None).await.map(|_| ()),
                    _ => app.place_hold(hold_slot(listing, Slot::Stock, 1)).await.map(|_| ()),
                };
                answer.map_err(|error| name_of(&error))
            }
        }))
        .await;
        let (now, stock) = db.query_availability(listing, None).await.expect("a listing");
        let (capacity, held) = (stock[0].capacity, stock[0].held);
        match &answers[4] {
            Ok(()) => assert!(capacity == 2 && held == 2, "{answers:?}"),
            Err(error) => assert!(error == "CapacityBelowHolds" && capacity == 6 && held == 6, "{answers:?}"),
        }
        assert_eq!(now.default_capacity, capacity);
    }
    db.assert_sound().await;
}

/// T20: the default capacity falls while the nights fill.
#[tokio::test(flavor = "multi_thread")]
async fn a_smaller_default_never_cuts_a_hold() {
    let db = Database::new();
    for _ in 0..20 {
        let listing = db.listing(6).await.id;
        let change = Change { listing, draft: draft(2), fields: vec![Field::DefaultCapacity], etag: String::new() };
        let answers = together((0..9).map(|caller| {
            let (app, change) = (db.app.clone(), change.clone());
            async move {
                if caller == 4 {
                    app.update_listing("hana", change, None).await.map(|_| ()).map_err(|error| name_of(&error))
                } else {
                    app.place_hold(hold(listing, stay(0, 2), 1)).await.map(|_| ()).map_err(|error| name_of(&error))
                }
            }
        }))
        .await;
        let (now, nights) = db.query_availability(listing, Some(stay(0, 3))).await.expect("a listing");
        let held = nights[0].held;
        match &answers[4] {
            Ok(()) => assert!(now.default_capacity == 2 && held <= 2, "{answers:?}"),
            Err(error) => assert!(error == "CapacityBelowHolds" && now.default_capacity == 6, "{answers:?}"),
        }
        assert!(nights.iter().all(|night| night.capacity == now.default_capacity), "{nights:?}");
    }
    db.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_requests_register_one_listing() {
    let db = Database::new();
    let request = crate::harness::request();
    let ids: Vec<Id> = together((0..CALLERS).map(|_| {
        let app = db.app.clone();
        async move { crate::harness::id(&app.create_listing("hana", draft(1), request).await.expect("registered")) }
    }))
    .await;
    assert!(ids.iter().all(|id| *id == ids[0]));
}
