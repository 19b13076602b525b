//! A limited number of calls at once. What does not fit is refused before any work: waiting would only move the queue.

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
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::rules::Target;
use crate::fault::{Fault, reason};

/// A busy server frees places within a few calls' time; callers add their own jitter.
const RETRY_AFTER: Duration = Duration::from_millis(100);

pub(super) fn layer(places: usize) -> RoomLayer {
    RoomLayer(Room { taken: Arc::default(), places })
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
struct Room {
    taken: Arc<AtomicUsize>,
    places: usize,
}

/// A place; free again when dropped.
struct Place(Arc<AtomicUsize>);

impl Room {
    fn enter(&self) -> Option<Place> {
        let place = Place(self.taken.clone());
        // The place counts itself out again if there was none left.
        (self.taken.fetch_add(1, Ordering::Relaxed) < self.places).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
                response.map(|inner| Body::new(OccupyingBody { inner, _place: place }))
            }
            _ => response,
        }))
    }
}

pin_project! {
    struct OccupyingBody {
        #[pin]
        inner: Body,
        _place: Place,
    }
}

impl http_body::Body for OccupyingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
