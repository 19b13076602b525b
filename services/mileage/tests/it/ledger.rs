//! Earning and taking back, called directly.

use diesel::sql_query;
use mesh::deadline;
use mesh::store::{Conn, Exec, Id, Store, StoreError};
use mesh::testing::TestMesh;
use proto::mileage::v1::{AccrueMileageRequest, ReverseMileageRequest};
use tonic::Code;

use crate::harness::{Service, accrual, patient, reason};

#[tokio::test]
async fn a_payment_earns_once_however_often_it_is_asked_for() {
    let service = Service::start(TestMesh::without_broker()).await;
    let wanted = accrual("alice", 5);
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let (mut client, request) = (service.accruals(), wanted.clone());
            deadline::spawn(async move { client.accrue_mileage(patient(request)).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.expect("no panic").expect("accrues").into_inner().mileage_entry.expect("an entry"));
    }
    assert!(answers.iter().all(|entry| *entry == answers[0]), "every repeat gets the same entry");
    assert_eq!((answers[0].points, answers[0].balance), (5, 5));
    assert_eq!(service.balance("alice").await, 5);
    assert_eq!(service.violations().await, Vec::<String>::new());
}

#[tokio::test]
async fn balances_hold_while_many_payments_of_one_customer_earn_and_are_reversed() {
    // K16: the ledger is of the customer, and a reversal is an entry of its own.
    let service = Service::start(TestMesh::without_broker()).await;
    let calls: Vec<_> = (0..64)
        .map(|n| {
            let (mut client, request) = (service.accruals(), accrual("alice", n + 1));
            deadline::spawn(async move {
                let payment = request.payment.clone();
                client.accrue_mileage(patient(request)).await.expect("accrues");
                if n % 2 == 0 {
                    client.reverse_mileage(patient(ReverseMileageRequest { payment })).await.expect("reverses");
                }
            })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic");
    }
    let kept: i64 = (0..64).filter(|n| n % 2 == 1).map(|n| n + 1).sum();
    assert_eq!(service.balance("alice").await, kept);
    assert_eq!(service.entries("alice").await.len(), 50, "a page of the 96 entries");
    assert_eq!(service.violations().await, Vec::<String>::new());
}

#[tokio::test]
async fn other_points_or_another_customer_are_refused() {
    let service = Service::start(TestMesh::without_broker()).await;
    let first = accrual("alice", 5);
    service.accrue(&first).await.expect("accrues");
    for other in [
        AccrueMileageRequest { points: 6, ..first.clone() },
        AccrueMileageRequest { customer: "users/mallory".to_owned(), ..first },
    ] {
        let refused = service.accrue(&other).await.expect_err("refused");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "MILEAGE_MISMATCH"));
    }
    assert_eq!(service.balance("mallory").await, 0, "a refused accrual leaves no trace");
    assert_eq!(service.balance("alice").await, 5);
}

#[tokio::test]
async fn a_reversal_happens_once_and_ends_the_earning() {
    // K15, K16: found by the payment, a negative entry, with the customer's balance.
    let service = Service::start(TestMesh::without_broker()).await;
    let earned = accrual("alice", 5);
    service.accrue(&earned).await.expect("accrues");
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let (mut client, payment) = (service.accruals(), earned.payment.clone());
            deadline::spawn(async move { client.reverse_mileage(patient(ReverseMileageRequest { payment })).await })
        })
        .collect();
    let mut names = Vec::new();
    for call in calls {
        let entry = call.await.expect("no panic").expect("reverses").into_inner().mileage_entry.expect("an entry");
        assert_eq!((entry.points, entry.balance), (-5, 0));
        names.push(entry.name);
    }
    names.dedup();
    assert_eq!(names.len(), 1, "one entry, however often it is asked for");
    assert_eq!(service.entries("alice").await.iter().map(|entry| entry.points).collect::<Vec<_>>(), [-5, 5]);
    let refused = service.accrue(&earned).await.expect_err("refused");
    assert_eq!(reason(&refused), "MILEAGE_REVERSED");
}

#[tokio::test]
async fn a_reversal_before_the_accrual_refuses_it() {
    let service = Service::start(TestMesh::without_broker()).await;
    let late = accrual("alice", 5);
    for _ in 0..2 {
        assert_eq!(service.reverse(&late.payment).await.expect("reverses"), None);
    }
    assert_eq!(reason(&service.accrue(&late).await.expect_err("refused")), "MILEAGE_REVERSED");
    assert_eq!(service.entries("alice").await, []);
    assert_eq!(service.violations().await, Vec::<String>::new());
}

#[tokio::test]
async fn accrual_and_reversal_at_the_same_moment_end_with_nothing() {
    let service = Service::start(TestMesh::without_broker()).await;
    for _ in 0..32 {
        let wanted = accrual("alice", 5);
        let (accrued, reversed) = tokio::join!(service.accrue(&wanted), service.reverse(&wanted.payment));
        reversed.expect("a reversal is never refused");
        if let Err(refused) = accrued {
            assert_eq!(reason(&refused), "MILEAGE_REVERSED");
        }
        assert_eq!(service.balance("alice").await, 0);
    }
    assert_eq!(service.violations().await, Vec::<String>::new());
}

/// A correction is a new entry: the database refuses to change or to remove one, whoever asks.
#[tokio::test]
async fn no_entry_is_changed_or_removed() {
    let service = Service::start(TestMesh::without_broker()).await;
    service.accrue(&accrual("alice", 5)).await.expect("accrues");
    let database = service.mesh.node().data.database(mileage::NAME);
    service.running.stop().await;
    let store = Store::open(&database, mileage::NAME, mileage::MIGRATIONS).expect("the database opens");
    refuses(&store, "UPDATE entries SET points = 6").await;
    refuses(&store, "DELETE FROM entries").await;
    let particular = store.read(|conn| {
        Ok::<_, StoreError>(match conn {
            Conn::Sqlite(_) => "INSERT OR REPLACE INTO entries SELECT id, customer, kind, 6, 6, payment_id, reservation_id, 0 FROM entries",
            Conn::Postgres(_) => "TRUNCATE entries",
        })
    });
    refuses(&store, particular.await.expect("a connection")).await;
    let left = store.read(|conn| Ok::<_, StoreError>(mileage::audit::entries(conn, Id::from_bytes([0; 16]), 9)?));
    assert_eq!(left.await.expect("the audit reads").iter().map(|entry| entry.points).collect::<Vec<_>>(), [5]);
}

async fn refuses(store: &Store, sql: &'static str) {
    let done = store.write(move |conn| Ok::<_, StoreError>(sql_query(sql).exec(conn)?)).await;
    let error = match done {
        Err(StoreError::Database(error)) => error.to_string(),
        other => panic!("{sql}: {other:?}"),
    };
    assert!(error.contains("entries is append-only"), "{sql}: {error}");
}

/// Whatever does not add up is found, and told the same way each time.
#[tokio::test]
async fn balances_that_are_not_the_sum_of_their_entries_are_found() {
    let service = Service::start(TestMesh::without_broker()).await;
    for user in ["alice", "bob", "carol"] {
        service.accrue(&accrual(user, 5)).await.expect("accrues");
    }
    let database = service.mesh.node().data.database(mileage::NAME);
    service.running.stop().await;
    let store = Store::open(&database, mileage::NAME, mileage::MIGRATIONS).expect("the database opens");
    let plant = |sql: &'static str| store.write(move |conn| Ok::<_, StoreError>(sql_query(sql).exec(conn)?));
    plant("UPDATE accounts SET balance = 6 WHERE customer = 'alice'").await.expect("planted");
    plant("DELETE FROM accounts WHERE customer = 'carol'").await.expect("planted");
    let found = store.read(|conn| Ok::<_, StoreError>(mileage::audit::violations(conn)?)).await;
    let expected = ["users/alice has 6 miles, the entries say 5", "users/carol has 0 miles, the entries say 5"];
    assert_eq!(found.expect("the audit reads"), expected);
}
