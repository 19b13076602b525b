//! The ledger of money: one entry for each move, and none is ever changed.

use diesel::sql_query;
use mesh::store::{Conn, Exec, Store, StoreError};
use payment::domain::State;

use crate::harness::{Service, attempt, order, registration};

#[tokio::test]
async fn each_move_of_money_is_one_entry() {
    let service = Service::alone().await;
    let [approved, refunded, registered, late] = ["pm_card_visa"; 4].map(order);
    let declined = order("pm_card_chargeDeclined");
    service.charge(&approved).await.expect("charges");
    service.charge(&approved).await.expect("repeats");
    service.charge(&refunded).await.expect("charges");
    for _ in 0..2 {
        service.refund(&refunded.reservation).await.expect("refunds");
    }
    service.register(&registration(&registered)).await.expect("registers");
    service.refund(&registered.reservation).await.expect("voids");
    service.refund(&late.reservation).await.expect("leaves a tombstone");
    service.charge(&declined).await.expect_err("declined");
    service.charge(&attempt(&declined, 2, "pm_card_visa")).await.expect("charges");

    let audit = service.audit().await;
    assert_eq!((audit.differences, audit.violations), (Vec::new(), Vec::new()));
    let mut found: Vec<_> = audit
        .balances
        .iter()
        .map(|it| (it.state as i32, it.charged_minor, it.refunded_minor, it.voids, it.held_minor()))
        .collect();
    found.sort_unstable();
    let (taken, cancelled) = (State::Approved as i32, State::Cancelled as i32);
    assert_eq!(
        found,
        [
            (taken, 38_000, 0, 0, 38_000),
            (taken, 38_000, 0, 0, 38_000),
            (cancelled, 0, 0, 1, 0),
            (cancelled, 38_000, -38_000, 0, 0),
        ]
    );
}

/// A correction is a new entry: the database refuses to change or to remove one, whoever asks.
#[tokio::test]
async fn no_entry_is_changed_or_removed() {
    let service = Service::alone().await;
    service.charge(&order("pm_card_visa")).await.expect("charges");
    let database = service.mesh.node().data.database(payment::NAME);
    let service = service
        .between(async |_| {
            let store = Store::open(&database, payment::NAME, payment::MIGRATIONS).expect("the database opens");
            refuses(&store, "UPDATE entries SET amount_minor = 1").await;
            refuses(&store, "DELETE FROM entries").await;
            let particular = store.read(|conn| {
                Ok::<_, StoreError>(match conn {
                    Conn::Sqlite(_) => {
                        "INSERT OR REPLACE INTO entries (payment_id, kind, attempt, amount_minor, currency, created_at) \
                         SELECT payment_id, kind, attempt, 1, currency, created_at FROM entries"
                    }
                    Conn::Postgres(_) => "TRUNCATE entries",
                })
            });
            refuses(&store, particular.await.expect("a connection")).await;
        })
        .await;
    assert_eq!(service.audit().await.balances[0].charged_minor, 38_000);
}

async fn refuses(store: &Store, sql: &'static str) {
    let done = store.write(move |conn| Ok::<_, StoreError>(sql_query(sql).exec(conn)?)).await;
    let error = match done {
        Err(StoreError::Database(error)) => error.to_string(),
        other => panic!("{sql}: {other:?}"),
    };
    assert!(error.contains("entries is append-only"), "{sql}: {error}");
}
