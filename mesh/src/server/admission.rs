//! Who is let in when a server has more calls than it can take. What is not is refused before any work: waiting would only move the queue.
//!
//! Two limits hold: of calls that are worked on, which is [found](limit) by how long work waits, and of calls in progress with open streams
//! among them, which is fixed. Each [`Priority`] may use only its share of both, so that new work is refused first. What ends something is
//! counted by itself: however much was begun, there is room to finish it. Operators and health are never refused. A call that would only
//! begin after its deadline is not let in either.
//!
//! A call keeps its place until its answer is complete, so an open stream keeps one too. When its connection closes, because the server ends
//! or because it is old, an answer that is being waited for ends: a stream may have hours left, and its caller can open it again elsewhere.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use proto::contract::Priority;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::ServerSpec;
use super::connections::{AtWork, Peer};
use super::rules::Target;
use crate::deadline;
use crate::fault::{Fault, reason};
use crate::telemetry::export;
use crate::waits::Waits;

mod limit;
mod report;

use limit::Limit;
use report::Report;

/// A busy server frees places within a few calls' time. Spread, so that those who were refused together do not come back together.
const RETRY_AFTER_MS: std::ops::RangeInclusive<u64> = 100..=300;
/// For a stream that a closing server ended: another server has room now.
const REOPEN_AFTER: Duration = Duration::from_millis(100);

pub(super) fn layer(spec: &ServerSpec) -> AdmissionLayer {
    // A simulated machine has one thread and no time passes on it: nothing ever waits for its turn.
    let adaptive = spec.limits.adaptive && !cfg!(feature = "simulation");
    let runtime = Waits::default();
    let queues = spec.queues.iter().cloned().chain([runtime.clone()]).collect();
    let meter = opentelemetry::global::meter("holdfast");
    let inner = Arc::new(Inner {
        working: AtomicUsize::new(0),
        finishing: AtomicUsize::new(0),
        open: AtomicUsize::new(0),
        places: spec.limits.calls,
        limit: Limit::new(spec.limits.calls, adaptive, queues),
        runtime,
        report: Report::new(&meter, spec.service),
    });
    if export::metrics() {
        inner.report.watch(&meter, &Arc::downgrade(&inner));
    }
    AdmissionLayer(inner)
}

#[derive(Clone)]
pub(super) struct AdmissionLayer(Arc<Inner>);

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Admission<S> {
        Admission { inner, room: self.0.clone() }
    }
}

struct Inner {
    /// Calls whose handler has not answered yet.
    working: AtomicUsize,
    /// Those of them that end something.
    finishing: AtomicUsize,
    /// Calls in progress, those whose answer is being sent among them.
    open: AtomicUsize,
    places: usize,
    limit: Limit,
    /// How long accepted calls wait for the runtime.
    runtime: Waits,
    report: Report,
}

/// A place; free again when dropped.
struct Place {
    room: Arc<Inner>,
    finishes: bool,
    working: bool,
}

impl Inner {
    fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn enter(self: &Arc<Self>, priority: Priority) -> Result<Place, Fault> {
        // The place counts itself out again if there was none left.
        let finishes = priority == Priority::Finish;
        let place = Place { room: self.clone(), finishes, working: true };
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let working = self.working.fetch_add(1, Ordering::Relaxed);
        let finishing = self.finishing.fetch_add(usize::from(finishes), Ordering::Relaxed);
        self.limit.look(working);
        let limit = self.limit.current();
        let has_room = if finishes { finishing < 2 * limit } else { working < share(priority, limit) };
        if open >= share(priority, self.places) || !has_room {
            self.report.refused(priority);
            return Err(full());
        }
        if deadline::remaining().is_some_and(|left| left < self.limit.wait()) {
            return Err(Fault::deadline_exceeded("the work could not have begun before the deadline"));
        }
        Ok(place)
    }
}

/// How many of the places this priority may use; the others are kept for what matters more.
fn share(priority: Priority, places: usize) -> usize {
    match priority {
        Priority::New => (places * 3 / 4).max(1),
        Priority::Read => (places * 9 / 10).max(1),
        Priority::Finish => places,
        Priority::Admin => usize::MAX,
    }
}

impl Place {
    /// The handler has answered; what is left is to send it.
    fn answered(&mut self) {
        if std::mem::take(&mut self.working) {
            self.room.working.fetch_sub(1, Ordering::Relaxed);
            self.room.finishing.fetch_sub(usize::from(self.finishes), Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.answered();
        self.room.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Clone)]
pub(super) struct Admission<S> {
    inner: S,
    room: Arc<Inner>,
}

impl<S> Service<Request<Body>> for Admission<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response<Body>, Infallible>>, Occupying<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let place = match Target::of(&request) {
            Target::Method(rule) => match self.room.enter(rule.priority) {
                Ok(place) => Some(place),
                Err(fault) => return Either::Left(ready(Ok(Status::from(fault).into_http()))),
            },
            Target::Open | Target::Unknown => None,
        };
        let accepted = place.is_some().then(Instant::now);
        let peer = Peer::of(&request).cloned();
        let at_work = peer.as_ref().map(Peer::at_work);
        Either::Right(Occupying { answer: self.inner.call(request), place, accepted, peer, at_work })
    }
}

fn full() -> Fault {
    let retry_after = Duration::from_millis(rand::random_range(RETRY_AFTER_MS));
    Fault::unavailable(reason::OVERLOADED, "the server has more calls than it can take", retry_after)
}

fn closed() -> Fault {
    Fault::unavailable(reason::SHUTTING_DOWN, "the server closes the connection", REOPEN_AFTER)
}

pin_project! {
    /// Holds the place until the answer is complete, body included.
    pub(super) struct Occupying<F> {
        #[pin]
        answer: F,
        place: Option<Place>,
        // Until the runtime first gets to it.
        accepted: Option<Instant>,
        peer: Option<Arc<Peer>>,
        at_work: Option<AtWork>,
    }
}

impl<F> Future for Occupying<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let (Some(accepted), Some(place)) = (this.accepted.take(), &this.place) {
            place.room.runtime.note(accepted.elapsed());
        }
        let Ok(response) = std::task::ready!(this.answer.poll(cx));
        *this.at_work = None;
        let mut place = this.place.take();
        if let Some(place) = &mut place {
            place.answered();
        }
        Poll::Ready(Ok(if http_body::Body::is_end_stream(response.body()) {
            response
        } else {
            let peer = this.peer.take();
            response.map(|inner| Body::new(OccupyingBody { inner, place, peer, closed: None, ended: false }))
        }))
    }
}

pin_project! {
    struct OccupyingBody {
        #[pin]
        inner: Body,
        place: Option<Place>,
        peer: Option<Arc<Peer>>,
        // Made when the body first has to be waited for, so never for the answer of a unary call.
        closed: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
        ended: bool,
    }
}

impl http_body::Body for OccupyingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = this.inner.poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let Some(peer) = this.peer else { return Poll::Pending };
        let closing = this.closed.get_or_insert_with(|| Box::pin(peer.closing.clone().cancelled_owned()));
        std::task::ready!(closing.as_mut().poll(cx));
        *this.ended = true;
        Poll::Ready(Some(Ok(closed().into_trailers())))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::deadline::Deadline;

    fn room(places: usize, queue: &Waits) -> Arc<Inner> {
        let meter = opentelemetry::global::meter("test");
        Arc::new(Inner {
            working: AtomicUsize::new(0),
            finishing: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            places,
            limit: Limit::due(places, queue),
            runtime: Waits::default(),
            report: Report::new(&meter, "test"),
        })
    }

    #[tokio::test]
    async fn what_could_not_begin_in_time_is_refused_before_it_begins() {
        let queue = Waits::default();
        queue.note(Duration::from_secs(1));
        let room = room(100, &queue);
        let enter = async |left_ms| {
            let deadline = Deadline::after(Duration::from_millis(left_ms));
            deadline::scope(deadline, async { room.enter(Priority::Finish).err().map(|fault| fault.code()) }).await
        };
        assert_eq!(enter(500).await, Some(Code::DeadlineExceeded));
        assert_eq!(enter(60_000).await, None);
        assert_eq!((room.open(), room.working.load(Ordering::Relaxed)), (0, 0), "every place is free again");
    }
}
