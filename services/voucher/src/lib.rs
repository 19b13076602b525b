//! Voucher: a ticket for each reservation that is confirmed and paid, where its policy promises one.
//!
//! It only listens: a voucher is issued when reservation says confirmed, and void when reservation says cancelled. A reservation has one voucher
//! at most, whatever arrives twice or in the wrong order: rows are keyed by reservation, and a cancellation that finds none leaves a tombstone.
//! Nobody waits for this service: a reservation is confirmed by its payment, and the voucher follows, however late.
//!
//! It does not know money: that a confirmed reservation with a payment is paid is reservation's promise.

mod app;
pub mod audit;
mod config;
mod domain;
mod events;
mod rpc;
mod schema;
mod store;

use diesel_migrations::embed_migrations;
use mesh::net::TcpListener;
use mesh::node::{Node, NodeArgs, NodeError};
use mesh::server::Routes;
use mesh::store::Migrations;
use proto::voucher::v1::voucher_service_server::VoucherServiceServer;
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use domain::State;

/// The service's name: of its stream, its database and its key.
pub const NAME: &str = "voucher";

/// Its tables.
pub const MIGRATIONS: Migrations =
    Migrations { sqlite: embed_migrations!("migrations/sqlite"), postgres: embed_migrations!("migrations/postgres") };

/// Serves until `shutdown`, then finishes the calls in progress.
///
/// # Errors
/// When the database, the keys or the server cannot be set up.
pub async fn serve(
    node: &NodeArgs,
    _config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    let node = Node::start(NAME, node, MIGRATIONS, shutdown).await?.needs_bus();
    node.consume(events::spec(), events::handle);
    let routes = Routes::new(VoucherServiceServer::new(rpc::Rpc(node.store().clone())));
    node.serve(listener, routes, &["holdfast.voucher.v1.VoucherService"]).await
}
