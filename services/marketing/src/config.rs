//! What can be set, with environment names and defaults.

use std::net::SocketAddr;

use clap::{Args, value_parser};

/// Marketing's settings.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Config {
    /// Address to listen on
    #[arg(long, env = "HOLDFAST_MARKETING_LISTEN", default_value = "127.0.0.1:7408")]
    pub marketing_listen: SocketAddr,
    /// Hosts are asked for more once so many percent of a date's units are confirmed, 1 to 100
    #[arg(long, env = "HOLDFAST_MARKETING_NEARLY_FULL_PERCENT", default_value_t = 80, value_parser = value_parser!(u8).range(1..=100))]
    pub marketing_nearly_full_percent: u8,
}
