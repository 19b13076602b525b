//! Spans of a process that runs several services, exported as if each service were a process of its own.
//!
//! Trace views draw one box per `service.name`, and that is an attribute of the exporting process. So each span remembers its service when
//! it starts, and each service has an exporter with a resource of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::trace::Span as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter as Otlp};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::runtime::Handle;

use super::{PROCESS, names, service};

/// Notes the service of the starting thread on each span. A span that names its service already keeps that: the first attribute counts.
#[derive(Debug)]
pub(super) struct NameService;

impl SpanProcessor for NameService {
    fn on_start(&self, span: &mut Span, _: &Context) {
        span.set_attribute(KeyValue::new(names::SERVICE, service()));
    }

    fn on_end(&self, _: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sends each span with the resource of its service.
#[derive(Debug)]
pub(super) struct PerService {
    /// The process' own, with the name that `OTEL_SERVICE_NAME` may give it.
    resource: Resource,
    /// Connections are made on this runtime.
    runtime: Handle,
    exporters: Mutex<HashMap<String, Arc<Otlp>>>,
}

impl PerService {
    /// # Errors
    /// The exporter's configuration is not usable.
    pub(super) fn new(resource: Resource, runtime: Handle) -> Result<Self, ExporterBuildError> {
        let exporters = Self { resource, runtime, exporters: Mutex::default() };
        exporters.exporter(service())?;
        Ok(exporters)
    }

    fn exporter(&self, service: &str) -> Result<Arc<Otlp>, ExporterBuildError> {
        let mut exporters = self.exporters.lock().expect("nothing panics while holding the lock");
        if let Some(exporter) = exporters.get(service) {
            return Ok(exporter.clone());
        }
        let _entered = self.runtime.enter();
        let mut exporter = Otlp::builder().with_tonic().build()?;
        let mut resource = Resource::builder_empty()
            .with_attributes(self.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())));
        if service != PROCESS.get().copied().unwrap_or_default() {
            resource = resource.with_attribute(KeyValue::new("service.name", service.to_owned()));
        }
        exporter.set_resource(&resource.build());
        let exporter = Arc::new(exporter);
        exporters.insert(service.to_owned(), exporter.clone());
        Ok(exporter)
    }
}

impl SpanExporter for PerService {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let mut by_service: HashMap<String, Vec<SpanData>> = HashMap::new();
        for span in batch {
            by_service.entry(self.service_of(&span)).or_default().push(span);
        }
        let mut result = Ok(());
        for (service, spans) in by_service {
            let exporter = self.exporter(&service).map_err(|error| OTelSdkError::InternalFailure(error.to_string()))?;
            // The services' spans are independent: one failure must not keep back the others.
            result = result.and(exporter.export(spans).await);
        }
        result
    }

    fn set_resource(&mut self, _: &Resource) {
        // It was given to `new`.
    }
}

impl PerService {
    fn service_of(&self, span: &SpanData) -> String {
        let noted = span.attributes.iter().find(|attribute| attribute.key.as_str() == names::SERVICE);
        noted.map_or_else(|| service().to_owned(), |attribute| attribute.value.to_string())
    }
}
