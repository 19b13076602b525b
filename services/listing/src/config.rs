//! How the service is configured, besides what every service is ([`mesh::node::NodeArgs`]).

use std::net::SocketAddr;

/// Arguments and environment of listing.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub struct Config {
    /// Address that listing serves on.
    #[arg(long, env = "HOLDFAST_LISTING_LISTEN", default_value = "127.0.0.1:7401")]
    pub listing_listen: SocketAddr,
}
