//! Stops calling a service that is in trouble, and finds out when it is well again (A13, A59, T23, T24).
//!
//! Each method of a callee has a breaker of its own, the finest class there is: charges that find no provider do not cut refunds off, nor slow
//! bookings reads. It costs little, as a service calls few methods of another, and a quiet one opens by failures in a row instead of a rate.
//! What is slow follows the method's own deadline. Methods that are not in the contract (health, reflection) pass by. *Open* means rejecting: a
//! call is answered `UNAVAILABLE`, reason [`BREAKER_OPEN`], with the time to come back in `RetryInfo`, and nothing is sent. Each time it opens
//! again without having been well in between it stays open twice as long, and never less than the callee itself asks for.
//!
//! What counts is trouble of the callee: `UNAVAILABLE`, `INTERNAL`, `UNKNOWN`, `DATA_LOSS`, wherever in the answer they stand, and a deadline
//! missed by a callee that was given a fair time. A refusal is an answer. A spent quota, a caller that went away, a caller's own short budget
//! and a failed connection that another caller reports say nothing. There is no fallback here: a caller has the reason, and knows better.
//!
//! An operator may take the decision: keep it open, or let everything pass ([`super::calls`]).

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use proto::contract::MethodRule;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use self::report::Report;
use self::state::{Admitted, Sample, State, Transition};
pub(crate) use self::state::{Cause, Mode, Phase, Snapshot};
use super::advice::{Advice, final_answer};
use crate::deadline::Deadline;
use crate::fault::Fault;
use crate::telemetry::rpc::status_code;

mod report;
mod state;
#[cfg(test)]
mod tests;

/// The reason of a call that was not made because its callee is in trouble.
pub const BREAKER_OPEN: &str = "BREAKER_OPEN";

/// In place of a generation while the breaker is not closed.
const NOT_CLOSED: u64 = u64::MAX;

/// The numbers of a breaker. The defaults are Hystrix' and Linkerd's, with a shorter open time: to try a callee that is down costs little
/// here, to miss its return costs a booking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    /// How far back it looks.
    pub window: Duration,
    /// With fewer calls in the window no rate is judged.
    pub minimum_calls: u32,
    /// It opens at this share of failures, 0 to 1.
    pub failure_rate: f64,
    /// It opens at this share of slow calls, 0 to 1.
    pub slow_rate: f64,
    /// A call is slow when nothing of the answer's body has come after this time, and a deadline is fair from here on. By default half the
    /// method's default deadline.
    pub slow_after: Option<Duration>,
    /// With fewer calls than the minimum it opens at this many failures in a row: otherwise every caller of a quiet service waits in vain. With
    /// more, at as many in a row as that minimum: a callee that is gone is not called until the good calls before that are old.
    pub consecutive_failures: u32,
    /// For how long it then rejects, ± 20 %: this long the first time, twice as long each time it opens again.
    pub open: Duration,
    /// It never rejects longer, whatever the callee asks for.
    pub open_max: Duration,
    /// How many calls are then let through.
    pub probes: u32,
    /// How many of those have to succeed, and not slowly, for it to close; it opens again as soon as they cannot.
    pub good_probes: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            minimum_calls: 20,
            failure_rate: 0.5,
            slow_rate: 0.8,
            slow_after: None,
            consecutive_failures: 5,
            open: Duration::from_millis(800),
            open_max: Duration::from_secs(30),
            probes: 5,
            good_probes: 4,
        }
    }
}

/// On an answer that tells a breaker nothing.
#[derive(Clone, Copy)]
pub(super) struct Uncounted;

/// One callee's breakers.
#[derive(Clone)]
pub(super) struct Breakers<S> {
    inner: S,
    methods: Circuits,
}

/// The breakers before one callee, by path.
pub(super) type Circuits = Arc<HashMap<&'static str, Method>>;

pub(super) struct Method {
    pub(super) circuit: Arc<Circuit>,
    slow_after: Duration,
}

impl<S> Breakers<S> {
    pub(super) fn new(inner: S, methods: Circuits) -> Self {
        Self { inner, methods }
    }
}

/// Without numbers there are no breakers.
pub(super) fn circuits(target: &'static str, rules: &'static [MethodRule], settings: Option<Breaker>) -> Circuits {
    let Some(settings) = settings else { return Arc::default() };
    let method = |rule: &MethodRule| Method {
        circuit: Arc::new(Circuit::new(target, rule.path.trim_start_matches('/'), settings)),
        slow_after: settings.slow_after.unwrap_or(Duration::from_millis(rule.deadline.default_ms.into()) / 2),
    };
    Arc::new(rules.iter().map(|rule| (rule.path, method(rule))).collect())
}

impl<S, B> Service<Request<Body>> for Breakers<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error = Status> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Guarded<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(method) = self.methods.get(request.uri().path()) else {
            return Guarded::Made { answer: self.inner.call(request), call: None };
        };
        let deadline = request.extensions().get::<Deadline>().copied();
        match Call::begin(method, deadline) {
            Ok(call) => Guarded::Made { answer: self.inner.call(request), call: Some(call) },
            Err(rejection) => Guarded::Rejected { rejection: Some(rejection) },
        }
    }
}

pin_project! {
    /// An answer that is watched, or a rejection.
    #[project = GuardedProjection]
    pub(super) enum Guarded<F> {
        Made { #[pin] answer: F, call: Option<Call> },
        Rejected { rejection: Option<Fault> },
    }
}

impl<F, B> Future for Guarded<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: http_body::Body<Data = Bytes, Error = Status> + Send + 'static,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            GuardedProjection::Rejected { rejection } => {
                let rejection = rejection.take().expect("a future is not polled after its end");
                // The decision is taken: an outer loop must not ask again at once.
                Poll::Ready(Ok(final_answer(rejection).into_http()))
            }
            GuardedProjection::Made { answer, call } => {
                let response = match ready!(answer.poll(cx)) {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                Poll::Ready(Ok(watch(response, call.take())))
            }
        }
    }
}

/// The end is known from the headers if they carry a status, otherwise when the body has ended.
fn watch<B>(response: Response<B>, call: Option<Call>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes, Error = Status> + Send + 'static,
{
    let Some(mut call) = call else { return response.map(Body::new) };
    if response.extensions().get::<Uncounted>().is_some() {
        call.end(None);
    } else if let Some(code) = status_code(response.headers()) {
        call.finish(code, response.headers());
    } else {
        return response.map(|inner| Body::new(WatchedBody { inner, call }));
    }
    response.map(Body::new)
}

pin_project! {
    struct WatchedBody<B> {
        #[pin]
        inner: B,
        call: Call,
    }
}

impl<B: http_body::Body<Data = Bytes, Error = Status>> http_body::Body for WatchedBody<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => match frame.trailers_ref() {
                Some(trailers) => this.call.finish(status_code(trailers).unwrap_or(Code::Unknown), trailers),
                None => this.call.answered(),
            },
            Some(Err(status)) => this.call.finish(status.code(), &HeaderMap::new()),
            None => this.call.finish(Code::Unknown, &HeaderMap::new()),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        // The end must be polled to be seen.
        self.call.ended && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// One call that was admitted. Dropped before its end is known, it gives its permit back.
pub(super) struct Call {
    circuit: Arc<Circuit>,
    generation: u64,
    slow_at: Instant,
    /// The moment at which a callee that has said nothing is at fault; none if it was never given a fair time.
    due: Option<Instant>,
    /// Whether the first message was slow, once it is here. A stream may then last as long as it likes.
    answered_slow: Option<bool>,
    ended: bool,
}

impl Call {
    fn begin(method: &Method, deadline: Option<Deadline>) -> Result<Self, Fault> {
        let now = Instant::now();
        let generation = method.circuit.admit(now)?;
        let slow_at = now + method.slow_after;
        let due = deadline.map(Deadline::at).filter(|at| *at >= slow_at);
        Ok(Self { circuit: method.circuit.clone(), generation, slow_at, due, answered_slow: None, ended: false })
    }

    fn answered(&mut self) {
        if self.answered_slow.is_none() {
            self.answered_slow = Some(Instant::now() >= self.slow_at);
        }
    }

    fn finish(&mut self, code: Code, said: &HeaderMap) {
        let failed = match code {
            Code::Unavailable | Code::Internal | Code::Unknown | Code::DataLoss => true,
            // A stream whose time is over has ended as it was meant to.
            Code::DeadlineExceeded if self.due.is_some() && self.answered_slow.is_none() => true,
            Code::DeadlineExceeded | Code::ResourceExhausted | Code::Cancelled => return self.end(None),
            _ => false,
        };
        self.answered();
        let retry_after = if failed { Advice::of(said).after } else { None };
        self.end(Some(Sample { failed, slow: self.answered_slow.unwrap_or_default(), retry_after }));
    }

    fn end(&mut self, sample: Option<Sample>) {
        if !std::mem::replace(&mut self.ended, true) {
            self.circuit.record(self.generation, sample);
        }
    }

    /// Nobody waits any more. That says something only if nothing had come for a long time.
    fn abandoned(&self) -> Option<Sample> {
        let now = Instant::now();
        let silent = self.answered_slow.is_none() && now >= self.slow_at;
        silent.then(|| Sample { failed: self.due.is_some_and(|due| now >= due), slow: true, retry_after: None })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.end(self.abandoned());
        }
    }
}

/// One breaker, shared by all calls of its method.
pub(super) struct Circuit {
    report: Report,
    /// The generation while closed or disabled, otherwise [`NOT_CLOSED`]: most calls are admitted by reading it.
    closed: AtomicU64,
    /// Whether a call has been recorded or an operator has been here: what nobody uses is not listed.
    used: AtomicBool,
    state: Mutex<State>,
}

impl Circuit {
    fn new(target: &'static str, method: &'static str, settings: Breaker) -> Self {
        let state = State::new(settings, Instant::now());
        let report = Report::new(&opentelemetry::global::meter("holdfast"), target, method);
        let closed = AtomicU64::new(state.generation());
        Self { report, closed, used: AtomicBool::new(false), state: Mutex::new(state) }
    }

    pub(super) fn target(&self) -> &'static str {
        self.report.target()
    }

    /// `package.Service/Method`.
    pub(super) fn method(&self) -> &'static str {
        self.report.method()
    }

    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn rejected(&self) -> u64 {
        self.report.rejected()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.state().snapshot(Instant::now())
    }

    /// An operator says who decides.
    pub(super) fn set(&self, mode: Mode) {
        self.used.store(true, Ordering::Relaxed);
        self.change(|state| ((), state.set(mode, Instant::now())));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while holding the lock")
    }

    fn admit(&self, now: Instant) -> Result<u64, Fault> {
        let generation = self.closed.load(Ordering::Acquire);
        if generation != NOT_CLOSED {
            return Ok(generation);
        }
        match self.change(|state| state.admit(now)) {
            Admitted::Yes { generation } => Ok(generation),
            Admitted::No { retry_after } => Err(self.report.rejection(retry_after)),
        }
    }

    fn record(&self, generation: u64, sample: Option<Sample>) {
        let now = Instant::now();
        if !self.is_used() {
            self.used.store(true, Ordering::Relaxed);
        }
        self.change(|state| ((), state.record(generation, sample, now, || rand::random_range(-1.0..=1.0))));
    }

    fn change<T>(&self, decide: impl FnOnce(&mut State) -> (T, Option<Transition>)) -> T {
        let mut state = self.state();
        let (decided, transition) = decide(&mut state);
        if transition.is_some() {
            let closed = match state.phase() {
                Phase::Closed | Phase::Disabled => state.generation(),
                Phase::HalfOpen | Phase::Open | Phase::ForcedOpen => NOT_CLOSED,
            };
            self.closed.store(closed, Ordering::Release);
        }
        drop(state);
        if let Some(transition) = transition {
            self.report.transition(transition);
        }
        decided
    }
}
