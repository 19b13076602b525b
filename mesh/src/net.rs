//! Sockets: tokio's. In a simulation they are turmoil's, of the same form.

#[cfg(not(feature = "simulation"))]
pub use tokio::net::{TcpListener, TcpStream, lookup_host};
#[cfg(feature = "simulation")]
pub use {crate::simulation::TcpListener, turmoil::net::TcpStream, turmoil::net::lookup_host};
