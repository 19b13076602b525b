//! The audit finds what the program itself would never do. Runs on both databases.

use diesel::sql_query;
use listing::audit;
use listing::domain::HoldState;
use mesh::store::{Exec, StoreError};

use crate::harness::{Database, hold, on_both, stay};

on_both!(every_hold_is_reported, a_wrong_count_is_found);

async fn every_hold_is_reported(db: Database) {
    let listing = db.listing(3).await.id;
    let (kept, ended) = (hold(listing, stay(0, 2), 2), hold(listing, stay(1, 1), 1));
    db.place_hold(kept.clone()).await.expect("held");
    db.place_hold(ended.clone()).await.expect("held");
    db.release_hold(ended.reservation).await.expect("released");
    db.release_hold(hold(listing, stay(0, 1), 1).reservation).await.expect("never held");
    let found = audit::read(&db.store).await.expect("an audit");
    let holds: Vec<_> =
        found.holds.iter().map(|hold| (hold.reservation, hold.listing, hold.state, hold.units)).collect();
    let expected =
        [(kept.reservation, listing, HoldState::Held, 2), (ended.reservation, listing, HoldState::Released, 1)];
    assert_eq!(holds, expected);
    assert_eq!((found.holds[0].check_in, found.holds[0].check_out), (kept.stay.check_in(), kept.stay.check_out()));
    assert_eq!(found.violations, Vec::<String>::new());
}

async fn a_wrong_count_is_found(db: Database) {
    let day = stay(0, 1).check_in().number();
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
