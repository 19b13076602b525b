//! The message service: tells guests of their reservations and miles.
//!
//! It consumes events of reservation and mileage, writes one message for each, and delivers them through a [`notifier`]. Two messages of one
//! booking (the reservation, the miles) come from two services at two times; both carry the reservation as their correlation id. Nobody
//! waits for this service: when it is down, bookings go on, and it catches up when it is back.

mod app;
pub mod audit;
mod config;
mod delivery;
mod domain;
mod events;
pub mod notifier;
mod rpc;
mod schema;
mod store;

use diesel_migrations::embed_migrations;
use mesh::consumer::{ConsumerSpec, Repeats};
use mesh::event::filter;
use mesh::node::{Node, NodeArgs, NodeError};
use mesh::server::Routes;
use mesh::store::Migrations;
use proto::message::v1::message_service_server::MessageServiceServer;
use proto::mileage::v1::{MileageDecreased, MileageIncreased};
use proto::reservation::v1::{ReservationCancelled, ReservationConfirmed};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::{Config, NotifierKind};
pub use domain::{Message, RetryPolicy, State, Topic};
use notifier::{FileNotifier, Notifier, WebhookNotifier};

/// The service's name: in tokens, flags, logs and the database.
pub const NAME: &str = "message";

const SERVICES: &[&str] = &["holdfast.message.v1.MessageService"];
/// Events that share a transaction at most.
const BATCH: usize = 256;

/// The service's tables.
pub const MIGRATIONS: Migrations =
    Migrations { sqlite: embed_migrations!("migrations/sqlite"), postgres: embed_migrations!("migrations/postgres") };

/// Runs the service until `shutdown`; returns when it has ended in order. `config.message_listen` is where the caller bound `listener`.
///
/// # Errors
/// When the database, the keys, the notifier or the listener cannot be used.
pub async fn serve(
    args: &NodeArgs,
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    let node = Node::start(NAME, args, MIGRATIONS, shutdown).await?.needs_bus();
    for (stream, durable, subjects) in [
        ("RESERVATION", "message-on-reservation", [filter::<ReservationConfirmed>(), filter::<ReservationCancelled>()]),
        ("MILEAGE", "message-on-mileage", [filter::<MileageIncreased>(), filter::<MileageDecreased>()]),
    ] {
        node.consume(
            ConsumerSpec { stream, durable, subjects: subjects.into(), batch: BATCH, repeats: Repeats::Harmless },
            events::record,
        );
    }
    match config.webhook().filter(|_| config.message_notifier == NotifierKind::Webhook) {
        Some(webhook) => deliver_with(
            &node,
            WebhookNotifier::new(webhook).map_err(|error| NodeError::Other(error.into()))?,
            config.retry(),
        ),
        None => {
            let file = FileNotifier::open(&config.message_file, config.message_log)
                .map_err(|error| NodeError::Other(error.into()))?;
            deliver_with(&node, file, config.retry());
        }
    }
    let routes = Routes::new(MessageServiceServer::new(rpc::Messages(node.store().clone())));
    node.serve(listener, routes, SERVICES).await
}

fn deliver_with(node: &Node, notifier: impl Notifier, retry: RetryPolicy) {
    node.run(delivery::run(node.store().clone(), notifier, retry, node.shutdown()));
}
