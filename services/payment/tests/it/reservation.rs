//! What reservation's event does, over a real broker.

use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use mesh::event::NewEvent;
use mesh::store::{DatabaseUrl, Id, Micros, Migrations, Store, StoreError};
use mesh::testing::TestMesh;
use mesh::{deadline, outbox, relay};
use payment::provider::simulator::EntryKind;
use proto::payment::v1::payment::State;
use proto::reservation::v1::{Reservation, ReservationCancelRequested};
use tokio_util::sync::CancellationToken;

use crate::harness::{Service, order, reason, won};

/// No tables of its own: an outbox is all a publisher needs.
const NONE: EmbeddedMigrations = embed_migrations!("tests/it/no_migrations");

async fn publisher(mesh: &mut TestMesh) -> Store {
    let url = DatabaseUrl::Sqlite(mesh.folder().join("publisher.db"));
    let store = Store::open(&url, "reservation", Migrations { sqlite: NONE, postgres: NONE }).expect("a database");
    let bus = mesh.broker().bus().await;
    drop(deadline::spawn(relay::run(store.clone(), bus, "reservation", CancellationToken::new())));
    store
}

async fn cancel(publisher: &Store, reservation: &str, version: i64) {
    let reservation = Reservation { name: reservation.to_owned(), total: Some(won(38_000)), ..Default::default() };
    let event = ReservationCancelRequested { reservation: Some(reservation) };
    let event = NewEvent::of(&event, Id::generate(), version, "r", None, Micros::now());
    publisher.write(move |conn| Ok::<_, StoreError>(outbox::push(conn, "reservation", &event)?)).await.expect("stored");
}

#[tokio::test]
async fn cancelled_reservations_are_refunded_once_however_often_it_is_said() {
    let mut mesh = TestMesh::start().await;
    let publisher = publisher(&mut mesh).await;
    let service = Service::start(mesh, &[]).await;
    let mut orders = Vec::new();
    for _ in 0..20 {
        let wanted = order("pm_card_visa");
        service.charge(&wanted).await.expect("charges");
        orders.push(wanted);
    }
    let kept = order("pm_card_visa");
    service.charge(&kept).await.expect("charges");
    let last = order("pm_card_visa");
    service.charge(&last).await.expect("charges");
    for version in [1, 2] {
        for wanted in &orders {
            cancel(&publisher, &wanted.reservation, version).await;
        }
    }
    // Never charged: the event leaves a tombstone (K13).
    let late = order("pm_card_visa");
    cancel(&publisher, &late.reservation, 1).await;
    for wanted in &orders {
        service.until(&wanted.reservation, State::Cancelled).await;
    }
    // Handled in the order of the stream, so the tombstone is there when the last event's refund is.
    cancel(&publisher, &last.reservation, 1).await;
    service.until(&last.reservation, State::Cancelled).await;
    let refused = service.charge(&late).await.expect_err("given up");
    assert_eq!(reason(&refused), "PAYMENT_CANCELLED");
    assert_eq!(service.payment_of(&kept.reservation).await.expect("kept").state(), State::Approved);
    let kinds = service.kinds();
    assert_eq!(kinds.iter().filter(|kind| **kind == EntryKind::Charge).count(), 22);
    assert_eq!(kinds.iter().filter(|kind| **kind == EntryKind::Refund).count(), 21);
    let audit = service.audit().await;
    assert_eq!((audit.rows.len(), audit.violations), (22, Vec::new()));
}
