//! Gives each call its deadline, and ends it there.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use proto::contract::DeadlineBudget;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::rules::Target;
use crate::deadline::{self, Deadline, DeadlineBody, GRPC_TIMEOUT, parse_timeout};
use crate::fault::Fault;
use crate::telemetry::names;

/// Our answer should be there before the caller's own timer: this much earlier, but at most a quarter of the time.
const ANSWER_MARGIN: Duration = Duration::from_millis(5);

pub(super) fn layer(meter: &Meter, service: &'static str) -> DeadlinesLayer {
    let counter = meter.u64_counter(names::DEADLINE_MALFORMED).with_unit("{call}").build();
    DeadlinesLayer(Malformed { counter, service: KeyValue::new(names::SERVICE, service) })
}

#[derive(Clone)]
pub(super) struct DeadlinesLayer(Malformed);

/// Counts headers that say nothing.
#[derive(Clone)]
struct Malformed {
    counter: Counter<u64>,
    service: KeyValue,
}

impl<S> Layer<S> for DeadlinesLayer {
    type Service = Deadlines<S>;

    fn layer(&self, inner: S) -> Deadlines<S> {
        Deadlines { inner, malformed: self.0.clone() }
    }
}

#[derive(Clone)]
pub(super) struct Deadlines<S> {
    inner: S,
    malformed: Malformed,
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
        let asked = asked(request.headers_mut(), &self.malformed);
        let budget = match Target::of(&request) {
            Target::Method(rule) => match within(asked, rule.deadline) {
                Ok(budget) => Some(budget),
                Err(fault) => return Box::pin(std::future::ready(Ok(Status::from(fault).into_http()))),
            },
            // Health may be watched for ever.
            Target::Open | Target::Unknown => asked.map(less_margin),
        };
        let Some(budget) = budget else { return Box::pin(self.inner.call(request)) };

        let deadline = Deadline::after(budget);
        request.extensions_mut().insert(deadline);
        let answer = deadline::scope(deadline, self.inner.call(request));
        Box::pin(async move {
            match tokio::time::timeout_at(deadline.at(), answer).await {
                Ok(Ok(response)) => Ok(response.map(|body| Body::new(DeadlineBody::new(body, deadline)))),
                Ok(Err(never)) => match never {},
                // The handler was dropped with the timeout.
                Err(_) => Ok(Status::from(expired()).into_http()),
            }
        })
    }
}

fn expired() -> Fault {
    Fault::deadline_exceeded("the work was not done before the deadline")
}

/// What the caller asks for. The header goes: it must not be copied onwards. A malformed one counts as absent.
fn asked(headers: &mut HeaderMap, malformed: &Malformed) -> Option<Duration> {
    let value = headers.remove(GRPC_TIMEOUT)?;
    let parsed = parse_timeout(value.as_bytes());
    if parsed.is_none() {
        malformed.counter.add(1, std::slice::from_ref(&malformed.service));
        tracing::debug!("malformed grpc-timeout, the method's default applies");
    }
    parsed
}

/// The time for the handler.
fn within(asked: Option<Duration>, rule: DeadlineBudget) -> Result<Duration, Fault> {
    let max = Duration::from_millis(rule.max_ms.into());
    let min = Duration::from_millis(rule.min_ms.into());
    let Some(asked) = asked else { return Ok(Duration::from_millis(rule.default_ms.into()).min(max)) };
    if asked < min || asked.is_zero() {
        return Err(Fault::deadline_too_short(rule.min_ms));
    }
    Ok(less_margin(asked).min(max))
}

fn less_margin(asked: Duration) -> Duration {
    asked - ANSWER_MARGIN.min(asked / 4)
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider as _;

    use super::*;
    use crate::telemetry::exported::Exported;

    #[test]
    fn a_malformed_timeout_counts_as_absent_and_is_counted() {
        let exported = Exported::default();
        let provider = exported.provider();
        let DeadlinesLayer(malformed) = layer(&provider.meter("test"), "payment");
        let check = |value: Option<&'static str>, expected: Option<Duration>, lines: &[&str]| {
            let values = value.map(|value| (http::HeaderName::from_static(GRPC_TIMEOUT), value.parse().unwrap()));
            let mut headers: HeaderMap = values.into_iter().collect();
            assert_eq!(asked(&mut headers, &malformed), expected, "{value:?}");
            assert!(headers.is_empty(), "{value:?}");
            provider.force_flush().unwrap();
            assert_eq!(exported.lines(), lines, "{value:?}");
        };
        check(None, None, &[]);
        check(Some("5S"), Some(Duration::from_secs(5)), &[]);
        check(Some("123456789S"), None, &["holdfast.deadline.malformed service=payment 1"]);
        check(Some("soon"), None, &["holdfast.deadline.malformed service=payment 2"]);
    }
}
