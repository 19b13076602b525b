use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::Stream;
use futures_util::stream::{self, StreamExt};
use http::uri::PathAndQuery;
use mesh::client::Channel;
use mesh::deadline;
use mesh::fault::{Fault, reason_of, retry_delay_of};
use mesh::identity::principal;
use mesh::server::Routes;
use mesh::testing::eventually;
use proto::contract::{DeadlineBudget, MethodRule, Priority, Role};
use tonic::body::Body;
use tonic::server::{NamedService, ServerStreamingService};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::harness::{Keys, PATIENCE, Server, call, text, within};

type Messages = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;
type Answer = Pin<Box<dyn Future<Output = Result<Response<Messages>, Status>> + Send>>;

/// One gRPC service; every method takes a string and gives many.
#[derive(Clone)]
pub(crate) struct Many(Arc<dyn Fn(Request<String>) -> Messages + Send + Sync>);

impl Many {
    pub(crate) fn new<F, S>(handler: F) -> Self
    where
        F: Fn(Request<String>) -> S + Send + Sync + 'static,
        S: Stream<Item = Result<String, Status>> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin(handler(request))))
    }
}

impl NamedService for Many {
    const NAME: &'static str = "mesh.test.v1.Echo";
}

impl tower::Service<http::Request<Body>> for Many {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let many = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, String>::default());
            Ok(grpc.server_streaming(many, request).await)
        })
    }
}

impl ServerStreamingService<String> for Many {
    type Response = String;
    type ResponseStream = Messages;
    type Future = Answer;

    fn call(&mut self, request: Request<String>) -> Answer {
        let messages = (self.0)(request);
        Box::pin(async move { Ok(Response::new(messages)) })
    }
}

/// Opens a stream by `method` of the service.
pub(crate) async fn open(
    channel: &Channel,
    method: &'static str,
    request: Request<String>,
) -> Result<Streaming<String>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::try_from(format!("/mesh.test.v1.Echo/{method}")).unwrap();
    Ok(grpc.server_streaming(request, path, ProstCodec::<String, String>::default()).await?.into_inner())
}

/// One message, then nothing more, for ever.
pub(crate) fn one_then_silence(text: String) -> impl Stream<Item = Result<String, Status>> {
    stream::once(async move { Ok(text) }).chain(stream::pending())
}

/// Opens a stream and takes its first message.
async fn opened(channel: &Channel, request: Request<String>) -> Streaming<String> {
    let mut messages = open(channel, "Open", request).await.unwrap();
    assert_eq!(messages.message().await.unwrap().as_deref(), Some("first"));
    messages
}

/// How the stream ends, if it has no more messages.
async fn end(messages: &mut Streaming<String>) -> Status {
    let next = tokio::time::timeout(PATIENCE, messages.message());
    next.await.expect("the stream ends").expect_err("the stream ends with a status")
}

async fn serve_many(keys: &Keys, many: Many) -> Server {
    Server::start_routes(keys.spec("back"), Routes::new(many)).await
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline_and_says_so() {
    let keys = Keys::new();
    let server = serve_many(&keys, Many::new(|request| one_then_silence(request.into_inner()))).await;
    let channel = server.channel("back", keys.identity("front"));
    let began = Instant::now();
    let mut messages = opened(&channel, within("first", Duration::from_millis(400))).await;
    let status = end(&mut messages).await;
    assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::DeadlineExceeded, Some("DEADLINE_EXCEEDED")));
    assert!(retry_delay_of(&status).is_some());
    assert!((Duration::from_millis(350)..Duration::from_secs(5)).contains(&began.elapsed()), "{:?}", began.elapsed());
    server.stop().await;
}

/// The longest time the contract gives is that of the whole stream, not that of its beginning.
#[tokio::test]
async fn a_stream_lasts_no_longer_than_its_rule_allows() {
    static BRIEF: [MethodRule; 1] = [MethodRule {
        path: "/mesh.test.v1.Echo/Open",
        roles: &[],
        services: &["front"],
        deadline: DeadlineBudget { default_ms: 200, max_ms: 300, min_ms: 1 },
        priority: Priority::New,
        no_side_effects: true,
        idempotent: true,
    }];
    let keys = Keys::new();
    let mut spec = keys.spec("back");
    spec.rules = &BRIEF;
    let many = Many::new(|request| one_then_silence(request.into_inner()));
    let server = Server::start_routes(spec, Routes::new(many)).await;
    let channel = server.channel("back", keys.identity("front"));
    let mut messages = opened(&channel, within("first", Duration::from_secs(60))).await;
    assert_eq!(end(&mut messages).await.code(), Code::DeadlineExceeded);
    server.stop().await;
}

#[tokio::test]
async fn what_makes_a_stream_knows_its_caller_and_its_deadline() {
    let keys = Keys::new();
    let many = Many::new(|request| {
        let caller = principal(&request).map(|caller| caller.to_string()).map_err(Status::from);
        stream::once(async move {
            tokio::task::yield_now().await;
            let left = deadline::remaining().expect("a stream has a deadline");
            assert!((Duration::from_secs(3)..Duration::from_secs(5)).contains(&left), "{left:?}");
            caller
        })
    });
    let server = serve_many(&keys, many).await;
    let channel = server.channel("back", keys.user(&[Role::Customer]));
    let mut messages = open(&channel, "Open", text("")).await.unwrap();
    assert_eq!(messages.message().await.unwrap().as_deref(), Some("users/alice"));
    assert_eq!(messages.message().await.unwrap(), None);
    server.stop().await;
}

#[tokio::test]
async fn a_fault_after_the_first_message_keeps_its_details() {
    let keys = Keys::new();
    let many = Many::new(|request| {
        let gone = Fault::not_found("THING_GONE", "mesh.test/Thing", "things/1");
        stream::iter([Ok(request.into_inner()), Err(gone.into())])
    });
    let server = serve_many(&keys, many).await;
    let channel = server.channel("back", keys.identity("front"));
    let mut messages = opened(&channel, text("first")).await;
    let status = end(&mut messages).await;
    assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::NotFound, Some("THING_GONE")));
    server.stop().await;
}

#[tokio::test]
async fn a_drain_ends_streams_at_once_and_their_callers_may_come_back() {
    let keys = Keys::new();
    let server = serve_many(&keys, Many::new(|request| one_then_silence(request.into_inner()))).await;
    let channel = server.channel("back", keys.identity("front"));
    let mut messages = opened(&channel, text("first")).await;
    let began = Instant::now();
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let status = end(&mut messages).await;
    assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::Unavailable, Some("SHUTTING_DOWN")));
    assert!(retry_delay_of(&status).is_some());
}

/// A drain cuts nothing off that is ready to be told.
#[tokio::test]
async fn a_stream_that_has_all_its_messages_is_complete_in_a_drain_too() {
    let keys = Keys::new();
    let server = serve_many(&keys, Many::new(|_| stream::iter((0..200).map(|n| Ok(n.to_string()))))).await;
    let channel = server.channel("back", keys.identity("front"));
    let messages = open(&channel, "Open", text("")).await.unwrap();
    server.shutdown.cancel();
    let told: Vec<_> = messages.map(|message| message.expect("complete")).collect().await;
    assert_eq!(told.len(), 200);
    server.stopped().await;
}

#[tokio::test]
async fn an_open_stream_keeps_its_place_until_its_caller_goes() {
    let keys = Keys::new();
    let open_now = Arc::new(AtomicUsize::new(0));
    let counted = open_now.clone();
    let many = Many::new(move |request| {
        let counted = Counted::new(&counted);
        one_then_silence(request.into_inner()).map(move |message| {
            let _kept = &counted;
            message
        })
    });
    let mut spec = keys.spec("back");
    spec.limits.calls = 1;
    let server = Server::start_routes(spec, Routes::new(many)).await;
    let channel = server.channel("back", keys.identity("front"));
    let messages = opened(&channel, text("first")).await;
    let status = call(&channel, "Open", text("")).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::Unavailable, Some("OVERLOADED")));
    drop(messages);
    eventually(PATIENCE, || async { open_now.load(Ordering::SeqCst) == 0 }).await;
    opened(&channel, text("first")).await;
    server.stop().await;
}

/// Counts how many there are.
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The reader decides the pace: what it does not take is not made.
#[tokio::test]
async fn nothing_is_made_for_a_reader_who_takes_nothing() {
    const MESSAGE_BYTES: usize = 64 * 1024;
    let keys = Keys::new();
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let many = Many::new(move |_| {
        let counted = counted.clone();
        stream::repeat_with(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok("x".repeat(MESSAGE_BYTES))
        })
    });
    let server = serve_many(&keys, many).await;
    let channel = server.channel("back", keys.identity("front"));
    let messages = open(&channel, "Open", within("", Duration::from_secs(2))).await.unwrap();
    // The windows are filled once the count has stood still for a while.
    let mut before = 0;
    eventually(PATIENCE, || {
        let now = made.load(Ordering::SeqCst);
        let settled = now > 0 && std::mem::replace(&mut before, now) == now;
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            settled
        }
    })
    .await;
    assert!(before * MESSAGE_BYTES < 8 * 1024 * 1024, "{before} messages were made");
    // And it does not keep the server from ending.
    drop(messages);
    server.stop().await;
}
