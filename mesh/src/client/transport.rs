//! Sends the request, and turns every failure of the connection into an answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use super::Address;
use super::breaker::Uncounted;
use super::connection::{Connection, Sent, Unreachable, send};
use crate::deadline::{Deadline, GRPC_TIMEOUT, timeout_header};
use crate::fault::{Fault, reason};

/// A request that was never on the wire is sent again, at most this often in all. More than that is not a closing connection but a broken peer.
const ATTEMPTS: usize = 3;
/// A connection is tried anew with each call, so trying again soon is worth it.
const RETRY_AFTER: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(super) struct Transport {
    connection: Connection,
    target: &'static str,
}

impl Transport {
    pub(super) fn new(target: &'static str, address: &Address) -> Self {
        Self { connection: Connection::new(target, address.clone()), target }
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ReplyBody>, Infallible>> + Send>>;

    /// Always: waiting for the connection is part of the call, so that its deadline covers it.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { connection, target } = self.clone();
        Box::pin(async move { Ok(exchange(connection, target, request).await.unwrap_or_else(Status::into_http)) })
    }
}

async fn exchange(
    connection: Connection,
    target: &'static str,
    mut request: Request<Body>,
) -> Result<Response<ReplyBody>, Status> {
    complete(&mut request, &connection);
    let deadline = request.extensions().get::<Deadline>().copied();
    for _ in 0..ATTEMPTS {
        let sender = match connection.sender().await {
            Ok(sender) => sender,
            Err(failure) => return Ok(unreachable(target, &failure)),
        };
        if let Some(deadline) = deadline {
            request.headers_mut().insert(GRPC_TIMEOUT, timeout_header(deadline.remaining()));
        }
        request = match send(sender, request).await {
            Sent::Answered(mut response) => {
                drop_malformed_details(response.headers_mut());
                return Ok(response.map(|inner| ReplyBody { inner: Some(inner), target }));
            }
            Sent::Returned(request) => request,
            Sent::Lost(error) => return Err(failure(Status::from_error(error.into()), target)),
        };
    }
    Err(lost(target))
}

/// HTTP/2 wants the whole address in each request; the generated clients know the path only.
fn complete(request: &mut Request<Body>, connection: &Connection) {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(connection.scheme());
    parts.authority = Some(connection.authority().clone());
    *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path make an address");
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(concat!("holdfast/", env!("CARGO_PKG_VERSION"))));
}

fn unreachable(target: &'static str, failure: &Unreachable) -> Response<ReplyBody> {
    tracing::debug!(target_service = target, error = %failure.error, "cannot connect");
    let fault = Fault::unavailable(reason::CONNECTION_FAILED, format!("{target} cannot be reached"), RETRY_AFTER)
        .with("service", target);
    let mut response = Status::from(fault).into_http();
    if failure.shared {
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
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(failure(Status::from_error(error.into()), this.target))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
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
