//! Puts right what handlers and the library answer: a panic becomes `INTERNAL`, a message over the size limit `RESOURCE_EXHAUSTED`
//! (tonic says `OUT_OF_RANGE`), a refusal without details gets an `ErrorInfo`, and who is told `UNAVAILABLE` after something that was called for
//! it came to nothing is told not to repeat ([`crate::chain`]).

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt as _;
use futures_util::future::CatchUnwind;
use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::chain::{Chain, Scoped};
use crate::client::PUSHBACK;
use crate::fault::{Fault, reason};
use crate::telemetry::rpc::status_code;

/// tonic's words for a message over the limit, in `grpc-message` (percent-encoded).
const TOO_LARGE: &str = "message%20length%20too%20large";

pub(super) fn layer() -> AnswersLayer {
    AnswersLayer
}

#[derive(Clone, Copy)]
pub(super) struct AnswersLayer;

impl<S> Layer<S> for AnswersLayer {
    type Service = Answers<S>;

    fn layer(&self, inner: S) -> Answers<S> {
        Answers { inner }
    }
}

#[derive(Clone)]
pub(super) struct Answers<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Answers<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // A handler that panicked is dropped, and so is all it could have left half done in its own state.
        let chain = Chain::begin();
        Answer { inner: AssertUnwindSafe(chain.scope(self.inner.call(request))).catch_unwind(), chain }
    }
}

pin_project! {
    pub(super) struct Answer<F> {
        #[pin]
        inner: CatchUnwind<AssertUnwindSafe<Scoped<F>>>,
        chain: Chain,
    }
}

impl<F> Future for Answer<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match ready!(this.inner.poll(cx)) {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(panic) => {
                tracing::error!(panic = message(&*panic), "a handler panicked");
                Status::from(Fault::internal_unlogged()).into_http()
            }
        };
        let mut response = put_right(response);
        if this.chain.has_given_up() && status_code(response.headers()) == Some(Code::Unavailable) {
            response.headers_mut().insert(PUSHBACK, HeaderValue::from_static("-1"));
        }
        Poll::Ready(Ok(response))
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

fn put_right(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    let code = match status_code(headers) {
        Some(code) if code != Code::Ok && !headers.contains_key(Status::GRPC_STATUS_DETAILS) => code,
        _ => return response,
    };
    let too_large = headers
        .get(Status::GRPC_MESSAGE)
        .and_then(|message| message.to_str().ok())
        .is_some_and(|text| text.contains(TOO_LARGE));
    let fault = if code == Code::OutOfRange && too_large {
        Fault::exhausted(reason::MESSAGE_TOO_LARGE, "message size", "the message is larger than the limit", None)
    } else {
        match Status::from_header_map(headers) {
            Some(status) => Fault::from_status(&status),
            None => return response,
        }
    };
    let fixed: Response<()> = Status::from(fault).into_http();
    for (name, value) in fixed.headers() {
        headers.insert(name, value.clone());
    }
    response
}
