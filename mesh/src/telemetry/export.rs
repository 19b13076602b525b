//! Setting up logs, and the OTLP exporters if they are configured.
//!
//! All `OTEL_*` variables keep their standard meaning; there are none of our own. Only OTLP over gRPC is built in.

use std::env;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, MetricExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Runtime;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::logs::{Json, Readable};
use super::{PROCESS, split};

/// Used when `RUST_LOG` says nothing.
const DEFAULT_FILTER: &str = "info,h2=warn,hyper=warn,hyper_util=warn,tower=warn,opentelemetry=warn,opentelemetry_sdk=warn,opentelemetry_otlp=warn";

static TRACES: AtomicBool = AtomicBool::new(false);
static METRICS: AtomicBool = AtomicBool::new(false);

/// Whether spans are worth making.
pub(super) fn traces() -> bool {
    TRACES.load(Ordering::Relaxed)
}

/// Whether measurements are worth taking.
pub(crate) fn metrics() -> bool {
    METRICS.load(Ordering::Relaxed)
}

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// An exporter's configuration is not usable.
    #[error("the OpenTelemetry exporter cannot be set up")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The exporters' thread cannot be started.
    #[error("cannot start the exporters' thread")]
    Runtime(#[from] std::io::Error),
    /// This process has telemetry already.
    #[error("telemetry is set up already")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Keeps the exporters alive; dropped, it sends what is waiting (for at most a few seconds) and ends them.
#[must_use = "dropping it ends telemetry"]
pub struct Guard {
    exporters: Exporters,
    /// The exporters' connections live here, not on a runtime of the services, so that they outlive those at the end.
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Exporters {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    logs: Option<SdkLoggerProvider>,
}

/// Sets up telemetry for this process. Call once, before any server or client is made.
///
/// # Errors
/// An exporter is configured wrongly, or telemetry is set up already.
pub fn init(service: &'static str) -> Result<Guard, InitError> {
    let _ = PROCESS.set(service);
    let wanted = Wanted::from_env();
    let runtime = if wanted.any() { Some(runtime()?) } else { None };
    let exporters = match &runtime {
        Some(runtime) => Exporters::build(&wanted, service, runtime)?,
        None => Exporters::default(),
    };

    let filter = || EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = if std::io::stderr().is_terminal() {
        lines.event_format(Readable::new()).with_filter(filter()).boxed()
    } else {
        lines.with_ansi(false).event_format(Json).with_filter(filter()).boxed()
    };
    let spans = exporters.traces.as_ref().map(|provider| {
        let spans = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("holdfast"))
            .with_location(false)
            .with_threads(false);
        spans.with_filter(LevelFilter::INFO).with_filter(filter_fn(|metadata| !is_exporter(metadata.target())))
    });
    let records = exporters.logs.as_ref().map(|provider| {
        OpenTelemetryTracingBridge::new(provider)
            .with_filter(filter())
            .with_filter(filter_fn(|metadata| !is_exporter(metadata.target())))
    });
    tracing::subscriber::set_global_default(Registry::default().with(lines).with(spans).with(records))?;

    TRACES.store(exporters.traces.is_some(), Ordering::Relaxed);
    METRICS.store(exporters.metrics.is_some(), Ordering::Relaxed);
    if let Some(metrics) = &exporters.metrics {
        opentelemetry::global::set_meter_provider(metrics.clone());
    }
    Ok(Guard { exporters, runtime })
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("telemetry").enable_all().build()
}

/// What the exporters themselves do must not be exported, or every export causes the next one.
fn is_exporter(target: &str) -> bool {
    ["opentelemetry", "tonic", "h2", "hyper", "tower", "reqwest"].iter().any(|own| target.starts_with(own))
}

struct Wanted {
    traces: bool,
    metrics: bool,
    logs: bool,
}

impl Wanted {
    fn from_env() -> Self {
        let disabled = env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        let everywhere = is_set("OTEL_EXPORTER_OTLP_ENDPOINT");
        let wanted = |signal: &str| {
            let switched_off = env::var(format!("OTEL_{signal}_EXPORTER")).is_ok_and(|value| value == "none");
            !disabled && !switched_off && (everywhere || is_set(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")))
        };
        Self { traces: wanted("TRACES"), metrics: wanted("METRICS"), logs: wanted("LOGS") }
    }

    fn any(&self) -> bool {
        self.traces || self.metrics || self.logs
    }
}

/// An empty variable counts as unset (OpenTelemetry, environment variable specification).
fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}

impl Exporters {
    fn build(wanted: &Wanted, service: &'static str, runtime: &Runtime) -> Result<Self, InitError> {
        let _entered = runtime.enter();
        let mut exporters = Self::default();
        let resource = resource(service);
        if wanted.traces {
            let exporter = split::PerService::new(resource.clone(), runtime.handle().clone())?;
            let provider = SdkTracerProvider::builder()
                .with_span_processor(split::NameService)
                .with_resource(resource.clone())
                .with_batch_exporter(exporter);
            exporters.traces = Some(provider.build());
        }
        if wanted.metrics {
            let exporter = MetricExporter::builder().with_tonic().build()?;
            exporters.metrics = Some(
                SdkMeterProvider::builder().with_resource(resource.clone()).with_periodic_exporter(exporter).build(),
            );
        }
        if wanted.logs {
            let exporter = LogExporter::builder().with_tonic().build()?;
            exporters.logs =
                Some(SdkLoggerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build());
        }
        Ok(exporters)
    }
}

/// Ours first: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win.
fn resource(service: &'static str) -> Resource {
    let ours = [
        KeyValue::new("service.name", service),
        KeyValue::new("service.namespace", "holdfast"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", format!("{:032x}", rand::random::<u128>())),
    ];
    let named = env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    Resource::builder_empty()
        .with_attributes(ours)
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())])
        .with_attributes(named.map(|name| KeyValue::new("service.name", name)))
        .build()
}

impl Drop for Guard {
    fn drop(&mut self) {
        TRACES.store(false, Ordering::Relaxed);
        METRICS.store(false, Ordering::Relaxed);
        let exporters = std::mem::take(&mut self.exporters);
        let ended = [
            exporters.traces.map(|traces| traces.shutdown()),
            exporters.metrics.map(|metrics| metrics.shutdown()),
            exporters.logs.map(|logs| logs.shutdown()),
        ];
        for error in ended.into_iter().flatten().filter_map(Result::err) {
            tracing::warn!(%error, "not all telemetry could be sent");
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
