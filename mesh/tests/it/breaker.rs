//! The breaker of a real channel before a real server (A13, A59, T24).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mesh::client::{Address, BREAKER_OPEN, Breaker, CallSettings, Calls, Channel, connect_as};
use mesh::fault::{Fault, reason_of, retry_delay_of};
use mesh::server::{Routes, serve};
use mesh::testing::eventually;
use proto::contract::Role;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::harness::{Echo, Keys, PATIENCE, RULES, call, text};

/// A callee that is in trouble when told so, and counts who reaches it.
#[derive(Clone, Default)]
struct Callee {
    troubled: Arc<AtomicBool>,
    reached: Arc<AtomicUsize>,
}

impl Callee {
    fn echo(&self) -> Echo {
        let callee = self.clone();
        Echo::new(move |request| {
            callee.reached.fetch_add(1, Ordering::SeqCst);
            let troubled = callee.troubled.load(Ordering::SeqCst);
            async move {
                if troubled {
                    return Err(Fault::unavailable("BUSY", "come back", Duration::from_millis(1)).into());
                }
                Ok(request.into_inner())
            }
        })
    }
}

fn is_rejection(status: &Status) -> bool {
    reason_of(status).as_deref() == Some(BREAKER_OPEN)
}

/// Calls until the breaker rejects; answers the rejection.
async fn until_open(channel: &Channel) -> Status {
    eventually(PATIENCE, || async { call(channel, "Open", text("")).await.err().filter(is_rejection) }).await
}

/// A59, T24: before, during and after.
#[tokio::test]
async fn a_callee_in_trouble_is_left_alone_and_found_well_again() {
    let (keys, callee) = (Keys::new(), Callee::default());
    let server = keys.serve("back", callee.echo()).await;
    let channel = server.channel("back", keys.identity("front"));
    for _ in 0..3 {
        assert_eq!(call(&channel, "Open", text("before")).await.unwrap(), "before");
    }
    callee.troubled.store(true, Ordering::SeqCst);
    let rejection = until_open(&channel).await;
    // Five failures in a row, and it is asked no more.
    assert_eq!(callee.reached.load(Ordering::SeqCst), 3 + 5);
    assert_eq!(rejection.code(), Code::Unavailable);
    assert!(retry_delay_of(&rejection).is_some_and(|delay| delay <= Duration::from_secs(1)), "{rejection:?}");
    callee.troubled.store(false, Ordering::SeqCst);
    let answer = eventually(PATIENCE, || async { call(&channel, "Open", text("after")).await.ok() }).await;
    assert_eq!(answer, "after");
    for _ in 0..9 {
        assert_eq!(call(&channel, "Open", text("after")).await.unwrap(), "after");
    }
    server.stop().await;
}

/// A service that was stopped and has begun again is asked within the open time, on the same channel.
#[tokio::test]
async fn a_callee_that_was_away_is_found_again() {
    let (keys, callee) = (Keys::new(), Callee::default());
    let server = keys.serve("back", callee.echo()).await;
    let address = server.address;
    let channel = server.channel("back", keys.identity("front"));
    call(&channel, "Open", text("")).await.unwrap();
    server.stop().await;
    until_open(&channel).await;

    let listener = TcpListener::bind(address).await.unwrap();
    let shutdown = CancellationToken::new();
    let task = mesh::deadline::spawn(serve(keys.spec("back"), listener, Routes::new(callee.echo()), shutdown.clone()));
    let answer = eventually(PATIENCE, || async { call(&channel, "Open", text("again")).await.ok() }).await;
    assert_eq!(answer, "again");
    shutdown.cancel();
    task.await.unwrap().unwrap();
}

/// Who calls as a user sees every answer, and a callee's breaker can be given other numbers, or none.
#[tokio::test]
async fn numbers_are_chosen_for_each_callee() {
    let (keys, callee) = (Keys::new(), Callee::default());
    callee.troubled.store(true, Ordering::SeqCst);
    let server = keys.serve("back", callee.echo()).await;
    let channel = |breaker| {
        let calls = Calls::new(CallSettings { breaker, ..CallSettings::plain() });
        connect_as("back", &Address::from(server.address), keys.identity("front"), &RULES, &calls)
    };
    let check = async |channel: &Channel, expected: usize| {
        callee.reached.store(0, Ordering::SeqCst);
        for _ in 0..30 {
            call(channel, "Open", text("")).await.unwrap_err();
        }
        assert_eq!(callee.reached.load(Ordering::SeqCst), expected);
    };
    check(&channel(Some(Breaker { consecutive_failures: 2, open: Duration::from_secs(60), ..Breaker::default() })), 2)
        .await;
    check(&channel(None), 30).await;
    check(&server.channel("back", keys.user(&[Role::Customer])), 30).await;
    server.stop().await;
}
