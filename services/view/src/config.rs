//! Options of the view service.

use std::net::SocketAddr;

use clap::Args;

/// Options of the view service.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Config {
    /// Where the view service listens
    #[arg(long, env = "HOLDFAST_VIEW_LISTEN", default_value = "127.0.0.1:7406")]
    pub view_listen: SocketAddr,
    /// Trips watched at once, over all callers; more are refused
    #[arg(long, env = "HOLDFAST_VIEW_MAX_WATCHERS", default_value = "1000")]
    pub view_max_watchers: usize,
}
