//! Outermost: one span and one measurement per call; the callee continues the trace.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use proto::contract::MethodRule;
use tonic::body::Body;
use tower::Service;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::telemetry::rpc::Observer;
use crate::telemetry::{inject, names};

#[derive(Clone)]
pub(super) struct Observe<S> {
    inner: S,
    observer: Observer,
    /// Method names by path. Others are not named: the path would be the caller's choice.
    methods: Arc<HashMap<&'static str, &'static str>>,
}

impl<S> Observe<S> {
    pub(super) fn new(inner: S, observer: Observer, rules: &'static [MethodRule]) -> Self {
        Self { inner, observer, methods: Arc::new(rules.iter().map(|rule| (rule.path, &rule.path[1..])).collect()) }
    }
}

impl<S> Service<Request<Body>> for Observe<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let method = self.methods.get(request.uri().path()).copied().unwrap_or(names::OTHER_METHOD);
        let call = self.observer.begin(method);
        if call.span.is_none() {
            inject(&opentelemetry::Context::current(), request.headers_mut());
            let answer = self.inner.call(request);
            return Box::pin(async move { answer.await.map(|response| call.observe(response)) });
        }
        inject(&call.span.context(), request.headers_mut());
        let span = call.span.clone();
        let answer = span.in_scope(|| self.inner.call(request));
        Box::pin(async move { answer.await.map(|response| call.observe(response)) }.instrument(span))
    }
}
