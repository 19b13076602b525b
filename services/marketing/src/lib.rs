//! Marketing: how much listings are asked for, and a request to their hosts when one is nearly full.
//!
//! An example of what a new organisation adds to a mesh that runs already: it is no part of `up` or of `serve all`, nobody calls it, and it
//! touches nobody's database. On its first start it reads the streams of reservation and listing from their beginning, which is as far back as
//! the broker keeps events; what was told before that it never learns, so a count is of what it has seen, and a listing whose capacity it has
//! not been told is not asked for more.
//!
//! A request asks and orders nothing (it takes no place and changes no capacity), once for each date and capacity. While the past is read, a date
//! that was nearly full at the time may be asked for although its host has offered more since.

mod app;
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
use proto::marketing::v1::marketing_service_server::MarketingServiceServer;
use tokio_util::sync::CancellationToken;

pub use config::Config;

/// The service's name: of its stream, its database and its key.
pub const NAME: &str = "marketing";

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
    let node = Node::start(NAME, node, MIGRATIONS, shutdown).await?.needs_bus();
    let percent = config.marketing_nearly_full_percent;
    for spec in [events::reservation(), events::listing()] {
        node.consume(spec, move |conn, events| events::handle(conn, events, percent));
    }
    let routes = Routes::new(MarketingServiceServer::new(rpc::Rpc(node.store().clone())));
    node.serve(listener, routes, &["holdfast.marketing.v1.MarketingService"]).await
}
