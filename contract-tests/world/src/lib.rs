//! The whole mesh as its users meet it, for tests: the `holdfast` binary as processes, a nats-server, databases, and callers.
#![expect(missing_docs, reason = "the vocabulary of the scenarios: most names say all there is")]

pub mod caller;
pub mod link;
pub mod offers;
pub mod proxy;
pub mod raw;
mod replicas;
mod tables;
mod world;

pub use replicas::Replicas;
pub use tables::Tables;
pub use world::{ADDED, PATIENCE, Process, SERVICES, Setup, World, holdfast, program, ready, send};
