//! A small mesh on real sockets: servers whose one service does what the test says, and keys for everybody.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::PathAndQuery;
use mesh::client::{self, Address, Channel, Credentials};
use mesh::identity::{Issuer, KeyDirectory, ServiceIdentity, Verifier};
use mesh::server::{Drain, Routes, ServeError, ServerSpec, serve};
use proto::contract::{DeadlineBudget, MethodRule, Priority, Role};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::{NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Nothing here takes nearly as long; it only keeps a broken test from hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const BUDGET: DeadlineBudget = DeadlineBudget { default_ms: 5_000, max_ms: 10_000, min_ms: 50 };

pub(crate) static RULES: [MethodRule; 3] = [
    rule("/mesh.test.v1.Echo/Open", &Role::ALL, &["front", "middle", "back"]),
    rule("/mesh.test.v1.Echo/HostOnly", &[Role::Host], &[]),
    rule("/mesh.test.v1.Echo/FrontOnly", &[], &["front"]),
];

const fn rule(path: &'static str, roles: &'static [Role], services: &'static [&'static str]) -> MethodRule {
    let priority = Priority::New;
    MethodRule { path, roles, services, deadline: BUDGET, priority, no_side_effects: true, idempotent: true }
}

pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response<String>, Status>> + Send>>;

/// One gRPC service; every method takes and gives a string.
#[derive(Clone)]
pub(crate) struct Echo(Arc<dyn Fn(Request<String>) -> Answer + Send + Sync>);

impl Echo {
    pub(crate) fn new<F, R>(handler: F) -> Self
    where
        F: Fn(Request<String>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, Status>> + Send + 'static,
    {
        Self(Arc::new(move |request| {
            let answer = handler(request);
            Box::pin(async move { answer.await.map(Response::new) })
        }))
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "mesh.test.v1.Echo";
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, String>::default());
            Ok(grpc.unary(echo, request).await)
        })
    }
}

impl UnaryService<String> for Echo {
    type Response = String;
    type Future = Answer;

    fn call(&mut self, request: Request<String>) -> Answer {
        (self.0)(request)
    }
}

/// Keys of three services and an issuer.
pub(crate) struct Keys {
    dir: TempDir,
    pub(crate) issuer: Issuer,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let issuer = Issuer::create(dir.path(), &["front", "middle", "back"]).unwrap();
        Self { dir, issuer }
    }

    pub(crate) fn directory(&self) -> KeyDirectory {
        KeyDirectory::new(self.dir.path())
    }

    pub(crate) fn verifier(&self, audience: &str) -> Verifier {
        Verifier::open(&self.directory(), audience)
    }

    pub(crate) fn identity(&self, service: &str) -> ServiceIdentity {
        ServiceIdentity::open(&self.directory(), service).unwrap()
    }

    pub(crate) fn user(&self, roles: &[Role]) -> Credentials {
        Credentials::token(&self.issuer.token("alice", roles, Duration::from_secs(60)))
    }

    pub(crate) fn spec(&self, service: &'static str) -> ServerSpec {
        let mut spec = ServerSpec::new(service, &["mesh.test.v1.Echo"], self.verifier(service));
        spec.rules = &RULES;
        spec.drain = Drain { lame_duck: Duration::ZERO, limit: Duration::from_secs(5) };
        spec
    }

    pub(crate) async fn serve(&self, service: &'static str, echo: Echo) -> Server {
        Server::start(self.spec(service), echo).await
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    pub(crate) async fn start(spec: ServerSpec, echo: Echo) -> Self {
        Self::start_routes(spec, Routes::new(echo)).await
    }

    pub(crate) async fn start_routes(spec: ServerSpec, routes: Routes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task = mesh::deadline::spawn(serve(spec, listener, routes, shutdown.clone()));
        Self { address, shutdown, task }
    }

    pub(crate) fn channel(&self, target: &'static str, caller: impl Into<Credentials>) -> Channel {
        channel(target, self.address, caller)
    }

    /// Ends at once, with all connections.
    pub(crate) async fn kill(self) {
        self.task.abort();
        // Nothing of it is left when the task is gone.
        let _ = self.task.await;
    }

    /// Signals the end and waits for it.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.stopped().await;
    }

    pub(crate) async fn stopped(self) {
        tokio::time::timeout(PATIENCE, self.task).await.expect("the server ends").unwrap().unwrap();
    }
}

pub(crate) fn channel(target: &'static str, address: SocketAddr, caller: impl Into<Credentials>) -> Channel {
    client::connect_with_rules(target, &Address::from(address), caller, &RULES)
}

/// Calls `method` of the echo service.
pub(crate) async fn call(channel: &Channel, method: &'static str, request: Request<String>) -> Result<String, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::try_from(format!("/mesh.test.v1.Echo/{method}")).unwrap();
    let answer = grpc.unary(request, path, ProstCodec::<String, String>::default());
    Ok(tokio::time::timeout(PATIENCE, answer).await.expect("every call is answered")?.into_inner())
}

pub(crate) fn text(text: &str) -> Request<String> {
    Request::new(text.to_owned())
}

pub(crate) fn within(text: &str, timeout: Duration) -> Request<String> {
    let mut request = Request::new(text.to_owned());
    request.set_timeout(timeout);
    request
}
