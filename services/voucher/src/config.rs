//! What can be set, with environment names and defaults.

use std::net::SocketAddr;

use clap::Args;

/// Voucher's settings.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Config {
    /// Address to listen on
    #[arg(long, env = "HOLDFAST_VOUCHER_LISTEN", default_value = "127.0.0.1:7407")]
    pub voucher_listen: SocketAddr,
}
