//! A limited number of calls to one service at once. What does not fit is answered at once: waiting would be a queue without a limit, of callers
//! whose time runs out in it. A call holds its place until the answer is complete, each attempt on its own, and none while it pauses.
//!
//! It stands before the breaker: what is refused here says nothing about the callee.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::advice::final_answer;
use crate::fault::Fault;
use crate::telemetry::names;
use crate::telemetry::rpc::status_code;

#[cfg(test)]
mod tests;

/// The reason of a call that was not made because too many to the same service are under way.
pub const BULKHEAD_FULL: &str = "BULKHEAD_FULL";

/// Places get free within a few calls' time.
const RETRY_AFTER: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(super) struct Bulkhead<S> {
    inner: S,
    places: Option<Arc<Places>>,
}

/// The places before one callee.
pub(super) struct Places {
    target: &'static str,
    taken: AtomicUsize,
    limit: usize,
    rejections: Counter<u64>,
}

/// A place; free again when dropped.
struct Place(Arc<Places>);

impl<S> Bulkhead<S> {
    /// Without places there is no limit.
    pub(super) fn new(inner: S, places: Option<Arc<Places>>) -> Self {
        Self { inner, places }
    }
}

impl Places {
    pub(super) fn new(target: &'static str, limit: usize) -> Self {
        let meter = opentelemetry::global::meter("holdfast");
        let rejections = meter.u64_counter(names::BULKHEAD_REJECTIONS).build();
        Self { target, taken: AtomicUsize::new(0), limit, rejections }
    }
}

fn take(places: &Arc<Places>) -> Result<Place, Fault> {
    let place = Place(Arc::clone(places));
    if places.taken.fetch_add(1, Ordering::Relaxed) < places.limit {
        return Ok(place);
    }
    // The place counts itself out again.
    places.rejections.add(1, &[KeyValue::new(names::CALL_TARGET, places.target)]);
    let message = format!("too many calls to {} are under way", places.target);
    Err(Fault::unavailable(BULKHEAD_FULL, message, RETRY_AFTER).with("service", places.target))
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S> Service<Request<Body>> for Bulkhead<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Placed<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.places.as_ref().map(take).transpose() {
            Ok(place) => Placed::Made { answer: self.inner.call(request), place },
            Err(rejection) => Placed::Rejected { rejection: Some(rejection) },
        }
    }
}

pin_project! {
    #[project = PlacedProjection]
    pub(super) enum Placed<F> {
        Made { #[pin] answer: F, place: Option<Place> },
        Rejected { rejection: Option<Fault> },
    }
}

impl<F> Future for Placed<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            PlacedProjection::Rejected { rejection } => {
                let rejection = rejection.take().expect("a future is not polled after its end");
                Poll::Ready(Ok(final_answer(rejection).into_http()))
            }
            PlacedProjection::Made { answer, place } => {
                let response = match ready!(answer.poll(cx)) {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                let place = place.take().filter(|_| status_code(response.headers()).is_none());
                Poll::Ready(Ok(match place {
                    Some(place) => response.map(|inner| Body::new(PlacedBody { inner, place: Some(place) })),
                    None => response,
                }))
            }
        }
    }
}

pin_project! {
    struct PlacedBody {
        #[pin]
        inner: Body,
        place: Option<Place>,
    }
}

impl http_body::Body for PlacedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        if frame.as_ref().is_none_or(|frame| frame.as_ref().map_or(true, Frame::is_trailers)) {
            *this.place = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
