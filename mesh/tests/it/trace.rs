use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use mesh::client::Credentials;
use mesh::server::Routes;
use mesh::telemetry;
use mesh::testing::eventually;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use proto::contract::{DeadlineBudget, MethodRule, Priority, Role};
use tonic::{Request, Response, Status};

use crate::harness::{Echo, Keys, PATIENCE, Server, call, text};
use crate::streams::{Counted, Many, one_then_silence, open};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn traceparent() -> Result<String, Status> {
    telemetry::current_traceparent().ok_or_else(|| Status::failed_precondition("no trace"))
}

#[tokio::test]
async fn a_callers_trace_is_passed_through_where_nothing_is_exported() {
    let keys = Keys::new();
    let back = keys.serve("back", Echo::new(|_| async { traceparent() })).await;
    let next = back.channel("back", keys.identity("front"));
    let front = keys
        .serve(
            "front",
            Echo::new(move |_| {
                let next = next.clone();
                async move { call(&next, "Open", text("")).await }
            }),
        )
        .await;
    let channel = front.channel("front", keys.user(&[Role::Customer]));
    let mut request = text("");
    request.metadata_mut().insert("traceparent", TRACEPARENT.parse().unwrap());
    assert_eq!(call(&channel, "Open", request).await.unwrap(), TRACEPARENT);
    // The next call on the same connection is of no trace, nor is one with a malformed header.
    assert!(call(&channel, "Open", text("")).await.is_err());
    let mut request = text("");
    request.metadata_mut().insert("traceparent", "00-xyz".parse().unwrap());
    assert!(call(&channel, "Open", request).await.is_err());
}

#[tokio::test]
async fn a_delivered_event_continues_its_trace_on_any_thread() {
    let seen = telemetry::continue_trace(Some(TRACEPARENT), tracing::Span::none(), async {
        let carried = telemetry::Carried::current();
        std::thread::spawn(move || carried.run(telemetry::current_traceparent)).join().unwrap()
    });
    assert_eq!(seen.await.as_deref(), Some(TRACEPARENT));
    assert_eq!(telemetry::current_traceparent(), None);
}

/// What a collector was sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    spans: Vec<(String, Span)>,
    metrics: Vec<String>,
    logs: Vec<(String, Vec<u8>)>,
}

fn service_name(resource: Option<Resource>) -> String {
    let attributes = resource.unwrap_or_default().attributes;
    let name =
        attributes.into_iter().find(|attribute| attribute.key == "service.name").and_then(|attribute| attribute.value);
    text_of(name.and_then(|name| name.value))
}

fn text_of(value: Option<Value>) -> String {
    if let Some(Value::StringValue(text)) = value { text } else { String::new() }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let service = service_name(resource.resource);
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().spans.extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let scopes = request.into_inner().resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        let names = scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name);
        self.0.lock().unwrap().metrics.extend(names);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let scopes = request.into_inner().resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        let records = scopes.flat_map(|scope| scope.log_records);
        let records = records.map(|record| (text_of(record.body.and_then(|body| body.value)), record.trace_id));
        self.0.lock().unwrap().logs.extend(records);
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

static COLLECTOR_RULES: [MethodRule; 3] = [
    collector_rule("/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
    collector_rule("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"),
    collector_rule("/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
];

const fn collector_rule(path: &'static str) -> MethodRule {
    let deadline = DeadlineBudget { default_ms: 5_000, max_ms: 20_000, min_ms: 1 };
    MethodRule {
        path,
        roles: &[],
        services: &["front"],
        deadline,
        priority: Priority::New,
        no_side_effects: false,
        idempotent: true,
    }
}

#[tokio::test]
async fn spans_metrics_and_logs_of_both_ends_reach_the_collector_under_one_trace() {
    let keys = Keys::new();
    let collector = Collector::default();
    let mut spec = keys.spec("collector");
    spec.rules = &COLLECTOR_RULES;
    let routes = Routes::new(TraceServiceServer::new(collector.clone()))
        .add_service(MetricsServiceServer::new(collector.clone()))
        .add_service(LogsServiceServer::new(collector.clone()));
    let server = Server::start_routes(spec, routes).await;

    // Telemetry is set up once per process, so the observed mesh is a process of its own: this binary, running one test.
    let mut child = Command::new(std::env::current_exe().unwrap());
    let authorization = keys.identity("front").authorization("collector");
    child
        .args(["--exact", "trace::observed_mesh", "--ignored", "--nocapture"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", server.address))
        .env(
            "OTEL_EXPORTER_OTLP_HEADERS",
            format!("authorization={}", authorization.to_str().unwrap().replace(' ', "%20")),
        )
        .env("RUST_LOG", "info")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || child.output().unwrap());
    let output = tokio::time::timeout(PATIENCE, output).await.expect("the child ends").unwrap();
    let lines = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{lines}");
    server.stop().await;

    let received = collector.0.lock().unwrap();
    let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let find = |kind: SpanKind, method: &str| {
        let of_kind = |span: &Span| span.kind == kind as i32 && span.name == format!("mesh.test.v1.Echo/{method}");
        let found = received.spans.iter().find(|(_, span)| of_kind(span) && hex(&span.trace_id) == TRACE_ID);
        found.unwrap_or_else(|| panic!("no {kind:?} span among {:?}", received.spans))
    };
    let ((client_service, client), (server_service, server)) =
        (find(SpanKind::Client, "Open"), find(SpanKind::Server, "Open"));
    assert_eq!((client_service.as_str(), server_service.as_str()), ("front", "back"));
    assert_eq!(server.parent_span_id, client.span_id);
    let attribute = |span: &Span, key: &str| {
        let found =
            span.attributes.iter().find(|attribute| attribute.key == key).and_then(|attribute| attribute.value.clone());
        text_of(found.and_then(|value| value.value))
    };
    assert_eq!(attribute(server, "rpc.response.status_code"), "NOT_FOUND");
    assert_eq!(attribute(server, "error.type"), "", "a refusal is an answer");
    // A stream is observed to its end, which its trailers tell.
    for (kind, method, code) in [
        (SpanKind::Server, "FrontOnly", "ABORTED"),
        (SpanKind::Client, "FrontOnly", "ABORTED"),
        (SpanKind::Server, "HostOnly", "CANCELLED"),
        (SpanKind::Client, "HostOnly", "CANCELLED"),
    ] {
        let (_, span) = find(kind, method);
        assert_eq!(attribute(span, "rpc.response.status_code"), code, "{kind:?} {method}");
        if method == "FrontOnly" {
            let lasted = Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano);
            assert!(lasted >= STREAM_LASTS, "{lasted:?}");
        }
    }
    let rendered = format!("{:?}", received.spans);
    assert!(!rendered.contains("authorization") && !rendered.contains("eyJ"), "no span carries a token");

    for metric in ["rpc.client.call.duration", "rpc.server.call.duration"] {
        assert!(received.metrics.iter().any(|name| name == metric), "{metric} among {:?}", received.metrics);
    }
    let (_, trace_id) =
        received.logs.iter().find(|(body, _)| body == "looking it up").expect("the handler's log record");
    assert_eq!(hex(trace_id), TRACE_ID);
    let line = lines.lines().find(|line| line.contains("looking it up")).expect("the handler's log line");
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((line["trace_id"].as_str(), line["fields"]["thing"].as_i64()), (Some(TRACE_ID), Some(7)));
}

#[test]
#[ignore = "a child process of the test above"]
fn observed_mesh() {
    let guard = telemetry::init("observed").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let keys = Keys::new();
        let echo = Echo::new(|_| async {
            tracing::info!(thing = 7, "looking it up");
            assert!(telemetry::current_traceparent().is_some_and(|traceparent| traceparent.contains(TRACE_ID)));
            Err(Status::not_found("not there"))
        });
        let server = keys.serve("back", echo).await;
        let channel = server.channel("back", keys.identity("front"));
        let span = tracing::info_span!("process");
        let answer = telemetry::continue_trace(Some(TRACEPARENT), span, call(&channel, "Open", text(""))).await;
        assert_eq!(answer.unwrap_err().code(), tonic::Code::NotFound);
        let anonymous = server.channel("back", Credentials::Anonymous);
        assert!(call(&anonymous, "Open", text("")).await.is_err());
        drop((channel, anonymous));
        server.stop().await;
        observed_streams(&keys).await;
    });
    drop(runtime);
    let began = std::time::Instant::now();
    drop(guard);
    assert!(began.elapsed() < Duration::from_secs(5), "the last spans are sent in {:?}", began.elapsed());
}

/// How long the stream that ends by itself lasts.
const STREAM_LASTS: Duration = Duration::from_millis(100);

/// One stream ends with a fault after its first message, one is left by its caller.
async fn observed_streams(keys: &Keys) {
    let open_now = Arc::new(AtomicUsize::new(0));
    let counted = open_now.clone();
    let many = Many::new(move |request| {
        let counted = Counted::new(&counted);
        if request.get_ref() == "left" {
            return one_then_silence("left".to_owned()).map(move |message| (message, &counted).0).boxed();
        }
        let end = async {
            tokio::time::sleep(STREAM_LASTS).await;
            Err(Status::aborted("no more"))
        };
        stream::iter([Ok("first".to_owned())]).chain(stream::once(end)).boxed()
    });
    let server = Server::start_routes(keys.spec("back"), Routes::new(many)).await;
    let ends = async {
        let mut messages = open(&server.channel("back", keys.identity("front")), "FrontOnly", text("")).await.unwrap();
        assert!(messages.message().await.unwrap().is_some());
        assert_eq!(messages.message().await.unwrap_err().code(), tonic::Code::Aborted);
    };
    telemetry::continue_trace(Some(TRACEPARENT), tracing::info_span!("process"), ends).await;
    let leaves = async {
        let channel = server.channel("back", keys.user(&[Role::Host]));
        let mut messages = open(&channel, "HostOnly", text("left")).await.unwrap();
        assert!(messages.message().await.unwrap().is_some());
    };
    telemetry::continue_trace(Some(TRACEPARENT), tracing::info_span!("process"), leaves).await;
    eventually(PATIENCE, || async { open_now.load(Ordering::SeqCst) == 0 }).await;
    server.stop().await;
}
