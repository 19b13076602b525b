//! One HTTP/2 connection to one endpoint.
//!
//! On hyper rather than on tonic's channel, for three reasons. The time left is written into a request when there is a connection to send it
//! on, so that connecting counts. A request that was never put on the wire comes back, and one that the server refused unseen is told apart
//! from one that is lost. And there is no queue in between.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::Reason;
use http::Request;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::body::Body;

use super::Address;
use crate::net::TcpStream;
use crate::tls::Stream;

/// For the handshakes and the server's first word. The call's deadline may be earlier.
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

/// A connection on which the server has spoken.
pub(super) struct Connected {
    /// Sends requests. When all clones are gone the connection ends with its last call.
    pub(super) sender: SendRequest<Body>,
    /// Ends when the connection takes no more requests: it is broken, or the server is going away.
    pub(super) taking_no_more: oneshot::Receiver<()>,
}

/// Connects, and waits for the server's first byte.
///
/// hyper is ready before the server has said anything, and what is sent to a process that closes its listener unread is lost. A server's first
/// frame is its SETTINGS, so one that has spoken has accepted the connection.
///
/// # Errors
/// The server cannot be reached, or does not speak in time.
pub(super) async fn connect(target: &str, configured: &Address, address: SocketAddr) -> io::Result<Connected> {
    let connected = timeout(CONNECT_LIMIT, connect_unlimited(target, configured, address)).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn connect_unlimited(target: &str, configured: &Address, address: SocketAddr) -> io::Result<Connected> {
    let stream = configured.secure(target, Stream::Plain(open(address).await?)).await?;
    let (speaks, spoken) = oneshot::channel();
    let stream = Listening { inner: stream, speaks: Some(speaks) };
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
    let (ends, taking_no_more) = oneshot::channel();
    // It ends by itself when the last sender is dropped, or with the connection. Calls in progress go on without it.
    spawn_connection(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "a connection ended");
        }
        drop(ends);
    });
    spoken.await.map_err(|_| io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the server spoke"))?;
    Ok(Connected { sender, taking_no_more })
}

/// With TCP_NODELAY: without it a small request may wait 40 ms for the acknowledgement of the one before.
pub(super) async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[expect(clippy::disallowed_methods, reason = "the connection serves many calls and has no deadline of its own")]
fn spawn_connection(connection: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(connection);
}

/// A stream that tells when the first byte was read.
struct Listening<S> {
    inner: S,
    speaks: Option<oneshot::Sender<()>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Listening<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if buffer.filled().len() > before
            && let Some(speaks) = self.speaks.take()
        {
            // Nobody waits any more if it took too long.
            let _ = speaks.send(());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Listening<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// What became of a request.
pub(super) enum Sent {
    /// The answer's headers are here.
    Answered(http::Response<hyper::body::Incoming>),
    /// It was never on the wire.
    Returned(Request<Body>),
    /// The server says that it has not looked at it.
    Refused(hyper::Error),
    /// Nobody knows.
    Lost(hyper::Error),
}

/// Sends one request over one connection.
pub(super) async fn send(mut sender: SendRequest<Body>, request: Request<Body>) -> Sent {
    match sender.try_send_request(request).await {
        Ok(response) => Sent::Answered(response),
        Err(mut error) => match error.take_message() {
            Some(request) => Sent::Returned(request),
            None => {
                let error = error.into_error();
                if was_refused(&error) { Sent::Refused(error) } else { Sent::Lost(error) }
            }
        },
    }
}

/// Whether the server has told that no handler saw the request (RFC 9113, 8.7): it reset the stream as refused, or went away in good order and
/// the stream was above the last that it took, which is what h2 applies a GOAWAY to.
fn was_refused(error: &hyper::Error) -> bool {
    let Some(error) = protocol_error(error) else { return false };
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    let above_the_last = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    error.is_remote() && (refused || above_the_last)
}

/// Whether the connection is as good as before.
pub(super) fn is_of_one_stream(error: &hyper::Error) -> bool {
    protocol_error(error).is_some_and(h2::Error::is_reset)
}

fn protocol_error(error: &hyper::Error) -> Option<&h2::Error> {
    error.source().and_then(|source| source.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sockets_send_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(open(listener.local_addr().unwrap()).await.unwrap().nodelay().unwrap());
    }

    /// The race of a listener that closes with connections in its backlog.
    #[tokio::test]
    async fn a_server_that_never_spoke_is_not_connected() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connecting = crate::deadline::spawn(async move { connect("back", &address.into(), address).await });
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(!connecting.is_finished());
        drop(accepted);
        assert!(connecting.await.unwrap().is_err());
    }
}
