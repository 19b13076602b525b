//! How often a user may call: so many calls a second, of which a whole second's may come at once. Services are trusted to have their own limits,
//! and operators' calls are never refused.
//!
//! The algorithm is GCRA (ITU-T I.371, ATM's): one moment for each caller, the one at which all its calls so far would have arrived had they
//! come evenly. It answers when the next call will be accepted, to the microsecond.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::Either;
use http::{Request, Response};
use proto::contract::Priority;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::Rates;
use super::rules::Target;
use crate::fault::{Fault, reason};
use crate::identity::Principal;

/// Callers remembered: two generations of this many. Who is forgotten has not called while that many others did.
const GENERATION: usize = 8192;

pub(super) fn layer(rates: Rates) -> QuotaLayer {
    let quota = |rate: Option<NonZeroU32>| rate.map(|rate| Arc::new(Quota::new(rate)));
    QuotaLayer { commands: quota(rates.commands), reads: quota(rates.reads) }
}

#[derive(Clone)]
pub(super) struct QuotaLayer {
    commands: Option<Arc<Quota>>,
    reads: Option<Arc<Quota>>,
}

impl<S> Layer<S> for QuotaLayer {
    type Service = Quotas<S>;

    fn layer(&self, inner: S) -> Quotas<S> {
        Quotas { inner, quotas: self.clone() }
    }
}

#[derive(Clone)]
pub(super) struct Quotas<S> {
    inner: S,
    quotas: QuotaLayer,
}

impl<S> Service<Request<Body>> for Quotas<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response<Body>, Infallible>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.quotas.charge(&request) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(fault) => Either::Left(ready(Ok(Status::from(fault).into_http()))),
        }
    }
}

impl QuotaLayer {
    fn charge(&self, request: &Request<Body>) -> Result<(), Fault> {
        let Target::Method(rule) = Target::of(request) else { return Ok(()) };
        let (quota, what) = if rule.no_side_effects { (&self.reads, "reads") } else { (&self.commands, "commands") };
        let (Some(quota), Some(principal)) = (quota, request.extensions().get::<Principal>()) else { return Ok(()) };
        match principal.user_id() {
            Some(user) if rule.priority != Priority::Admin => {
                quota.charge(user, Instant::now()).map_err(|wait| exceeded(principal, what, wait))
            }
            _ => Ok(()),
        }
    }
}

fn exceeded(principal: &Principal, what: &str, wait: Duration) -> Fault {
    let message = format!("{principal} makes more {what} than {what} a second are allowed");
    Fault::exhausted(reason::RATE_LIMITED, principal.to_string(), message, Some(wait))
        .with("caller", principal.to_string())
}

/// The callers of one class of calls.
struct Quota {
    /// One call's share of a second.
    interval: Duration,
    began: Instant,
    callers: Mutex<Callers>,
}

/// The moment up to which each caller has used its share, since the quota began. When one generation is full the older one goes: bounded,
/// and whoever calls stays.
#[derive(Default)]
struct Callers {
    young: HashMap<Box<str>, Duration>,
    old: HashMap<Box<str>, Duration>,
}

impl Quota {
    fn new(rate: NonZeroU32) -> Self {
        Self { interval: Duration::from_secs(1) / rate.get(), began: Instant::now(), callers: Mutex::default() }
    }

    /// One call, or how long until one is accepted.
    fn charge(&self, caller: &str, now: Instant) -> Result<(), Duration> {
        let now = now.saturating_duration_since(self.began);
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let used = callers.entry(caller);
        let next = now.max(*used) + self.interval;
        match next.checked_sub(now + Duration::from_secs(1)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *used = next;
                Ok(())
            }
        }
    }
}

impl Callers {
    fn entry(&mut self, caller: &str) -> &mut Duration {
        if !self.young.contains_key(caller) {
            if self.young.len() >= GENERATION {
                self.old = std::mem::take(&mut self.young);
            }
            let used = self.old.remove(caller).unwrap_or_default();
            self.young.insert(caller.into(), used);
        }
        self.young.get_mut(caller).expect("inserted above")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(rate: u32) -> Quota {
        Quota::new(NonZeroU32::new(rate).unwrap())
    }

    #[test]
    fn a_second_s_calls_may_come_at_once_and_the_wait_is_exact() {
        let quota = quota(4);
        let at = |ms| quota.began + Duration::from_millis(ms);
        for _ in 0..4 {
            assert_eq!(quota.charge("alice", at(0)), Ok(()));
        }
        assert_eq!(quota.charge("alice", at(0)), Err(Duration::from_millis(250)));
        assert_eq!(quota.charge("bob", at(0)), Ok(()), "each caller has its own");
        assert_eq!(quota.charge("alice", at(249)), Err(Duration::from_millis(1)));
        assert_eq!(quota.charge("alice", at(250)), Ok(()), "what was refused was not counted");
        assert_eq!(quota.charge("alice", at(250)), Err(Duration::from_millis(250)));
        for _ in 0..4 {
            assert_eq!(quota.charge("alice", at(5_000)), Ok(()), "time that was not used is not saved up");
        }
        assert_eq!(quota.charge("alice", at(5_000)), Err(Duration::from_millis(250)));
    }

    #[test]
    fn callers_are_forgotten_the_longest_silent_first() {
        let quota = quota(1);
        let now = quota.began;
        let crowd = |from: usize| {
            for index in from..from + GENERATION {
                quota.charge(&format!("user {index}"), now).unwrap();
            }
        };
        quota.charge("alice", now).unwrap();
        crowd(0);
        assert!(quota.charge("alice", now).is_err(), "still known, and young again");
        crowd(GENERATION);
        crowd(2 * GENERATION);
        assert_eq!(quota.charge("alice", now), Ok(()), "forgotten");
        let callers = quota.callers.lock().unwrap();
        assert!(callers.young.len() + callers.old.len() <= 2 * GENERATION);
    }
}
