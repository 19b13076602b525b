//! The layer over a callee that answers what the test says, on a paused clock. What the machine decides is tested beside it.

use std::collections::VecDeque;
use std::future::{Ready, pending, ready};

use futures_util::future::Either;
use http::{HeaderMap, HeaderValue};
use proto::contract::{DeadlineBudget, Priority};
use tokio::time::{advance, timeout};
use tower::ServiceExt as _;

use super::*;
use crate::fault::{reason_of, retry_delay_of};

const READ: &str = "/mesh.test.v1.Breaker/Read";
const WRITE: &str = "/mesh.test.v1.Breaker/Write";
const DEFAULT: Duration = Duration::from_secs(2);

static RULES: [MethodRule; 2] = [rule(READ, true), rule(WRITE, false)];

const fn rule(path: &'static str, no_side_effects: bool) -> MethodRule {
    let deadline = DeadlineBudget { default_ms: 2_000, max_ms: 2_000, min_ms: 1 };
    MethodRule { path, roles: &[], services: &[], deadline, priority: Priority::New, no_side_effects, idempotent: true }
}

/// Opens at once, closes at once.
const QUICK: Breaker = Breaker {
    window: Duration::from_secs(10),
    minimum_calls: 20,
    failure_rate: 0.5,
    slow_rate: 0.8,
    slow_after: None,
    consecutive_failures: 1,
    open: Duration::from_millis(500),
    open_max: Duration::from_secs(30),
    probes: 2,
    good_probes: 2,
};

/// What the callee does.
#[derive(Clone, Debug)]
enum Act {
    /// A status in the headers.
    Headers(Code),
    /// That many messages, and a status after them.
    Trailers(usize, Code),
    /// That many messages, and an end without a status.
    Nothing(usize),
    /// That many messages, and the connection breaks.
    Breaks(usize),
    /// That many messages, and silence.
    Hangs(usize),
    /// Not even headers.
    Silent,
    /// A failure that another call reports.
    Shared,
    /// That failure, in the headers or in the trailers.
    Says(Status, bool),
}

#[derive(Clone)]
struct Callee(Act);

impl Service<Request<Body>> for Callee {
    type Response = Response<Script>;
    type Error = Infallible;
    type Future =
        Either<Ready<Result<Response<Script>, Infallible>>, std::future::Pending<Result<Response<Script>, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let (messages, end) = match self.0.clone() {
            Act::Silent => return Either::Right(pending()),
            Act::Headers(code) => return Either::Left(ready(Ok(Status::new(code, "").into_http()))),
            Act::Shared => {
                let mut response = Status::unavailable("").into_http();
                response.extensions_mut().insert(Uncounted);
                return Either::Left(ready(Ok(response)));
            }
            Act::Says(status, false) => return Either::Left(ready(Ok(status.into_http()))),
            Act::Says(status, true) => (0, Some(Ok(Frame::trailers(status.into_http::<Body>().headers().clone())))),
            Act::Trailers(messages, code) => (messages, Some(Ok(Frame::trailers(trailers(code))))),
            Act::Breaks(messages) => (messages, Some(Err(Status::unavailable("it broke")))),
            Act::Nothing(messages) | Act::Hangs(messages) => (messages, None),
        };
        let frames = (0..messages).map(|_| Ok(Frame::data(Bytes::from_static(b"message")))).chain(end);
        let script = Script { frames: frames.collect(), hangs: matches!(self.0, Act::Hangs(_)) };
        Either::Left(ready(Ok(Response::new(script))))
    }
}

fn trailers(code: Code) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(i32::from(code)))])
}

#[derive(Default)]
struct Script {
    frames: VecDeque<Result<Frame<Bytes>, Status>>,
    hangs: bool,
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.frames.pop_front() {
            None if self.hangs => Poll::Pending,
            frame => Poll::Ready(frame),
        }
    }
}

/// One callee's breakers, and a way to change what the callee does.
struct Bench(Breakers<Callee>);

impl Bench {
    fn new(settings: Breaker) -> Self {
        Self(Breakers::new(Callee(Act::Silent), circuits("callee", &RULES, Some(settings))))
    }

    fn ask(&self, path: &str, act: Act, budget: Duration) -> Guarded<<Callee as Service<Request<Body>>>::Future> {
        let mut breakers = Breakers { inner: Callee(act), methods: self.0.methods.clone() };
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = path.parse().unwrap();
        request.extensions_mut().insert(Deadline::after(budget));
        breakers.call(request)
    }

    /// A whole call, given up at its deadline. Answers the reason if the breaker rejected it.
    async fn call_within(&self, path: &str, act: Act, budget: Duration) -> Option<Status> {
        let whole = async {
            let response = self.ask(path, act, budget).await.unwrap();
            let status = Status::from_header_map(response.headers());
            let mut body = response.into_body();
            while next(&mut body).await.is_some_and(|frame| frame.is_ok()) {}
            status.filter(|status| reason_of(status).as_deref() == Some(BREAKER_OPEN))
        };
        timeout(budget, whole).await.unwrap_or_default()
    }

    async fn call(&self, act: Act) -> Option<Status> {
        self.call_within(READ, act, DEFAULT).await
    }

    async fn is_open(&self, path: &str) -> bool {
        self.call_within(path, Act::Headers(Code::Ok), DEFAULT).await.is_some()
    }
}

async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, Status>> {
    std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *body), cx)).await
}

/// Which ends are the callee's fault, wherever the status stands.
#[tokio::test(start_paused = true)]
async fn only_trouble_of_the_callee_counts() {
    let check = async |act: Act, expected: bool| {
        let bench = Bench::new(QUICK);
        assert!(bench.call(act.clone()).await.is_none());
        assert_eq!(bench.is_open(READ).await, expected, "{act:?}");
    };
    for code in (0..=16).map(Code::from) {
        let trouble = matches!(code, Code::Unavailable | Code::Internal | Code::Unknown | Code::DataLoss);
        let late = code == Code::DeadlineExceeded;
        check(Act::Headers(code), trouble || late).await;
        check(Act::Trailers(0, code), trouble || late).await;
        // The time of a stream that has begun may run out.
        check(Act::Trailers(3, code), trouble).await;
    }
    check(Act::Nothing(0), true).await;
    check(Act::Nothing(2), true).await;
    check(Act::Breaks(1), true).await;
    check(Act::Silent, true).await;
    check(Act::Hangs(0), true).await;
    check(Act::Hangs(1), false).await;
    check(Act::Shared, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_callee_is_not_guilty_of_a_time_it_never_had() {
    for (budget_ms, expected) in [(999, false), (1_000, true)] {
        for act in [Act::Silent, Act::Hangs(0), Act::Headers(Code::DeadlineExceeded)] {
            let bench = Bench::new(QUICK);
            assert!(bench.call_within(READ, act.clone(), Duration::from_millis(budget_ms)).await.is_none());
            assert_eq!(bench.is_open(READ).await, expected, "{act:?} in {budget_ms} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn callers_who_leave_a_slow_callee_make_it_slow() {
    let bench = Bench::new(Breaker { minimum_calls: 3, consecutive_failures: 99, slow_rate: 1.0, ..QUICK });
    for elapsed_ms in [999, 1_000, 1_000, 1_000] {
        assert!(!bench.is_open(WRITE).await);
        let call = bench.ask(READ, Act::Silent, DEFAULT);
        advance(Duration::from_millis(elapsed_ms)).await;
        drop(call);
    }
    assert!(bench.is_open(READ).await);
}

#[tokio::test(start_paused = true)]
async fn reads_and_writes_have_a_breaker_each() {
    let bench = Bench::new(QUICK);
    bench.call_within(WRITE, Act::Headers(Code::Internal), DEFAULT).await;
    assert!(bench.is_open(WRITE).await && !bench.is_open(READ).await);
}

#[tokio::test(start_paused = true)]
async fn methods_outside_the_contract_pass_by() {
    let bench = Bench::new(QUICK);
    for _ in 0..9 {
        assert!(
            bench.call_within("/grpc.health.v1.Health/Check", Act::Headers(Code::Internal), DEFAULT).await.is_none()
        );
    }
}

/// A13, T23: told at once, when to come back, by something that says what it is.
#[tokio::test(start_paused = true)]
async fn a_rejection_says_when_to_come_back() {
    let bench = Bench::new(QUICK);
    bench.call(Act::Headers(Code::Unavailable)).await;
    let rejected = bench.call(Act::Silent).await.expect("open");
    let fault = Fault::from_status(&rejected);
    assert_eq!((fault.code(), fault.metadata("service"), fault.metadata("method")), {
        (Code::Unavailable, Some("callee"), Some(READ.trim_start_matches('/')))
    });
    let delay = retry_delay_of(&rejected).expect("when to come back");
    assert!((Duration::from_millis(400)..=Duration::from_millis(600)).contains(&delay), "{delay:?}");
    advance(delay).await;
    assert!(bench.call(Act::Trailers(1, Code::Ok)).await.is_none());
    assert!(bench.call(Act::Trailers(1, Code::Ok)).await.is_none());
    assert_eq!(bench.0.methods[READ].circuit.state.lock().unwrap().phase(), Phase::Closed);
}

/// What the callee asks for is a floor, wherever in the answer it stands.
#[tokio::test(start_paused = true)]
async fn a_callee_that_asks_for_time_gets_it() {
    let asked = Status::from(Fault::unavailable("BUSY", "", Duration::from_secs(7)));
    for act in [Act::Says(asked.clone(), false), Act::Says(asked, true)] {
        let bench = Bench::new(QUICK);
        bench.call(act.clone()).await;
        let delay = retry_delay_of(&bench.call(Act::Silent).await.expect("open")).expect("when to come back");
        assert!((Duration::from_secs(7)..Duration::from_secs(9)).contains(&delay), "{delay:?} after {act:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_final() {
    let bench = Bench::new(QUICK);
    bench.call(Act::Headers(Code::Unavailable)).await;
    let rejected = bench.ask(READ, Act::Silent, DEFAULT).await.unwrap();
    assert!(Advice::of(rejected.headers()).never);
}

#[tokio::test(start_paused = true)]
async fn an_operator_decides_for_one_method() {
    let bench = Bench::new(QUICK);
    let circuit = |path: &str| &bench.0.methods[path].circuit;
    assert!(!circuit(READ).is_used() && !circuit(WRITE).is_used());
    circuit(READ).set(Mode::Open);
    assert!(bench.is_open(READ).await && !bench.is_open(WRITE).await);
    advance(Duration::from_hours(1)).await;
    assert!(bench.is_open(READ).await);
    assert_eq!((circuit(READ).snapshot().phase, circuit(READ).rejected()), (Phase::ForcedOpen, 2));
    circuit(READ).set(Mode::Disabled);
    for _ in 0..99 {
        assert!(bench.call(Act::Headers(Code::Unavailable)).await.is_none());
    }
    circuit(READ).set(Mode::Auto);
    assert!(!bench.is_open(READ).await);
    bench.call(Act::Headers(Code::Unavailable)).await;
    assert!(bench.is_open(READ).await, "it decides again");
}

#[tokio::test(start_paused = true)]
async fn cancelled_probes_give_their_permits_back() {
    let bench = Bench::new(QUICK);
    bench.call(Act::Headers(Code::Unavailable)).await;
    advance(Duration::from_secs(1)).await;
    for _ in 0..9 {
        // Before the headers, and within the body.
        let waiting = bench.ask(READ, Act::Silent, DEFAULT);
        let begun = bench.ask(READ, Act::Hangs(1), DEFAULT).await.unwrap();
        assert!(bench.is_open(READ).await, "both permits are out");
        drop((waiting, begun));
    }
    bench.call(Act::Headers(Code::Ok)).await;
    bench.call(Act::Headers(Code::Ok)).await;
    assert_eq!(bench.0.methods[READ].circuit.state.lock().unwrap().phase(), Phase::Closed);
}

#[tokio::test(start_paused = true)]
async fn without_numbers_there_is_no_breaker() {
    let off = Breakers::new(Callee(Act::Headers(Code::Internal)), circuits("callee", &RULES, None));
    for _ in 0..99 {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = READ.parse().unwrap();
        let answer = off.clone().oneshot(request).await.unwrap();
        assert_eq!(status_code(answer.headers()), Some(Code::Internal));
    }
}

/// Callers on several threads, some leaving in the middle: no permit is lost, and never are more out than there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn permits_do_not_leak_under_concurrency() {
    let settings = Breaker { open: Duration::from_millis(1), probes: 3, good_probes: 3, ..QUICK };
    let bench = Arc::new(Bench::new(settings));
    let tasks = (0..8).map(|task| {
        let bench = bench.clone();
        crate::deadline::spawn(async move {
            for round in 0..2_000 {
                match (task + round) % 4 {
                    0 => drop(bench.call(Act::Headers(Code::Internal)).await),
                    1 => drop(bench.ask(READ, Act::Silent, DEFAULT)),
                    2 => drop(bench.call(Act::Trailers(1, Code::Ok)).await),
                    _ => drop(bench.ask(READ, Act::Hangs(1), DEFAULT).await),
                }
                tokio::task::yield_now().await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    crate::testing::eventually(Duration::from_secs(10), || async {
        bench.call(Act::Trailers(1, Code::Ok)).await;
        bench.0.methods[READ].circuit.state.lock().unwrap().phase() == Phase::Closed
    })
    .await;
}
