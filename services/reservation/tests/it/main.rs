//! Reservation among the real listing, payment and mileage services, over real ports, files and a real broker.

mod cancel;
mod create;
mod harness;
