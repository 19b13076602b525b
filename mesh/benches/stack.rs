//! What our side of a call costs: `cargo bench -p mesh --bench stack`.
//!
//! First the client's layers one by one over a callee that answers at once, in nanoseconds: no network is as quiet as that. Then whole calls over
//! loopback, each end ours or bare tonic, in microseconds of wall time and of CPU time of the whole process, which is both ends. Rounds alternate,
//! and the best of each counts: what disturbs a round only adds to it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use http::{Request, Response};
use mesh::client::{self, Address, Breaker, CallSettings, Calls, Credentials, Retry};
use mesh::identity::{Issuer, KeyDirectory, ServiceIdentity, Verifier};
use mesh::server::{Routes, ServerSpec, serve};
use proto::contract::{DeadlineBudget, MethodRule, Priority, Role};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::{NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tower::{Service, ServiceExt as _};

const PATH: &str = "/mesh.bench.v1.Echo/Echo";
const BUDGET: DeadlineBudget = DeadlineBudget { default_ms: 10_000, max_ms: 10_000, min_ms: 1 };
static RULES: [MethodRule; 1] = [MethodRule {
    path: PATH,
    roles: &[Role::Customer],
    services: &["front"],
    deadline: BUDGET,
    priority: Priority::New,
    no_side_effects: true,
    idempotent: true,
}];

const ROUNDS: usize = 7;
const LAYER_CALLS: u32 = 100_000;
const CALLS: u32 = 20_000;
const IN_FLIGHT: u32 = 64;

/// Answers at once.
#[derive(Clone)]
struct Callee;

impl Service<Request<Body>> for Callee {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(Status::new(Code::Ok, "").into_http()))
    }
}

/// Nanoseconds of each call.
async fn layers<S>(service: &S) -> f64
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let began = Instant::now();
    for _ in 0..LAYER_CALLS {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = http::Uri::from_static(PATH);
        let Ok(response) = service.clone().oneshot(request).await;
        std::hint::black_box(response);
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(LAYER_CALLS)
}

async fn measure_layers() {
    let plain = CallSettings::plain;
    let over = |settings| client::over(Callee, "callee", &RULES, &Calls::new(settings));
    let limit = Some(1024);
    let (breaker, retry) = (Some(Breaker::default()), Some(Retry::default()));
    let stacks = [
        ("span and deadline", over(plain())),
        ("… and bulkhead", over(CallSettings { limit, ..plain() })),
        ("… and breaker", over(CallSettings { breaker, ..plain() })),
        ("… and retry", over(CallSettings { retry, ..plain() })),
        ("all of them", over(CallSettings::default())),
    ];
    let mut best = [f64::INFINITY; 6];
    for _ in 0..ROUNDS {
        best[0] = best[0].min(layers(&Callee).await);
        for (best, (_, stack)) in best[1..].iter_mut().zip(&stacks) {
            *best = best.min(layers(stack).await);
        }
    }
    println!("| client's layers | ns/call | more than span and deadline |");
    println!("|---|---:|---:|");
    println!("| none | {:.0} | |", best[0]);
    for ((name, _), ns) in stacks.iter().zip(&best[1..]) {
        println!("| {name} | {ns:.0} | {:.0} |", ns - best[1]);
    }
}

/// One gRPC service with one method.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "mesh.bench.v1.Echo";
}

impl Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, String>::default());
            Ok(grpc.unary(Self, request).await)
        })
    }
}

impl UnaryService<String> for Echo {
    type Response = String;
    type Future = Ready<Result<tonic::Response<String>, Status>>;

    fn call(&mut self, request: tonic::Request<String>) -> Self::Future {
        ready(Ok(tonic::Response::new(request.into_inner())))
    }
}

/// Microseconds of each call: wall and CPU.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

impl Cost {
    const WORST: Self = Self { wall: f64::INFINITY, cpu: f64::INFINITY };

    fn best(self, other: Self) -> Self {
        Self { wall: self.wall.min(other.wall), cpu: self.cpu.min(other.cpu) }
    }
}

/// CPU time of all threads, as the scheduler counts it.
fn cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux tells");
    let nanos = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

async fn calls<S>(channel: &S, token: Option<&str>) -> Cost
where
    S: tonic::client::GrpcService<Body> + Clone + Send + 'static,
    S::Future: Send,
    S::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let (began, cpu) = (Instant::now(), cpu_time());
    let callers: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (channel, token) = (channel.clone(), token.map(str::to_owned));
            mesh::deadline::spawn(async move {
                for _ in 0..CALLS / IN_FLIGHT {
                    let mut request = tonic::Request::new("hello".to_owned());
                    if let Some(token) = &token {
                        let bearer = format!("Bearer {token}").parse().expect("a token is ASCII");
                        request.metadata_mut().insert("authorization", bearer);
                    }
                    let mut grpc = tonic::client::Grpc::new(channel.clone());
                    assert!(grpc.ready().await.is_ok(), "the channel is ready");
                    let codec = ProstCodec::<String, String>::default();
                    let answer = grpc.unary(request, PathAndQuery::from_static(PATH), codec).await;
                    assert_eq!(answer.expect("an answer").into_inner(), "hello");
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(CALLS);
    Cost { wall: micros(began.elapsed()), cpu: micros(cpu_time() - cpu) }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

async fn measure_calls() {
    let dir = tempfile::tempdir().expect("a folder");
    let issuer = Issuer::create(dir.path(), &["front", "back"]).expect("keys");
    let keys = KeyDirectory::new(dir.path());
    let token = issuer.token("alice", &[Role::Customer], Duration::from_secs(3600));

    let (listener, bare) = listen().await;
    let shutdown = CancellationToken::new();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = tonic::transport::Server::builder();
    let bare_server =
        mesh::deadline::spawn(server.serve_with_incoming_shutdown(Echo, incoming, shutdown.clone().cancelled_owned()));
    let (listener, ours) = listen().await;
    let mut spec = ServerSpec::new("back", &["mesh.bench.v1.Echo"], Verifier::open(&keys, "back"));
    spec.rules = &RULES;
    let our_server = mesh::deadline::spawn(serve(spec, listener, Routes::new(Echo), shutdown.clone()));

    let tonic_channel = |address: SocketAddr| {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("an address");
        endpoint.tcp_nodelay(true).connect_lazy()
    };
    let identity = || Credentials::from(ServiceIdentity::open(&keys, "front").expect("a key"));
    let our_channel =
        |address: SocketAddr| client::connect_with_rules("back", &Address::from(address), identity(), &RULES);
    let (bare_to_bare, bare_to_ours) = (tonic_channel(bare), tonic_channel(ours));
    let (ours_to_bare, ours_to_ours) = (our_channel(bare), our_channel(ours));

    let mut best = [Cost::WORST; 4];
    for _ in 0..ROUNDS {
        best[0] = best[0].best(calls(&bare_to_bare, Some(&token)).await);
        best[1] = best[1].best(calls(&ours_to_bare, None).await);
        best[2] = best[2].best(calls(&bare_to_ours, Some(&token)).await);
        best[3] = best[3].best(calls(&ours_to_ours, None).await);
    }
    shutdown.cancel();
    our_server.await.expect("no panic").expect("it ends well");
    bare_server.await.expect("no panic").expect("it ends well");

    println!("\n| client | server | µs/call | CPU µs/call | of bare tonic | CPU µs more |");
    println!("|---|---|---:|---:|---:|---:|");
    let ends = [("tonic", "tonic"), ("ours", "tonic"), ("tonic", "ours"), ("ours", "ours")];
    for ((client, server), cost) in ends.into_iter().zip(best) {
        let (ratio, more) = (cost.cpu / best[0].cpu, cost.cpu - best[0].cpu);
        println!("| {client} | {server} | {:.1} | {:.1} | {ratio:.2} | {more:.1} |", cost.wall, cost.cpu);
    }
}

#[tokio::main]
async fn main() {
    measure_layers().await;
    measure_calls().await;
}
