//! The sockets: accepting them, speaking HTTP/2 on them within limits, and closing them in an orderly way, when they are old or the server ends.
//!
//! tonic's own server loop is not used because it stops listening at the signal, may wait for ever for a connection that never speaks, and
//! answers an expired deadline with `CANCELLED`.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::Service;

use super::{Age, Limits};
use crate::net::{TcpListener, TcpStream};
use crate::tls::{PeerIdentity, Stream, Tls};

/// A peer must have proven itself, where there is TLS, and begun the HTTP/2 preface by then.
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
    tls: Option<Tls>,
    age: Option<Age>,
    tasks: TaskTracker,
    /// Ends streams.
    closing: CancellationToken,
    drain: CancellationToken,
    cut: CancellationToken,
}

/// What all calls on one connection have in common; in the extensions of each.
pub(super) struct Peer {
    /// Whom it proved to be; `None` without TLS.
    pub(super) identity: Option<PeerIdentity>,
    /// Cancelled when its streams have to end.
    pub(super) closing: CancellationToken,
    /// Handlers at work.
    working: AtomicUsize,
}

impl Peer {
    fn new(identity: Option<PeerIdentity>, closing: CancellationToken) -> Arc<Self> {
        Arc::new(Self { identity, closing, working: AtomicUsize::new(0) })
    }

    /// Of a request that came over a connection.
    pub(super) fn of<B>(request: &Request<B>) -> Option<&Arc<Self>> {
        request.extensions().get()
    }

    /// A handler begins; it is at work until the guard is dropped.
    pub(super) fn at_work(self: &Arc<Self>) -> AtWork {
        self.working.fetch_add(1, Ordering::Relaxed);
        AtWork(self.clone())
    }
}

/// A handler at work.
pub(super) struct AtWork(Arc<Peer>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S> Connections<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    pub(super) fn new(stack: S, limits: Limits, tls: Option<Tls>) -> Self {
        let cut = CancellationToken::new();
        Self {
            stack,
            protocol: protocol(limits),
            places: Arc::new(Semaphore::new(limits.connections)),
            tls,
            age: limits.age,
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
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

    fn connection(&self, stream: TcpStream) -> impl Future<Output = ()> + Send + 'static {
        let (protocol, stack, tls, age) = (self.protocol.clone(), self.stack.clone(), self.tls.clone(), self.age);
        let (closing, drain, cut) = (self.closing.child_token(), self.drain.clone(), self.cut.clone());
        async move {
            send_at_once(&stream);
            let work = async {
                let Some(stream) = greeted(stream, tls.as_ref(), &drain).await else { return };
                let peer = Peer::new(stream.peer(), closing);
                let service = Calls { stack, peer: peer.clone() };
                let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
                let ended = tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = drain.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                    grace = grown_old(age) => {
                        connection.as_mut().graceful_shutdown();
                        tokio::select! {
                            ended = connection => ended,
                            () = outlived(grace, &peer) => {
                                tracing::debug!("an old connection is cut: its peer does not take what it asked for");
                                return;
                            }
                        }
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

    /// Lets the calls in progress finish, for at most `limit` or until `hurry`, then cuts what is left; streams end at once. Answers how many
    /// connections were cut.
    pub(super) async fn drain(self, limit: Duration, hurry: &CancellationToken) -> usize {
        self.tasks.close();
        self.closing.cancel();
        self.drain.cancel();
        if let Some(Ok(())) = hurry.run_until_cancelled(timeout(limit, self.tasks.wait())).await {
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

/// The connection once its peer has begun to speak, and has proven itself where there is TLS. `None` if it did not in time.
async fn greeted(stream: TcpStream, tls: Option<&Tls>, drain: &CancellationToken) -> Option<Stream> {
    let greeting = async {
        let mut stream = Stream::Plain(stream);
        if !stream.speaks().await {
            return None;
        }
        let Some(tls) = tls else { return Some(stream) };
        match tls.accept(stream).await {
            Ok(mut stream) => stream.speaks().await.then_some(stream),
            Err(error) => {
                tracing::debug!(%error, "a peer did not prove itself");
                None
            }
        }
    };
    let limit = async {
        tokio::select! {
            () = sleep(PREFACE_LIMIT) => {}
            () = async { drain.cancelled().await; sleep(PREFACE_LIMIT_DRAINING).await } => {}
        }
    };
    tokio::select! {
        greeted = greeting => greeted,
        () = limit => None,
    }
}

/// Waits until a connection is old, which never two are at the same moment; answers how long its calls may then take.
async fn grown_old(age: Option<Age>) -> Duration {
    let Some(age) = age else { return std::future::pending().await };
    sleep(age.limit.mul_f64(rand::random_range(0.9..=1.1))).await;
    age.grace
}

/// Waits until nothing is left on an old connection that is worth waiting for. Its calls have `grace` to end; then its streams are ended. A
/// handler at work is waited for, it has a deadline; a peer that does not take its answers is not.
async fn outlived(grace: Duration, peer: &Peer) {
    sleep(grace).await;
    peer.closing.cancel();
    loop {
        sleep(grace).await;
        if peer.working.load(Ordering::Relaxed) == 0 {
            return;
        }
    }
}

/// Gives each call its [`Peer`], and begins it as soon as it is there: hyper-util's adapter would begin it when the runtime gets to its task,
/// and the time until then would be seen by nobody.
#[derive(Clone)]
struct Calls<S> {
    stack: S,
    peer: Arc<Peer>,
}

impl<S> hyper::service::Service<Request<Incoming>> for Calls<S>
where
    S: Service<Request<Incoming>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    /// Without asking whether the stack is ready: every layer always is, and refuses by an answer.
    fn call(&self, mut request: Request<Incoming>) -> S::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.stack.clone().call(request)
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
