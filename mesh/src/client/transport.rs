//! Sends the request to an endpoint, to another one if the first has not looked at it, and turns every failure into an answer.
//!
//! What is sent again was provably not processed. Handed back unsent, as often as the deadline allows: no server knows of it. Refused by the
//! server, once, as a server that says so wrongly must not be believed for ever (gRPC A6, transparent retries). Anything else is an answer,
//! and retrying it is a caller's decision.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::USER_AGENT;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use proto::contract::MethodRule;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use super::breaker::Uncounted;
use super::connection::{Sent, is_of_one_stream, send};
use super::endpoints::{Call, Endpoints, Resend, Unreachable};
use super::request::keep;
use crate::deadline::{Deadline, GRPC_TIMEOUT, timeout_header};
use crate::fault::{Fault, reason};

/// An endpoint that calls ask for is tried again soon, so trying again soon is worth it.
const RETRY_AFTER: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(super) struct Transport {
    endpoints: Endpoints,
    target: &'static str,
    /// What is a fair time for an endpoint to say something: half of the method's default deadline.
    fair: Arc<HashMap<&'static str, Duration>>,
}

impl Transport {
    pub(super) fn new(target: &'static str, endpoints: Endpoints, rules: &'static [MethodRule]) -> Self {
        let fair = rules.iter().map(|rule| (rule.path, Duration::from_millis(rule.deadline.default_ms.into()) / 2));
        Self { endpoints, target, fair: Arc::new(fair.collect()) }
    }

    async fn exchange(self, mut request: Request<Body>) -> Result<Response<ReplyBody>, Status> {
        let Self { endpoints, target, fair } = self;
        request.headers_mut().insert(USER_AGENT, USER_AGENT_VALUE);
        let deadline = request.extensions().get::<Deadline>().copied();
        let fair = fair.get(request.uri().path()).copied();
        let (mut request, mut kept) = keep(request);
        loop {
            let line = match endpoints.pick().await {
                Ok(line) => line,
                Err(failure) => return Ok(unreachable(target, &failure)),
            };
            aim(&mut request, endpoints.scheme(), line.origin(), deadline);
            let sender = line.sender();
            let mut call = Call::begin(line, due(deadline, fair));
            request = match send(sender, request).await {
                Sent::Answered(mut response) => {
                    drop_malformed_details(response.headers_mut());
                    call.headers(response.headers());
                    return Ok(response.map(|inner| ReplyBody { inner: Some(inner), target, call: Some(call) }));
                }
                Sent::Returned(request) => {
                    call.broke_with_connection();
                    if !endpoints.resend(Resend::Returned) {
                        return Err(lost(target));
                    }
                    request
                }
                Sent::Refused(error) => {
                    broke(&mut call, &error);
                    match kept.take().filter(|_| endpoints.resend(Resend::Refused)) {
                        Some(kept) => kept.into_request(),
                        None => return Err(failure(Status::from_error(error.into()), target)),
                    }
                }
                Sent::Lost(error) => {
                    broke(&mut call, &error);
                    return Err(failure(Status::from_error(error.into()), target));
                }
            };
        }
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ReplyBody>, Infallible>> + Send>>;

    /// Always: waiting for an endpoint is part of the call, so that its deadline covers it.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let transport = self.clone();
        Box::pin(async move { Ok(transport.exchange(request).await.unwrap_or_else(Status::into_http)) })
    }
}

const USER_AGENT_VALUE: HeaderValue = HeaderValue::from_static(concat!("holdfast/", env!("CARGO_PKG_VERSION")));

/// HTTP/2 wants the whole address in each request; the generated clients know the path only. What is left of the time is told last.
fn aim(request: &mut Request<Body>, scheme: Scheme, origin: &Authority, deadline: Option<Deadline>) {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(scheme);
    parts.authority = Some(origin.clone());
    *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path make an address");
    if let Some(deadline) = deadline {
        request.headers_mut().insert(GRPC_TIMEOUT, timeout_header(deadline.remaining()));
    }
}

/// When an endpoint that has said nothing is at fault: at the deadline, if that leaves it a fair time.
fn due(deadline: Option<Deadline>, fair: Option<Duration>) -> Option<Instant> {
    let (deadline, fair) = deadline.zip(fair)?;
    (deadline.remaining() >= fair).then(|| deadline.at())
}

fn unreachable(target: &'static str, failure: &Unreachable) -> Response<ReplyBody> {
    tracing::debug!(target_service = target, error = failure.error, "no endpoint can be reached");
    let fault = Fault::unavailable(reason::CONNECTION_FAILED, format!("{target} cannot be reached"), RETRY_AFTER)
        .with("service", target);
    let mut response = Status::from(fault).into_http();
    if !failure.is_news() {
        response.extensions_mut().insert(Uncounted);
    }
    response
}

/// Whether the callee did the work is not known.
fn lost(target: &'static str) -> Status {
    Fault::unavailable(reason::CONNECTION_LOST, format!("the connection to {target} broke"), RETRY_AFTER)
        .with("service", target)
        .into()
}

/// What tonic makes of a broken connection or a reset stream, in a caller's terms: nothing came back, and that is `UNAVAILABLE`.
fn failure(status: Status, target: &'static str) -> Status {
    tracing::debug!(target_service = target, error = %status, "a call failed on its connection");
    match status.code() {
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal => lost(target),
        _ => Fault::from_status(&status).with("service", target).into(),
    }
}

pin_project! {
    /// What comes after the headers; nothing, if the answer was made here.
    #[derive(Default)]
    pub(super) struct ReplyBody {
        #[pin]
        inner: Option<Incoming>,
        target: &'static str,
        call: Option<Call>,
    }
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
        Poll::Ready(match ready!(inner.poll_frame(cx)) {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    drop_malformed_details(trailers);
                    end(this.call, |call| call.trailers(trailers));
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                end(this.call, |call| broke(call, &error));
                Some(Err(failure(Status::from_error(error.into()), this.target)))
            }
            None => {
                end(this.call, |call| call.finish(Code::Unknown));
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

fn broke(call: &mut Call, error: &hyper::Error) {
    if is_of_one_stream(error) {
        call.broke();
    } else {
        call.broke_with_connection();
    }
}

/// The call is over, and is in flight no more.
fn end(call: &mut Option<Call>, how: impl FnOnce(&mut Call)) {
    if let Some(mut call) = call.take() {
        how(&mut call);
    }
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// tonic 0.14 panics on details that are not base64; whatever sent them, our process stays up.
fn drop_malformed_details(headers: &mut HeaderMap) {
    if let Some(details) = headers.get(Status::GRPC_STATUS_DETAILS)
        && LENIENT.decode(details.as_bytes()).is_err()
    {
        headers.remove(Status::GRPC_STATUS_DETAILS);
    }
}
