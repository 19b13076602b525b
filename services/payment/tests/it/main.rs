//! The payment service through its port, with a real database, the simulator's ledger, Stripe's stand-ins and a real broker.

mod attempts;
mod charge;
mod harness;
mod ledger;
mod log;
mod miles;
mod process;
mod reads;
mod refund;
mod register;
mod reservation;
mod stripe;
mod stripe_server;
mod upgrade;
