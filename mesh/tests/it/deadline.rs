use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mesh::client::Credentials;
use mesh::deadline::{self, Deadline};
use mesh::fault::{Fault, reason_of, retry_delay_of};
use proto::contract::Role;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tonic::{Code, Request, Status};

use crate::harness::{Echo, Keys, PATIENCE, Server, call, channel, text, within};

/// Sends a note when dropped.
struct Dropped(Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn seen() -> u64 {
    deadline::remaining().expect("a handler has a deadline").as_millis() as u64
}

#[tokio::test]
async fn a_deadline_shrinks_from_hop_to_hop_and_ends_the_work_before_the_callers_timer() {
    let keys = Keys::new();
    let budgets: Arc<[AtomicU64; 3]> = Arc::default();
    let dropped = Arc::new(Notify::new());

    let (note, noted) = (budgets.clone(), dropped.clone());
    let back = keys
        .serve(
            "back",
            Echo::new(move |_| {
                note[2].store(seen(), Ordering::SeqCst);
                let guard = Dropped(noted.clone());
                async move {
                    std::future::pending::<()>().await;
                    drop(guard);
                    Ok(String::new())
                }
            }),
        )
        .await;
    let (note, next) = (budgets.clone(), back.channel("back", keys.identity("middle")));
    let middle = keys
        .serve(
            "middle",
            Echo::new(move |_| {
                note[1].store(seen(), Ordering::SeqCst);
                let next = next.clone();
                // Fan-out through a task keeps the deadline.
                async move { deadline::spawn(async move { call(&next, "Open", text("")).await }).await.unwrap() }
            }),
        )
        .await;
    let (note, next) = (budgets.clone(), middle.channel("middle", keys.identity("front")));
    let front = keys
        .serve(
            "front",
            Echo::new(move |_| {
                note[0].store(seen(), Ordering::SeqCst);
                let next = next.clone();
                async move { call(&next, "Open", text("")).await }
            }),
        )
        .await;

    let caller = front.channel("front", keys.user(&[Role::Customer]));
    let budget = Duration::from_millis(400);
    let began = Instant::now();
    let status = call(&caller, "Open", within("", budget)).await.unwrap_err();
    let took = began.elapsed();
    assert!(took < budget, "answered after {took:?}: {status:?}, {budgets:?}");
    assert_is_late(&status);
    tokio::time::timeout(PATIENCE, dropped.notified()).await.expect("the last handler is dropped");

    let [first, second, third] = [0, 1, 2].map(|hop| budgets[hop].load(Ordering::SeqCst));
    assert!(400 > first && first > second + 5 && second > third + 5 && third > 0, "{first} {second} {third}");
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_the_handler_with_it() {
    let keys = Keys::new();
    let (began, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, drops) = (began.clone(), dropped.clone());
    let server = keys
        .serve(
            "back",
            Echo::new(move |_| {
                begins.notify_one();
                let guard = Dropped(drops.clone());
                async move {
                    std::future::pending::<()>().await;
                    drop(guard);
                    Ok(String::new())
                }
            }),
        )
        .await;
    let channel = server.channel("back", keys.identity("front"));
    let caller = deadline::spawn(async move { call(&channel, "Open", text("")).await });
    tokio::time::timeout(PATIENCE, began.notified()).await.expect("the handler runs");
    caller.abort();
    tokio::time::timeout(PATIENCE, dropped.notified()).await.expect("the handler is dropped");
    server.stop().await;
}

#[tokio::test]
async fn connecting_counts_too() {
    // The kernel accepts, but nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = channel("back", silent.local_addr().unwrap(), Credentials::Anonymous);
    let status = call(&channel, "Open", within("", Duration::from_millis(100))).await.unwrap_err();
    assert_is_late(&status);
    let no_time = deadline::scope(Deadline::after(Duration::ZERO), call(&channel, "Open", text("")));
    assert_is_late(&no_time.await.unwrap_err());
}

/// T38: whose timer it was makes no difference.
fn assert_is_late(status: &Status) {
    assert_eq!((status.code(), reason_of(status).as_deref()), (Code::DeadlineExceeded, Some("DEADLINE_EXCEEDED")));
    assert_eq!(retry_delay_of(status), Some(Duration::from_secs(1)), "{status:?}");
}

#[tokio::test]
async fn nobody_listening_is_unavailable_with_a_time_to_retry() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let status = call(&channel("back", gone, Credentials::Anonymous), "Open", text("")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(reason_of(&status).as_deref(), Some("CONNECTION_FAILED"));
    assert!(retry_delay_of(&status).is_some());
}

#[tokio::test]
async fn a_broken_connection_is_unavailable_and_the_next_call_connects_anew() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let channel = channel("back", address, Credentials::Anonymous);
    let cut = deadline::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // Wait for the preface, then hang up on the call that follows.
        let mut bytes = [0; 24];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut bytes).await.unwrap();
        drop(stream);
        drop(listener);
    });
    let status = call(&channel, "Open", text("")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    cut.await.unwrap();
    let status = call(&channel, "Open", text("")).await.unwrap_err();
    assert_eq!(reason_of(&status).as_deref(), Some("CONNECTION_FAILED"));
}

/// A plain tonic channel sends exactly the header it is told to, and has no timer of its own.
async fn ask(keys: &Keys, server: &Server, timeout: Option<&'static str>) -> Result<String, Status> {
    let token = keys.issuer.token("alice", &[Role::Customer], Duration::from_secs(60));
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy();
    let mut request = Request::new(String::new());
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    if let Some(timeout) = timeout {
        request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    }
    let mut grpc = tonic::client::Grpc::new(plain);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/mesh.test.v1.Echo/Open");
    let answer = grpc.unary(request, path, tonic_prost::ProstCodec::<String, String>::default());
    Ok(tokio::time::timeout(PATIENCE, answer).await.expect("every call is answered")?.into_inner())
}

#[tokio::test]
async fn the_servers_rule_bounds_what_callers_ask_for() {
    let keys = Keys::new();
    let server = keys.serve("back", Echo::new(|_| async { Ok(seen().to_string()) })).await;
    let check = async |timeout: Option<&'static str>, expected: std::ops::RangeInclusive<u64>| {
        let seen: u64 = ask(&keys, &server, timeout).await.unwrap().parse().unwrap();
        assert!(expected.contains(&seen), "{timeout:?}: {seen} ms");
    };
    check(None, 4_000..=5_000).await;
    check(Some("8S"), 7_000..=7_997).await;
    check(Some("1H"), 9_000..=10_000).await;
    // Malformed: the default applies.
    check(Some("123456789S"), 4_000..=5_000).await;
    check(Some("soon"), 4_000..=5_000).await;
    check(Some("-5S"), 4_000..=5_000).await;
    let too_short = Fault::from_status(&ask(&keys, &server, Some("40m")).await.unwrap_err());
    assert_eq!((too_short.code(), too_short.metadata("minimum_ms")), (Code::DeadlineExceeded, Some("50")));
    assert_eq!(too_short.retry_delay(), None, "waiting does not give it more time");
    server.stop().await;
}
