//! A channel to several endpoints, before real servers: who gets calls, who does not, and which calls are sent again.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use mesh::client::{Address, Channel, connect_with_rules};
use mesh::fault::{Fault, reason_of};
use mesh::testing::{eventually, free_port};
use proto::contract::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service as _;

use crate::harness::{Echo, Keys, PATIENCE, RULES, Server, call, text, within};

/// A server that tells its name, and counts.
struct Replica {
    server: Server,
    reached: Arc<AtomicUsize>,
    in_flight: Arc<AtomicUsize>,
    troubled: Arc<AtomicBool>,
}

impl Replica {
    /// Its calls take `time`.
    async fn start(keys: &Keys, time: Duration) -> Self {
        let (reached, in_flight, troubled) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let (counts, flies, trouble) = (reached.clone(), in_flight.clone(), troubled.clone());
        let echo = Echo::new(move |request| {
            counts.fetch_add(1, Ordering::SeqCst);
            flies.fetch_add(1, Ordering::SeqCst);
            let (flies, trouble) = (flies.clone(), trouble.clone());
            async move {
                tokio::time::sleep(time).await;
                flies.fetch_sub(1, Ordering::SeqCst);
                if trouble.load(Ordering::SeqCst) {
                    return Err(Fault::unavailable("BUSY", "come back", Duration::from_millis(1)).into());
                }
                Ok(request.into_inner())
            }
        });
        Self { server: keys.serve("back", echo).await, reached, in_flight, troubled }
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }
}

const BRIEF: Duration = Duration::from_millis(2);

fn list(addresses: &[SocketAddr]) -> Address {
    let urls: Vec<_> = addresses.iter().map(|address| format!("http://{address}")).collect();
    urls.join(",").parse().unwrap()
}

/// As a user: without a breaker, every answer is seen.
fn channel(keys: &Keys, address: &Address) -> Channel {
    connect_with_rules("back", address, keys.user(&[Role::Customer]), &RULES)
}

/// A name whose addresses the test tells.
#[derive(Clone, Default)]
struct Name(Arc<Mutex<Vec<SocketAddr>>>);

impl Name {
    fn address(&self) -> Address {
        let told = self.0.clone();
        let address: Address = "http://back.test:1".parse().unwrap();
        address.looked_up_by(move |_, _| Ok(told.lock().unwrap().clone()))
    }

    fn tell(&self, addresses: &[SocketAddr]) {
        *self.0.lock().unwrap() = addresses.to_vec();
    }
}

/// Callers who call again and again until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    callers: JoinSet<(usize, Vec<Status>)>,
}

impl Load {
    fn begin(channel: &Channel, callers: usize) -> Self {
        let mut load = Self { stop: Arc::default(), callers: JoinSet::new() };
        for _ in 0..callers {
            let (channel, stop) = (channel.clone(), load.stop.clone());
            load.callers.spawn(async move {
                let (mut calls, mut failures) = (0, Vec::new());
                while !stop.load(Ordering::SeqCst) {
                    calls += 1;
                    failures.extend(call(&channel, "Open", text("")).await.err());
                }
                (calls, failures)
            });
        }
        load
    }

    /// How many calls there were, and what failed.
    async fn end(self) -> (usize, Vec<Status>) {
        self.stop.store(true, Ordering::SeqCst);
        let ended = self.callers.join_all().await;
        let calls = ended.iter().map(|(calls, _)| calls).sum();
        (calls, ended.into_iter().flat_map(|(_, failures)| failures).collect())
    }
}

/// Dead, silent or unknown endpoints cost nobody a call while there is one that serves.
#[tokio::test]
async fn one_that_serves_is_enough() {
    let keys = Keys::new();
    let replica = Replica::start(&keys, Duration::ZERO).await;
    // Accepts, as the kernel does for a process that hangs, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let address: Address =
        format!("{},http://no.such.name.test:1", list(&[dead, silent.local_addr().unwrap(), replica.server.address]))
            .parse()
            .unwrap();
    let channel = channel(&keys, &address);
    for _ in 0..100 {
        call(&channel, "Open", text("")).await.unwrap();
    }
    assert_eq!(replica.reached(), 100);
    replica.server.stop().await;
}

/// `localhost` is a name of two addresses, of which a server has one.
#[tokio::test]
async fn a_name_of_the_machine_is_found() {
    let keys = Keys::new();
    let replica = Replica::start(&keys, Duration::ZERO).await;
    let address = format!("http://localhost:{},http://{}", replica.server.address.port(), replica.server.address);
    let channel = channel(&keys, &address.parse().unwrap());
    for _ in 0..20 {
        call(&channel, "Open", text("")).await.unwrap();
    }
    replica.server.stop().await;
}

/// Without any endpoint that could be reached, callers are told, and not kept waiting.
#[tokio::test]
async fn without_hope_the_answer_comes_at_once() {
    let keys = Keys::new();
    let check = async |address: Address| {
        let status = call(&channel(&keys, &address), "Open", text("")).await.unwrap_err();
        assert_eq!(reason_of(&status).as_deref(), Some("CONNECTION_FAILED"), "{address}: {status:?}");
    };
    check(list(&[SocketAddr::from(([127, 0, 0, 1], free_port()))])).await;
    check("http://back.test:1".parse::<Address>().unwrap().looked_up_by(|_, _| Ok(Vec::new()))).await;
    check("http://back.test:1".parse::<Address>().unwrap().looked_up_by(|_, _| Err(io::ErrorKind::NotFound.into())))
        .await;
}

/// Load is shared, and of three processes one is killed: nothing fails but what it was doing.
#[tokio::test]
async fn a_killed_process_takes_only_its_calls_along() {
    let keys = Keys::new();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Replica::start(&keys, BRIEF).await);
    }
    let addresses: Vec<_> = replicas.iter().map(|replica| replica.server.address).collect();
    let channel = channel(&keys, &list(&addresses));
    let load = Load::begin(&channel, 16);
    eventually(PATIENCE, || async { replicas.iter().all(|replica| replica.reached() > 100) }).await;

    let victim = replicas.pop().unwrap();
    victim.server.kill().await;
    // What had begun and not ended. The answers of some that had ended may be gone too: no more than callers.
    let unfinished = victim.in_flight.load(Ordering::SeqCst);
    let before: Vec<_> = replicas.iter().map(Replica::reached).collect();
    eventually(PATIENCE, || async { replicas.iter().zip(&before).all(|(one, before)| one.reached() > before + 100) })
        .await;
    let (calls, failures) = load.end().await;
    assert!(failures.len() <= 16, "{} of {calls}, {unfinished} unfinished: {:?}", failures.len(), failures.first());
    assert!(failures.iter().all(|failure| reason_of(failure).as_deref() == Some("CONNECTION_LOST")), "{failures:?}");
    for replica in replicas {
        replica.server.stop().await;
    }
}

/// A58: new addresses get calls within seconds; those that are gone get none, and finish what they have.
#[tokio::test]
async fn a_name_is_followed() {
    let keys = Keys::new();
    let (begun, finish) = (Arc::new(AtomicBool::new(false)), Arc::new(Semaphore::new(0)));
    let (begins, finishes) = (begun.clone(), finish.clone());
    let patient = Echo::new(move |request| {
        let (begins, finishes) = (begins.clone(), finishes.clone());
        async move {
            if request.get_ref() == "slow" {
                begins.store(true, Ordering::SeqCst);
                finishes.acquire().await.unwrap().forget();
            }
            Ok("first".to_owned())
        }
    });
    let first = keys.serve("back", patient).await;
    // Whoever has the choice takes the first one.
    let second = Replica::start(&keys, 10 * BRIEF).await;
    let name = Name::default();
    // One that is dead keeps discovery asking, every second.
    let dead = SocketAddr::from(([127, 0, 0, 1], free_port()));
    name.tell(&[dead, first.address]);
    let channel = channel(&keys, &name.address());
    call(&channel, "Open", text("")).await.unwrap();
    name.tell(&[dead, first.address, second.server.address]);
    let load = Load::begin(&channel, 4);
    eventually(PATIENCE, || async { second.reached() > 0 }).await;

    let mut slow = JoinSet::new();
    for _ in 0..8 {
        let channel = channel.clone();
        slow.spawn(async move { call(&channel, "Open", within("slow", PATIENCE)).await });
    }
    eventually(PATIENCE, || async { begun.load(Ordering::SeqCst) }).await;
    name.tell(&[dead, second.server.address]);
    // From some moment on every call reaches the second one.
    eventually(PATIENCE, || async {
        for _ in 0..20 {
            if call(&channel, "Open", text("?")).await.unwrap() == "first" {
                return false;
            }
        }
        true
    })
    .await;
    assert_eq!(load.end().await.1.len(), 0);
    finish.add_permits(8);
    let answers = slow.join_all().await;
    assert!(answers.iter().any(|answer| answer.as_deref().unwrap() == "first"), "{answers:?}");
    // Nobody holds the connection any more.
    first.stop().await;
    call(&channel, "Open", text("")).await.unwrap();
    second.server.stop().await;
}

/// A sick process is left alone while its siblings are well; the last one never.
#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_ejected() {
    let keys = Keys::new();
    let (sick, well) = (Replica::start(&keys, BRIEF).await, Replica::start(&keys, BRIEF).await);
    sick.troubled.store(true, Ordering::SeqCst);
    let channel = channel(&keys, &list(&[sick.server.address, well.server.address]));
    let load = Load::begin(&channel, 64);
    eventually(PATIENCE, || async { well.reached() > 2_000 }).await;
    let (calls, failures) = load.end().await;
    // Those that were in flight when the fifth failed had been sent already.
    assert!(failures.len() <= 5 + 64, "{} of {calls}", failures.len());
    assert!(failures.len() >= 5, "{} of {calls}", failures.len());
    let reached = sick.reached();
    for _ in 0..200 {
        call(&channel, "Open", text("")).await.unwrap();
    }
    assert_eq!(sick.reached(), reached, "it is ejected");
    well.server.stop().await;
    let status = eventually(PATIENCE, || async { call(&channel, "Open", text("")).await.err().filter(is_busy) }).await;
    assert_eq!(status.code(), Code::Unavailable);
    sick.server.stop().await;
}

fn is_busy(status: &Status) -> bool {
    reason_of(status).as_deref() == Some("BUSY")
}

/// A TCP proxy that stops forwarding when told to, as a network does that lost a machine.
struct Cable {
    address: SocketAddr,
    silent: Arc<AtomicBool>,
    closed: Arc<AtomicUsize>,
}

impl Cable {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cable = Self { address: listener.local_addr().unwrap(), silent: Arc::default(), closed: Arc::default() };
        let (silent, closed) = (cable.silent.clone(), cable.closed.clone());
        drop(mesh::deadline::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(server).await.unwrap();
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                let closed = closed.clone();
                let there = forward(near_read, far_write, silent.clone());
                let back = forward(far_read, near_write, silent.clone());
                drop(mesh::deadline::spawn(async move {
                    tokio::join!(
                        async {
                            there.await;
                            closed.fetch_add(1, Ordering::SeqCst);
                        },
                        back
                    );
                }));
            }
        }));
        cable
    }
}

async fn forward(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    silent: Arc<AtomicBool>,
) {
    let mut bytes = vec![0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if !silent.load(Ordering::SeqCst) && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// The other end is gone and nobody said so. What was sent there is lost at its deadline; the others notice nothing, and the connection is given
/// up by keepalive.
#[tokio::test]
async fn a_half_open_connection_is_noticed() {
    let keys = Keys::new();
    let (far, near) = (Replica::start(&keys, BRIEF).await, Replica::start(&keys, BRIEF).await);
    let cable = Cable::to(far.server.address).await;
    let channel = channel(&keys, &list(&[cable.address, near.server.address]));
    eventually(PATIENCE, || async {
        call(&channel, "Open", text("")).await.unwrap();
        far.reached() > 0 && near.reached() > 0
    })
    .await;
    cable.silent.store(true, Ordering::SeqCst);
    let mut failures = 0;
    while cable.closed.load(Ordering::SeqCst) == 0 {
        let answer = call(&channel, "Open", within("", Duration::from_millis(2_600))).await;
        if let Err(status) = answer {
            assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Unavailable), "{status:?}");
            failures += 1;
        }
        tokio::time::sleep(BRIEF).await;
    }
    assert!(failures <= 5, "{failures}");
    near.server.stop().await;
}

/// What a made-up server does with a request.
#[derive(Clone, Copy)]
enum Manner {
    /// Resets its stream as refused.
    Refuse,
    /// Goes away without having taken it.
    GoAway,
    /// Hangs up.
    HangUp,
}

/// A server that speaks HTTP/2 in its own way, and counts the requests it has seen.
async fn server(manner: Manner) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let sees = seen.clone();
    drop(mesh::deadline::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(mesh::deadline::spawn(behave(manner, stream, sees.clone())));
        }
    }));
    (address, seen)
}

/// Ends with the connection.
async fn behave(manner: Manner, mut stream: TcpStream, seen: Arc<AtomicUsize>) -> io::Result<()> {
    const PREFACE_BYTES: usize = 24;
    const HEADERS: u8 = 1;
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    stream.write_all(&SETTINGS).await?;
    stream.read_exact(&mut [0; PREFACE_BYTES]).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [_, high, low, kind, _, id @ ..] = head;
        stream.read_exact(&mut vec![0; usize::from(high) * 256 + usize::from(low)]).await?;
        if kind != HEADERS {
            continue;
        }
        seen.fetch_add(1, Ordering::SeqCst);
        match manner {
            Manner::Refuse => {
                stream.write_all(&[0, 0, 4, 3, 0]).await?;
                stream.write_all(&[id, REFUSED_STREAM].concat()).await?;
            }
            // The last stream is none, the reason that there is none.
            Manner::GoAway => stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await?,
            Manner::HangUp => return Ok(()),
        }
    }
}

/// Refused requests go to another endpoint, unnoticed; one that may have been processed does not.
#[tokio::test]
async fn only_what_no_server_has_looked_at_is_sent_again() {
    let keys = Keys::new();
    let replica = Replica::start(&keys, Duration::ZERO).await;
    let channel_to = |addresses: &[SocketAddr]| channel(&keys, &list(addresses));
    for manner in [Manner::Refuse, Manner::GoAway] {
        let (refusing, refused) = server(manner).await;
        let both = channel_to(&[refusing, replica.server.address]);
        let load = Load::begin(&both, 8);
        eventually(PATIENCE, || async { refused.load(Ordering::SeqCst) > 0 && both.resends() > 0 }).await;
        let (calls, failures) = load.end().await;
        assert_eq!(failures.len(), 0, "of {calls}: {failures:?}");

        // Alone: once, and then that is the answer.
        refused.store(0, Ordering::SeqCst);
        let alone = channel_to(&[refusing]);
        call(&alone, "Open", text("")).await.unwrap_err();
        assert!((1..=2).contains(&refused.load(Ordering::SeqCst)), "{refused:?}");
        assert_eq!(alone.resends(), 1);
        // Switched off, the first refusal is the answer.
        let off = channel_to(&[refusing]);
        off.switch_resends_off();
        let status = call(&off, "Open", text("")).await.unwrap_err();
        assert_eq!((reason_of(&status).as_deref(), off.resends()), (Some("CONNECTION_LOST"), 0));
    }

    let (rude, seen) = server(Manner::HangUp).await;
    let alone = channel_to(&[rude]);
    let status = call(&alone, "Open", text("")).await.unwrap_err();
    assert_eq!(reason_of(&status).as_deref(), Some("CONNECTION_LOST"));
    assert_eq!((seen.load(Ordering::SeqCst), alone.resends()), (1, 0));
    replica.server.stop().await;
}

/// A server that ends its connections when they are old, even the only one there is, fails no call.
#[tokio::test]
async fn ageing_connections_fail_no_call() {
    let keys = Keys::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counts = connections.clone();
    let server = mesh::deadline::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counts.fetch_add(1, Ordering::SeqCst);
            drop(mesh::deadline::spawn(serve_for(Duration::from_millis(100), stream)));
        }
    });
    let load = Load::begin(&channel(&keys, &Address::from(address)), 8);
    eventually(PATIENCE, || async { connections.load(Ordering::SeqCst) > 20 }).await;
    let (calls, failures) = load.end().await;
    assert_eq!(failures.len(), 0, "of {calls}: {:?}", failures.first());
    server.abort();
}

/// Serves on one connection until it is so old, then ends it in good order.
async fn serve_for(age: Duration, stream: TcpStream) {
    let echo = Echo::new(|request| async move { Ok(request.into_inner()) });
    let service = tower::service_fn(move |request: http::Request<Incoming>| echo.clone().call(request.map(Body::new)));
    let protocol = http2::Builder::new(TokioExecutor::new());
    let connection = protocol.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    if tokio::time::timeout(age, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// Servers come and go while callers call; nobody notices.
#[tokio::test]
async fn replacing_every_server_fails_no_call() {
    let keys = Keys::new();
    let name = Name::default();
    let mut serving = Vec::new();
    for _ in 0..3 {
        serving.push(Replica::start(&keys, BRIEF).await);
    }
    let tell = |serving: &[Replica], leaving: Option<SocketAddr>| {
        name.tell(&serving.iter().map(|replica| replica.server.address).chain(leaving).collect::<Vec<_>>());
    };
    tell(&serving, None);
    let channel = channel(&keys, &name.address());
    let load = Load::begin(&channel, 16);
    let mut reached = BTreeSet::new();
    for _ in 0..6 {
        let newcomer = Replica::start(&keys, BRIEF).await;
        let leaving = serving.remove(0);
        reached.insert(leaving.server.address);
        serving.push(newcomer);
        // Discovery goes on naming the one that leaves until the next round.
        tell(&serving, Some(leaving.server.address));
        let newcomer = &serving[2];
        eventually(PATIENCE, || async { newcomer.reached() > 20 }).await;
        leaving.server.stop().await;
    }
    let (calls, failures) = load.end().await;
    assert_eq!(failures.len(), 0, "of {calls}: {:?}", failures.first());
    assert_eq!(reached.len(), 6);
    for replica in serving {
        replica.server.stop().await;
    }
}
