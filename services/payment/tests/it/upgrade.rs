//! From the tables of the release before to these, and back.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use mesh::store::{Conn, Store, StoreError};
use mesh::testing::TestMesh;
use payment::provider::simulator::EntryKind;
use proto::contract::Role;
use proto::payment::v1::payment::State;
use proto::payment::v1::{ListPaymentsRequest, Payment};

use crate::harness::{Service, attempt, order, reason, registration};

const BEFORE: &str = "id, reservation_id, customer, amount_minor, currency, method, state, mileage_points, mileage, provider_answer, \
     refund_requested_by, due_at, leased, version, created_at, updated_at";

async fn all(service: &Service) -> Vec<Payment> {
    let mut reader = service.reader("ops", Role::Operator);
    reader.list_payments(ListPaymentsRequest::default()).await.expect("lists").into_inner().payments
}

/// Goes back to the tables of the first release, as that made them, with their rows.
async fn go_back(mesh: &TestMesh) {
    let store = Store::open(&mesh.node().data.database(payment::NAME), payment::NAME, payment::MIGRATIONS)
        .expect("the database opens");
    let back = |conn: &mut Conn| {
        let (ledgerless, down, released) = match conn {
            Conn::Sqlite(_) => (
                include_str!("../../migrations/sqlite/0003_entries/down.sql"),
                include_str!("../../migrations/sqlite/0002_attempts/down.sql"),
                include_str!("../../migrations/sqlite/0001_payments/up.sql"),
            ),
            Conn::Postgres(_) => (
                include_str!("../../migrations/postgres/0003_entries/down.sql"),
                include_str!("../../migrations/postgres/0002_attempts/down.sql"),
                include_str!("../../migrations/postgres/0001_payments/up.sql"),
            ),
        };
        let keep = "DROP INDEX payments_reservation; DROP INDEX payments_customer; DROP INDEX payments_due; \
                    ALTER TABLE payments RENAME TO kept;";
        let refill = format!("INSERT INTO payments ({BEFORE}) SELECT {BEFORE} FROM kept; DROP TABLE kept;");
        let unknown = "DELETE FROM __diesel_schema_migrations WHERE version IN ('0002', '0003')";
        for sql in [ledgerless, down, keep, released, &refill, unknown] {
            match conn {
                Conn::Sqlite(conn) => conn.batch_execute(sql)?,
                Conn::Postgres(conn) => conn.batch_execute(sql)?,
            }
        }
        Ok::<_, StoreError>(())
    };
    store.write(back).await.expect("the tables of the release before");
}

#[tokio::test]
async fn payments_of_the_release_before_are_kept_and_can_be_tried_again() {
    let service = Service::alone().await;
    let [approved, declined, refunded, late, registered, waiting] = [
        "pm_card_visa",
        "pm_card_chargeDeclined",
        "pm_card_visa",
        "pm_card_visa",
        "pm_card_visa",
        "pm_sim_unavailable",
    ]
    .map(order);
    service.charge(&approved).await.expect("charges");
    service.charge(&declined).await.expect_err("declined");
    service.charge(&refunded).await.expect("charges");
    service.refund(&refunded.reservation).await.expect("refunds");
    service.refund(&late.reservation).await.expect("leaves a tombstone");
    service.charge_within(&waiting, Duration::from_secs(1)).await.expect_err("down");
    let before = all(&service).await;
    // The release before knew no such thing.
    service.register(&registration(&registered)).await.expect("registers");

    let service = service.between(go_back).await;
    assert_eq!(all(&service).await, before);
    assert_eq!(before.len(), 4);
    let again = service.charge(&attempt(&declined, 2, "pm_card_visa")).await.expect("charges");
    assert_eq!(again.state(), State::Approved);
    assert_eq!(reason(&service.charge(&late).await.expect_err("given up")), "PAYMENT_CANCELLED");
    assert_eq!(service.charge(&approved).await.expect("repeats").state(), State::Approved);
    let refunded = service.refund(&approved.reservation).await.expect("refunds").expect("there is a payment");
    assert_eq!(refunded.state(), State::Cancelled);
    let (charge, refund) = (EntryKind::Charge, EntryKind::Refund);
    assert_eq!(service.kinds(), [charge, charge, refund, charge, refund]);
    // What was taken before there was a ledger is in it; the one that waits is cancelled with nothing taken.
    let left = service.refund(&waiting.reservation).await.expect("accepted").expect("there is a payment");
    assert_ne!(left.state(), State::Approved);
    let audit = service.audit().await;
    assert_eq!(audit.differences, Vec::<String>::new());
    let mut held: Vec<_> = audit.balances.iter().map(|it| (it.charged_minor, it.refunded_minor)).collect();
    held.sort_unstable();
    assert_eq!(held, [(0, 0), (38_000, -38_000), (38_000, -38_000), (38_000, 0)]);
}
