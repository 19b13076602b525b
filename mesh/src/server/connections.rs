//! The sockets: accepting them, speaking HTTP/2 on them within limits, and closing them in an orderly way.
//!
//! tonic's own server loop is not used because it stops listening at the signal, may wait for ever for a connection that never speaks, and
//! answers an expired deadline with `CANCELLED`.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::Service;

use super::Limits;
use crate::net::{TcpListener, TcpStream};

/// A peer must have said the HTTP/2 preface by then.
const PREFACE_LIMIT: Duration = Duration::from_secs(10);
/// In a drain, a connection that never said a word is closed after this: its caller has sent nothing that could be lost.
const PREFACE_LIMIT_DRAINING: Duration = Duration::from_secs(1);
/// HTTP/2 pings find peers that are gone without a word.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(5);
/// Headers of one request, decoded.
const HEADERS_LIMIT_BYTES: u32 = 16 * 1024;
/// Flow control windows: a message of the largest size fits without a pause.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Calls that a peer cancelled before we looked at them, and our own resets. h2's defaults (20 and 1,024) end a healthy connection when
/// many callers give up at once; inside the mesh that is an ordinary bad day.
const RESETS_LIMIT: usize = 8192;
/// After an error of `accept` (out of file descriptors, mostly) it is tried again this much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// All connections of one server.
pub(super) struct Connections<S> {
    stack: S,
    protocol: http2::Builder<TokioExecutor>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    drain: CancellationToken,
    cut: CancellationToken,
}

impl<S> Connections<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    pub(super) fn new(stack: S, limits: Limits) -> Self {
        let cut = CancellationToken::new();
        Self {
            stack,
            protocol: protocol(limits),
            places: Arc::new(Semaphore::new(limits.connections)),
            tasks: TaskTracker::new(),
            drain: cut.child_token(),
            cut,
        }
    }

    /// Accepts for ever.
    ///
    /// # Cancel safety
    /// A connection is either not accepted yet or a task already.
    pub(super) async fn accept(&mut self, listener: &TcpListener) -> Infallible {
        loop {
            let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = self.connection(stream);
                    self.tasks.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn connection(&self, mut stream: TcpStream) -> impl Future<Output = ()> + Send + 'static {
        let protocol = self.protocol.clone();
        let service = TowerToHyperService::new(self.stack.clone());
        let (drain, cut) = (self.drain.clone(), self.cut.clone());
        async move {
            send_at_once(&stream);
            let work = async {
                if !speaks(&mut stream, &drain).await {
                    return;
                }
                let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
                let ended = tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = drain.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                };
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
            };
            tokio::select! {
                () = work => {}
                () = cut.cancelled() => {}
            }
        }
    }

    /// Lets the calls in progress finish, for at most `limit`, then cuts what is left. Answers how many connections were cut.
    pub(super) async fn drain(self, limit: Duration) -> usize {
        self.tasks.close();
        self.drain.cancel();
        if timeout(limit, self.tasks.wait()).await.is_ok() {
            return 0;
        }
        let left = self.tasks.len();
        self.cut.cancel();
        self.tasks.wait().await;
        left
    }
}

impl<S> Drop for Connections<S> {
    fn drop(&mut self) {
        self.cut.cancel();
    }
}

/// Without it a small answer may wait 40 ms for the acknowledgement of the one before.
fn send_at_once(stream: &TcpStream) {
    // Fails only on a socket that is closed already, which the next read finds out.
    let _ = stream.set_nodelay(true);
}

/// Waits for the peer's first byte without taking it; answers whether there was one in time.
async fn speaks(stream: &mut TcpStream, drain: &CancellationToken) -> bool {
    let mut byte = [0];
    let first = stream.peek(&mut byte);
    let limit = async {
        tokio::select! {
            () = sleep(PREFACE_LIMIT) => {}
            () = async { drain.cancelled().await; sleep(PREFACE_LIMIT_DRAINING).await } => {}
        }
    };
    tokio::select! {
        read = first => matches!(read, Ok(1..)),
        () = limit => false,
    }
}

fn protocol(limits: Limits) -> http2::Builder<TokioExecutor> {
    let mut protocol = http2::Builder::new(TokioExecutor::new());
    protocol
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(HEADERS_LIMIT_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_LIMIT)
        .max_pending_accept_reset_streams(RESETS_LIMIT)
        .max_local_error_reset_streams(RESETS_LIMIT)
        .auto_date_header(false);
    protocol
}

/// The peer was gone before we looked; the listener is fine.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_sockets_send_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        send_at_once(&stream);
        assert!(stream.nodelay().unwrap());
    }
}
