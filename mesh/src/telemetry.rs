//! Traces, metrics and logs of a process, and the W3C trace context of the work in progress.
//!
//! Logs are always written: readable on a terminal, JSON lines otherwise. Spans and metrics are made only when an OTLP endpoint is configured
//! (`OTEL_EXPORTER_OTLP_ENDPOINT` or the variable of one signal); without one they cost a flag each. The trace context of a caller is carried
//! on in any case, so that a trace does not break at a service that exports nothing.
//!
//! One process may run several services, each on a thread of its own: [`name_thread`] says which.

use std::cell::Cell;
use std::future::Future;
use std::sync::OnceLock;

use opentelemetry::Context;
use opentelemetry::trace::{FutureExt as _, TraceContextExt as _};
use tracing::Instrument as _;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

mod context;
pub(crate) mod export;
#[cfg(test)]
pub(crate) mod exported;
mod logs;
pub(crate) mod messaging;
pub mod names;
pub(crate) mod rpc;
mod split;

pub use export::{Guard, InitError, init};

pub(crate) use context::{extract, inject};

thread_local! {
    static SERVICE: Cell<Option<&'static str>> = const { Cell::new(None) };
}

static PROCESS: OnceLock<&'static str> = OnceLock::new();

/// Says that this thread works for `service` from now on. Log lines and spans carry the name.
pub fn name_thread(service: &'static str) {
    SERVICE.set(Some(service));
}

/// The service this thread works for; the process' name if nobody said.
#[must_use]
pub fn service() -> &'static str {
    SERVICE.get().or_else(|| PROCESS.get().copied()).unwrap_or("holdfast")
}

/// The `traceparent` of the work in progress, if it belongs to a trace.
#[must_use]
pub fn current_traceparent() -> Option<String> {
    context::traceparent(&Context::current())
}

/// The trace id of the work in progress, as 32 hexadecimal digits.
#[must_use]
pub fn current_trace_id() -> Option<String> {
    let context = Context::current();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| span.trace_id().to_string())
}

/// The context that a `traceparent` describes; an empty one if it is malformed.
#[must_use]
pub fn remote_parent(traceparent: &str) -> Context {
    context::parse(traceparent)
}

/// Runs `future` as part of the trace that `traceparent` names, inside `span` (which is exported if traces are).
///
/// For work that arrived by another way than a call, such as an event.
pub fn continue_trace<F: Future>(traceparent: Option<&str>, span: Span, future: F) -> impl Future<Output = F::Output> {
    let parent = traceparent.map(remote_parent).unwrap_or_default();
    if export::traces() {
        // Refused only for a disabled span, which has nothing to be the parent of.
        let _ = span.set_parent(parent.clone());
    }
    future.instrument(span).with_context(parent)
}

/// The trace context of the work in progress, to be carried to another thread.
#[derive(Clone, Debug)]
pub struct Carried(Context);

impl Carried {
    /// What the caller works for.
    #[must_use]
    pub fn current() -> Self {
        Self(Context::current())
    }

    /// What the sender of `traceparent` worked for.
    #[must_use]
    pub fn from_traceparent(traceparent: Option<&str>) -> Self {
        Self(traceparent.map(remote_parent).unwrap_or_default())
    }

    /// Runs `work` as part of the same trace: [`current_traceparent`] answers as it did for the sender.
    pub fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let _attached = self.0.attach();
        work()
    }
}
