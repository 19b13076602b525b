//! What can be configured.

use std::net::SocketAddr;

use mesh::client::Address;

/// Reservation's own settings.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub struct Config {
    /// Where reservation listens
    #[arg(long, env = "HOLDFAST_RESERVATION_LISTEN", default_value = "127.0.0.1:7402", value_name = "ADDRESS")]
    pub reservation_listen: SocketAddr,
    /// Where reservation finds listing: a host or a name of several, or a list with commas
    #[arg(long, env = "HOLDFAST_LISTING_URL", default_value = "http://127.0.0.1:7401", value_name = "URL")]
    pub listing_url: Address,
    /// Where reservation finds payment, likewise
    #[arg(long, env = "HOLDFAST_PAYMENT_URL", default_value = "http://127.0.0.1:7403", value_name = "URL")]
    pub payment_url: Address,
    /// Open reservations that one customer may have, over all listings; 0 for any number
    #[arg(long, env = "HOLDFAST_RESERVATION_MAX_PER_PERSON", default_value_t = 0, value_name = "COUNT")]
    pub reservation_max_per_person: u32,
}
