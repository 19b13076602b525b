//! Every call has a deadline: the caller's, less what the caller needs to react, but never more than the method's own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use proto::contract::MethodRule;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use crate::deadline::{self, Deadline, DeadlineBody, GRPC_TIMEOUT, parse_timeout};
use crate::fault::Fault;

/// Kept for the caller to compensate and answer: 5 % of the time left, within these bounds.
const HOP_RESERVE_MIN: Duration = Duration::from_millis(5);
const HOP_RESERVE_MAX: Duration = Duration::from_millis(50);
/// With less than this left a call is not worth sending.
const LEAST: Duration = Duration::from_millis(1);

#[derive(Clone)]
pub(super) struct Deadlines<S> {
    inner: S,
    budgets: Arc<HashMap<&'static str, Duration>>,
}

impl<S> Deadlines<S> {
    pub(super) fn new(inner: S, rules: &'static [MethodRule]) -> Self {
        let budgets = rules.iter().map(|rule| (rule.path, Duration::from_millis(rule.deadline.default_ms.into())));
        Self { inner, budgets: Arc::new(budgets.collect()) }
    }
}

impl<S> Service<Request<Body>> for Deadlines<S>
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
        let now = Instant::now();
        // A timeout that was set on the request itself says more than the method's default.
        let own = asked(request.headers()).or_else(|| self.budgets.get(request.uri().path()).copied());
        let own = own.map(|budget| now + budget);
        let inherited =
            deadline::current().map(|parent| parent.at() - reserve(parent.at().saturating_duration_since(now)));
        let at = match (own, inherited) {
            (Some(own), Some(inherited)) => own.min(inherited),
            (Some(only), None) | (None, Some(only)) => only,
            // Not of the contract (health, reflection), and nobody is waiting.
            (None, None) => return Box::pin(self.inner.call(request)),
        };
        let left = at.saturating_duration_since(now);
        if left < LEAST {
            return Box::pin(std::future::ready(Ok(Status::from(too_late()).into_http())));
        }
        // Written into the header when there is a connection to send it on.
        request.extensions_mut().insert(Deadline::new(at));
        let answer = self.inner.call(request);
        Box::pin(async move {
            match timeout_at(at, answer).await {
                Ok(Ok(response)) => Ok(response.map(|body| Body::new(DeadlineBody::new(body, Deadline::new(at))))),
                Ok(Err(never)) => match never {},
                Err(_) => Ok(Status::from(Fault::deadline_exceeded("no answer before the deadline")).into_http()),
            }
        })
    }
}

fn too_late() -> Fault {
    Fault::deadline_exceeded("no time is left for the call")
}

fn asked(headers: &HeaderMap) -> Option<Duration> {
    parse_timeout(headers.get(GRPC_TIMEOUT)?.as_bytes())
}

fn reserve(left: Duration) -> Duration {
    (left / 20).clamp(HOP_RESERVE_MIN, HOP_RESERVE_MAX).min(left)
}
