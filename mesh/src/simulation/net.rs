//! turmoil's listener, of the form of tokio's.

use std::io;
use std::net::SocketAddr;

use turmoil::ToSocketAddrs;
use turmoil::net::TcpStream;

/// A listener on a simulated host.
pub struct TcpListener(turmoil::net::TcpListener);

impl TcpListener {
    /// Listens on `0.0.0.0` or loopback of the host it is called on.
    ///
    /// # Errors
    /// When the address is taken, or another.
    pub async fn bind<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        turmoil::net::TcpListener::bind(address).await.map(Self)
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// None that turmoil would simulate.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }

    /// Where it listens.
    ///
    /// # Errors
    /// None.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// A real socket has no place here.
    ///
    /// # Errors
    /// Always.
    pub fn from_std(_: std::net::TcpListener) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
