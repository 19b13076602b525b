//! Listings: what is offered, for how much and under which policy, how many units are free and when, who holds them, and what guests say.
//!
//! The heart is [`app::App::place_hold`]: it takes units on every night of a stay, on a date or of a stock, all or nothing, and no sequence of
//! calls can take more than is offered, because the table of nights refuses it. A hold has no clock: it is ended by its reservation only,
//! through [`app::App::release_hold`] or through the events of reservation. Prices and policies are copied into the hold when it is placed;
//! what a host or the platform changes later is for the reservations after it.
//!
//! It deliberately does nothing that a policy says, knows nothing of payments, and calls no other service.

pub mod app;
pub mod audit;
pub mod config;
pub mod domain;
pub mod events;

mod announce;
mod rpc;
mod schema;
mod store;
mod wire;

use diesel_migrations::embed_migrations;
use mesh::net::TcpListener;
use mesh::node::{Node, NodeArgs, NodeError};
use mesh::store::Migrations;
use tokio_util::sync::CancellationToken;

pub use config::Config;

/// The service's name: of its database, its stream and its identity.
pub const NAME: &str = "listing";

/// Its tables.
pub const MIGRATIONS: Migrations =
    Migrations { sqlite: embed_migrations!("migrations/sqlite"), postgres: embed_migrations!("migrations/postgres") };

/// Serves until `shutdown`, then finishes the calls in progress.
///
/// # Errors
/// When the database, the keys or the addresses are not usable.
pub async fn serve(
    node: &NodeArgs,
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    let node = Node::start(NAME, node, MIGRATIONS, shutdown).await?;
    node.consume(events::subscription(), events::handle);
    let routes = rpc::routes(app::App::new(node.store().clone(), config.platform()));
    node.serve(listener, routes, rpc::SERVICES).await
}
