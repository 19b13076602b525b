//! The reservation service: reserves a place, has it paid, confirms; or undoes all of it.
//!
//! [`domain`] says what a reservation is, `app` what can be done with it, `saga` how a reservation is carried to its end
//! whatever fails on the way and how long it waits for its host or its customer. It calls listing (hold, release) and
//! payment (register, charge, refund); all else it learns from events. It knows nothing of messages, vouchers or views.

mod app;
pub mod audit;
mod closures;
mod config;
pub mod domain;
mod events;
mod rpc;
mod saga;
mod schema;
mod store;

use std::sync::Arc;

use diesel_migrations::embed_migrations;
use mesh::{
    net::TcpListener,
    node::{Node, NodeArgs, NodeError},
    server::Routes,
    store::{Migrations, StoreError},
};
use proto::reservation::v1::{
    reservation_service_server::{self, ReservationServiceServer},
    saga_service_server::{self, SagaServiceServer},
};
use tokio_util::sync::CancellationToken;

pub use config::Config;

/// The service's name in the mesh.
pub const NAME: &str = "reservation";

/// Its tables.
pub const MIGRATIONS: Migrations =
    Migrations { sqlite: embed_migrations!("migrations/sqlite"), postgres: embed_migrations!("migrations/postgres") };

/// Serves on `listener` until `shutdown`, then drains.
///
/// # Errors
/// When the service cannot start, or its server fails.
pub async fn serve(
    node: &NodeArgs,
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    let node = Node::start(NAME, node, MIGRATIONS, shutdown).await?;
    if node.is_alone() {
        // The sagas of a process that died need not wait for their leases.
        node.store().write(|conn| Ok::<_, StoreError>(store::sagas::end_leases(conn)?)).await?;
    }
    let callees =
        saga::Callees::new(node.connect("listing", &config.listing_url), node.connect("payment", &config.payment_url));
    let driver = saga::Driver::new(node.store().clone(), callees, config.reservation_max_per_person);
    let driver = Arc::new(driver);
    node.run(Arc::clone(&driver).recover(node.shutdown()));
    node.run(closures::run(node.store().clone(), node.shutdown()));
    node.consume(events::on_payment(), events::apply_refunds);
    node.consume(events::on_listing(), events::note_deletions);

    let app = app::App::new(node.store().clone(), driver);
    let routes = Routes::default()
        .add_service(ReservationServiceServer::new(rpc::Rpc(app.clone())))
        .add_service(SagaServiceServer::new(rpc::Sagas(app)));
    node.serve(listener, routes, &[reservation_service_server::SERVICE_NAME, saga_service_server::SERVICE_NAME]).await
}
