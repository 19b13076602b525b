//! The upgrade of tables that were released, and what becomes of a driver that was taken over.

use diesel::connection::SimpleConnection;
use mesh::{
    on,
    requests::RequestKey,
    store::{Conn, Id, Micros, Store, StoreError},
    testing::{database, first_release},
    value::{Currency, Day, Money},
};
use proto::listing::v1::{ReservationPolicy, reservation_policy};

use super::{begin, find, sagas, settle};
use crate::{
    MIGRATIONS, NAME,
    domain::{Failure, Mileage, PaymentMethod, Policy, Reservation, Slot, State, Stay, Trouble, Wish},
    rpc::convert::to_wire,
};

/// A confirmed reservation with a long title, one whose saga runs, a refused and a free one, as 0001 stored them.
fn filled(blob: fn(u8) -> String) -> String {
    let title = "한옥 ".repeat(50);
    let row = |id: u8,
               host: &str,
               title: &str,
               persons: u32,
               state: &str,
               total: &str,
               mileage: &str,
               payment: &str| {
        format!(
            "INSERT INTO reservations VALUES ({}, {}, 'gil', {host}, {title}, 20000, 20002, 1, {persons}, '{state}', \
             {total}, {mileage}, {payment}, 2, 1700000000000000);",
            blob(id),
            blob(9)
        )
    };
    let krw = "38000, 'KRW'";
    [
        row(1, "'hana'", &format!("'{title}'"), 10_000, "CONFIRMED", krw, "-1000000", &blob(7)),
        row(2, "NULL", "NULL", 1, "REQUESTED", "NULL, NULL", "NULL", "NULL"),
        row(3, "NULL", "NULL", 127, "REJECTED", "NULL, NULL", "NULL", "NULL"),
        row(4, "'hana'", "'Loft'", 128, "CONFIRMED", "0, 'KRW'", "0", "NULL"),
        format!("INSERT INTO sagas VALUES ({}, {}, 'pm_card_visa', 5, 'KRW', NULL, 3, 4, 5);", blob(2), blob(8)),
    ]
    .concat()
}

fn fill(conn: &mut Conn) {
    let literal = match conn {
        Conn::Sqlite(_) => |byte| format!("x'{}'", format!("{byte:02x}").repeat(16)),
        Conn::Postgres(_) => |byte| format!("'\\x{}'", format!("{byte:02x}").repeat(16)),
    };
    on!(conn, c => c.batch_execute(&filled(literal))).expect("rows of 0001");
}

#[tokio::test]
async fn what_the_first_tables_kept_is_readable() {
    let (_dir, url) = database();
    fill(&mut first_release(&url, NAME, MIGRATIONS));
    let store = Store::open(&url, NAME, MIGRATIONS).expect("0002 applies to what 0001 stored");
    let id = |number| Id::from_bytes([number; 16]);
    let read = |number| {
        let store = store.clone();
        async move {
            let found = store.read(move |conn| Ok::<_, StoreError>(find(conn, id(number))?)).await;
            found.expect("readable").expect("kept")
        }
    };
    let confirmed = read(1).await;
    let stay = Stay::new(Day::from_number(20_000), Day::from_number(20_002)).expect("a stay");
    assert_eq!((confirmed.state, confirmed.slot, confirmed.persons), (State::Confirmed, Slot::Stay(stay), 10_000));
    let deal = confirmed.agreed();
    assert_eq!(deal.total, Money::from_minor(38_000, Currency::KRW));
    assert_eq!(deal.described.title, "한옥 ".repeat(50));
    assert_eq!(deal.policy, Policy { mileage: Mileage::Strict(1_000_000), ..Policy::default() });
    let wire = to_wire(&confirmed);
    let policy: ReservationPolicy = wire.policy.clone().expect("a policy");
    assert_eq!(policy.capacity(), reservation_policy::Capacity::Nightly);
    assert_eq!((policy.notifications.len(), wire.listing_kind), (5, 1));
    assert_eq!(policy.payment_ttl.map(|limit| limit.seconds), Some(86_400));

    let (requested, refused, free) = (read(2).await, read(3).await, read(4).await);
    assert_eq!((requested.persons, requested.deal), (1, None));
    assert_eq!((refused.state, refused.persons), (State::Rejected, 127));
    assert_eq!((free.persons, free.agreed().policy.mileage), (128, Mileage::None));

    let saga = store.read(move |conn| Ok::<_, StoreError>(sagas::find(conn, id(2))?)).await;
    let saga = saga.expect("readable").expect("kept");
    assert_eq!((saga.step, saga.takeovers, saga.charge_attempt), (sagas::Step::Book, 3, 0));
    assert_eq!(saga.payment_method, Some(PaymentMethod("pm_card_visa".to_owned())));
}

/// A driver that sleeps over its lease and wakes up finds its saga taken over, or ended: it neither ends nor turns it, whatever its
/// own call came to.
#[tokio::test]
async fn a_driver_that_wakes_up_late_changes_nothing() {
    let (_dir, url) = database();
    let store = Store::open(&url, NAME, MIGRATIONS).expect("a database");
    let now = Micros::now();
    let wish = Wish {
        listing: Id::generate(),
        slot: Slot::None,
        units: 1,
        persons: 1,
        note: String::new(),
        language: String::new(),
        payment_method: None,
        expected_total: None,
    };
    let key = RequestKey::new("gil", "CreateReservation", "1");
    let requested = Reservation::request(Id::generate(), "gil".to_owned(), &wish, now);
    let late = sagas::Saga::begin(&requested, key, &wish, now);
    let late_again = late.clone();
    let in_time = sagas::Saga { takeovers: 1, ..late.clone() };
    let failure = Failure::ComeBack(Trouble::OutOfTime);
    let checked = store.write(move |conn| {
        begin(conn, &key, [0; 32], &requested, &late)?;
        assert!(sagas::take_over(conn, &late, now)?);
        assert!(!settle(conn, &late, 1, &requested, &[], None, None)?);
        assert_eq!(sagas::turn(conn, &late, &failure, now)?, None);
        assert!(!sagas::replace(conn, &late, &late.at(sagas::Step::Wait, None, now, now))?);
        let found = sagas::find(conn, requested.id)?.expect("as it was");
        assert_eq!((found.takeovers, found.failure), (1, None));
        assert!(settle(conn, &in_time, 1, &Reservation { version: 2, ..requested.clone() }, &[], None, None)?);
        Ok::<_, StoreError>(sagas::turn(conn, &late_again, &failure, now)?)
    });
    assert_eq!(checked.await.expect("written"), None, "what is settled is not undone");
}
