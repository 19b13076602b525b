//! What can be set, with environment names and defaults.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

/// Mileage's settings.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Config {
    /// Address to listen on
    #[arg(long, env = "HOLDFAST_MILEAGE_LISTEN", default_value = "127.0.0.1:7404")]
    pub mileage_listen: SocketAddr,
    /// Milliseconds from one part of the background check of the ledger to the next; 0 switches it off
    #[arg(long, env = "HOLDFAST_MILEAGE_RECONCILE_EVERY_MS", default_value_t = 60_000)]
    pub mileage_reconcile_every_ms: u64,
}

impl Config {
    pub(crate) fn reconcile_every(&self) -> Duration {
        Duration::from_millis(self.mileage_reconcile_every_ms)
    }
}
