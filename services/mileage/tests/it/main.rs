//! The mileage service through its port, with a real database and a real broker.

mod events;
mod harness;
mod ledger;
mod reads;
