//! Finds out which endpoints there are, and keeps a subchannel for each.
//!
//! Names are asked for every few seconds, and soon after a connection was lost. The last good answer is kept while there is no better one: a
//! broken DNS is no reason to stop calling who is there.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::time::Duration;

use futures_util::future::join_all;
use http::uri::Authority;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Endpoint, Shared, Unreachable, subchannel};
use crate::client::Address;
use crate::client::address::literal;

/// How often names are asked for, ± 20 %.
const PERIOD: Duration = Duration::from_secs(5);
const JITTER: f64 = 0.2;
/// Not more often than this, whatever is lost.
const SOONEST: Duration = Duration::from_secs(1);
/// For one answer.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);

/// Follows the target's endpoints; never ends.
///
/// # Cancel safety
/// Its subchannels end with it.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut answers = Answers::new(&shared.address);
    let mut subchannels = Subchannels::default();
    let has_names = answers.has_names();
    loop {
        let asked = Instant::now();
        let failure = answers.ask(&shared).await;
        subchannels.follow(&shared, &answers.endpoints());
        if subchannels.by_address.is_empty()
            && let Some(error) = failure
        {
            let failure = Arc::new(Unreachable::new(&error));
            shared.change(|roster, _| roster.unresolved(failure));
        }
        wait(&shared, has_names.then_some(asked)).await;
    }
}

/// Waits until names have to be asked for again, for ever if there are none; meanwhile lets ejected endpoints in again.
pub(super) async fn wait(shared: &Shared, asked: Option<Instant>) {
    let period = PERIOD.mul_f64(1.0 + rand::random_range(-JITTER..=JITTER));
    let mut next = asked.map(|asked| asked + period);
    loop {
        let returns = shared.roster().returns(Instant::now());
        tokio::select! {
            () = until(next) => return,
            () = until(returns) => shared.change(|_, _| ()),
            () = shared.ejected.notified() => {}
            () = shared.lost.notified() => next = next.zip(asked).map(|(next, asked)| next.min(asked + SOONEST)),
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What is known of each origin.
pub(super) struct Answers(Vec<Answer>);

struct Answer {
    origin: Authority,
    is_name: bool,
    addresses: Vec<SocketAddr>,
    /// Whether the last question had no answer.
    stale: bool,
}

impl Answers {
    pub(super) fn new(address: &Address) -> Self {
        let answer = |origin: &Authority| {
            let literal = literal(origin);
            Answer {
                origin: origin.clone(),
                is_name: literal.is_none(),
                addresses: literal.into_iter().collect(),
                stale: false,
            }
        };
        Self(address.origins().iter().map(answer).collect())
    }

    fn has_names(&self) -> bool {
        self.0.iter().any(|answer| answer.is_name)
    }

    /// Asks for every name; what has no answer stays as it was. Answers an error, if there was one.
    pub(super) async fn ask(&mut self, shared: &Shared) -> Option<io::Error> {
        let names = self.0.iter_mut().filter(|answer| answer.is_name);
        let asked = names.map(async |answer| (lookup(&shared.address, &answer.origin).await, answer));
        let mut failure = None;
        for (found, answer) in join_all(asked).await {
            match found {
                Ok(addresses) => (answer.addresses, answer.stale) = (addresses, false),
                Err(error) => {
                    if !std::mem::replace(&mut answer.stale, true) {
                        let known = answer.addresses.len();
                        tracing::warn!(target_service = shared.target, name = %answer.origin, known, %error, "a name has no addresses");
                    }
                    failure = Some(error);
                }
            }
        }
        failure
    }

    /// Each address once, with the origin it was found by.
    pub(super) fn endpoints(&self) -> Vec<(SocketAddr, &Authority)> {
        let mut endpoints: Vec<(SocketAddr, &Authority)> = Vec::new();
        for answer in &self.0 {
            for address in &answer.addresses {
                if endpoints.iter().all(|(known, _)| known != address) {
                    endpoints.push((*address, &answer.origin));
                }
            }
        }
        endpoints
    }
}

/// # Errors
/// The name is not known, nothing is known of it, or the answer takes too long.
async fn lookup(address: &Address, origin: &Authority) -> io::Result<Vec<SocketAddr>> {
    let found = timeout(LOOKUP_LIMIT, address.resolve(origin)).await;
    let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    if found.is_empty() { Err(io::Error::new(io::ErrorKind::NotFound, "the answer is empty")) } else { Ok(found) }
}

/// The subchannels of the endpoints that are known. Dropping it ends them.
#[derive(Default)]
struct Subchannels {
    by_address: HashMap<SocketAddr, (Arc<Endpoint>, AbortHandle)>,
    tasks: JoinSet<()>,
}

impl Subchannels {
    /// Begins and ends subchannels so that there is one for each of the endpoints.
    fn follow(&mut self, shared: &Arc<Shared>, endpoints: &[(SocketAddr, &Authority)]) {
        let gone: Vec<_> = self.by_address.keys().copied().collect();
        for address in gone.into_iter().filter(|address| endpoints.iter().all(|(known, _)| known != address)) {
            if let Some((endpoint, task)) = self.by_address.remove(&address) {
                task.abort();
                shared.change(|roster, _| roster.remove(&endpoint));
                tracing::debug!(target_service = shared.target, %address, "an endpoint is gone");
            }
        }
        for (address, origin) in endpoints {
            if !self.by_address.contains_key(address) {
                self.begin(shared, *address, origin);
            }
        }
        while self.tasks.try_join_next().is_some() {}
    }

    fn begin(&mut self, shared: &Arc<Shared>, address: SocketAddr, origin: &Authority) {
        let endpoint = shared.change(|roster, now| {
            let endpoint = Arc::new(Endpoint {
                origin: origin.clone(),
                address,
                in_flight: AtomicUsize::new(0),
                latency: Mutex::new(roster.median(now)),
                failures_in_a_row: AtomicU32::new(0),
                wanted: Notify::new(),
                shared: Arc::downgrade(shared),
            });
            roster.add(Arc::clone(&endpoint));
            endpoint
        });
        let task = self.tasks.spawn(subchannel::run(Arc::clone(shared), Arc::clone(&endpoint)));
        self.by_address.insert(address, (endpoint, task));
        tracing::debug!(target_service = shared.target, %address, "an endpoint is known");
    }
}
