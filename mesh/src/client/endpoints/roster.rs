//! Who is there, and what that comes to for a call.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use super::ejection::{Census, Ejection};
use super::latency::Latency;
use super::{Endpoint, Line, Unreachable};

/// An endpoint that calls ask for is tried again this long after the last attempt, however long it was to be left alone.
const WANTED_AFTER: Duration = Duration::from_secs(1);

/// The endpoints that discovery knows, and how they stand.
#[derive(Default)]
pub(super) struct Roster {
    members: Vec<Member>,
    /// Why there are none.
    unresolved: Option<Arc<Unreachable>>,
}

struct Member {
    endpoint: Arc<Endpoint>,
    phase: Phase,
    ejection: Ejection,
}

/// The state of an endpoint's subchannel.
pub(super) enum Phase {
    Connecting,
    Ready(Arc<Line>),
    /// The last attempt failed. Until one succeeds there is no hope.
    Failing(Arc<Unreachable>),
}

/// What calls see of the roster.
#[derive(Default)]
pub(super) struct View {
    /// Where a call may go.
    usable: Vec<Arc<Line>>,
    /// The last failure, if there is nothing else.
    pub(super) failure: Option<Arc<Unreachable>>,
    pub(super) ejected: u64,
}

impl Roster {
    /// Adds what is new.
    pub(super) fn add(&mut self, endpoint: Arc<Endpoint>) {
        self.unresolved = None;
        self.members.push(Member { endpoint, phase: Phase::Connecting, ejection: Ejection::default() });
    }

    /// Forgets who is gone. Their calls in progress go on.
    pub(super) fn remove(&mut self, endpoint: &Arc<Endpoint>) {
        self.members.retain(|member| !Arc::ptr_eq(&member.endpoint, endpoint));
    }

    /// Nothing is known, and this is why.
    pub(super) fn unresolved(&mut self, failure: Arc<Unreachable>) {
        self.unresolved = Some(failure);
    }

    pub(super) fn set(&mut self, endpoint: &Arc<Endpoint>, phase: Phase) {
        if let Some(member) = self.member(endpoint) {
            member.phase = phase;
        }
    }

    /// The connection takes no more calls; its subchannel may not have noticed.
    pub(super) fn closed(&mut self, line: &Arc<Line>) {
        if let Some(member) = self.member(&line.endpoint)
            && matches!(&member.phase, Phase::Ready(ready) if Arc::ptr_eq(ready, line))
        {
            member.phase = Phase::Connecting;
        }
    }

    /// Ejects an endpoint, if the others allow it; answers for how long.
    pub(super) fn eject(&mut self, endpoint: &Arc<Endpoint>, now: Instant) -> Option<Duration> {
        let may_eject = self.census(now).may_eject();
        let member = self.member(endpoint)?;
        if !may_eject || !member.is_usable(now) {
            return None;
        }
        endpoint.failures_in_a_row.store(0, Ordering::Relaxed);
        Some(member.ejection.eject(now))
    }

    /// When the next ejected endpoint returns.
    pub(super) fn returns(&self, now: Instant) -> Option<Instant> {
        self.members.iter().filter_map(|member| member.ejection.returns(now)).min()
    }

    #[cfg(feature = "testing")]
    pub(super) fn ejected(&self, now: Instant) -> Vec<std::net::SocketAddr> {
        let ejected = self.members.iter().filter(|member| member.ejection.is_ejected(now));
        ejected.map(|member| member.endpoint.address).collect()
    }

    /// What a newcomer's latency is taken to be.
    pub(super) fn median(&self, now: Instant) -> Latency {
        let latencies: Vec<_> = self.members.iter().map(|member| *member.endpoint.latency()).collect();
        Latency::beside(&latencies, now)
    }

    /// A call that began then finds nobody. Who answered at once and before that the call cannot rely on: it is asked again. Answers whether there
    /// is hope.
    pub(super) fn want(&mut self, began: Instant, now: Instant) -> bool {
        let mut hope = false;
        for member in &mut self.members {
            let Phase::Failing(failure) = &member.phase else { continue };
            let is_stale = failure.came_at_once && failure.at < began;
            if is_stale || now >= failure.at + WANTED_AFTER {
                member.endpoint.wanted.notify_one();
            }
            if is_stale {
                member.phase = Phase::Connecting;
                hope = true;
            }
        }
        hope
    }

    pub(super) fn view(&self, now: Instant) -> View {
        let census = self.census(now);
        let is_in = |member: &&Member| census.is_panic() || !member.ejection.is_ejected(now);
        let usable = self.members.iter().filter(is_in).filter_map(|member| member.line().map(Arc::clone)).collect();
        View { usable, failure: self.failure(), ejected: census.ejected as u64 }
    }

    fn member(&mut self, endpoint: &Arc<Endpoint>) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| Arc::ptr_eq(&member.endpoint, endpoint))
    }

    fn census(&self, now: Instant) -> Census {
        let count = |is: &dyn Fn(&Member) -> bool| self.members.iter().filter(|member| is(member)).count();
        Census {
            known: self.members.len(),
            usable: count(&|member| member.is_usable(now)),
            ejected: count(&|member| member.ejection.is_ejected(now)),
        }
    }

    /// The latest of the failures, if nobody is anything but failing.
    fn failure(&self) -> Option<Arc<Unreachable>> {
        let mut latest = self.unresolved.as_ref();
        for member in &self.members {
            let Phase::Failing(failure) = &member.phase else { return None };
            latest = latest.filter(|latest| latest.at >= failure.at).or(Some(failure));
        }
        latest.map(Arc::clone)
    }
}

impl Member {
    fn line(&self) -> Option<&Arc<Line>> {
        match &self.phase {
            Phase::Ready(line) => Some(line),
            Phase::Connecting | Phase::Failing(_) => None,
        }
    }

    fn is_usable(&self, now: Instant) -> bool {
        self.line().is_some() && !self.ejection.is_ejected(now)
    }
}

impl View {
    /// The cheaper of two random ones.
    pub(super) fn choose(&self, random: &mut impl Rng) -> Option<&Arc<Line>> {
        match self.usable.as_slice() {
            [] => None,
            [only] => Some(only),
            lines => {
                let one = random.random_range(0..lines.len());
                let other = (one + random.random_range(1..lines.len())) % lines.len();
                let (one, other) = (&lines[one], &lines[other]);
                let now = Instant::now();
                Some(if cost(other, now) < cost(one, now) { other } else { one })
            }
        }
    }
}

fn cost(line: &Line, now: Instant) -> f64 {
    let endpoint = &line.endpoint;
    endpoint.latency().cost(endpoint.in_flight.load(Ordering::Relaxed), now)
}
