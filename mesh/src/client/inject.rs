//! Puts faults into calls, where an operator says so: to see what a delay, a failure or a silence of a callee comes to.
//!
//! It stands inside the breaker, which sees them as the callee's doing. Faults come from the configuration of the process or from an operator's
//! RPC; nothing that a caller sends reaches them. Which calls they happen to is decided by a seed: the same seed decides the same, call for call
//! in the order in which calls match. Without any, a call costs one load.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::Either;
use http::{Request, Response};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use crate::fault::{Fault, code_name};
use crate::store::Micros;
use crate::telemetry::names;

#[cfg(test)]
mod tests;

/// A delay is no longer: any deadline has passed by then.
const DELAY_LIMIT: Duration = Duration::from_hours(1);

/// What happens to a share of the calls to a callee.
///
/// As text: `CALLEE[/METHOD]=FAULT[@PERCENT%][#SEED]`, with a fault of `delay:TIME`, `delay:TIME..TIME`, `abort:CODE` or `hang`; for example
/// `payment/ChargePayment=abort:UNAVAILABLE@30%#7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectedFault {
    /// The service that is called.
    pub callee: String,
    /// The simple name of its method; all of them without it.
    pub method: Option<String>,
    /// What happens.
    pub action: Action,
    /// To how many of a thousand calls, 1 to 1000.
    pub permille: u32,
    /// Decides which calls.
    pub seed: u64,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is made after a time between these two.
    Delay(Duration, Duration),
    /// It is not made, and answered with this code.
    Abort(Code),
    /// It is not made and never answered.
    Hang,
}

/// The text is not a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectedFaultError {
    /// As a whole.
    #[error("expected CALLEE[/METHOD]=FAULT[@PERCENT%][#SEED]")]
    Form,
    /// What happens.
    #[error("expected delay:TIME, delay:TIME..TIME, abort:CODE or hang, with times such as 250ms or 2s, up to an hour")]
    Action,
    /// A code that is none, or no failure.
    #[error("expected the name of a failure's status code, e.g. UNAVAILABLE")]
    Code,
    /// The share.
    #[error("expected a share from 0.1 to 100 %")]
    Share,
}

impl Action {
    /// Its name in labels and names.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Delay(..) => "delay",
            Self::Abort(_) => "abort",
            Self::Hang => "hang",
        }
    }

    /// A delay between two times.
    ///
    /// # Errors
    /// The first is later than the second, or the second is too long.
    pub fn delay(from: Duration, to: Duration) -> Result<Self, InjectedFaultError> {
        if from <= to && to <= DELAY_LIMIT { Ok(Self::Delay(from, to)) } else { Err(InjectedFaultError::Action) }
    }

    /// A failure with the code of this name.
    ///
    /// # Errors
    /// There is none, or it is `OK`.
    pub fn abort(code: &str) -> Result<Self, InjectedFaultError> {
        let found = (1..=16).map(Code::from).find(|known| code_name(*known) == code);
        found.map(Self::Abort).ok_or(InjectedFaultError::Code)
    }
}

impl FromStr for InjectedFault {
    type Err = InjectedFaultError;

    fn from_str(text: &str) -> Result<Self, InjectedFaultError> {
        let (to, fault) = text.split_once('=').ok_or(InjectedFaultError::Form)?;
        let (callee, method) = to.split_once('/').map_or((to, None), |(callee, method)| (callee, Some(method)));
        let (fault, seed) = fault.split_once('#').map_or((fault, None), |(fault, seed)| (fault, Some(seed)));
        let (action, share) = fault.split_once('@').map_or((fault, None), |(fault, share)| (fault, Some(share)));
        if !is_name(callee) || method.is_some_and(|method| !is_name(method)) {
            return Err(InjectedFaultError::Form);
        }
        Ok(Self {
            callee: callee.to_owned(),
            method: method.map(str::to_owned),
            action: action.parse()?,
            permille: share.map_or(Ok(1000), permille)?,
            seed: seed.map_or(Ok(0), str::parse).map_err(|_| InjectedFaultError::Form)?,
        })
    }
}

impl FromStr for Action {
    type Err = InjectedFaultError;

    fn from_str(text: &str) -> Result<Self, InjectedFaultError> {
        let (kind, value) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "hang" if value.is_empty() => Ok(Self::Hang),
            "abort" => Self::abort(value),
            "delay" => {
                let (from, to) = value.split_once("..").unwrap_or((value, value));
                Self::delay(time(from)?, time(to)?)
            }
            _ => Err(InjectedFaultError::Action),
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 63 && text.chars().all(|char| char.is_ascii_alphanumeric() || char == '-')
}

fn permille(text: &str) -> Result<u32, InjectedFaultError> {
    let percent: f64 = text.strip_suffix('%').unwrap_or(text).parse().map_err(|_| InjectedFaultError::Share)?;
    (1..=1000).find(|permille| f64::from(*permille) == (percent * 10.0).round()).ok_or(InjectedFaultError::Share)
}

fn time(text: &str) -> Result<Duration, InjectedFaultError> {
    let (number, unit) = text.split_at(text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| InjectedFaultError::Action)?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(InjectedFaultError::Action),
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delay(from, to) if from == to => write!(f, "delay:{}ms", to.as_millis()),
            Self::Delay(from, to) => write!(f, "delay:{}ms..{}ms", from.as_millis(), to.as_millis()),
            Self::Abort(code) => write!(f, "abort:{}", code_name(*code)),
            Self::Hang => f.write_str("hang"),
        }
    }
}

impl fmt::Display for InjectedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { callee, method, action, permille, seed } = self;
        f.write_str(callee)?;
        if let Some(method) = method {
            write!(f, "/{method}")?;
        }
        write!(f, "={action}@{}%#{seed}", f64::from(*permille) / 10.0)
    }
}

impl InjectedFault {
    /// One of each kind for each method: what is set anew replaces it.
    pub(crate) fn id(&self) -> String {
        let parts = [Some(self.callee.as_str()), self.method.as_deref(), Some(self.action.kind())];
        parts.into_iter().flatten().collect::<Vec<_>>().join(".")
    }
}

/// A fault that is in force.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) fault: InjectedFault,
    /// What the configuration says has no end.
    pub(crate) expires: Option<(Instant, Micros)>,
    calls: AtomicU64,
    injected: AtomicU64,
}

impl Active {
    fn new(fault: InjectedFault, ttl: Option<Duration>) -> Arc<Self> {
        let expires = ttl.map(|ttl| (Instant::now() + ttl, Micros::now().plus(ttl)));
        Arc::new(Self { fault, expires, calls: AtomicU64::new(0), injected: AtomicU64::new(0) })
    }

    /// Calls it could have happened to, and those it did.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.injected.load(Ordering::Relaxed))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.expires.is_some_and(|(at, _)| now >= at)
    }

    fn is_for(&self, target: &str, method: &str) -> bool {
        self.fault.callee == target && self.fault.method.as_deref().is_none_or(|only| only == method)
    }

    /// What happens to the next call, if anything.
    fn decide(&self) -> Option<Action> {
        let dice = split_mix(self.fault.seed, self.calls.fetch_add(1, Ordering::Relaxed));
        if dice % 1000 >= u64::from(self.fault.permille) {
            return None;
        }
        self.injected.fetch_add(1, Ordering::Relaxed);
        Some(match self.fault.action {
            Action::Delay(from, to) => {
                let part = split_mix(dice, 0) as f64 / u64::MAX as f64;
                let delay = from + (to - from).mul_f64(part);
                Action::Delay(delay, delay)
            }
            action => action,
        })
    }
}

/// The number at one place of a SplitMix64 sequence (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): no lock is
/// needed to draw from it, and the order of the calls alone decides.
fn split_mix(seed: u64, place: u64) -> u64 {
    let mut z = seed.wrapping_add(place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The faults of one process. Clones share them.
#[derive(Clone)]
pub(crate) struct Injector(Arc<Inner>);

struct Inner {
    active: ArcSwap<Vec<Arc<Active>>>,
    injected: Counter<u64>,
}

impl Injector {
    pub(super) fn new(configured: &[InjectedFault]) -> Self {
        let active = configured.iter().map(|fault| Active::new(fault.clone(), None)).collect();
        for fault in configured {
            tracing::warn!(%fault, "faults are injected into calls, as the configuration says");
        }
        let injected = opentelemetry::global::meter("holdfast").u64_counter(names::FAULTS_INJECTED).build();
        Self(Arc::new(Inner { active: ArcSwap::from_pointee(active), injected }))
    }

    /// Those in force, by name.
    pub(crate) fn list(&self) -> Vec<Arc<Active>> {
        let now = Instant::now();
        let mut active: Vec<_> = self.0.active.load().iter().filter(|fault| !fault.is_over(now)).cloned().collect();
        active.sort_by_key(|active| active.fault.id());
        active
    }

    /// Puts a fault into force, in place of the one of the same callee, method and kind.
    pub(crate) fn set(&self, fault: InjectedFault, ttl: Duration) -> Arc<Active> {
        let active = Active::new(fault, Some(ttl));
        self.change(&active.fault.id(), Some(&active));
        active
    }

    /// Ends a fault.
    pub(crate) fn remove(&self, id: &str) -> Option<Arc<Active>> {
        let found = self.list().into_iter().find(|active| active.fault.id() == id)?;
        self.change(id, None);
        Some(found)
    }

    fn change(&self, id: &str, next: Option<&Arc<Active>>) {
        let now = Instant::now();
        self.0.active.rcu(|active| {
            let kept = active.iter().filter(|active| active.fault.id() != id && !active.is_over(now));
            kept.chain(next).cloned().collect::<Vec<_>>()
        });
    }

    fn decide(&self, target: &'static str, path: &str) -> Option<Decision> {
        let active = self.0.active.load();
        if active.is_empty() {
            return None;
        }
        let (method, now) = (path.rsplit('/').next().unwrap_or_default(), Instant::now());
        let mut decision = Decision::default();
        for active in active.iter().filter(|active| active.is_for(target, method) && !active.is_over(now)) {
            let Some(action) = active.decide() else { continue };
            let kind = KeyValue::new(names::FAULT_KIND, action.kind());
            self.0.injected.add(1, &[KeyValue::new(names::CALL_TARGET, target), kind]);
            match action {
                Action::Delay(delay, _) => decision.delay += delay,
                Action::Abort(code) => decision.end = Some(End::Abort(code)),
                Action::Hang => decision.end = Some(End::Hang),
            }
            if decision.end.is_some() {
                break;
            }
        }
        (decision != Decision::default()).then_some(decision)
    }
}

/// What happens to one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Decision {
    delay: Duration,
    /// Without one it is made.
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Abort(Code),
    Hang,
}

/// Tampers with calls to one callee.
#[derive(Clone)]
pub(super) struct Inject<S> {
    inner: S,
    target: &'static str,
    injector: Injector,
}

impl<S> Inject<S> {
    pub(super) fn new(inner: S, target: &'static str, injector: Injector) -> Self {
        Self { inner, target, injector }
    }
}

impl<S, B> Service<Request<Body>> for Inject<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Default,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Either<S::Future, Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(decision) = self.injector.decide(self.target, request.uri().path()) else {
            return Either::Left(self.inner.call(request));
        };
        let mut inner = self.inner.clone();
        Either::Right(Box::pin(async move {
            if !decision.delay.is_zero() {
                tokio::time::sleep(decision.delay).await;
            }
            match decision.end {
                None => inner.call(request).await,
                Some(End::Abort(code)) => Ok(Status::from(Fault::injected(code)).into_http()),
                Some(End::Hang) => pending().await,
            }
        }))
    }
}
