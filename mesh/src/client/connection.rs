//! One HTTP/2 connection to one address: made when first needed, shared by all calls, remade when lost.
//!
//! On hyper rather than on tonic's channel, for three reasons. The time left is written into a request when there is a connection to send it
//! on, so that connecting counts. A request that was never put on the wire comes back and goes over a new connection. And there is no queue
//! in between.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::Request;
use http::uri::{Authority, Scheme};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tonic::body::Body;

use super::Address;
use crate::net::TcpStream;
use crate::tls::Stream;

/// For the name and the TCP handshake. The call's deadline may be earlier.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// HTTP/2 pings, also on an idle connection: a peer that is gone without a word is noticed before the next call needs it.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(3);
/// Flow control windows: a message of the largest size fits without a pause.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Calls given up locally. h2's default of 1,024 ends a healthy connection when many deadlines pass at once.
const RESETS_LIMIT: usize = 8192;
/// Headers of one answer, decoded. Details are at most 6 KiB of it.
const HEADERS_LIMIT_BYTES: u32 = 32 * 1024;

/// A connection that may or may not be there. Clones share it.
#[derive(Clone)]
pub(super) struct Connection(Arc<Inner>);

struct Inner {
    target: &'static str,
    address: Address,
    current: ArcSwapOption<SendRequest<Body>>,
    /// Held while connecting, so that many calls wait for one attempt.
    last_failure: Mutex<Option<Failure>>,
}

/// There is no connection.
#[derive(Debug)]
pub(super) struct Unreachable {
    pub(super) error: io::Error,
    /// Somebody else's attempt failed, and that caller reports it too.
    pub(super) shared: bool,
}

#[derive(Clone)]
struct Failure {
    at: Instant,
    kind: io::ErrorKind,
    text: String,
}

impl Connection {
    pub(super) fn new(target: &'static str, address: Address) -> Self {
        Self(Arc::new(Inner { target, address, current: ArcSwapOption::empty(), last_failure: Mutex::default() }))
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.0.address.scheme()
    }

    pub(super) fn authority(&self) -> &Authority {
        self.0.address.authority()
    }

    /// Something to send a request with, connecting if need be.
    ///
    /// # Errors
    /// Connecting failed. Calls that were waiting for the same attempt share the failure.
    ///
    /// # Cancel safety
    /// A caller that goes away gives up its attempt; the next one begins another.
    pub(super) async fn sender(&self) -> Result<SendRequest<Body>, Unreachable> {
        if let Some(sender) = self.usable() {
            return Ok(sender);
        }
        let began = Instant::now();
        let mut last_failure = self.0.last_failure.lock().await;
        if let Some(sender) = self.usable() {
            return Ok(sender);
        }
        if let Some(failure) = last_failure.as_ref().filter(|failure| failure.at >= began) {
            return Err(Unreachable { error: io::Error::new(failure.kind, failure.text.clone()), shared: true });
        }
        match timeout(CONNECT_LIMIT, self.connect()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(sender) => {
                self.0.current.store(Some(Arc::new(sender.clone())));
                Ok(sender)
            }
            Err(error) => {
                *last_failure = Some(Failure { at: Instant::now(), kind: error.kind(), text: error.to_string() });
                Err(Unreachable { error, shared: false })
            }
        }
    }

    fn usable(&self) -> Option<SendRequest<Body>> {
        let current = self.0.current.load();
        current.as_deref().filter(|sender| !sender.is_closed()).cloned()
    }

    async fn connect(&self) -> io::Result<SendRequest<Body>> {
        // The address was checked to have both.
        let host = self.authority().host().trim_start_matches('[').trim_end_matches(']');
        let port = self.authority().port_u16().unwrap_or_default();
        let stream = Stream::Plain(open(host, port).await?);
        let stream = self.0.address.secure(self.0.target, stream).await?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEADERS_LIMIT_BYTES)
            .max_local_error_reset_streams(RESETS_LIMIT)
            .keep_alive_interval(KEEPALIVE_EVERY)
            .keep_alive_timeout(KEEPALIVE_LIMIT)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let authority = self.authority().clone();
        // It ends by itself when the last sender is dropped, or with the connection.
        spawn_connection(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%authority, %error, "a connection ended");
            }
        });
        Ok(sender)
    }
}

/// With TCP_NODELAY: without it a small request may wait 40 ms for the acknowledgement of the one before.
async fn open(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[expect(clippy::disallowed_methods, reason = "the connection serves many calls and has no deadline of its own")]
fn spawn_connection(connection: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(connection);
}

/// What became of a request.
pub(super) enum Sent {
    /// The answer's headers are here.
    Answered(http::Response<hyper::body::Incoming>),
    /// It was never on the wire.
    Returned(Request<Body>),
    /// Nobody knows.
    Lost(hyper::Error),
}

/// Sends one request over one connection.
pub(super) async fn send(mut sender: SendRequest<Body>, request: Request<Body>) -> Sent {
    match sender.try_send_request(request).await {
        Ok(response) => Sent::Answered(response),
        Err(mut error) => match error.take_message() {
            Some(request) => Sent::Returned(request),
            None => Sent::Lost(error.into_error()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sockets_send_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(open("127.0.0.1", port).await.unwrap().nodelay().unwrap());
    }
}
