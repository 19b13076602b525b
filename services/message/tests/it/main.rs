//! The message service through its public surface: events in by the broker, answers out by gRPC, messages out by file or webhook.

mod delivery;
mod harness;
mod hook;
mod news;
mod reading;
