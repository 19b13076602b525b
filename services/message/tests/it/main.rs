//! The message service through its public surface: events in by the broker, answers out by gRPC, messages out by file, webhook or mail.

mod delivery;
mod harness;
mod hook;
mod mail;
mod news;
mod python;
mod reading;
mod telling;
mod webhook;
