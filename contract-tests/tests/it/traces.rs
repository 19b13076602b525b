//! One trace from the caller through every service, over gRPC and over the broker, as an OTLP collector receives it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use mesh::{
    server::{self, Routes, ServerSpec},
    testing::{Running, TestMesh, eventually},
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use proto::contract::{DeadlineBudget, MethodRule, Priority, Role};
use tonic::{Request, Response, Status};

use world::{PATIENCE, SERVICES, World, caller::wish};

/// Services that took part in each trace, by the names they call themselves.
type Traces = Arc<Mutex<HashMap<Vec<u8>, Vec<String>>>>;

struct Collector(Traces);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut traces = self.0.lock().expect("not poisoned");
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let name = attributes.iter().find(|attribute| attribute.key == "service.name");
            let name = format!("{:?}", name.and_then(|attribute| attribute.value.as_ref()));
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                traces.entry(span.trace_id).or_default().push(name.clone());
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

static RULES: [MethodRule; 1] = [MethodRule {
    path: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    roles: &[Role::Operator],
    services: &[],
    deadline: DeadlineBudget { default_ms: 5_000, max_ms: 20_000, min_ms: 1 },
    priority: Priority::New,
    no_side_effects: false,
    idempotent: true,
}];

/// A30, T34: with OTEL_* set, a booking is one trace through listing, payment, mileage and, by events, message and view.
#[tokio::test]
async fn a_booking_is_one_trace_across_grpc_and_the_broker() {
    let traces = Traces::default();
    let surroundings = TestMesh::without_broker();
    let collector = Collector(Arc::clone(&traces));
    let mut spec = ServerSpec::new("collector", &[], surroundings.node().identity.verifier("collector"));
    spec.rules = &RULES;
    let server = Running::start(|listener, shutdown| async move {
        server::serve(spec, listener, Routes::new(TraceServiceServer::new(collector)), shutdown).await?;
        Ok(())
    })
    .await;

    let endpoint = format!("http://{}", server.address);
    let headers = format!("authorization=Bearer%20{}", surroundings.token("otel", &[Role::Operator]));
    let settings = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", headers.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let world = World::start_with(&settings).await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    guest.reserve(&wish(&listing)).await.expect("a room");

    eventually(PATIENCE, || {
        let complete = traces
            .lock()
            .expect("not poisoned")
            .values()
            .any(|names| SERVICES.iter().all(|service| names.iter().any(|name| name.contains(service))));
        async move { complete }
    })
    .await;
    drop(world);
    server.stop().await;
}
