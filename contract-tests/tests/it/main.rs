//! The whole mesh as its users meet it: the `holdfast` binary as processes, a nats-server, databases, and callers.
//!
//! Each test has a [`world::World`] of its own: ports, keys, files, broker. Every process is ended by its id when the world
//! is dropped, also when a test fails.

mod airbnb;
mod approval;
mod bad_input;
mod booking;
mod databases;
mod foreign;
mod idempotency;
mod mutual_tls;
mod operators;
mod outages;
mod reconciliation;
mod replicas;
mod requirements;
mod resort;
mod screening;
mod taxi;
mod traces;
mod up;
