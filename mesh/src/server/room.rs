//! A limited number of calls at once. What does not fit is refused before any work: waiting would only move the queue.
//!
//! A call keeps its place until its answer is complete, so an open stream keeps one too. When the room closes, answers that are being waited
//! for end: a stream may have hours left, and its caller can open it again elsewhere.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::rules::Target;
use crate::fault::{Fault, reason};

/// A busy server frees places within a few calls' time; callers add their own jitter.
const RETRY_AFTER: Duration = Duration::from_millis(100);

pub(super) fn layer(places: usize, closing: CancellationToken) -> RoomLayer {
    RoomLayer(Room(Arc::new(Inner { taken: AtomicUsize::new(0), places, closing })))
}

#[derive(Clone)]
pub(super) struct RoomLayer(Room);

impl<S> Layer<S> for RoomLayer {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { inner, room: self.0.clone() }
    }
}

#[derive(Clone)]
struct Room(Arc<Inner>);

struct Inner {
    taken: AtomicUsize,
    places: usize,
    closing: CancellationToken,
}

/// A place; free again when dropped.
struct Place(Arc<Inner>);

impl Room {
    fn enter(&self) -> Option<Place> {
        let place = Place(self.0.clone());
        // The place counts itself out again if there was none left.
        (self.0.taken.fetch_add(1, Ordering::Relaxed) < self.0.places).then_some(place)
    }
}

impl Place {
    fn closed(&self) -> Pin<Box<WaitForCancellationFutureOwned>> {
        Box::pin(self.0.closing.clone().cancelled_owned())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Clone)]
pub(super) struct Bounded<S> {
    inner: S,
    room: Room,
}

impl<S> Service<Request<Body>> for Bounded<S>
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
            Target::Method(_) => match self.room.enter() {
                Some(place) => Some(place),
                None => return Either::Left(ready(Ok(full().into_http()))),
            },
            Target::Open | Target::Unknown => None,
        };
        Either::Right(Occupying { answer: self.inner.call(request), place })
    }
}

fn full() -> Status {
    Fault::unavailable(reason::OVERLOADED, "the server has more calls than it can take", RETRY_AFTER).into()
}

fn closed() -> Fault {
    Fault::unavailable(reason::SHUTTING_DOWN, "the server is shutting down", RETRY_AFTER)
}

pin_project! {
    /// Holds the place until the answer is complete, body included.
    pub(super) struct Occupying<F> {
        #[pin]
        answer: F,
        place: Option<Place>,
    }
}

impl<F> Future for Occupying<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(response) = std::task::ready!(this.answer.poll(cx));
        Poll::Ready(Ok(match this.place.take() {
            Some(place) if !http_body::Body::is_end_stream(response.body()) => {
                response.map(|inner| Body::new(OccupyingBody { inner, place, closed: None, ended: false }))
            }
            _ => response,
        }))
    }
}

pin_project! {
    struct OccupyingBody {
        #[pin]
        inner: Body,
        place: Place,
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
        let closing = this.closed.get_or_insert_with(|| this.place.closed());
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
