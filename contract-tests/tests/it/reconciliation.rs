//! The ledgers check themselves in the background, and the audit checks all services: what does not agree is told to operators, once.

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use mesh::{
    server::{self, Routes, ServerSpec},
    testing::{Running, TestMesh, eventually},
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
    },
    metrics::v1::{metric::Data, number_data_point::Value},
};
use proto::contract::{DeadlineBudget, MethodRule, Priority, Role};
use serde_json::{Value as Json, json};
use tonic::{Request, Response, Status};

use world::{PATIENCE, Process, SERVICES, World, caller::wish};

/// What a collector was sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    /// Counters: name, labels, value.
    counters: Vec<(String, String, i64)>,
    /// Log records: severity, and all else.
    logs: Vec<(String, String)>,
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let scopes = request.into_inner().resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            let Some(Data::Sum(sum)) = metric.data else { continue };
            let points = sum.data_points.into_iter().filter_map(|point| match point.value? {
                Value::AsInt(value) => Some((metric.name.clone(), format!("{:?}", point.attributes), value)),
                Value::AsDouble(_) => None,
            });
            self.0.lock().expect("not poisoned").counters.extend(points);
        }
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
        let logs = records.map(|record| (record.severity_text.clone(), format!("{record:?}")));
        self.0.lock().expect("not poisoned").logs.extend(logs);
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

const ANY: DeadlineBudget = DeadlineBudget { default_ms: 5_000, max_ms: 20_000, min_ms: 1 };
const fn rule(path: &'static str) -> MethodRule {
    MethodRule {
        path,
        roles: &[Role::Operator],
        services: &[],
        deadline: ANY,
        priority: Priority::New,
        no_side_effects: false,
        idempotent: true,
    }
}
static RULES: [MethodRule; 2] = [
    rule("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"),
    rule("/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
];

impl Collector {
    /// The ERROR lines with all of these words.
    fn errors(&self, words: &[&str]) -> usize {
        let received = self.0.lock().expect("not poisoned");
        let fits =
            |(severity, text): &&(String, String)| severity == "ERROR" && words.iter().all(|word| text.contains(word));
        received.logs.iter().filter(fits).count()
    }

    /// The greatest value of a counter among those whose labels have all of these words.
    fn counted(&self, name: &str, words: &[&str]) -> i64 {
        let received = self.0.lock().expect("not poisoned");
        let fits = |(found, labels, _): &&(String, String, i64)| {
            found == name && words.iter().all(|word| labels.contains(word))
        };
        received.counters.iter().filter(fits).map(|(_, _, value)| *value).max().unwrap_or(0)
    }

    /// Waits until a difference is told by both: a log line that names it, and the counter of its rule.
    async fn until_told(&self, ledger: &str, rule: &str, row: &str) {
        let (ledger, rule) = (&label(ledger), &label(rule));
        eventually(2 * PATIENCE, || {
            let told = self.errors(&[ledger, rule, row]) > 0 && self.counted(DIFFERENCES, &[ledger, rule]) > 0;
            std::future::ready(told)
        })
        .await;
    }

    /// Waits until so many more rows of a ledger were compared.
    async fn until_checked(&self, ledger: &str, more: i64) {
        let ledger = &label(ledger);
        let wanted = self.counted(CHECKED, &[ledger]) + more;
        eventually(PATIENCE, || std::future::ready(self.counted(CHECKED, &[ledger]) >= wanted)).await;
    }
}

/// The value of a label, as it is rendered.
fn label(value: &str) -> String {
    format!("StringValue({value:?})")
}

const DIFFERENCES: &str = "holdfast.reconciliation.differences";
const CHECKED: &str = "holdfast.reconciliation.checked";

/// The audit as a machine reads it.
fn audit(world: &World) -> (Option<i32>, Json) {
    let mut command: Command = world.command(&["audit", "--json", "--settle", "2s"]);
    let output = command.output().expect("the audit runs");
    let json = serde_json::from_slice(&output.stdout).expect("one object of JSON, and nothing else");
    (output.status.code(), json)
}

fn violated(audit: &Json) -> Vec<&str> {
    let rules = audit["rules"].as_array().expect("a list of rules");
    let broken = rules.iter().filter(|rule| rule["verdict"] == json!("violated"));
    broken.filter_map(|rule| rule["rule"].as_str()).collect()
}

/// K16, invariants 2 and 4: a balance, a payment and the provider's books are changed behind the services' backs. Each is told with the row's
/// name, once; the audit says so to machines, by hand and in the background; nothing is put right by itself.
#[tokio::test]
async fn what_does_not_agree_is_told_once_with_its_name() {
    let surroundings = TestMesh::without_broker();
    let collector = Collector::default();
    let mut spec = ServerSpec::new("collector", &[], surroundings.node().identity.verifier("collector"));
    spec.rules = &RULES;
    let routes = Routes::new(MetricsServiceServer::new(collector.clone()))
        .add_service(LogsServiceServer::new(collector.clone()));
    let server = Running::start(|listener, shutdown| async move {
        server::serve(spec, listener, routes, shutdown).await?;
        Ok(())
    })
    .await;
    let endpoint = format!("http://{}", server.address);
    let headers = format!("authorization=Bearer%20{}", surroundings.token("otel", &[Role::Operator]));
    let mut world = World::start_with(&[
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", headers.as_str()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "200"),
        ("HOLDFAST_PAYMENT_RECONCILE_EVERY_MS", "200"),
        ("HOLDFAST_MILEAGE_RECONCILE_EVERY_MS", "200"),
    ])
    .await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    let booked = guest.reserve(&wish(&listing)).await.expect("a room");
    guest.until_told(&booked.name, 2).await;
    for ledger in ["payment", "mileage"] {
        collector.until_checked(ledger, 2).await;
    }
    let (code, before) = audit(&world);
    assert_eq!((code, &before["verdict"], &before["violations"]), (Some(0), &json!("holds"), &json!(0)), "{before}");
    assert!(before["checked"].as_u64() > Some(0) && before["seconds"].as_f64() > Some(0.0), "{before}");
    assert_eq!((collector.counted(DIFFERENCES, &[]), collector.errors(&["agree"])), (0, 0));

    world.tables("mileage").execute("UPDATE accounts SET balance = balance + 1");
    world.tables("payment").execute("UPDATE payments SET amount_minor = amount_minor + 1");
    collector.until_told("mileage", "balance", "users/gil").await;
    collector.until_told("payment", "entries", &booked.payment).await;
    world.tables("payment").execute("UPDATE payments SET amount_minor = amount_minor - 1");

    // The provider gives the money back by itself. What moved within the last hour is compared with its books when payment starts.
    world.stop("payment").await;
    let books = world.data().join("payment-simulator.jsonl");
    let text = std::fs::read_to_string(&books).expect("the simulator's books");
    let charged: Json = serde_json::from_str(text.lines().last().expect("a charge")).expect("JSON");
    let mut refunded = charged.clone();
    refunded["kind"] = json!("refund");
    std::fs::write(&books, format!("{text}{refunded}\n")).expect("written");
    world.begin("payment").await;
    collector.until_told("payment", "provider", &booked.payment).await;

    for ledger in ["payment", "mileage"] {
        collector.until_checked(ledger, 2).await;
    }
    for (ledger, row) in [("mileage", "users/gil"), ("payment", booked.payment.as_str())] {
        let rules: &[&str] = if ledger == "mileage" { &["balance"] } else { &["entries", "provider"] };
        for rule in rules {
            assert_eq!(collector.errors(&[&label(ledger), &label(rule), row]), 1, "{ledger} {rule}: told once");
        }
    }
    let expected = ["the provider's books are the payments", "the ledger of miles sums up"];
    let (code, found) = audit(&world);
    assert_eq!(
        (code, &found["verdict"], violated(&found)),
        (Some(1), &json!("violated"), expected.to_vec()),
        "{found}"
    );

    // All services in one process audit themselves.
    for service in SERVICES {
        world.kill(service);
    }
    let parent = std::process::id().to_string();
    let mut command = world.command(&["serve", "all", "--audit-every", "1s", "--parent", &parent]);
    command.envs([("HOLDFAST_PAYMENT_RECONCILE_EVERY_MS", "0"), ("HOLDFAST_MILEAGE_RECONCILE_EVERY_MS", "0")]);
    let all = Process::spawn(&mut command);
    collector.until_told("audit", expected[0], &booked.payment).await;
    collector.until_told("audit", expected[1], "users/gil").await;
    assert!(all.terminate().await.success());
    drop(world);
    tokio::time::timeout(Duration::from_secs(60), server.stop()).await.expect("the collector ends");
}
