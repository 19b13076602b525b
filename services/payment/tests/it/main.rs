//! The payment service through its port, with a real database, the simulator's ledger, Stripe's stand-ins and a real broker.

mod charge;
mod harness;
mod miles;
mod process;
mod reads;
mod refund;
mod reservation;
mod stripe;
mod stripe_server;
