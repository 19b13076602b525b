//! The view service: what screens show, folded from the events of every service.
//!
//! Eventually consistent and without decisions of its own (so there is no `domain`): it calls nobody, nobody calls it to decide anything, and
//! its rows follow from the six streams alone, whatever the order in which they arrive. When it is down, nobody notices but those who look;
//! it catches up when it is back.

mod app;
pub mod audit;
mod config;
mod events;
mod projection;
mod rebuild;
mod rpc;
mod schema;
mod store;
#[cfg(test)]
#[path = "../tests/it/story.rs"]
mod story;
mod watch;

use diesel_migrations::embed_migrations;
use mesh::consumer::{ConsumerSpec, Repeats};
use mesh::net::TcpListener;
use mesh::node::{Node, NodeArgs, NodeError};
use mesh::server::Routes;
use mesh::store::{Migrations, StoreError};
use proto::view::v1::view_admin_service_server::ViewAdminServiceServer;
use proto::view::v1::view_service_server::ViewServiceServer;
use tokio_util::sync::CancellationToken;

pub use config::Config;
use watch::Watchers;

/// The service's name: in tokens, flags, logs and the database.
pub const NAME: &str = "view";

const SERVICES: &[&str] = &["holdfast.view.v1.ViewService", "holdfast.view.v1.ViewAdminService"];

/// Everything that is published: stream and the durable consumer on it.
const STREAMS: [(&str, &str); 6] = [
    ("LISTING", "view-on-listing"),
    ("RESERVATION", "view-on-reservation"),
    ("PAYMENT", "view-on-payment"),
    ("MILEAGE", "view-on-mileage"),
    ("VOUCHER", "view-on-voucher"),
    ("MESSAGE", "view-on-message"),
];
/// Events that share a transaction at most.
const BATCH: usize = 256;

/// The service's tables.
pub const MIGRATIONS: Migrations =
    Migrations { sqlite: embed_migrations!("migrations/sqlite"), postgres: embed_migrations!("migrations/postgres") };

/// Runs the service until `shutdown`; returns when it has ended in order. `config.view_listen` is where the caller bound `listener`.
///
/// # Errors
/// When the database, the keys or the listener cannot be used.
pub async fn serve(
    args: &NodeArgs,
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    let node = Node::start(NAME, args, MIGRATIONS, shutdown).await?.needs_bus();
    node.store().write(|conn| events::fill_listings(conn).map_err(StoreError::from)).await?;
    if node.is_alone() {
        // A rebuild that died with its process.
        node.store().write(|conn| store::journal::reset(conn).map_err(StoreError::from)).await?;
    }
    for (stream, durable) in STREAMS {
        let subjects = vec![format!("holdfast.evt.{}.>", stream.to_ascii_lowercase())];
        node.consume(
            ConsumerSpec { stream, durable, subjects, batch: BATCH, repeats: Repeats::Harmless },
            events::follow,
        );
    }
    let store = node.store().clone();
    let watchers = Watchers::new(store.clone(), node.is_alone(), config.view_max_watchers);
    let rebuilds = rebuild::start(&node, &args.data.database(NAME));
    let routes = Routes::new(ViewServiceServer::new(rpc::Views { store, watchers }))
        .add_service(ViewAdminServiceServer::new(rpc::Admin(rebuilds)));
    node.serve(listener, routes, SERVICES).await
}
