//! Everything two services would otherwise share: calls, deadlines, identity, storage, events, telemetry.
//!
//! There is no booking word in here. A service hands [`server::serve`] its routes and gets a gRPC server with deadlines,
//! authorization, health and an orderly end; it calls others through [`client::connect`].

mod admin;
pub mod blocking;
pub mod bus;
mod chain;
pub mod client;
pub mod config;
pub mod consumer;
pub mod crash_point;
pub mod deadline;
pub mod event;
pub mod fault;
pub mod health;
pub mod identity;
pub mod inbox;
pub mod nats_server;
pub mod net;
pub mod node;
pub mod outbox;
pub mod reconcile;
pub mod relay;
pub mod replay;
pub mod requests;
pub mod safety;
mod schema;
pub mod server;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod store;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tls;
pub mod value;
mod waits;

#[cfg(not(feature = "simulation"))]
use async_nats as nats;
#[cfg(feature = "simulation")]
use simulation::nats;
