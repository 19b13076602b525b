//! What is exported of events that arrive.

use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{export, names, remote_parent};
use crate::event::Received;

/// Records that `durable` has processed these events: one span for each, in the trace the event belongs to.
pub(crate) fn processed(durable: &str, events: &[Received]) {
    if !export::traces() {
        return;
    }
    for event in events {
        let Some(traceparent) = &event.traceparent else { continue };
        // Without the id token, so that the name has few values.
        let template = event.subject.rsplit_once('.').map_or(event.subject.as_str(), |(template, _)| template);
        let name = format!("process {template}");
        let span = tracing::info_span!("event", otel.name = name, otel.kind = "consumer");
        span.set_attribute(names::SERVICE, super::service());
        span.set_attribute(names::MESSAGING_SYSTEM, names::NATS);
        span.set_attribute(names::MESSAGING_OPERATION_TYPE, "process");
        span.set_attribute(names::MESSAGING_OPERATION_NAME, "process");
        span.set_attribute(names::MESSAGING_DESTINATION_TEMPLATE, template.to_owned());
        span.set_attribute(names::MESSAGING_CONSUMER_GROUP_NAME, durable.to_owned());
        span.set_attribute(names::MESSAGING_MESSAGE_ID, event.id.to_string());
        // Refused only for a span that nobody records.
        let _ = span.set_parent(remote_parent(traceparent));
    }
}
