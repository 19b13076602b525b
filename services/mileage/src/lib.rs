//! Mileage: an append-only ledger of the miles that customers earn with payments and give back when those are refunded.
//!
//! A payment earns once and is reversed once, whatever arrives twice or in the wrong order: entries are keyed by payment and kind, and a
//! reversal that finds nothing leaves a tombstone, so that a late accrual is refused. Payment calls to earn miles at once; what could not
//! be earned then comes with its event `PaymentApproved`, and `PaymentCancelled` takes miles back.
//!
//! Miles cannot be spent here, and entries are never changed or deleted: the database refuses it. A background job compares the accounts with the
//! entries; what does not agree is told, and left to people.

mod app;
pub mod audit;
mod config;
pub mod domain;
mod events;
mod ledger;
mod reconcile;
mod rpc;
mod schema;
mod store;

use diesel_migrations::embed_migrations;
use mesh::net::TcpListener;
use mesh::node::{Node, NodeArgs, NodeError};
use mesh::server::Routes;
use mesh::store::Migrations;
use proto::mileage::v1::accrual_service_server::AccrualServiceServer;
use proto::mileage::v1::mileage_service_server::MileageServiceServer;
use tokio_util::sync::CancellationToken;

use crate::app::Miles;
pub use crate::config::Config;
use crate::reconcile::Reconciliation;
use crate::rpc::Rpc;

/// The service's name: of its stream, its database and its key.
pub const NAME: &str = "mileage";

/// Its tables.
pub const MIGRATIONS: Migrations =
    Migrations { sqlite: embed_migrations!("migrations/sqlite"), postgres: embed_migrations!("migrations/postgres") };

/// Serves until `shutdown`, then finishes the calls in progress.
///
/// # Errors
/// When the database, the keys or the server cannot be set up.
pub async fn serve(
    node: &NodeArgs,
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    let node = Node::start(NAME, node, MIGRATIONS, shutdown).await?;
    node.consume(events::spec(), events::handle);
    let reconciliation = Reconciliation::new(node.store().clone());
    node.run(mesh::reconcile::run(reconciliation, NAME, config.reconcile_every(), node.shutdown()));

    let rpc = Rpc::new(Miles::new(node.store().clone()));
    let routes = Routes::new(MileageServiceServer::new(rpc.clone())).add_service(AccrualServiceServer::new(rpc));
    node.serve(listener, routes, &["holdfast.mileage.v1.MileageService", "holdfast.mileage.v1.AccrualService"]).await
}
