//! The endpoints of a target, and which of them a call goes to.
//!
//! [Discovery](discovery) says which there are. Each has a [subchannel](subchannel) that keeps one connection to it: connecting, ready, or
//! failing and left alone for a while. A call takes the cheaper of two random ones that are ready (power of two choices, by
//! [latency](latency) and calls in flight), without those that [failed again and again](ejection). Where none is ready it waits, as long as there
//! is hope; once every endpoint has failed to connect it is told so at once.
//!
//! Nothing happens before the first call, and everything ends when the last clone is dropped. Calls in progress end by themselves.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use arc_swap::ArcSwap;
use http::uri::{Authority, Scheme};
use hyper::client::conn::http2::SendRequest;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tonic::body::Body;

use self::latency::Latency;
use self::report::Report;
use self::roster::{Roster, View};
use super::Address;

mod backoff;
mod call;
mod discovery;
mod ejection;
mod latency;
mod report;
mod roster;
mod subchannel;
#[cfg(test)]
mod tests;

pub(super) use self::call::Call;
pub(super) use self::report::Resend;

/// The endpoints of one target. Clones share them.
#[derive(Clone)]
pub(super) struct Endpoints(Arc<Owner>);

/// What clones hold; the tasks hold only what is shared.
struct Owner {
    shared: Arc<Shared>,
    discovery: Mutex<Option<AbortHandle>>,
}

struct Shared {
    target: &'static str,
    address: Address,
    roster: Mutex<Roster>,
    /// What the roster comes to; replaced whenever the roster changes.
    view: ArcSwap<View>,
    changed: Notify,
    /// A connection is gone or could not be made: discovery may know more.
    lost: Notify,
    /// An endpoint was ejected and has to be let in again.
    ejected: Notify,
    report: Report,
    resends: AtomicU64,
    resends_off: AtomicBool,
}

/// One address of the target.
struct Endpoint {
    /// As configured: what requests are addressed to.
    origin: Authority,
    address: SocketAddr,
    in_flight: AtomicUsize,
    latency: Mutex<Latency>,
    failures_in_a_row: AtomicU32,
    /// Somebody wants it: what is left of a long wait is not waited.
    wanted: Notify,
    shared: Weak<Shared>,
}

/// An endpoint that is connected.
pub(super) struct Line {
    endpoint: Arc<Endpoint>,
    sender: SendRequest<Body>,
    answered: AtomicBool,
    /// The calls that break with a connection are one failure.
    failed: AtomicBool,
}

/// There is no connection, and none is expected soon.
#[derive(Debug)]
pub(super) struct Unreachable {
    pub(super) error: String,
    /// Somebody said no, so the next attempt costs next to nothing.
    came_at_once: bool,
    at: Instant,
    reported: AtomicBool,
}

impl Endpoints {
    pub(super) fn new(target: &'static str, address: Address) -> Self {
        let shared = Shared {
            target,
            address,
            roster: Mutex::default(),
            view: ArcSwap::default(),
            changed: Notify::new(),
            lost: Notify::new(),
            ejected: Notify::new(),
            report: Report::new(&opentelemetry::global::meter("holdfast"), target),
            resends: AtomicU64::new(0),
            resends_off: AtomicBool::new(false),
        };
        Self(Arc::new(Owner { shared: Arc::new(shared), discovery: Mutex::default() }))
    }

    /// The endpoint for one call, waiting for one to be connected if need be.
    ///
    /// # Errors
    /// Every endpoint has failed to connect, or none is known.
    ///
    /// # Cancel safety
    /// Nothing is lost: connecting goes on for others.
    pub(super) async fn pick(&self) -> Result<Arc<Line>, Arc<Unreachable>> {
        let shared = &self.0.shared;
        if let Some(line) = shared.ready() {
            return Ok(line);
        }
        self.begin();
        let began = Instant::now();
        loop {
            let mut changed = pin!(shared.changed.notified());
            changed.as_mut().enable();
            if let Some(line) = shared.ready() {
                return Ok(line);
            }
            let failure = shared.view.load().failure.clone();
            match failure {
                Some(failure) if !shared.want(began) => return Err(failure),
                _ => changed.await,
            }
        }
    }

    /// What requests are sent with.
    pub(super) fn scheme(&self) -> Scheme {
        self.0.shared.address.scheme()
    }

    /// Counts a request that is sent again; answers whether it may be.
    pub(super) fn resend(&self, why: Resend) -> bool {
        let shared = &self.0.shared;
        if shared.resends_off.load(Ordering::Relaxed) {
            return false;
        }
        shared.resends.fetch_add(1, Ordering::Relaxed);
        shared.report.resent(why);
        true
    }

    pub(super) fn resends(&self) -> u64 {
        self.0.shared.resends.load(Ordering::Relaxed)
    }

    #[cfg(feature = "testing")]
    pub(super) fn switch_resends_off(&self) {
        self.0.shared.resends_off.store(true, Ordering::Relaxed);
    }

    #[cfg(feature = "testing")]
    pub(super) fn ejected(&self) -> Vec<SocketAddr> {
        self.0.shared.roster().ejected(Instant::now())
    }

    /// Starts what keeps the endpoints, unless it runs.
    fn begin(&self) {
        let mut discovery = self.0.discovery.lock().expect("nothing panics while holding the lock");
        if discovery.as_ref().is_none_or(AbortHandle::is_finished) {
            *discovery = Some(spawn(discovery::run(Arc::clone(&self.0.shared))));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it serves many calls and has no deadline of its own")]
fn spawn(work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    tokio::spawn(work).abort_handle()
}

impl Drop for Owner {
    fn drop(&mut self) {
        let discovery = self.discovery.get_mut().expect("nothing panics while holding the lock");
        if let Some(discovery) = discovery.take() {
            discovery.abort();
        }
    }
}

impl Shared {
    /// The cheaper of two that are ready and open.
    fn ready(&self) -> Option<Arc<Line>> {
        loop {
            let line = self.view.load().choose(&mut rand::rng()).map(Arc::clone)?;
            if !line.is_closed() {
                return Some(line);
            }
            self.change(|roster, _| roster.closed(&line));
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Roster, Instant) -> T) -> T {
        let now = Instant::now();
        let mut roster = self.roster();
        let changed = change(&mut roster, now);
        let view = roster.view(now);
        self.report.ejected(view.ejected);
        self.view.store(Arc::new(view));
        drop(roster);
        self.changed.notify_waiters();
        changed
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().expect("nothing panics while holding the lock")
    }

    fn eject(&self, endpoint: &Arc<Endpoint>, reason: &'static str) {
        let Some(time) = self.roster().eject(endpoint, Instant::now()) else { return };
        tracing::warn!(
            target_service = self.target,
            endpoint = %endpoint.address,
            reason,
            failures = ejection::FAILURES,
            time_ms = time.as_millis(),
            "an endpoint is ejected"
        );
        self.change(|_, _| ());
        self.ejected.notify_one();
    }

    /// A call finds nobody: who has been left alone for long enough is tried again, and discovery is asked. Answers whether to wait for that.
    fn want(&self, began: Instant) -> bool {
        let hope = self.change(|roster, now| roster.want(began, now));
        self.lost.notify_one();
        hope
    }
}

impl Endpoint {
    fn latency(&self) -> MutexGuard<'_, Latency> {
        self.latency.lock().expect("nothing panics while holding the lock")
    }

    fn succeeded(&self) {
        if self.failures_in_a_row.load(Ordering::Relaxed) != 0 {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    fn failed(self: &Arc<Self>, reason: &'static str) {
        let failures = self.failures_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= ejection::FAILURES
            && let Some(shared) = self.shared.upgrade()
        {
            shared.eject(self, reason);
        }
    }
}

impl Line {
    fn new(endpoint: Arc<Endpoint>, sender: SendRequest<Body>) -> Self {
        Self { endpoint, sender, answered: AtomicBool::new(false), failed: AtomicBool::new(false) }
    }

    /// What requests to it are addressed to.
    pub(super) fn origin(&self) -> &Authority {
        &self.endpoint.origin
    }

    pub(super) fn sender(&self) -> SendRequest<Body> {
        self.sender.clone()
    }

    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Unreachable {
    fn new(error: &io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
        let kinds = [ConnectionRefused, ConnectionReset, ConnectionAborted, UnexpectedEof, BrokenPipe];
        let came_at_once = kinds.contains(&error.kind());
        Self { error: error.to_string(), came_at_once, at: Instant::now(), reported: AtomicBool::new(false) }
    }

    /// Whether this call is the first to tell of it.
    pub(super) fn is_news(&self) -> bool {
        !self.reported.swap(true, Ordering::Relaxed)
    }
}
