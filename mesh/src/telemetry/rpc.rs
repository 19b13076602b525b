//! What is observed about one call, the same way on both sides.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;
use opentelemetry::trace::Status as SpanStatus;
use pin_project_lite::pin_project;
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{export, names};
use crate::fault::code_name;

/// Seconds. The conventions' buckets, and finer ones below 5 ms where calls inside a cluster are.
const BUCKETS: [f64; 17] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0];

/// Which end of the call is observing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

/// Observes calls of one server, or to one target.
#[derive(Clone)]
pub(crate) struct Observer(Arc<Inner>);

struct Inner {
    side: Side,
    /// Unknown for a channel without a service identity: the thread's service then.
    service: Option<String>,
    /// Absent when no metrics are exported.
    duration: Option<Histogram<f64>>,
    /// `server.address` and `server.port` on the client, nothing on the server.
    peer: Vec<KeyValue>,
}

impl Observer {
    pub(crate) fn new(side: Side, service: Option<String>, peer: Vec<KeyValue>) -> Self {
        let name = match side {
            Side::Server => names::RPC_SERVER_CALL_DURATION,
            Side::Client => names::RPC_CLIENT_CALL_DURATION,
        };
        let duration = export::metrics().then(|| {
            let meter = opentelemetry::global::meter("holdfast");
            meter.f64_histogram(name).with_unit("s").with_boundaries(BUCKETS.to_vec()).build()
        });
        Self(Arc::new(Inner { side, service, duration, peer }))
    }

    /// A call begins. `method` is `package.Service/Method`.
    pub(crate) fn begin(&self, method: &'static str) -> Call {
        let span = if export::traces() { self.span(method) } else { Span::none() };
        Call { observer: self.clone(), method, span, began: Instant::now(), finished: false }
    }

    fn span(&self, method: &'static str) -> Span {
        let span = match self.0.side {
            Side::Server => tracing::info_span!("rpc", otel.name = method, otel.kind = "server"),
            Side::Client => tracing::info_span!("rpc", otel.name = method, otel.kind = "client"),
        };
        if let Some(service) = &self.0.service {
            span.set_attribute(names::SERVICE, service.clone());
        }
        span.set_attribute(names::RPC_SYSTEM_NAME, names::GRPC);
        span.set_attribute(names::RPC_METHOD, method);
        for attribute in &self.0.peer {
            span.set_attribute(attribute.key.clone(), attribute.value.clone());
        }
        span
    }
}

/// One call. Dropped unfinished, it counts as cancelled.
pub(crate) struct Call {
    observer: Observer,
    method: &'static str,
    pub(crate) span: Span,
    began: Instant,
    finished: bool,
}

impl Call {
    /// The end is known: from the headers if they carry a status, otherwise when the body has ended.
    pub(crate) fn observe(mut self, response: http::Response<Body>) -> http::Response<Body> {
        if let Some(code) = status_code(response.headers()) {
            self.finish(code);
            return response;
        }
        response.map(|inner| Body::new(ObservedBody { inner, call: self }))
    }

    pub(crate) fn finish(&mut self, code: Code) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let elapsed = self.began.elapsed();
        let failed = is_failure(self.observer.0.side, code);
        let name = code_name(code);
        if let Some(duration) = &self.observer.0.duration {
            let mut attributes = Vec::with_capacity(6);
            attributes.push(KeyValue::new(names::RPC_SYSTEM_NAME, names::GRPC));
            attributes.push(KeyValue::new(names::RPC_METHOD, self.method));
            attributes.push(KeyValue::new(names::RPC_RESPONSE_STATUS_CODE, name));
            attributes.extend_from_slice(&self.observer.0.peer);
            if failed {
                attributes.push(KeyValue::new(names::ERROR_TYPE, name));
            }
            duration.record(elapsed.as_secs_f64(), &attributes);
        }
        if !self.span.is_none() {
            self.span.set_attribute(names::RPC_RESPONSE_STATUS_CODE, name);
            if failed {
                self.span.set_attribute(names::ERROR_TYPE, name);
                self.span.set_status(SpanStatus::error(""));
            }
        }
        tracing::debug!(rpc.method = self.method, code = name, duration_us = elapsed.as_micros(), side = ?self.observer.0.side, "call ended");
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.finish(Code::Cancelled);
    }
}

/// A refusal is an answer: on the server only what went wrong there is an error, on the client everything but `OK`.
fn is_failure(side: Side, code: Code) -> bool {
    match side {
        Side::Client => code != Code::Ok,
        Side::Server => matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        ),
    }
}

/// The status in headers or trailers, reading nothing but the number.
pub(crate) fn status_code(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}

pin_project! {
    struct ObservedBody {
        #[pin]
        inner: Body,
        call: Call,
    }
}

impl http_body::Body for ObservedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let polled = if this.call.span.is_none() {
            this.inner.poll_frame(cx)
        } else {
            this.call.span.in_scope(|| this.inner.poll_frame(cx))
        };
        let frame = ready!(polled);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().map(|trailers| status_code(trailers).unwrap_or(Code::Unknown))
                {
                    this.call.finish(code);
                }
            }
            Some(Err(status)) => this.call.finish(status.code()),
            None => this.call.finish(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        // The end must be polled to be seen, so the inner body's hint is not passed on before that.
        self.call.finished && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
