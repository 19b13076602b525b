//! The message service: tells customers and hosts of reservations, and customers of their miles.
//!
//! It consumes events of reservation and mileage, writes a message for each person and channel that a reservation's policy names, in that person's
//! language, and delivers each channel through a [`notifier`]. Two messages of one booking (the reservation, the miles) come from two services at two times; both carry the reservation as their correlation id. Nobody
//! waits for this service: when it is down, bookings go on, and it catches up when it is back.

mod app;
pub mod audit;
mod config;
mod delivery;
mod domain;
mod events;
mod news;
pub mod notifier;
mod rpc;
mod schema;
mod store;
mod templates;

use diesel_migrations::embed_migrations;
use mesh::consumer::{ConsumerSpec, Repeats};
use mesh::net::TcpListener;
use mesh::node::{Node, NodeArgs, NodeError};
use mesh::server::Routes;
use mesh::store::Migrations;
use proto::message::v1::message_service_server::MessageServiceServer;
use tokio_util::sync::CancellationToken;

pub use config::{Config, NotifierKind, NotifierSetupError};
pub use domain::{Channel, Language, Message, RetryPolicy, State, Topic};

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
    let notifiers = config.notifiers().map_err(|error| NodeError::Other(error.into()))?;
    let node = Node::start(NAME, args, MIGRATIONS, shutdown).await?.needs_bus();
    let spec = |stream, durable, subjects| ConsumerSpec {
        stream,
        durable,
        subjects,
        batch: BATCH,
        repeats: Repeats::Harmless,
    };
    let platform = config.platform();
    node.consume(spec("RESERVATION", "message-on-reservation", events::reservation_subjects()), move |conn, events| {
        events::record_reservations(conn, events, &platform)
    });
    let platform = config.platform();
    node.consume(spec("MILEAGE", "message-on-mileage", events::mileage_subjects()), move |conn, events| {
        events::record_miles(conn, events, &platform)
    });
    for (channel, notifier) in
        [(Channel::Message, notifiers.message), (Channel::Sms, notifiers.sms), (Channel::Alarm, notifiers.alarm)]
    {
        let worker = delivery::Worker { store: node.store().clone(), channel, notifier, retry: config.retry() };
        node.run(worker.run(node.shutdown()));
    }
    let routes = Routes::new(MessageServiceServer::new(rpc::Messages(node.store().clone())));
    node.serve(listener, routes, SERVICES).await
}
