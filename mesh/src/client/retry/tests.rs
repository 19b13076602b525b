//! The loop over a callee that answers what the test says, on a paused clock.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use proto::contract::{DeadlineBudget, Priority};
use tokio::time::Instant;
use tonic::Status;
use tower::ServiceExt as _;

use super::*;
use crate::chain::Chain;
use crate::client::advice::final_answer;
use crate::fault::{Fault, reason, reason_of};

const SAFE: &str = "/mesh.test.v1.Retry/Safe";
const UNSAFE: &str = "/mesh.test.v1.Retry/Unsafe";

static RULES: [MethodRule; 2] = [rule(SAFE, true), rule(UNSAFE, false)];

const fn rule(path: &'static str, idempotent: bool) -> MethodRule {
    let deadline = DeadlineBudget { default_ms: 2_000, max_ms: 2_000, min_ms: 1 };
    MethodRule {
        path,
        roles: &[],
        services: &[],
        deadline,
        priority: Priority::New,
        no_side_effects: false,
        idempotent,
    }
}

/// A request as it reached the callee.
struct Seen {
    at: Instant,
    previous: Option<String>,
    message: Vec<u8>,
}

/// Answers in order, and then that all is well.
#[derive(Clone, Default)]
struct Callee {
    answers: Arc<Mutex<VecDeque<Status>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Callee {
    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Service<Request<Body>> for Callee {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let callee = self.clone();
        Box::pin(async move {
            let (parts, mut body) = request.into_parts();
            let mut message = Vec::new();
            while let Some(frame) =
                std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await
            {
                message.extend_from_slice(&frame.unwrap().into_data().unwrap());
            }
            let previous = parts.headers.get(PREVIOUS_ATTEMPTS).map(|count| count.to_str().unwrap().to_owned());
            callee.seen.lock().unwrap().push(Seen { at: Instant::now(), previous, message });
            let answer = callee.answers.lock().unwrap().pop_front();
            // Without a status in the headers an answer has begun.
            Ok(answer.map_or_else(|| Response::new(Body::empty()), Status::into_http))
        })
    }
}

struct Bench {
    callee: Callee,
    retries: Retries<Callee>,
}

impl Bench {
    fn new(settings: Retry) -> Self {
        let callee = Callee::default();
        let policy = Arc::new(Policy::new("callee", &RULES, settings));
        Self { retries: Retries::new(callee.clone(), Some(policy)), callee }
    }

    async fn call_with(&self, path: &str, message: Vec<u8>, budget: Duration) -> Option<Code> {
        let mut request = Request::new(whole(Bytes::from(message)));
        *request.uri_mut() = path.parse().unwrap();
        request.extensions_mut().insert(Deadline::after(budget));
        status_code(self.retries.clone().oneshot(request).await.unwrap().headers())
    }

    async fn call(&self) -> Option<Code> {
        self.call_with(SAFE, b"message".to_vec(), Duration::from_secs(2)).await
    }

    fn answer(&self, answers: impl IntoIterator<Item = Status>) {
        self.callee.answers.lock().unwrap().extend(answers);
    }

    /// How often a call is made whose first answer is this.
    async fn attempts_after(&self, answer: Status) -> usize {
        let before = self.callee.seen();
        self.answer([answer]);
        self.call().await;
        self.callee.seen() - before
    }
}

fn unavailable() -> Status {
    Status::unavailable("")
}

fn asking(delay_ms: u64) -> Status {
    Fault::unavailable("TEST", "", Duration::from_millis(delay_ms)).into()
}

#[tokio::test(start_paused = true)]
async fn only_unavailable_is_worth_another_attempt() {
    for code in (1..=16).map(Code::from) {
        let bench = Bench::new(Retry::default());
        let expected = if code == Code::Unavailable { 2 } else { 1 };
        assert_eq!(bench.attempts_after(Status::new(code, "")).await, expected, "{code:?}");
    }
    let bench = Bench::new(Retry::default());
    assert_eq!(bench.call().await, None);
    assert_eq!(bench.callee.seen(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_what_the_contract_calls_safe_is_repeated() {
    let bench = Bench::new(Retry::default());
    for path in [UNSAFE, "/grpc.health.v1.Health/Check"] {
        bench.answer([unavailable()]);
        assert_eq!(bench.call_with(path, Vec::new(), Duration::from_secs(2)).await, Some(Code::Unavailable));
    }
    assert_eq!(bench.callee.seen(), 2);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_the_same_message_and_says_how_many_there_were() {
    let bench = Bench::new(Retry::default());
    bench.answer([unavailable(), unavailable()]);
    assert_eq!(bench.call().await, None);
    let seen = bench.callee.seen.lock().unwrap();
    let previous: Vec<_> = seen.iter().map(|seen| seen.previous.as_deref()).collect();
    assert_eq!(previous, [None, Some("1"), Some("2")]);
    assert!(seen.iter().all(|seen| seen.message == b"message"));
}

#[tokio::test(start_paused = true)]
async fn there_are_three_attempts_and_the_pauses_double() {
    let mut longest = [Duration::ZERO; 2];
    for _ in 0..200 {
        let bench = Bench::new(Retry::default());
        bench.answer((0..9).map(|_| unavailable()));
        assert_eq!(bench.call().await, Some(Code::Unavailable));
        let seen = bench.callee.seen.lock().unwrap();
        assert_eq!(seen.len(), 3);
        for (longest, pair) in longest.iter_mut().zip(seen.windows(2)) {
            *longest = (*longest).max(pair[1].at - pair[0].at);
        }
    }
    // A paused clock goes by whole milliseconds.
    let between = |from_ms, to_ms| Duration::from_millis(from_ms)..=Duration::from_millis(to_ms);
    assert!(between(20, 26).contains(&longest[0]) && between(40, 51).contains(&longest[1]), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_callee_is_asked_again_when_it_says_or_not_at_all() {
    let bench = Bench::new(Retry { attempts: 2, ..Retry::default() });
    bench.answer([asking(200)]);
    assert_eq!(bench.call().await, None);
    let waited = {
        let seen = bench.callee.seen.lock().unwrap();
        seen[1].at - seen[0].at
    };
    assert!((Duration::from_millis(200)..=Duration::from_millis(226)).contains(&waited), "{waited:?}");

    let check = async |answer: Status, expected: usize| {
        assert_eq!(Bench::new(Retry::default()).attempts_after(answer).await, expected);
    };
    check(asking(250), 2).await;
    check(asking(251), 1).await;
    check(final_answer(Fault::unavailable("TEST", "", Duration::ZERO)), 1).await;
}

#[tokio::test(start_paused = true)]
async fn no_pause_goes_past_the_deadline() {
    let bench = Bench::new(Retry::default());
    let began = Instant::now();
    bench.answer([asking(100)]);
    let answer = bench.call_with(SAFE, Vec::new(), Duration::from_millis(100)).await;
    assert_eq!((answer, bench.callee.seen()), (Some(Code::Unavailable), 1));
    assert_eq!(began.elapsed(), Duration::ZERO, "it is told at once");
}

/// An attempt that may have done its work is not forgotten because the next one found nobody.
#[tokio::test(start_paused = true)]
async fn what_may_have_begun_is_told_rather_than_what_was_not() {
    let (lost, failed) = (reason::CONNECTION_LOST, reason::CONNECTION_FAILED);
    let check = async |reasons: &[&'static str], expected: &str| {
        let bench = Bench::new(Retry::default());
        bench.answer(reasons.iter().map(|reason| Fault::unavailable(*reason, "", Duration::ZERO).into()));
        let mut request = Request::new(whole(Bytes::new()));
        *request.uri_mut() = SAFE.parse().unwrap();
        let response = bench.retries.clone().oneshot(request).await.unwrap();
        let told = Status::from_header_map(response.headers()).and_then(|status| reason_of(&status));
        assert_eq!(told.as_deref(), Some(expected), "{reasons:?}");
    };
    check(&[lost, failed, failed], lost).await;
    check(&[failed, lost, failed], lost).await;
    check(&[failed, failed, lost], lost).await;
    check(&[failed, failed, reason::OVERLOADED], failed).await;
    check(&["BUSY", lost, failed], lost).await;
}

#[tokio::test(start_paused = true)]
async fn a_large_message_is_sent_once() {
    let bench = Bench::new(Retry::default());
    bench.answer([unavailable()]);
    let message: Vec<u8> = (0..100_000u32).map(|index| index.to_le_bytes()[0]).collect();
    let answer = bench.call_with(SAFE, message.clone(), Duration::from_secs(2)).await;
    assert_eq!(answer, Some(Code::Unavailable));
    let seen = bench.callee.seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].message, message);
}

/// Whatever many callers do, a dead callee is called hardly more often than without retries, and once it is back retries come back too.
#[tokio::test(start_paused = true)]
async fn a_dead_callee_is_not_stormed() {
    let bench = Bench::new(Retry::default());
    bench.answer((0..10_000).map(|_| unavailable()));
    for _ in 0..1_000 {
        bench.call().await;
    }
    let made = bench.callee.seen();
    assert!((1_000..=1_010).contains(&made), "{made} attempts of 1000 calls");

    bench.callee.answers.lock().unwrap().clear();
    // One call in ten fails: what its failure takes the others give back, so nothing is repeated for as long as that lasts.
    for _ in 0..100 {
        assert_eq!(bench.attempts_after(unavailable()).await, 1);
        for _ in 0..9 {
            bench.call().await;
        }
    }
    for _ in 0..120 {
        bench.call().await;
    }
    assert_eq!(bench.attempts_after(unavailable()).await, 2);
}

/// What was given up below is not tried again above.
#[tokio::test(start_paused = true)]
async fn one_level_of_a_chain_repeats() {
    let check = async |answers: usize, expected: bool| {
        let bench = Bench::new(Retry::default());
        bench.answer((0..answers).map(|_| unavailable()));
        let chain = Chain::begin();
        chain.scope(bench.call()).await;
        assert_eq!(chain.has_given_up(), expected, "{answers} failures");
    };
    check(0, false).await;
    check(2, false).await;
    check(3, true).await;
}

#[tokio::test]
async fn work_that_is_handed_on_belongs_to_the_same_chain() {
    let chain = Chain::begin();
    chain.scope(async { crate::deadline::spawn(async { chain::give_up() }).await.unwrap() }).await;
    assert!(chain.has_given_up());
    chain::give_up();
}
