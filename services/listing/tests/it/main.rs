//! Listing through its public surface: use cases on both databases, calls over a real port, events over a real broker.

mod audit;
mod events;
mod harness;
mod holds;
mod inputs;
mod kinds;
mod listings;
mod owners;
mod races;
mod reviews;
mod upgrade;
