//! How calls arrive on a simulated network: now and then one comes late, behind others that were sent after it, and is carried out although its
//! caller may have given up. Its deadline begins with its arrival: on the wire it is a duration.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::rules::Target;
use crate::simulation;

#[derive(Clone, Copy)]
pub(super) struct Arrival;

impl Arrival {
    pub(super) const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for Arrival {
    type Service = Arrivals<S>;

    fn layer(&self, inner: S) -> Arrivals<S> {
        Arrivals { inner }
    }
}

#[derive(Clone)]
pub(super) struct Arrivals<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Arrivals<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let late = match Target::of(&request) {
            Target::Method(_) => simulation::late_call(),
            Target::Open | Target::Unknown => None,
        };
        let Some(late) = late else { return Box::pin(self.inner.call(request)) };
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        // A task of its own: nobody's giving up ends it.
        #[expect(clippy::disallowed_methods, reason = "its deadline begins later")]
        let carried_out = tokio::spawn(async move {
            let Ok(request) = whole(request).await else {
                return Ok(Status::cancelled("the caller left before all was said").into_http());
            };
            simulation::note(format_args!("late by {late:?}: {}", request.uri().path()));
            tokio::time::sleep(late).await;
            inner.call(request).await
        });
        Box::pin(async move {
            carried_out.await.unwrap_or_else(|_| Ok(Status::unavailable("the host is gone").into_http()))
        })
    }
}

/// The request as it is once all of it is there.
async fn whole(request: Request<Body>) -> Result<Request<Body>, Status> {
    let (head, mut body) = request.into_parts();
    let mut said = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            said.extend_from_slice(&data);
        }
    }
    Ok(Request::from_parts(head, Body::new(Said(Some(said.freeze())))))
}

/// A body in one piece.
struct Said(Option<Bytes>);

impl http_body::Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|said| Ok(Frame::data(said))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |said| said.len() as u64))
    }
}
