//! The text of a fault, and what becomes of calls, on a paused clock.

use tokio::time::timeout;
use tower::ServiceExt as _;

use super::*;
use crate::fault::{reason, reason_of};
use crate::telemetry::rpc::status_code;

#[derive(Clone, Default)]
struct Callee;

impl Service<Request<Body>> for Callee {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        std::future::ready(Ok(Status::new(Code::Ok, "").into_http()))
    }
}

fn fault(text: &str) -> InjectedFault {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn injector(faults: &[&str]) -> Injector {
    Injector::new(&faults.iter().map(|text| fault(text)).collect::<Vec<_>>())
}

/// How a call to a callee ends, and after how long; nothing if it does not within a minute.
async fn call(injector: &Injector, target: &'static str, method: &str) -> Option<(Code, Duration)> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = format!("/mesh.test.v1.Inject/{method}").parse().unwrap();
    let began = Instant::now();
    let answer = Inject::new(Callee, target, injector.clone()).oneshot(request);
    let answer = timeout(Duration::from_secs(60), answer).await.ok()?.unwrap();
    Some((status_code(answer.headers()).unwrap(), began.elapsed()))
}

#[test]
fn a_fault_is_read_as_it_is_written() {
    let check = |text: &str, written: &str| assert_eq!(fault(text).to_string(), written);
    check("payment=hang", "payment=hang@100%#0");
    check("payment/ChargePayment=abort:UNAVAILABLE@30%#7", "payment/ChargePayment=abort:UNAVAILABLE@30%#7");
    check("payment=delay:0ms..1s@0.5%", "payment=delay:0ms..1000ms@0.5%#0");
    check("payment=delay:250ms@100", "payment=delay:250ms@100%#0");
    let all = ["payment=hang@100%#0", "a-b/C=abort:DATA_LOSS@0.1%#18446744073709551615", "a=delay:1ms..2ms@99.9%#1"];
    for text in all {
        assert_eq!(fault(text).to_string(), text);
    }
}

#[test]
fn what_is_no_fault_is_refused() {
    let check = |text: &str, expected: InjectedFaultError| {
        assert_eq!(text.parse::<InjectedFault>(), Err(expected), "{text}");
    };
    for text in ["", "payment", "=hang", "pay ment=hang", "payment/=hang", "payment=hang#x"] {
        check(text, InjectedFaultError::Form);
    }
    for text in
        ["a=", "a=explode", "a=hang:1s", "a=delay", "a=delay:5", "a=delay:2s..1s", "a=delay:3601s", "a=delay:1m"]
    {
        check(text, InjectedFaultError::Action);
    }
    for text in ["a=abort", "a=abort:OK", "a=abort:unavailable", "a=abort:NOPE"] {
        check(text, InjectedFaultError::Code);
    }
    for text in ["a=hang@0%", "a=hang@100.1%", "a=hang@x%", "a=hang@-5%", "a=hang@0.04%"] {
        check(text, InjectedFaultError::Share);
    }
}

#[tokio::test(start_paused = true)]
async fn without_faults_calls_are_made() {
    assert_eq!(call(&injector(&[]), "payment", "Charge").await, Some((Code::Ok, Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn a_fault_meets_its_callee_and_method_only() {
    let injector = injector(&["payment/Charge=abort:INTERNAL", "mileage=hang"]);
    let ok = Some((Code::Ok, Duration::ZERO));
    assert_eq!(call(&injector, "payment", "Charge").await, Some((Code::Internal, Duration::ZERO)));
    assert_eq!(call(&injector, "payment", "Refund").await, ok);
    assert_eq!(call(&injector, "listing", "Charge").await, ok);
    assert_eq!(call(&injector, "mileage", "Anything").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_delay_comes_before_what_else_there_is() {
    let injector = injector(&["payment=delay:250ms", "payment/Charge=delay:1s", "payment/Refund=abort:UNAVAILABLE"]);
    assert_eq!(call(&injector, "payment", "Charge").await, Some((Code::Ok, Duration::from_millis(1_250))));
    assert_eq!(call(&injector, "payment", "Refund").await, Some((Code::Unavailable, Duration::from_millis(250))));
}

#[test]
fn an_injected_failure_says_that_it_is_one() {
    for code in (1..=16).map(Code::from) {
        let status = Status::from(Fault::injected(code));
        assert_eq!((status.code(), reason_of(&status).as_deref()), (code, Some(reason::FAULT_INJECTED)));
        assert_eq!(Fault::injected(code).retry_delay().is_some(), code == Code::Unavailable);
    }
}

/// Which of a thousand calls fail, and how long each delay is.
fn decisions(text: &str) -> Vec<Option<Action>> {
    let active = Active::new(fault(text), None);
    (0..1_000).map(|_| active.decide()).collect()
}

#[test]
fn the_same_seed_decides_the_same_and_another_something_else() {
    for rule in ["a=abort:INTERNAL@30%", "a=delay:0ms..1s@30%", "a=hang@30%"] {
        let [first, again, other] = [7, 7, 8].map(|seed| decisions(&format!("{rule}#{seed}")));
        assert_eq!(first, again, "{rule}");
        assert_ne!(first, other, "{rule}");
    }
}

#[test]
fn a_share_is_that_share() {
    let check = |percent: &str, expected: std::ops::RangeInclusive<usize>| {
        let hit = decisions(&format!("a=hang@{percent}%#3")).iter().flatten().count();
        assert!(expected.contains(&hit), "{hit} of 1000 at {percent} %");
    };
    check("100", 1_000..=1_000);
    check("50", 440..=560);
    check("5", 25..=80);
}

/// T11: a delay between 0 and 1 s is uniform.
#[test]
fn delays_are_spread_evenly() {
    let mut quarters = [0; 4];
    for action in decisions("a=delay:0ms..1s#11").into_iter().flatten() {
        let Action::Delay(delay, _) = action else { panic!("{action:?}") };
        assert!(delay <= Duration::from_secs(1));
        quarters[usize::try_from(delay.as_millis() / 250).unwrap().min(3)] += 1;
    }
    assert!(quarters.iter().all(|count| (200..=300).contains(count)), "{quarters:?}");
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_replaced_ended_and_ends_by_itself() {
    let injector = injector(&["payment=abort:INTERNAL"]);
    let texts = || injector.list().iter().map(|active| active.fault.to_string()).collect::<Vec<_>>();
    injector.set(fault("payment=abort:NOT_FOUND@100%#1"), Duration::from_secs(60));
    injector.set(fault("payment/Charge=hang"), Duration::from_secs(30));
    assert_eq!(texts(), ["payment/Charge=hang@100%#0", "payment=abort:NOT_FOUND@100%#1"]);
    assert_eq!(call(&injector, "payment", "Refund").await, Some((Code::NotFound, Duration::ZERO)));
    assert_eq!(injector.list()[1].counts(), (1, 1));

    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(texts(), ["payment=abort:NOT_FOUND@100%#1"]);
    assert_eq!(call(&injector, "payment", "Charge").await, Some((Code::NotFound, Duration::ZERO)));
    assert!(injector.remove("payment.hang").is_none());
    assert!(injector.remove("payment.abort").is_some() && injector.remove("payment.abort").is_none());
    assert_eq!(call(&injector, "payment", "Charge").await, Some((Code::Ok, Duration::ZERO)));
}
