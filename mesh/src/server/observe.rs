//! Outermost: one span and one measurement per call, as part of the caller's trace.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::trace::{FutureExt as _, TraceContextExt as _};
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::rules::{Rules, Target};
use crate::telemetry::rpc::Observer;
use crate::telemetry::{extract, names};

pub(super) fn layer(observer: Observer, rules: Arc<Rules>) -> ObserveLayer {
    ObserveLayer { observer, rules }
}

#[derive(Clone)]
pub(super) struct ObserveLayer {
    observer: Observer,
    rules: Arc<Rules>,
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, observer: self.observer.clone(), rules: self.rules.clone() }
    }
}

#[derive(Clone)]
pub(super) struct Observe<S> {
    inner: S,
    observer: Observer,
    rules: Arc<Rules>,
}

impl<S, B> Service<Request<B>> for Observe<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let target = self.rules.find(request.uri().path());
        let method = match target {
            Target::Method(rule) => &rule.path[1..],
            Target::Open | Target::Unknown => names::OTHER_METHOD,
        };
        let parent = extract(request.headers());
        let call = self.observer.begin(method);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(target);

        if call.span.is_none() {
            let carried = parent.span().span_context().is_valid();
            let answer = self.inner.call(request);
            if carried {
                return Box::pin(
                    async move { answer.await.map(|response| call.observe(response)) }.with_context(parent),
                );
            }
            return Box::pin(async move { answer.await.map(|response| call.observe(response)) });
        }
        // Refused only for a disabled span, which has nothing to be the parent of.
        let _ = call.span.set_parent(parent);
        let span = call.span.clone();
        let answer = span.in_scope(|| self.inner.call(request));
        Box::pin(async move { answer.await.map(|response| call.observe(response)) }.instrument(span))
    }
}
