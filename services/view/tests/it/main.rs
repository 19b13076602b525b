//! The view service through its public surface: events in by the broker, answers out by gRPC.

mod harness;
mod lists;
mod rebuild;
mod screens;
mod story;
mod watch;
