//! What our side of a call costs: `cargo bench -p mesh --bench stack`.
//!
//! First the client's layers one by one over a callee that answers at once, in nanoseconds: no network is as quiet as that. Then whole calls over
//! loopback, each end ours or bare tonic, in microseconds of wall time and of CPU time of the whole process, which is both ends. Rounds alternate,
//! and the best of each counts: what disturbs a round only adds to it.
//!
//! With `-- --instructions` the same whole calls are counted by valgrind's callgrind, which has to be installed: instructions in user space of both
//! ends, whatever else the machine does. Each pair of ends is run with so many calls and with twice as many, and the difference counts.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use http::{Request, Response};
use mesh::client::{self, Address, Breaker, CallSettings, Calls, Credentials, Retry};
use mesh::identity::{Issuer, KeyDirectory, ServiceIdentity, Verifier};
use mesh::server::{Routes, ServerSpec, serve};
use proto::contract::{DeadlineBudget, MethodRule, Priority, Role};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
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
const COUNTED_CALLS: u32 = 2_048;
const IN_FLIGHT: u32 = 64;
/// Under valgrind a call takes fifty times as long, and a server lets fewer in that wait so long.
const COUNTED_IN_FLIGHT: u32 = 4;
/// Client and server.
const ENDS: [(&str, &str); 4] = [("tonic", "tonic"), ("ours", "tonic"), ("tonic", "ours"), ("ours", "ours")];

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

/// How many calls, and how many of them at once.
type Amount = (u32, u32);

async fn calls<S>(channel: &S, token: Option<&str>, (count, in_flight): Amount) -> Cost
where
    S: tonic::client::GrpcService<Body> + Clone + Send + 'static,
    S::Future: Send,
    S::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let (began, cpu) = (Instant::now(), cpu_time());
    let callers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (channel, token) = (channel.clone(), token.map(str::to_owned));
            mesh::deadline::spawn(async move {
                for _ in 0..count / in_flight {
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
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(count);
    Cost { wall: micros(began.elapsed()), cpu: micros(cpu_time() - cpu) }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// Servers and channels, ours and tonic's.
struct Mesh {
    token: String,
    bare_to_bare: tonic::transport::Channel,
    bare_to_ours: tonic::transport::Channel,
    ours_to_bare: client::Channel,
    ours_to_ours: client::Channel,
    shutdown: CancellationToken,
    servers: Vec<JoinHandle<()>>,
    _keys: tempfile::TempDir,
}

impl Mesh {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let issuer = Issuer::create(dir.path(), &["front", "back"]).expect("keys");
        let keys = KeyDirectory::new(dir.path());
        let shutdown = CancellationToken::new();
        let (bare, bare_server) = serve_bare(&shutdown).await;
        let (ours, our_server) = serve_ours(&keys, &shutdown).await;
        let tonic_channel = |address: SocketAddr| {
            let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("an address");
            endpoint.tcp_nodelay(true).connect_lazy()
        };
        let identity = || Credentials::from(ServiceIdentity::open(&keys, "front").expect("a key"));
        let our_channel =
            |address: SocketAddr| client::connect_with_rules("back", &Address::from(address), identity(), &RULES);
        Self {
            token: issuer.token("alice", &[Role::Customer], Duration::from_secs(3600)),
            bare_to_bare: tonic_channel(bare),
            bare_to_ours: tonic_channel(ours),
            ours_to_bare: our_channel(bare),
            ours_to_ours: our_channel(ours),
            shutdown,
            servers: vec![bare_server, our_server],
            _keys: dir,
        }
    }

    /// So many calls between these of [`ENDS`].
    async fn calls(&self, ends: usize, amount: Amount) -> Cost {
        let token = Some(self.token.as_str());
        match ends {
            0 => calls(&self.bare_to_bare, token, amount).await,
            1 => calls(&self.ours_to_bare, None, amount).await,
            2 => calls(&self.bare_to_ours, token, amount).await,
            _ => calls(&self.ours_to_ours, None, amount).await,
        }
    }

    async fn end(self) {
        self.shutdown.cancel();
        for server in self.servers {
            server.await.expect("no panic");
        }
    }
}

async fn serve_bare(shutdown: &CancellationToken) -> (SocketAddr, JoinHandle<()>) {
    let (listener, address) = listen().await;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = tonic::transport::Server::builder();
    let serving = server.serve_with_incoming_shutdown(Echo, incoming, shutdown.clone().cancelled_owned());
    (address, mesh::deadline::spawn(async { serving.await.expect("it ends well") }))
}

async fn serve_ours(keys: &KeyDirectory, shutdown: &CancellationToken) -> (SocketAddr, JoinHandle<()>) {
    let (listener, address) = listen().await;
    let mut spec = ServerSpec::new("back", &["mesh.bench.v1.Echo"], Verifier::open(keys, "back"));
    spec.rules = &RULES;
    let serving = serve(spec, listener, Routes::new(Echo), shutdown.clone());
    (address, mesh::deadline::spawn(async { serving.await.expect("it ends well") }))
}

async fn measure_calls() {
    let mesh = Mesh::start().await;
    let mut best = [Cost::WORST; ENDS.len()];
    for _ in 0..ROUNDS {
        for (ends, best) in best.iter_mut().enumerate() {
            *best = best.best(mesh.calls(ends, (CALLS, IN_FLIGHT)).await);
        }
    }
    mesh.end().await;
    println!("\n| client | server | µs/call | CPU µs/call | of bare tonic | CPU µs more |");
    println!("|---|---|---:|---:|---:|---:|");
    for ((client, server), cost) in ENDS.into_iter().zip(best) {
        let (ratio, more) = (cost.cpu / best[0].cpu, cost.cpu - best[0].cpu);
        println!("| {client} | {server} | {:.1} | {:.1} | {ratio:.2} | {more:.1} |", cost.wall, cost.cpu);
    }
}

/// What valgrind runs: one thread, nothing but these calls.
async fn only(ends: usize, count: u32) {
    let mesh = Mesh::start().await;
    mesh.calls(ends, (count, COUNTED_IN_FLIGHT)).await;
    mesh.end().await;
}

/// Instructions of a run with so many calls.
fn instructions(ends: usize, count: u32) -> u64 {
    let this = std::env::current_exe().expect("a program has a path");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(this);
    let output = valgrind.args([ONLY, &ends.to_string(), &count.to_string()]).output();
    let output = output.expect("valgrind is installed (Debian: apt-get install valgrind)");
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    let collected = report.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.unwrap_or_else(|| panic!("valgrind does not say how many: {report}"))
}

fn count_instructions() {
    let per_call = |ends| {
        let more = instructions(ends, 2 * COUNTED_CALLS) - instructions(ends, COUNTED_CALLS);
        more as f64 / f64::from(COUNTED_CALLS)
    };
    println!("| client | server | instructions/call | of bare tonic | more |");
    println!("|---|---|---:|---:|---:|");
    let bare = per_call(0);
    for (ends, (client, server)) in ENDS.into_iter().enumerate() {
        let count = if ends == 0 { bare } else { per_call(ends) };
        println!("| {client} | {server} | {count:.0} | {:.2} | {:.0} |", count / bare, count - bare);
    }
}

const INSTRUCTIONS: &str = "--instructions";
const ONLY: &str = "--only";

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [ONLY, ends, count] => {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(only(ends.parse().expect("a number"), count.parse().expect("a number")));
        }
        // cargo adds a word of its own.
        [INSTRUCTIONS, ..] => count_instructions(),
        _ => Builder::new_multi_thread().enable_all().build().expect("a runtime").block_on(async {
            measure_layers().await;
            measure_calls().await;
        }),
    }
}
