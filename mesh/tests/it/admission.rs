//! Who is let in when a server has more calls than it can take.

use std::sync::Arc;
use std::time::Duration;

use mesh::client::{self, Address, Channel};
use mesh::fault::{reason_of, retry_delay_of};
use mesh::net::TcpListener;
use mesh::server::{Routes, ServeError, serve};
use proto::contract::{DeadlineBudget, MethodRule, Priority, Role};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::harness::{Echo, Keys, PATIENCE, Server, call, text};

static RULES: [MethodRule; 4] = [
    rule("/mesh.test.v1.Echo/New", Priority::New),
    rule("/mesh.test.v1.Echo/Read", Priority::Read),
    rule("/mesh.test.v1.Echo/Finish", Priority::Finish),
    rule("/mesh.test.v1.Echo/Admin", Priority::Admin),
];

const fn rule(path: &'static str, priority: Priority) -> MethodRule {
    let deadline = DeadlineBudget { default_ms: 15_000, max_ms: 15_000, min_ms: 1 };
    MethodRule { path, roles: &Role::ALL, services: &[], deadline, priority, no_side_effects: true, idempotent: true }
}

fn is_refusal(status: &Status) -> bool {
    status.code() == Code::Unavailable && reason_of(status).as_deref() == Some("OVERLOADED")
}

/// Calls that stay until they are told to end.
struct Parked {
    channel: Channel,
    begun: Arc<Notify>,
    calls: JoinSet<Result<String, Status>>,
}

impl Parked {
    /// Asks for one more place; answers whether there was one.
    async fn enters(&mut self, method: &'static str) -> bool {
        let channel = self.channel.clone();
        let mut asked = JoinSet::new();
        asked.spawn(async move { call(&channel, method, text("")).await });
        let entered = async {
            tokio::select! {
                () = self.begun.notified() => None,
                refused = asked.join_next() => refused,
            }
        };
        match tokio::time::timeout(PATIENCE, entered).await.expect("let in or refused") {
            None => {
                self.calls.spawn(async move { asked.join_next().await.unwrap().unwrap() });
                true
            }
            Some(refused) => {
                let status = refused.unwrap().unwrap_err();
                assert!(is_refusal(&status), "{status:?}");
                let delay = retry_delay_of(&status).expect("a refusal says when to come back");
                assert!((100..=300).contains(&delay.as_millis()), "{delay:?}");
                false
            }
        }
    }
}

/// A13, T23: what was begun is finished before anything new is begun, and operators always get through.
#[tokio::test]
async fn new_work_is_refused_first_and_operators_never() {
    let keys = Keys::new();
    let (begun, end) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (begins, ends) = (begun.clone(), end.clone());
    let echo = Echo::new(move |request| {
        let (begins, ends) = (begins.clone(), ends.clone());
        async move {
            begins.notify_one();
            ends.acquire().await.unwrap().forget();
            Ok(request.into_inner())
        }
    });
    let mut spec = keys.spec("back");
    spec.rules = &RULES;
    (spec.limits.calls, spec.limits.adaptive) = (10, false);
    let server = Server::start(spec, echo).await;
    let address = Address::from(server.address);
    let channel = client::connect_with_rules("back", &address, keys.user(&[Role::Customer]), &RULES);
    let mut parked = Parked { channel, begun, calls: JoinSet::new() };
    for (method, more) in [("New", 7), ("Read", 2), ("Finish", 1)] {
        for _ in 0..more {
            assert!(parked.enters(method).await, "{method} has a place");
        }
        assert!(!parked.enters(method).await, "{method} has used up its share");
        assert!(!parked.enters("New").await, "new work is refused at once");
    }
    for _ in 0..5 {
        assert!(parked.enters("Admin").await);
    }
    // All that were let in are served.
    end.add_permits(15);
    let answers = parked.calls.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 15);
    server.stop().await;
}

/// A server on a thread and a runtime of its own, as a service's is, whose calls each keep that thread busy for a while.
struct Busy {
    channel: Channel,
    shutdown: CancellationToken,
    thread: std::thread::JoinHandle<Result<(), ServeError>>,
}

impl Busy {
    fn serve(keys: &Keys, adaptive: bool) -> Self {
        let mut spec = keys.spec("back");
        spec.rules = &RULES;
        spec.limits.adaptive = adaptive;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let ends = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                listener.set_nonblocking(true).unwrap();
                let echo = Echo::new(|request| async move {
                    std::thread::sleep(Duration::from_millis(2));
                    Ok(request.into_inner())
                });
                serve(spec, TcpListener::from_std(listener).unwrap(), Routes::new(echo), ends).await
            })
        });
        let channel = client::connect_with_rules("back", &address, keys.user(&[Role::Customer]), &RULES);
        Self { channel, shutdown, thread }
    }

    /// Sends so many calls at once; answers how many were refused.
    async fn burst(&self, calls: usize) -> usize {
        let mut sent = JoinSet::new();
        for _ in 0..calls {
            let channel = self.channel.clone();
            sent.spawn(async move { call(&channel, "New", text("")).await });
        }
        let answers = sent.join_all().await;
        let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
        assert!(refused.iter().all(is_refusal), "{refused:?}");
        refused.len()
    }

    fn stop(self) {
        self.shutdown.cancel();
        self.thread.join().unwrap().unwrap();
    }
}

/// A70: a server that cannot keep up takes fewer calls, and as many as before once it can.
#[tokio::test]
async fn the_limit_falls_while_work_waits_for_its_turn() {
    const CALLS: usize = 180;
    let keys = Keys::new();
    let (fixed, adaptive) = (Busy::serve(&keys, false), Busy::serve(&keys, true));
    assert_eq!(adaptive.burst(CALLS).await, 0, "a burst on an idle server is served");
    let overloaded = async { while adaptive.burst(CALLS).await == 0 {} };
    tokio::time::timeout(PATIENCE, overloaded).await.expect("calls that would wait long are refused");
    for _ in 0..3 {
        assert_eq!(fixed.burst(CALLS).await, 0, "a fixed limit of 2048 is never reached");
    }
    // One at a time nothing waits, and the limit rises again.
    let recovered = async {
        loop {
            for _ in 0..300 {
                call(&adaptive.channel, "New", text("")).await.unwrap();
            }
            if adaptive.burst(40).await == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, recovered).await.expect("the limit rises again");
    fixed.stop();
    adaptive.stop();
}
