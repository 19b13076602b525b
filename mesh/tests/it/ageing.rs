//! Connections that grow old: their calls end, further ones go over new connections. Their callers are users: a service would repeat a call that
//! was lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mesh::fault::reason_of;
use mesh::net::TcpListener;
use mesh::server::{Age, Routes};
use proto::contract::Role;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{Echo, Keys, PATIENCE, Server, call, channel, text, within};
use crate::streams::{Many, one_then_silence, open};

fn age(limit_ms: u64, grace_ms: u64) -> Option<Age> {
    Some(Age { limit: Duration::from_millis(limit_ms), grace: Duration::from_millis(grace_ms) })
}

/// Counts the connections that go through it.
async fn count_connections(to: std::net::SocketAddr) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    mesh::deadline::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            mesh::deadline::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (address, count)
}

#[tokio::test]
async fn calls_go_over_new_connections_and_none_is_lost() {
    let keys = Keys::new();
    let mut spec = keys.spec("back");
    spec.limits.age = age(50, 60_000);
    let server = Server::start(spec, Echo::new(|request| async move { Ok(request.into_inner()) })).await;
    let (address, connections) = count_connections(server.address).await;
    let channel = channel("back", address, keys.user(&[Role::Customer]));
    let callers = async {
        let mut callers = JoinSet::new();
        for _ in 0..8 {
            let (channel, connections) = (channel.clone(), connections.clone());
            callers.spawn(async move {
                let mut calls = 0;
                while connections.load(Ordering::Relaxed) < 10 {
                    call(&channel, "Open", text("")).await.expect("no call is lost");
                    calls += 1;
                }
                calls
            });
        }
        callers.join_all().await
    };
    let calls = tokio::time::timeout(PATIENCE, callers).await.expect("connections are replaced");
    assert!(calls.iter().all(|calls| *calls > 0), "{calls:?}");
    server.stop().await;
}

/// What a handler works on has its own deadline; the age of its connection does not shorten it.
#[tokio::test]
async fn a_call_that_outlives_its_connection_s_age_and_grace_is_answered() {
    let keys = Keys::new();
    let (others, finish) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let finishes = finish.clone();
    let mut spec = keys.spec("back");
    spec.limits.age = age(20, 20);
    let server = Server::start(
        spec,
        Echo::new(move |request| {
            let finishes = finishes.clone();
            async move {
                if request.get_ref() == "slow" {
                    finishes.acquire().await.unwrap().forget();
                }
                Ok(request.into_inner())
            }
        }),
    )
    .await;
    let (address, connections) = count_connections(server.address).await;
    let channel = channel("back", address, keys.user(&[Role::Customer]));
    let slow = channel.clone();
    let slow = mesh::deadline::spawn(async move { call(&slow, "Open", within("slow", Duration::from_secs(9))).await });
    // Ages and graces of several connections pass.
    let passed = async {
        while connections.load(Ordering::Relaxed) < 5 {
            call(&channel, "Open", text("")).await.expect("no call is lost");
            others.fetch_add(1, Ordering::Relaxed);
        }
    };
    tokio::time::timeout(PATIENCE, passed).await.expect("connections are replaced");
    finish.add_permits(1);
    assert_eq!(slow.await.unwrap().unwrap(), "slow");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_connection_s_grace_and_its_caller_may_come_back() {
    let keys = Keys::new();
    let mut spec = keys.spec("back");
    spec.limits.age = age(50, 50);
    let many = Many::new(|request| one_then_silence(request.into_inner()));
    let server = Server::start_routes(spec, Routes::new(many)).await;
    let channel = server.channel("back", keys.user(&[Role::Customer]));
    for _ in 0..2 {
        let mut messages = open(&channel, "Open", text("first")).await.unwrap();
        let ended = async {
            while let Some(_message) = messages.message().await? {}
            Ok::<_, tonic::Status>(())
        };
        let status = tokio::time::timeout(PATIENCE, ended).await.expect("the stream ends").unwrap_err();
        assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::Unavailable, Some("SHUTTING_DOWN")));
    }
    server.stop().await;
}

/// A peer that does not even answer a PING cannot keep an old connection.
#[tokio::test]
async fn an_idle_peer_that_ignores_the_request_to_go_is_cut() {
    let keys = Keys::new();
    let mut spec = keys.spec("back");
    spec.limits.age = age(20, 20);
    let server = Server::start(spec, Echo::new(|request| async move { Ok(request.into_inner()) })).await;
    let mut rude = TcpStream::connect(server.address).await.unwrap();
    rude.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut said = Vec::new();
    let end = tokio::time::timeout(PATIENCE, rude.read_to_end(&mut said)).await.expect("the connection ends");
    let _ = end;
    const GOAWAY: u8 = 7;
    let mut frames = said.as_slice();
    let mut goaway = false;
    while let [a, b, c, kind, rest @ ..] = frames {
        goaway |= *kind == GOAWAY;
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        frames = rest.get(5 + length..).unwrap_or_default();
    }
    assert!(goaway, "it was asked to go first");
    server.stop().await;
}
