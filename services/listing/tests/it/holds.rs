//! One caller's holds. Each story runs on both databases.

use listing::app::Change;
use listing::domain::{Error, Field, HoldState, Platform, Policy};
use mesh::event::Received;
use mesh::store::Id;
use proto::reservation::v1::{
    ReservationCancelled, ReservationCompleted, ReservationConfirmed, ReservationExpired, ReservationForceCancelled,
    ReservationRejected,
};

use crate::harness::{Database, draft, hold, name_of, received, stay, won};

/// K10: whatever has happened to the listing since, sold out and deleted included.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_answers_the_first_quote() {
    let db = Database::new();
    let listing = db.listing(1).await.id;
    let request = hold(listing, stay(0, 2), 1);
    let first = db.place_hold(request.clone()).await.expect("held");
    assert_eq!((first.total, first.host.as_str(), first.display_name.as_str()), (won(76_000), "hana", "Hanok"));
    let mut dearer = draft(1);
    (dearer.price, dearer.display_name) = (Some(Ok(won(99_000))), "Palace".to_owned());
    let change = Change { listing, draft: dearer, fields: Field::ALL.to_vec(), etag: String::new() };
    db.update_listing("hana", change).await.expect("changed");
    assert_eq!(db.place_hold(request).await.expect("a repeat"), first);
    let other = db.place_hold(hold(listing, stay(0, 2), 1)).await.expect_err("sold out");
    assert_eq!(name_of(&other), "NoAvailability");
    db.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_comes_first_refuses_the_hold() {
    let db = Database::new();
    let listing = db.listing(1).await.id;
    let request = hold(listing, stay(0, 2), 1);
    for _ in 0..2 {
        assert_eq!(db.release_hold(request.reservation).await.expect("released"), None);
        assert_eq!(name_of(&db.place_hold(request.clone()).await.expect_err("refused")), "HoldReleased");
    }
    assert_eq!(db.held(listing, 2).await, [0, 0]);
    db.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_hold_stays_released() {
    let db = Database::new();
    let listing = db.listing(1).await.id;
    let request = hold(listing, stay(0, 2), 1);
    db.place_hold(request.clone()).await.expect("held");
    for _ in 0..3 {
        let released = db.release_hold(request.reservation).await.expect("released").expect("there was one");
        assert_eq!((released.state, released.version), (HoldState::Released, 2));
        assert_eq!(name_of(&db.place_hold(request.clone()).await.expect_err("refused")), "HoldReleased");
    }
    db.place_hold(hold(listing, stay(0, 2), 1)).await.expect("free again");
    db.assert_sound().await;
}

/// K10: duplicates in one batch and over batches.
#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_reservation_commits_its_hold_once() {
    let db = Database::new();
    let listing = db.listing(3).await.id;
    let (one, two) = (hold(listing, stay(0, 1), 1), hold(listing, stay(0, 1), 1));
    db.place_hold(one.clone()).await.expect("held");
    db.place_hold(two.clone()).await.expect("held");
    let confirmed = |id| received(id, |reservation| ReservationConfirmed { reservation });
    let (a, b) = (confirmed(one.reservation), confirmed(two.reservation));
    db.hear(vec![a.clone(), a.clone(), b.clone()]).await;
    db.hear(vec![b, a]).await;
    for request in [one, two] {
        let stored = db.place_hold(request).await.expect("a repeat");
        assert_eq!((stored.state, stored.version), (HoldState::Committed, 2));
    }
    assert_eq!(db.held(listing, 1).await, [2]);
    db.assert_sound().await;
}

/// K7, K46.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_reservation_gives_back_its_nights_once() {
    let db = Database::new();
    let listing = db.listing(2).await.id;
    let (mine, other) = (hold(listing, stay(0, 2), 1), hold(listing, stay(1, 2), 1));
    db.place_hold(mine.clone()).await.expect("held");
    db.place_hold(other.clone()).await.expect("held");
    let confirmed = received(mine.reservation, |reservation| ReservationConfirmed { reservation });
    let cancelled = received(mine.reservation, |reservation| ReservationCancelled { reservation });
    db.hear(vec![confirmed, cancelled.clone()]).await;
    db.hear(vec![cancelled.clone(), cancelled]).await;
    assert_eq!(db.held(listing, 3).await, [0, 1, 1]);
    let released = db.release_hold(mine.reservation).await.expect("answered").expect("there was one");
    assert_eq!((released.state, released.version), (HoldState::Released, 3));
    db.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_confirmation_changes_nothing() {
    let db = Database::new();
    let listing = db.listing(1).await.id;
    let request = hold(listing, stay(0, 1), 1);
    db.place_hold(request.clone()).await.expect("held");
    db.release_hold(request.reservation).await.expect("released");
    db.hear(vec![received(request.reservation, |reservation| ReservationConfirmed { reservation })]).await;
    assert_eq!(name_of(&db.place_hold(request).await.expect_err("released")), "HoldReleased");
    assert_eq!(db.held(listing, 1).await, [0]);
    db.assert_sound().await;
}

type End = (fn(Id) -> Received, HoldState);

const ENDS: [End; 5] = [
    (|id| received(id, |reservation| ReservationCancelled { reservation }), HoldState::Released),
    (|id| received(id, |reservation| ReservationRejected { reservation }), HoldState::Released),
    (|id| received(id, |reservation| ReservationExpired { reservation }), HoldState::Released),
    (|id| received(id, |reservation| ReservationForceCancelled { reservation }), HoldState::Released),
    (|id| received(id, |reservation| ReservationCompleted { reservation }), HoldState::Completed),
];

/// K7, T14: whether it was confirmed before, and whatever comes after.
#[tokio::test(flavor = "multi_thread")]
async fn every_end_gives_back_its_places_once() {
    let db = Database::new();
    for (end, state) in ENDS {
        for confirmed in [true, false] {
            let listing = db.listing(1).await.id;
            let request = hold(listing, stay(0, 2), 1);
            let reservation = request.reservation;
            db.place_hold(request.clone()).await.expect("held");
            let confirm = received(reservation, |reservation| ReservationConfirmed { reservation });
            if confirmed {
                db.hear(vec![confirm.clone()]).await;
            }
            db.hear(vec![end(reservation), end(reservation)]).await;
            assert_eq!(db.held(listing, 2).await, [0, 0]);
            db.place_hold(hold(listing, stay(0, 2), 1)).await.expect("free again");
            let others = ENDS.map(|(other, _)| other(reservation)).to_vec();
            db.hear([others, vec![confirm]].concat()).await;
            let ended = db.release_hold(reservation).await.expect("answered").expect("there was one");
            assert_eq!((ended.state, ended.version), (state, if confirmed { 3 } else { 2 }));
            assert_eq!(name_of(&db.place_hold(request).await.expect_err("ended")), "HoldReleased");
            assert_eq!(db.held(listing, 2).await, [1, 1]);
        }
    }
    db.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_comes_first_refuses_the_hold() {
    let db = Database::new();
    let listing = db.listing(1).await.id;
    for (end, _) in ENDS {
        let request = hold(listing, stay(0, 1), 1);
        db.hear(vec![end(request.reservation)]).await;
        assert_eq!(name_of(&db.place_hold(request).await.expect_err("refused")), "HoldReleased");
    }
    assert_eq!(db.held(listing, 1).await, [0]);
    db.assert_sound().await;
}

/// B25, D37, E31: a changed configuration is for new reservations.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_answers_the_deal_of_its_time() {
    let db = Database::new();
    let listing = db.listing(5).await;
    let request = hold(listing.id, stay(0, 1), 1);
    let first = db.place_hold(request.clone()).await.expect("held");
    assert_eq!((first.total, first.policy.message().max_per_person), (won(38_000), 0));
    let platform = Platform { max_per_person: 10, min_price: Some(won(50_000)), ..Platform::default() };
    let app = db.under(platform);
    assert_eq!(app.place_hold(request.clone()).await.expect("a repeat"), first);
    let later = app.place_hold(hold(listing.id, stay(0, 1), 1)).await.expect("held");
    let message = later.policy.message();
    assert_eq!((later.total, message.max_per_person, &message.min_price), (won(50_000), 10, &Some(won(50_000).into())));
    assert_eq!(later.policy, Policy::complete(listing.kind, message.clone()));
    assert_eq!((later.kind, later.region.as_str(), later.host_language_code.as_str()), (listing.kind, "Jeju", "ko"));
    db.hear(vec![received(request.reservation, |reservation| ReservationConfirmed { reservation })]).await;
    let committed = app.place_hold(request).await.expect("a repeat");
    assert_eq!((committed.total, &committed.policy), (first.total, &first.policy));
}

#[tokio::test(flavor = "multi_thread")]
async fn set_nights_take_more_than_the_default_and_nothing_less() {
    let db = Database::new();
    let listing = db.listing(2).await.id;
    db.set_capacity("hana", listing, Some(stay(0, 2)), 5).await.expect("set");
    db.place_hold(hold(listing, stay(0, 2), 5)).await.expect("five fit");
    db.set_capacity("hana", listing, Some(stay(3, 1)), 0).await.expect("closed");
    for (offset, units) in [(0, 1), (1, 3), (2, 3), (3, 1)] {
        let refused = db.place_hold(hold(listing, stay(offset, 1), units)).await.expect_err("no room");
        assert_eq!(name_of(&refused), "NoAvailability", "{units} on {offset}");
    }
    let below = db.set_capacity("hana", listing, Some(stay(0, 4)), 4).await.expect_err("five are held");
    assert_eq!(name_of(&below), "CapacityBelowHolds");
    let (_, nights) = db.query_availability(listing, Some(stay(0, 4))).await.expect("a listing");
    assert_eq!(
        nights.iter().map(|night| (night.capacity, night.held)).collect::<Vec<_>>(),
        [(5, 5), (5, 5), (2, 0), (0, 0)]
    );
    // A new default is for the nights that were not set.
    let change = Change { listing, draft: draft(7), fields: vec![Field::DefaultCapacity], etag: String::new() };
    db.update_listing("hana", change).await.expect("changed");
    let (_, nights) = db.query_availability(listing, Some(stay(0, 4))).await.expect("a listing");
    assert_eq!(nights.iter().map(|night| night.capacity).collect::<Vec<_>>(), [5, 5, 7, 0]);
    db.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stay_is_all_or_nothing() {
    let db = Database::new();
    let listing = db.listing(1).await.id;
    db.place_hold(hold(listing, stay(89, 1), 1)).await.expect("held");
    let refused = db.place_hold(hold(listing, stay(0, 90), 1)).await;
    assert!(matches!(refused, Err(Error::NoAvailability(_))));
    assert_eq!(db.held(listing, 89).await, [0; 89]);
    db.place_hold(hold(listing, stay(-1, 90), 1)).await.expect("ninety nights");
    assert_eq!(db.set_capacity("hana", listing, Some(stay(0, 366)), 9).await.expect("set").len(), 366);
    db.assert_sound().await;
}
