//! The network between two processes, for a test to spoil.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mesh::deadline;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// What becomes of the bytes that go one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They arrive.
    Open,
    /// They arrive so much later.
    Slow(Duration),
    /// They do not arrive, and nobody is told: the other end may be gone, or the cable.
    Silent,
}

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// Whether connections stand at all.
    up: bool,
    /// From the caller to the server.
    there: Way,
    /// From the server to the caller.
    back: Way,
}

const OPEN: State = State { up: true, there: Way::Open, back: Way::Open };

/// A TCP proxy between callers and one server. What was swallowed while a way was silent is lost to its connection: it stays silent.
pub struct Link {
    address: SocketAddr,
    server: Arc<Mutex<Option<SocketAddr>>>,
    sent: Arc<AtomicU64>,
    state: watch::Sender<State>,
}

impl Link {
    /// Listens; where it leads is told [later](Link::lead_to).
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (state, watched) = watch::channel(OPEN);
        let server = Arc::new(Mutex::new(None));
        let sent = Arc::new(AtomicU64::new(0));
        let (target, counted) = (Arc::clone(&server), Arc::clone(&sent));
        drop(deadline::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let server = *target.lock().expect("not poisoned");
                if let Some(server) = server.filter(|_| watched.borrow().up) {
                    drop(deadline::spawn(carry(near, server, watched.clone(), Arc::clone(&counted))));
                }
            }
        }));
        Self { address, server, sent, state }
    }

    /// Where callers connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn lead_to(&self, server: SocketAddr) {
        *self.server.lock().expect("not poisoned") = Some(server);
    }

    /// How many bytes callers have sent to the server.
    pub fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends every connection and refuses new ones.
    pub fn cut(&self) {
        self.state.send_replace(State { up: false, ..OPEN });
    }

    /// Spoils it, one way or both. New connections are still accepted, as by a host whose process hangs.
    pub fn spoil(&self, there: Way, back: Way) {
        self.state.send_replace(State { up: true, there, back });
    }

    /// All is as it was; connections that lost bytes are ended.
    pub fn mend(&self) {
        self.state.send_replace(OPEN);
    }
}

async fn carry(near: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>, sent: Arc<AtomicU64>) {
    let Ok(far) = TcpStream::connect(server).await else { return };
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let there = pump(near_read, far_write, state.clone(), |state| state.there, &sent);
    let answered = AtomicU64::new(0);
    let back = pump(far_read, near_write, state.clone(), |state| state.back, &answered);
    // Whichever ends first takes the other along, and with it both sockets.
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = state.wait_for(|state| !state.up) => {}
    }
}

/// Ends with the connection, and when a way that swallowed something is open again.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    way: fn(&State) -> Way,
    carried: &AtomicU64,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        carried.fetch_add(count as u64, Ordering::Relaxed);
        let now = way(&state.borrow_and_update());
        match now {
            Way::Open => {}
            Way::Slow(delay) => tokio::time::sleep(delay).await,
            Way::Silent => {
                // Nobody hangs up while it is silent.
                let _ = state.wait_for(|state| way(state) != Way::Silent).await;
                return;
            }
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
    if way(&state.borrow()) == Way::Silent {
        let _ = state.wait_for(|state| way(state) != Way::Silent).await;
    }
}
