use std::future::poll_fn;
use std::time::Duration;

use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::DuplexStream;
use tokio::time::{pause, timeout};

use super::roster::Phase;
use super::*;
use crate::testing::eventually;

const PATIENCE: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

fn endpoints(address: &str) -> Endpoints {
    Endpoints::new("back", address.parse().unwrap())
}

fn endpoint(shared: &Arc<Shared>, port: u16) -> Arc<Endpoint> {
    let endpoint = Arc::new(Endpoint {
        origin: Authority::from_static("back:1"),
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        in_flight: AtomicUsize::new(0),
        latency: Mutex::new(Latency::beside(&[], Instant::now())),
        failures_in_a_row: AtomicU32::new(0),
        wanted: Notify::new(),
        shared: Arc::downgrade(shared),
    });
    shared.change(|roster, _| roster.add(Arc::clone(&endpoint)));
    endpoint
}

/// Connected, as far as the endpoint's caller can see; the other end has to be kept.
async fn connected(shared: &Shared, endpoint: &Arc<Endpoint>) -> (Arc<Line>, DuplexStream) {
    let (near, far) = tokio::io::duplex(1024);
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(near)).await.unwrap();
    drop(crate::deadline::spawn(connection));
    let line = Arc::new(Line::new(Arc::clone(endpoint), sender));
    shared.change(|roster, _| roster.set(endpoint, Phase::Ready(Arc::clone(&line))));
    (line, far)
}

fn failed(shared: &Shared, endpoint: &Arc<Endpoint>) {
    failed_with(shared, endpoint, io::ErrorKind::HostUnreachable);
}

fn failed_with(shared: &Shared, endpoint: &Arc<Endpoint>, kind: io::ErrorKind) {
    let failure = Arc::new(Unreachable::new(&kind.into()));
    shared.change(|roster, _| roster.set(endpoint, Phase::Failing(failure)));
}

/// How often each of the ports is chosen.
fn shares(shared: &Shared, ports: &[u16]) -> Vec<usize> {
    let mut shares = vec![0; ports.len()];
    for _ in 0..300 {
        let line = shared.ready().unwrap();
        shares[ports.iter().position(|port| *port == line.endpoint.address.port()).unwrap()] += 1;
    }
    shares
}

#[tokio::test(start_paused = true)]
async fn the_cheaper_of_two_is_taken_and_equals_share() {
    let target = endpoints("http://127.0.0.1:1");
    let shared = &target.0.shared;
    let all = [endpoint(shared, 1), endpoint(shared, 2), endpoint(shared, 3)];
    let mut kept = Vec::new();
    for endpoint in &all {
        kept.push(connected(shared, endpoint).await);
    }
    assert!(shares(shared, &[1, 2, 3]).iter().all(|share| *share > 50), "{:?}", shares(shared, &[1, 2, 3]));
    // The dearest of three is never the cheaper of two.
    all[0].in_flight.store(9, Ordering::Relaxed);
    assert_eq!(shares(shared, &[1, 2, 3])[0], 0);
    all[0].in_flight.store(0, Ordering::Relaxed);
    let now = Instant::now();
    all[1].latency().answered(SECOND, now);
    assert_eq!(shares(shared, &[1, 2, 3])[1], 0);
    shared.change(|roster, _| roster.remove(&all[0]));
    shared.change(|roster, _| roster.remove(&all[2]));
    assert_eq!(shares(shared, &[2]), [300]);
}

/// A call waits while there is hope and is told when there is none.
#[tokio::test]
async fn a_call_waits_until_one_is_ready_or_all_have_failed() {
    let target = endpoints("http://127.0.0.1:1");
    let shared = Arc::clone(&target.0.shared);
    let (one, other) = (endpoint(&shared, 1), endpoint(&shared, 2));
    // Nobody else looks after these.
    *target.0.discovery.lock().unwrap() = Some(spawn(std::future::pending()));
    let waiting = || {
        let target = target.clone();
        crate::deadline::spawn(async move { target.pick().await.map(|line| line.endpoint.address.port()) })
    };
    let first = waiting();
    failed(&shared, &one);
    assert!(timeout(SECOND / 5, target.pick()).await.is_err(), "the other one may connect");
    failed(&shared, &other);
    let failure = first.await.unwrap().unwrap_err();
    assert!(failure.is_news() && !failure.is_news(), "one call tells of it");
    assert!(target.pick().await.is_err(), "at once");

    shared.change(|roster, _| roster.set(&other, Phase::Connecting));
    let second = waiting();
    let (line, far) = connected(&shared, &other).await;
    assert_eq!(second.await.unwrap().unwrap(), 2);
    // What is closed is not taken, though nobody has said so yet.
    drop(far);
    eventually(PATIENCE, || async { line.is_closed() }).await;
    assert!(shared.ready().is_none());
}

/// What refused a moment ago may be there now: the call has it tried again and waits for that.
#[tokio::test(start_paused = true)]
async fn a_refusal_is_soon_stale() {
    let target = endpoints("http://127.0.0.1:1");
    let shared = Arc::clone(&target.0.shared);
    let one = endpoint(&shared, 1);
    *target.0.discovery.lock().unwrap() = Some(spawn(std::future::pending()));
    failed_with(&shared, &one, io::ErrorKind::ConnectionRefused);
    assert!(target.pick().await.is_err(), "just now");
    assert!(timeout(SECOND, one.wanted.notified()).await.is_err());
    // The clock has gone on.
    assert!(timeout(SECOND, target.pick()).await.is_err(), "waits");
    assert!(timeout(SECOND, one.wanted.notified()).await.is_ok());
    failed_with(&shared, &one, io::ErrorKind::ConnectionRefused);
    assert!(target.pick().await.is_err(), "it is known anew");
}

#[tokio::test(start_paused = true)]
async fn who_fails_again_and_again_is_left_out_for_a_while_and_the_last_one_never() {
    let target = endpoints("http://127.0.0.1:1");
    let shared = &target.0.shared;
    let (one, other) = (endpoint(shared, 1), endpoint(shared, 2));
    let _kept = (connected(shared, &one).await, connected(shared, &other).await);
    let fail = |endpoint: &Arc<Endpoint>, times: u32| (0..times).for_each(|_| endpoint.failed("UNAVAILABLE"));
    fail(&one, ejection::FAILURES - 1);
    one.succeeded();
    fail(&one, ejection::FAILURES - 1);
    assert!(shares(shared, &[1, 2])[0] > 0);
    fail(&one, 1);
    assert_eq!(shares(shared, &[1, 2]), [0, 300]);
    assert_eq!(shared.view.load().ejected, 1);
    fail(&other, 100);
    assert_eq!(shares(shared, &[1, 2]), [0, 300]);

    // With one more, half of them are two.
    let third = endpoint(shared, 3);
    let _kept = connected(shared, &third).await;
    assert!(shares(shared, &[1, 2, 3])[2] > 0);
    // The other one dies: a third of them is less than half, and the ejected one is better than nothing.
    failed(shared, &other);
    assert!(shares(shared, &[1, 2, 3])[0] > 0);
}

#[tokio::test]
async fn an_ejected_endpoint_returns_when_its_time_is_over() {
    let target = endpoints("http://127.0.0.1:1");
    let shared = Arc::clone(&target.0.shared);
    let (one, other) = (endpoint(&shared, 1), endpoint(&shared, 2));
    let _kept = (connected(&shared, &one).await, connected(&shared, &other).await);
    pause();
    let began = Instant::now();
    let waiter = Arc::clone(&shared);
    drop(spawn(async move { discovery::wait(&waiter, None).await }));
    (0..ejection::FAILURES).for_each(|_| one.failed("INTERNAL"));
    assert_eq!(shares(&shared, &[1, 2])[0], 0);
    eventually(PATIENCE, || async { shares(&shared, &[1, 2])[0] > 0 }).await;
    assert!(began.elapsed() >= 5 * SECOND, "{:?}", began.elapsed());
    assert_eq!(shared.view.load().ejected, 0);
}

#[tokio::test(start_paused = true)]
async fn names_are_asked_for_every_few_seconds_and_soon_after_a_loss() {
    let target = endpoints("http://back:1");
    let shared = &target.0.shared;
    let waits = async |lost: bool| {
        let began = Instant::now();
        if lost {
            shared.lost.notify_one();
        }
        discovery::wait(shared, Some(began)).await;
        began.elapsed()
    };
    for _ in 0..20 {
        let waited = waits(false).await;
        assert!(4 * SECOND <= waited && waited <= 6 * SECOND + SECOND / 100, "{waited:?}");
        let waited = waits(true).await;
        assert!(SECOND <= waited && waited <= SECOND + SECOND / 100, "{waited:?}");
    }
    // Without names nothing is asked for.
    shared.lost.notify_one();
    assert!(timeout(3_600 * SECOND, discovery::wait(shared, None)).await.is_err());
}

/// The last good answer is kept while there is no better one.
#[tokio::test]
async fn the_endpoints_are_those_of_the_last_good_answer() {
    let answer = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&answer);
    let address: Address = "http://back:1,http://127.0.0.1:9,http://other:1".parse().unwrap();
    let address = address.looked_up_by(move |host, port| match host {
        "back" => Ok(told.lock().unwrap().iter().map(|last| SocketAddr::from(([127, 0, 0, *last], port))).collect()),
        _ => Err(io::ErrorKind::NotFound.into()),
    });
    let target = Endpoints::new("back", address);
    let mut answers = discovery::Answers::new(&target.0.shared.address);
    let mut check = async |told: &[u8], expected: &str| {
        *answer.lock().unwrap() = told.to_vec();
        assert!(answers.ask(&target.0.shared).await.is_some(), "one is always unknown");
        let known: Vec<_> =
            answers.endpoints().iter().map(|(address, origin)| format!("{address}={}", origin.host())).collect();
        assert_eq!(known.join(" "), expected);
    };
    check(&[], "127.0.0.1:9=127.0.0.1").await;
    check(&[1, 2, 1], "127.0.0.1:1=back 127.0.0.2:1=back 127.0.0.1:9=127.0.0.1").await;
    check(&[3], "127.0.0.3:1=back 127.0.0.1:9=127.0.0.1").await;
    check(&[], "127.0.0.3:1=back 127.0.0.1:9=127.0.0.1").await;
}

/// Nothing runs before the first call, nor after the last clone is gone.
#[tokio::test]
async fn everything_ends_with_the_last_clone() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = endpoints(&format!("http://{}", listener.local_addr().unwrap()));
    assert!(target.0.discovery.lock().unwrap().is_none());
    let clone = target.clone();
    let waiting = crate::deadline::spawn(async move { drop(clone.pick().await) });
    let (mut accepted, _) = listener.accept().await.unwrap();
    let shared = Arc::downgrade(&target.0.shared);
    waiting.abort();
    drop(target);
    // The connection that was being made is closed.
    let mut bytes = [0; 1024];
    let closed = poll_fn(|cx| {
        let mut bytes = tokio::io::ReadBuf::new(&mut bytes);
        tokio::io::AsyncRead::poll_read(std::pin::Pin::new(&mut accepted), cx, &mut bytes)
            .map_ok(|()| bytes.filled().len())
    });
    drop(timeout(PATIENCE, closed).await.expect("it is closed or told"));
    eventually(PATIENCE, || async { shared.strong_count() == 0 }).await;
}
