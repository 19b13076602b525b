use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh::client::Credentials;
use mesh::fault::{reason_of, retry_delay_of};
use mesh::health::Readiness;
use mesh::server::{Drain, Routes, ServeError, serve};
use proto::contract::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Echo, Keys, PATIENCE, Server, call, text};

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

fn idle() -> Echo {
    Echo::new(|request| async move { Ok(request.into_inner()) })
}

/// The states that a watcher sees; closed when the stream ends.
async fn watch_health(server: &Server, service: &str) -> watch::Receiver<i32> {
    let mut client = HealthClient::new(server.channel("back", Credentials::Anonymous));
    let request = HealthCheckRequest { service: service.to_owned() };
    let mut states = client.watch(request).await.unwrap().into_inner();
    let (send, receive) = watch::channel(0);
    mesh::deadline::spawn(async move {
        while let Ok(Some(state)) = states.message().await {
            send.send_replace(state.status);
        }
    });
    receive
}

async fn reaches(states: &mut watch::Receiver<i32>, state: i32) {
    let reached = states.wait_for(|seen| *seen == state);
    tokio::time::timeout(PATIENCE, reached).await.expect("the state is reached").expect("the stream is open");
}

/// A38, B23, D35: liveness by a health file.
#[tokio::test]
async fn liveness_follows_the_health_file_and_readiness_does_not() {
    let keys = Keys::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("healthy");
    let spec = keys.spec("back").health_file(Some(file.clone()));
    let server = Server::start(spec, idle()).await;
    let mut alive = watch_health(&server, "liveness").await;
    let mut ready = watch_health(&server, "").await;
    reaches(&mut alive, SERVING).await;
    reaches(&mut ready, SERVING).await;
    assert!(file.exists(), "made at the start");
    std::fs::remove_file(&file).unwrap();
    reaches(&mut alive, NOT_SERVING).await;
    std::fs::write(&file, "").unwrap();
    reaches(&mut alive, SERVING).await;
    assert!(!ready.has_changed().unwrap());
    server.stop().await;
}

#[tokio::test]
async fn a_health_file_that_cannot_be_made_is_an_error_at_the_start() {
    let keys = Keys::new();
    let spec = keys.spec("back").health_file(Some("/nowhere/healthy".into()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = serve(spec, listener, Routes::default(), CancellationToken::new()).await;
    assert!(matches!(served, Err(ServeError::HealthFile(_))), "{served:?}");
}

async fn ends(mut states: watch::Receiver<i32>) {
    let end = async { while states.changed().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, end).await.expect("the stream ends");
}

#[tokio::test]
async fn an_open_health_watch_does_not_delay_the_end() {
    let keys = Keys::new();
    let server = keys.serve("back", idle()).await;
    let mut states = watch_health(&server, "mesh.test.v1.Echo").await;
    reaches(&mut states, SERVING).await;
    let began = Instant::now();
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    ends(states).await;
}

#[tokio::test]
async fn a_connection_that_never_speaks_does_not_delay_the_end() {
    let keys = Keys::new();
    let server = keys.serve("back", idle()).await;
    let silent = TcpStream::connect(server.address).await.unwrap();
    // A call on another connection makes sure that the silent one has been accepted.
    assert!(call(&server.channel("back", keys.identity("front")), "Open", text("")).await.is_ok());
    let began = Instant::now();
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    drop(silent);
}

#[tokio::test]
async fn half_a_preface_is_cut_at_the_limit() {
    let keys = Keys::new();
    let mut spec = keys.spec("back");
    spec.drain.limit = Duration::from_millis(300);
    let server = Server::start(spec, idle()).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"PRI * HTTP").await.unwrap();
    assert!(call(&server.channel("back", keys.identity("front")), "Open", text("")).await.is_ok());
    server.stop().await;
}

#[tokio::test]
async fn a_call_in_progress_finishes_and_the_lame_duck_serves_on() {
    let keys = Keys::new();
    let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (begins, finishes) = (begun.clone(), finish.clone());
    let echo = Echo::new(move |request| {
        let (begins, finishes) = (begins.clone(), finishes.clone());
        async move {
            if request.get_ref() == "slow" {
                begins.notify_one();
                finishes.acquire().await.unwrap().forget();
            }
            Ok(request.into_inner())
        }
    });
    let mut spec = keys.spec("back");
    spec.drain = Drain { lame_duck: Duration::from_millis(500), limit: Duration::from_secs(10) };
    let server = Server::start(spec, echo).await;
    let channel = server.channel("back", keys.identity("front"));
    let mut states = watch_health(&server, "").await;
    reaches(&mut states, SERVING).await;

    let slow = channel.clone();
    let slow = mesh::deadline::spawn(async move { call(&slow, "Open", text("slow")).await });
    tokio::time::timeout(PATIENCE, begun.notified()).await.unwrap();
    server.shutdown.cancel();
    reaches(&mut states, NOT_SERVING).await;
    let newcomer = server.channel("back", keys.identity("front"));
    assert_eq!(call(&newcomer, "Open", text("new connection")).await.unwrap(), "new connection");
    ends(states).await;
    finish.add_permits(1);
    assert_eq!(slow.await.unwrap().unwrap(), "slow");
    server.stopped().await;
}

#[tokio::test]
async fn a_call_that_does_not_end_is_cut_at_the_limit() {
    let keys = Keys::new();
    let begun = Arc::new(Notify::new());
    let begins = begun.clone();
    let echo = Echo::new(move |_| {
        begins.notify_one();
        std::future::pending::<Result<String, Status>>()
    });
    let mut spec = keys.spec("back");
    spec.drain.limit = Duration::from_millis(200);
    let server = Server::start(spec, echo).await;
    let channel = server.channel("back", keys.user(&[Role::Customer]));
    let stuck = mesh::deadline::spawn(async move { call(&channel, "Open", text("")).await });
    tokio::time::timeout(PATIENCE, begun.notified()).await.unwrap();
    server.stop().await;
    let status = stuck.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(reason_of(&status).as_deref(), Some("CONNECTION_LOST"));
}

#[tokio::test]
async fn readiness_follows_the_dependencies() {
    let keys = Keys::new();
    let (send, there) = watch::channel(false);
    let spec = keys.spec("back").ready(Readiness::new("broker", move || {
        let there = *there.borrow();
        async move { there }
    }));
    let server = Server::start(spec, idle()).await;
    let mut states = watch_health(&server, "mesh.test.v1.Echo").await;
    reaches(&mut states, NOT_SERVING).await;
    send.send_replace(true);
    reaches(&mut states, SERVING).await;
    send.send_replace(false);
    reaches(&mut states, NOT_SERVING).await;
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_at_once_and_health_is_not_counted() {
    let keys = Keys::new();
    let begun = Arc::new(Notify::new());
    let begins = begun.clone();
    let echo = Echo::new(move |_| {
        begins.notify_one();
        std::future::pending::<Result<String, Status>>()
    });
    let mut spec = keys.spec("back");
    spec.limits.calls = 1;
    spec.drain.limit = Duration::from_millis(100);
    let server = Server::start(spec, echo).await;
    let channel = server.channel("back", keys.user(&[Role::Customer]));
    let holder = channel.clone();
    let holder = mesh::deadline::spawn(async move { call(&holder, "Open", text("")).await });
    tokio::time::timeout(PATIENCE, begun.notified()).await.unwrap();

    let status = call(&channel, "Open", text("")).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::Unavailable, Some("OVERLOADED")));
    assert!(retry_delay_of(&status).is_some());
    let mut health = HealthClient::new(channel.clone());
    assert!(health.check(HealthCheckRequest { service: "liveness".to_owned() }).await.is_ok());

    // The place is free again once its caller has gone.
    holder.abort();
    let next = channel.clone();
    let freed = async {
        loop {
            let next = next.clone();
            tokio::select! {
                answer = call(&next, "Open", text("")) => assert_eq!(answer.unwrap_err().code(), Code::Unavailable),
                () = begun.notified() => break,
            }
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("the place is free again");
    server.stop().await;
}

#[tokio::test]
async fn the_limits_are_announced_in_the_first_frame() {
    let keys = Keys::new();
    let server = keys.serve("back", idle()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "a server's first frame is SETTINGS");
    let mut settings = vec![0; usize::from(head[2])];
    stream.read_exact(&mut settings).await.unwrap();
    let setting = |id: u8| {
        let entry = settings.chunks(6).find(|entry| entry[1] == id).expect("the setting is sent");
        u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]])
    };
    assert_eq!(setting(3), 2048, "max concurrent streams");
    assert_eq!(setting(6), 16 * 1024, "max header list size");
    drop(stream);
    server.stop().await;
}

/// A second signal does not wait for what is in progress, and the end is an orderly one.
#[tokio::test]
async fn a_second_signal_cuts_what_is_still_in_progress() {
    let keys = Keys::new();
    let begun = Arc::new(Notify::new());
    let begins = begun.clone();
    let echo = Echo::new(move |_| {
        begins.notify_one();
        std::future::pending::<Result<String, Status>>()
    });
    let mut spec = keys.spec("back");
    spec.drain = Drain { lame_duck: Duration::from_secs(3600), limit: Duration::from_secs(3600) };
    let hurry = spec.hurry.clone();
    let server = Server::start(spec, echo).await;
    let channel = server.channel("back", keys.user(&[Role::Customer]));
    let stuck = mesh::deadline::spawn(async move { call(&channel, "Open", text("")).await });
    tokio::time::timeout(PATIENCE, begun.notified()).await.unwrap();
    server.shutdown.cancel();
    hurry.cancel();
    server.stopped().await;
    let status = stuck.await.unwrap().unwrap_err();
    assert_eq!(reason_of(&status).as_deref(), Some("CONNECTION_LOST"), "{status:?}");
}
