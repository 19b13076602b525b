//! The voucher service through its port, with a real database and a real broker.

mod guide;
mod harness;
mod issuing;
mod outages;
mod reading;
mod reservations;
