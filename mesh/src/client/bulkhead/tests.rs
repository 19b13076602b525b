//! The layer over a callee that answers when the test says.

use std::future::pending;

use futures_util::FutureExt as _;
use tonic::Code;
use tower::ServiceExt as _;

use super::*;
use crate::client::advice::Advice;
use crate::fault::{reason_of, retry_delay_of};

#[derive(Clone, Copy)]
enum Act {
    /// No answer.
    Silent,
    /// A refusal.
    Refuses,
    /// A message, and no end.
    Hangs,
    /// A message and the end.
    Answers,
}

#[derive(Clone)]
struct Callee(Act);

impl Service<Request<Body>> for Callee {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let act = self.0;
        Box::pin(async move {
            match act {
                Act::Silent => pending().await,
                Act::Refuses => Ok(Status::not_found("").into_http()),
                Act::Hangs => Ok(Response::new(Body::new(Script { frames: vec![data()], hangs: true }))),
                Act::Answers => Ok(Response::new(Body::new(Script { frames: vec![end(), data()], hangs: false }))),
            }
        })
    }
}

fn data() -> Frame<Bytes> {
    Frame::data(Bytes::from_static(b"message"))
}

fn end() -> Frame<Bytes> {
    Frame::trailers(Status::new(Code::Ok, "").into_http::<Body>().headers().clone())
}

struct Script {
    frames: Vec<Frame<Bytes>>,
    hangs: bool,
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.frames.pop() {
            None if self.hangs => Poll::Pending,
            frame => Poll::Ready(frame.map(Ok)),
        }
    }
}

struct Bench(Arc<Places>);

impl Bench {
    fn new(limit: usize) -> Self {
        Self(Arc::new(Places::new("callee", limit)))
    }

    fn call(&self, act: Act) -> Placed<<Callee as Service<Request<Body>>>::Future> {
        Bulkhead::new(Callee(act), Some(Arc::clone(&self.0))).call(Request::new(Body::empty()))
    }

    async fn is_full(&self) -> bool {
        let answer = self.call(Act::Refuses).await.unwrap();
        Status::from_header_map(answer.headers()).and_then(|status| reason_of(&status)).as_deref()
            == Some(BULKHEAD_FULL)
    }
}

async fn read(body: &mut Body) -> Option<Result<Frame<Bytes>, Status>> {
    std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *body), cx)).await
}

#[tokio::test]
async fn what_does_not_fit_is_told_at_once_when_to_come_back() {
    let bench = Bench::new(2);
    let waiting = [bench.call(Act::Silent), bench.call(Act::Silent)];
    let answer = bench.call(Act::Silent).now_or_never().expect("at once").unwrap();
    let status = Status::from_header_map(answer.headers()).expect("a refusal");
    assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::Unavailable, Some(BULKHEAD_FULL)));
    assert_eq!(retry_delay_of(&status), Some(RETRY_AFTER));
    assert!(Advice::of(answer.headers()).never, "asking again at once would be a queue");
    drop(waiting);
    assert!(!bench.is_full().await);
}

/// The guard lives until the body ends, not until the headers are there.
#[tokio::test]
async fn a_place_is_kept_until_the_answer_is_complete() {
    let bench = Bench::new(1);
    let mut body = bench.call(Act::Answers).await.unwrap().into_body();
    assert!(bench.is_full().await);
    assert!(read(&mut body).await.unwrap().unwrap().is_data());
    assert!(bench.is_full().await);
    assert!(read(&mut body).await.unwrap().unwrap().is_trailers());
    assert!(!bench.is_full().await, "even if somebody keeps the body");
}

#[tokio::test]
async fn whoever_leaves_gives_the_place_back() {
    let bench = Bench::new(1);
    for _ in 0..9 {
        let waiting = bench.call(Act::Silent);
        assert!(bench.is_full().await);
        drop(waiting);
        let mut begun = bench.call(Act::Hangs).await.unwrap().into_body();
        read(&mut begun).await.unwrap().unwrap();
        assert!(bench.is_full().await);
        drop(begun);
        drop(bench.call(Act::Refuses).await.unwrap());
    }
    assert!(!bench.is_full().await);
}

#[tokio::test]
async fn without_places_there_is_no_limit() {
    let waiting: Vec<_> = (0..5_000)
        .map(|_| Bulkhead::new(Callee(Act::Silent), None).oneshot(Request::new(Body::empty())).now_or_never())
        .collect();
    assert!(waiting.iter().all(Option::is_none));
}
