//! One binary for all integration tests: real sockets, real files, a real broker.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod access;
mod admin;
mod admission;
mod ageing;
mod answers;
mod breaker;
mod calls;
mod consumer;
mod deadline;
mod drain;
mod endpoints;
mod events;
mod harness;
mod identity;
mod nats_server;
mod quota;
mod relay;
mod replay;
mod requests;
mod set_back;
mod store;
mod streams;
mod things;
mod tls;
mod trace;
