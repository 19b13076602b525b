//! The audit finds what the program itself would never do. Runs on both databases.

use diesel::sql_query;
use listing::audit;
use listing::domain::{HoldState, Kind, STOCK_DAY, Slot};
use mesh::store::{Exec, StoreError};
use proto::reservation::v1::ReservationCompleted;

use crate::harness::{Database, first_day, hold, hold_slot, received, stay};

#[tokio::test(flavor = "multi_thread")]
async fn every_hold_and_every_deletion_is_reported() {
    let db = Database::new();
    let listing = db.listing(3).await.id;
    let (kept, ended) = (hold(listing, stay(0, 2), 2), hold(listing, stay(1, 1), 1));
    db.place_hold(kept.clone()).await.expect("held");
    db.place_hold(ended.clone()).await.expect("held");
    db.release_hold(ended.reservation).await.expect("released");
    db.release_hold(hold(listing, stay(0, 1), 1).reservation).await.expect("never held");
    let gone = db.listing(1).await.id;
    db.delete_listing("hana", gone, "").await.expect("deleted");
    let found = audit::read(&db.store).await.expect("an audit");
    assert_eq!(found.deleted, [gone]);
    let holds: Vec<_> =
        found.holds.iter().map(|hold| (hold.reservation, hold.listing, hold.state, hold.units)).collect();
    let expected =
        [(kept.reservation, listing, HoldState::Held, 2), (ended.reservation, listing, HoldState::Released, 1)];
    assert_eq!(holds, expected);
    let days = kept.slot.days();
    assert_eq!((found.holds[0].check_in, found.holds[0].check_out), (days.first(), days.end()));
    assert_eq!(found.violations, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_count_is_found() {
    let db = Database::new();
    let day = stay(0, 1).first().number();
    for (damage, expected) in [
        (
            format!("UPDATE nights SET held = held + 1 WHERE night = {day}"),
            ["live holds 1, held 2", "take 3 unit nights, its nights hold 4"].as_slice(),
        ),
        (format!("DELETE FROM nights WHERE night = {}", day + 1), &["take 3 unit nights, its nights hold 2"]),
        ("UPDATE listings SET review_count = 7".to_owned(), &["0 reviews, review_count 7"]),
    ] {
        let listing = db.listing(3).await.id;
        let request = hold(listing, stay(0, 3), 1);
        db.place_hold(request.clone()).await.expect("held");
        let sql = damage.clone();
        db.store.write(move |conn| Ok::<_, StoreError>(sql_query(sql).exec(conn)?)).await.expect("damaged");
        let found = audit::read(&db.store).await.expect("an audit").violations;
        assert_eq!(found.len(), expected.len(), "{damage}: {found:?}");
        assert!(found.iter().zip(expected).all(|(found, expected)| found.contains(expected)), "{damage}: {found:?}");
        let heal = ["DELETE FROM holds", "DELETE FROM nights", "DELETE FROM listings"];
        for sql in heal {
            db.store.write(move |conn| Ok::<_, StoreError>(sql_query(sql).exec(conn)?)).await.expect("healed");
        }
    }
}

/// Dates and stocks as well as nights; completed holds take nothing.
#[tokio::test(flavor = "multi_thread")]
async fn every_capacity_is_counted() {
    let db = Database::new();
    let resort = db.listing_of(Kind::Resort, 3).await.id;
    let taxi = db.listing_of(Kind::Taxi, 3).await.id;
    for (listing, slot) in [(resort, Slot::Date(first_day())), (taxi, Slot::Stock)] {
        let ended = hold_slot(listing, slot, 1);
        db.place_hold(ended.clone()).await.expect("held");
        db.place_hold(hold_slot(listing, slot, 2)).await.expect("held");
        db.hear(vec![received(ended.reservation, |reservation| ReservationCompleted { reservation })]).await;
    }
    let found = audit::read(&db.store).await.expect("an audit");
    assert_eq!(found.violations, Vec::<String>::new());
    let days: Vec<_> = found.holds.iter().map(|hold| (hold.check_in, hold.state)).collect();
    let (date, stock) = (first_day(), STOCK_DAY);
    let expected = [
        (date, HoldState::Completed),
        (date, HoldState::Held),
        (stock, HoldState::Completed),
        (stock, HoldState::Held),
    ];
    assert_eq!(days, expected);
    for damage in ["UPDATE nights SET held = held - 1", "DELETE FROM nights"] {
        db.store.write(move |conn| Ok::<_, StoreError>(sql_query(damage).exec(conn)?)).await.expect("damaged");
        let found = audit::read(&db.store).await.expect("an audit").violations;
        for part in [format!("listings/{resort} on {date}: "), format!("the stock of listings/{taxi}: ")] {
            assert!(found.iter().any(|found| found.starts_with(&part)), "{damage}: {found:?}");
        }
    }
}
