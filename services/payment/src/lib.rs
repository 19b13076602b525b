//! Payment: takes money for a reservation once, gives it back when asked, and earns the customer's miles with it.
//!
//! A reservation has one payment. It is registered first where it is paid later, and charged in attempts, of which only a declined one is followed
//! by another. An attempt goes through four steps, none of which holds a transaction while another party is waited for: commit the intent, ask the
//! provider, earn the miles, commit the approval with its event. It runs as a task of its own, so a caller that leaves does not stop it;
//! a process that dies does, and then the recovery worker of any replica takes it up when its lease ends. The provider knows each attempt by its key,
//! so asking again never charges again, and an outcome that is not known is asked for, never guessed. Refunds work the same way.
//!
//! Money has a ledger: each move of it is an entry, written by the database with the move and never changed. A background job compares payments
//! with their entries, and what moved lately with the provider's own books; what does not agree is told, and left to people.
//!
//! It decides nothing about reservations. The card is the provider's business: only its token is kept, and only until the outcome is known.
//! For the two providers and how they were tested see [`provider::simulator`] and [`provider::stripe`].

mod app;
pub mod audit;
mod config;
pub mod domain;
mod drives;
mod events;
mod ledger;
mod log;
mod mileage;
pub mod provider;
mod reconcile;
mod rpc;
mod schema;
mod store;
mod worker;

use diesel_migrations::embed_migrations;
use mesh::net::TcpListener;
use mesh::node::{Node, NodeArgs, NodeError};
use mesh::server::Routes;
use mesh::store::Migrations;
use proto::payment::v1::charge_service_server::ChargeServiceServer;
use proto::payment::v1::payment_service_server::PaymentServiceServer;
use tokio_util::sync::CancellationToken;

use crate::app::Payments;
pub use crate::config::{Config, LogSetupError, ProviderKind, ProviderSetupError};
use crate::mileage::MileageClient;
use crate::reconcile::Reconciliation;
use crate::rpc::Rpc;

/// The service's name: of its stream, its database and its key.
pub const NAME: &str = "payment";

/// Its tables.
pub const MIGRATIONS: Migrations =
    Migrations { sqlite: embed_migrations!("migrations/sqlite"), postgres: embed_migrations!("migrations/postgres") };

/// Serves until `shutdown`, then finishes the calls and drives in progress.
///
/// # Errors
/// When the database, the keys, the provider, the payment log or the server cannot be set up.
pub async fn serve(
    node: &NodeArgs,
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    let provider = config.provider(&node.data).map_err(|error| NodeError::Other(error.into()))?;
    let (log, writer) = config.log().map_err(|error| NodeError::Other(error.into()))?;
    let node = Node::start(NAME, node, MIGRATIONS, shutdown).await?;
    let mileage = MileageClient::new(node.connect("mileage", &config.mileage_url), config.mileage_timeout());
    let reconciliation = Reconciliation::new(node.store().clone(), provider.clone());
    let payments = Payments::new(node.store().clone(), provider, mileage, log);

    node.consume(events::spec(), events::handle);
    node.run(worker::run(payments.clone(), node.is_alone(), node.shutdown()));
    node.run(mesh::reconcile::run(reconciliation, NAME, config.reconcile_every(), node.shutdown()));
    let finished = CancellationToken::new();
    if let Some(writer) = writer {
        node.run(writer.run(finished.clone()));
    }
    node.run(finish_drives(payments.clone(), node.shutdown(), finished));

    let rpc = Rpc::new(payments);
    let routes = Routes::new(PaymentServiceServer::new(rpc.clone())).add_service(ChargeServiceServer::new(rpc));
    node.serve(listener, routes, &["holdfast.payment.v1.PaymentService", "holdfast.payment.v1.ChargeService"]).await
}

/// Waits for the drives in progress; after them nothing is logged any more.
async fn finish_drives(payments: Payments, shutdown: CancellationToken, finished: CancellationToken) {
    shutdown.cancelled().await;
    payments.finish().await;
    finished.cancel();
}
