//! A database that the first release has filled, opened by this one.

use listing::domain::{HoldState, Kind, Policy, Slot};
use mesh::statement;
use mesh::store::{Conn, Exec, Id, Micros};
use mesh::testing::{database, first_release};
use proto::listing::v1::ReservationPolicy;
use proto::listing::v1::reservation_policy::Mileage;
use proto::reservation::v1::ReservationCompleted;

use crate::harness::{Database, first_day, hold, received, stay};

/// Mileage and points of listings as they were, one for each length that points take in a message.
const MILES: [(&str, Mileage, i64); 4] = [
    ("EARN_GRACEFUL", Mileage::EarnGraceful, 1),
    ("EARN_STRICT", Mileage::EarnStrict, 200),
    ("NONE", Mileage::None, 65_535),
    ("EARN_GRACEFUL", Mileage::EarnGraceful, 1_000_000),
];

fn room(mileage: Mileage, mileage_points: i64) -> Policy {
    let asked = ReservationPolicy { mileage: mileage.into(), mileage_points, ..Default::default() };
    Policy::complete(Kind::Room, asked)
}

fn add_listing(conn: &mut Conn, id: Id, mileage: &str, points: i64) {
    let insert = statement!(
        "INSERT INTO listings (id, host, display_name, description, kind, price_minor, currency, default_capacity, time_zone, mileage, \
         mileage_points, review_count, state, version, created_at, updated_at) \
         VALUES (?, 'hana', 'Hanok', '', 'ROOM', 38000, 'KRW', 2, 'Asia/Seoul', ?, ?, 0, 'ACTIVE', 3, 1, 2)",
        id,
        mileage,
        points
    );
    insert.exec(conn).expect("stored");
}

fn add_hold(conn: &mut Conn, reservation: Id, listing: Id, units: i32, state: &str, mileage: &str, points: i64) {
    let insert = statement!(
        "INSERT INTO holds (reservation_id, listing_id, customer, check_in, check_out, units, state, version, total_minor, currency, \
         mileage, mileage_points, host, display_name, created_at, updated_at) \
         VALUES (?, ?, 'chris', ?, ?, ?, ?, 1, 76000, 'KRW', ?, ?, 'hana', 'Hanok', 1, 2)",
        reservation,
        listing,
        first_day().number(),
        first_day().number() + 2,
        units,
        state,
        mileage,
        points
    );
    insert.exec(conn).expect("stored");
}

fn add_nights(conn: &mut Conn, listing: Id, held: i32) {
    for day in [first_day(), first_day().plus(1)] {
        let insert = statement!(
            "INSERT INTO nights (listing_id, night, held, capacity, pinned) VALUES (?, ?, ?, 2, ?)",
            listing,
            day.number(),
            held,
            false
        );
        insert.exec(conn).expect("stored");
    }
}

/// What the first release stored: listings, holds in every state, the mark of a release that came first.
struct Old {
    listings: [Id; 4],
    held: Id,
    committed: Id,
    released: Id,
    tombstone: Id,
}

fn fill(mut conn: Conn) -> Old {
    let conn = &mut conn;
    let listings = MILES.map(|(mileage, _, points)| {
        let id = Id::generate();
        add_listing(conn, id, mileage, points);
        id
    });
    let old = Old {
        listings,
        held: Id::generate(),
        committed: Id::generate(),
        released: Id::generate(),
        tombstone: Id::generate(),
    };
    add_hold(conn, old.held, listings[0], 1, "HELD", "EARN_GRACEFUL", 1);
    add_hold(conn, old.committed, listings[0], 1, "COMMITTED", "EARN_STRICT", 200);
    add_hold(conn, old.released, listings[1], 1, "RELEASED", "NONE", 1_000_000);
    add_hold(conn, old.tombstone, Id::from_bytes([0; 16]), 0, "RELEASED", "", 0);
    add_nights(conn, listings[0], 2);
    old
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_first_release_stored_is_read() {
    let (dir, url) = database();
    let old = fill(first_release(&url, listing::NAME, listing::MIGRATIONS));
    let db = Database::open(&url, dir);
    for (id, (_, mileage, points)) in old.listings.into_iter().zip(MILES) {
        let listing = db.get_listing(id).await.expect("still there");
        assert_eq!((&listing.policy, listing.kind, listing.version), (&room(mileage, points), Kind::Room, 3));
        assert_eq!((listing.region.as_str(), listing.max_persons, listing.updated_at), ("", 0, Micros(2)));
    }
    let [listing, ..] = old.listings;
    let again = |reservation| listing::domain::HoldRequest { reservation, ..hold(listing, stay(0, 2), 1) };
    for (reservation, state, policy) in [
        (old.held, HoldState::Held, room(Mileage::EarnGraceful, 1)),
        (old.committed, HoldState::Committed, room(Mileage::EarnStrict, 200)),
    ] {
        let stored = db.place_hold(again(reservation)).await.expect("a repeat");
        assert_eq!((stored.slot, stored.state, stored.policy), (Slot::Stay(stay(0, 2)), state, policy));
        assert_eq!((stored.kind, stored.region.as_str(), stored.display_name.as_str()), (Kind::Room, "", "Hanok"));
    }
    let released = db.release_hold(old.released).await.expect("answered").expect("there was one");
    assert_eq!((released.state, released.policy), (HoldState::Released, room(Mileage::None, 1_000_000)));
    assert_eq!(db.release_hold(old.tombstone).await.expect("answered"), None);
    db.assert_sound().await;

    // And it goes on: the held and the committed end, the places are free.
    db.release_hold(old.held).await.expect("released");
    db.hear(vec![received(old.committed, |reservation| ReservationCompleted { reservation })]).await;
    assert_eq!(db.held(listing, 2).await, [0, 0]);
    db.place_hold(hold(listing, stay(0, 2), 2)).await.expect("free again");
    db.assert_sound().await;
}
