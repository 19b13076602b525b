//! Makes a call once more when that is safe and may help.
//!
//! Safe: the contract says that a repeat changes nothing more (a read, a `request_id`, a natural key). May help: the answer is `UNAVAILABLE`
//! before anything of it has come, says neither that it is final nor that asking makes no sense for long, and there is time. What the callee asks
//! for in `RetryInfo` or `grpc-retry-pushback-ms` is added to the pause.
//!
//! Two things keep a callee in trouble from being called more because it is in trouble. Each target has a budget ([gRFC A6]): a failure takes a
//! token, an answer gives a tenth, and below half nothing is repeated, so after ten failures there is nearly one attempt for each call. And one
//! level of a chain repeats: what was given up here is told upwards as final ([`crate::chain`]). Whoever keeps a piece of work durably, as a saga
//! or an outbox, tries it again later in its own time; this loop is over within a caller's deadline.
//!
//! Only one message is kept to be sent again, and only up to a size. Requests that stream do not occur in the contract: the build refuses them.
//!
//! [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use proto::contract::MethodRule;
use tonic::Code;
use tonic::body::Body;
use tower::Service;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use self::budget::Budget;
use super::advice::Advice;
use super::request::{gather, whole};
use crate::chain;
use crate::deadline::Deadline;
use crate::telemetry::names;
use crate::telemetry::rpc::status_code;

mod budget;
#[cfg(test)]
mod tests;

/// How many attempts there were before this one.
const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// The numbers of a retry loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// How often a call is made, the first time included.
    pub attempts: u32,
    /// The pause before the second attempt is up to this long, twice as long before each further one, with full jitter.
    pub backoff: Duration,
    /// A callee that asks for more is not asked again. What is down for longer than a hiccup is for the caller to know.
    pub patience: Duration,
    /// The tokens of a full budget.
    pub tokens: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 3, backoff: Duration::from_millis(25), patience: Duration::from_millis(250), tokens: 20 }
    }
}

/// Repeats calls to one callee.
#[derive(Clone)]
pub(super) struct Retries<S> {
    inner: S,
    policy: Option<Arc<Policy>>,
}

/// How calls to one callee are repeated.
pub(super) struct Policy {
    settings: Retry,
    budget: Budget,
    target: &'static str,
    /// The names of the methods that are safe to repeat, by path.
    methods: HashMap<&'static str, &'static str>,
    attempts: Counter<u64>,
    given_up: Counter<u64>,
}

/// Why a call is not made once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Attempts,
    Budget,
    Deadline,
    Callee,
}

impl<S> Retries<S> {
    /// Without a policy nothing is repeated.
    pub(super) fn new(inner: S, policy: Option<Arc<Policy>>) -> Self {
        Self { inner, policy }
    }
}

impl<S> Service<Request<Body>> for Retries<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let repeated = self.policy.as_ref().and_then(|policy| Some((policy, *policy.methods.get(path)?)));
        let Some((policy, method)) = repeated else { return Either::Left(self.inner.call(request)) };
        let (policy, inner) = (Arc::clone(policy), self.inner.clone());
        Either::Right(Box::pin(async move { policy.repeat(inner, request, method).await }))
    }
}

impl Policy {
    pub(super) fn new(target: &'static str, rules: &'static [MethodRule], settings: Retry) -> Self {
        let meter = opentelemetry::global::meter("holdfast");
        let safe = rules.iter().filter(|rule| rule.idempotent);
        Self {
            settings,
            budget: Budget::new(settings.tokens),
            target,
            methods: safe.map(|rule| (rule.path, &rule.path[1..])).collect(),
            attempts: meter.u64_counter(names::RETRY_ATTEMPTS).build(),
            given_up: meter.u64_counter(names::RETRY_GIVEN_UP).build(),
        }
    }

    async fn repeat<S>(
        &self,
        mut inner: S,
        request: Request<Body>,
        method: &'static str,
    ) -> Result<Response<Body>, Infallible>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let deadline = request.extensions().get::<Deadline>().copied();
        let (parts, body) = request.into_parts();
        let message = match gather(body) {
            Ok(message) => message,
            Err(body) => {
                let response = inner.call(Request::from_parts(parts, body)).await?;
                if self.has_failed(&response) {
                    self.give_up(method, Stop::Attempts);
                }
                return Ok(response);
            }
        };
        // What was answered so far: of a callee that may have begun, if any attempt reached it. That a later one did not says nothing of that.
        let mut begun = None;
        for attempt in 1.. {
            let response = inner.call(request_of(&parts, message.clone(), attempt)).await?;
            if !self.has_failed(&response) {
                return Ok(response);
            }
            let advice = Advice::of(response.headers());
            let answer = if advice.untouched { begun.take().unwrap_or(response) } else { response };
            match self.pause(advice, attempt, deadline) {
                Ok(pause) => tokio::time::sleep(pause).await,
                Err(stop) => {
                    self.give_up(method, stop);
                    return Ok(answer);
                }
            }
            begun = Some(answer);
            self.note(method, attempt);
        }
        unreachable!("the attempts are limited")
    }

    /// Keeps the budget. Only what is known from the headers counts: once a message has come there is nothing to repeat.
    fn has_failed(&self, response: &Response<Body>) -> bool {
        let failed = status_code(response.headers()) == Some(Code::Unavailable);
        if failed {
            self.budget.failed();
        } else {
            self.budget.answered();
        }
        failed
    }

    /// How long to wait before the attempt after this one.
    fn pause(&self, advice: Advice, attempt: u32, deadline: Option<Deadline>) -> Result<Duration, Stop> {
        let Retry { attempts, backoff, patience, .. } = self.settings;
        let asked = advice.after.unwrap_or_default();
        if advice.never || asked > patience {
            return Err(Stop::Callee);
        }
        if attempt >= attempts {
            return Err(Stop::Attempts);
        }
        if !self.budget.allows() {
            return Err(Stop::Budget);
        }
        let pause = asked + (backoff * (1 << (attempt - 1).min(16))).mul_f64(rand::random_range(0.0..=1.0));
        if deadline.is_some_and(|deadline| deadline.remaining() <= pause) {
            return Err(Stop::Deadline);
        }
        Ok(pause)
    }

    fn note(&self, method: &'static str, attempt: u32) {
        self.attempts.add(1, &self.labels(method));
        tracing::Span::current().set_attribute(names::RETRY_ATTEMPTS, i64::from(attempt) + 1);
        tracing::debug!(target_service = self.target, method, attempt = attempt + 1, "a call is made once more");
    }

    fn give_up(&self, method: &'static str, stop: Stop) {
        chain::give_up();
        let [target, method] = self.labels(method);
        self.given_up.add(1, &[target, method, KeyValue::new(names::RETRY_REASON, stop.name())]);
    }

    fn labels(&self, method: &'static str) -> [KeyValue; 2] {
        [KeyValue::new(names::CALL_TARGET, self.target), KeyValue::new(names::CALL_METHOD, method)]
    }
}

impl Stop {
    fn name(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::Callee => "callee",
        }
    }
}

fn request_of(parts: &Parts, message: Bytes, attempt: u32) -> Request<Body> {
    let mut request = Request::from_parts(parts.clone(), whole(message));
    if attempt > 1 {
        request.headers_mut().insert(PREVIOUS_ATTEMPTS, HeaderValue::from(attempt - 1));
    }
    request
}
