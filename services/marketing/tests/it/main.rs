//! Marketing through its port, with a real database and a real broker.

mod demand;
mod harness;
