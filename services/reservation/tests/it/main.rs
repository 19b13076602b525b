//! Reservation over real ports, files and a real broker: among the real listing, payment and mileage services, and between
//! neighbours whose every answer is the test's.

mod cancel;
mod commands;
mod create;
mod forced;
mod harness;
mod interrupted;
mod limits;
mod neighbours;
mod operate;
mod policies;
mod scene;
mod waiting;
