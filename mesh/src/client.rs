//! Calls to other services: one function makes a channel that generated clients run on.
//!
//! What happens to a call, outermost first: it is observed, gets a deadline (never later than the caller's), is made again if that is safe and
//! may help ([`Retry`]), takes one of a limited number of places, passes the [`Breaker`] of its callee, may meet a fault that an operator put
//! there ([`InjectedFault`]), carries our identity, and goes to one of the callee's endpoints: the [`Address`] is a list or a name, looked up again
//! and again, each endpoint has one HTTP/2 connection, and of two that are connected the less busy one is taken. An endpoint that keeps failing is
//! left out for a while. What a server did not look at, because it went away, goes to another one. Attempts share the deadline, each takes a
//! place, counts, and is signed afresh. Every failure, of a connection too, is an ordinary gRPC answer with a reason; the channel itself never
//! fails.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderValue, Request, Response};
use opentelemetry::KeyValue;
use proto::contract::{METHODS, MethodRule};
use tonic::body::Body;
use tower::Service;

use crate::identity::{self, ServiceIdentity};
use crate::telemetry::names;
use crate::telemetry::rpc::{Observer, Side};

mod address;
mod advice;
mod breaker;
mod bulkhead;
mod calls;
mod connection;
mod deadlines;
mod endpoints;
mod identify;
mod inject;
mod observe;
mod plain;
mod request;
mod retry;
mod transport;

pub use address::{Address, AddressError};
pub(crate) use advice::PUSHBACK;
pub use breaker::{BREAKER_OPEN, Breaker};
pub(crate) use breaker::{Cause, Mode, Phase, Snapshot};
pub use bulkhead::BULKHEAD_FULL;
pub(crate) use calls::BreakerState;
pub use calls::{CallSettings, Calls};
pub(crate) use inject::Active;
pub use inject::{Action, InjectedFault, InjectedFaultError};
pub use plain::plain;
pub use retry::Retry;

use breaker::Breakers;
use bulkhead::Bulkhead;
use deadlines::Deadlines;
use endpoints::Endpoints;
use identify::Identify;
use inject::Inject;
use observe::Observe;
use retry::Retries;
use transport::Transport;

type Guards<S> = Deadlines<Retries<Bulkhead<Breakers<S>>>>;
type Stack = Observe<Guards<Inject<Identify<Transport>>>>;

/// A channel to one service. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Channel {
    stack: Stack,
    endpoints: Endpoints,
}

/// In whose name a channel calls. A call that carries an `authorization` of its own keeps it.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A service's own, signed for each callee.
    Service(ServiceIdentity),
    /// One token for every call.
    Fixed(HeaderValue),
    /// None: for health and reflection, or when each call brings its own.
    Anonymous,
}

impl Credentials {
    /// Calls with this token, as a user does.
    #[must_use]
    pub fn token(token: &str) -> Self {
        Self::Fixed(identity::bearer(token))
    }
}

impl From<ServiceIdentity> for Credentials {
    fn from(identity: ServiceIdentity) -> Self {
        Self::Service(identity)
    }
}

/// A channel to the service named `target` at `address`. It connects when first used. With a service's own identity it has all of the above with
/// the default numbers: services keep each other's trouble away. Who calls as a user, or as nobody, sees every answer of the callee.
#[must_use]
pub fn connect(target: &'static str, address: &Address, caller: impl Into<Credentials>) -> Channel {
    connect_with_rules(target, address, caller, METHODS)
}

/// As [`connect`], with other rules than the contract's: the methods' default deadlines come from there.
#[must_use]
pub fn connect_with_rules(
    target: &'static str,
    address: &Address,
    caller: impl Into<Credentials>,
    rules: &'static [MethodRule],
) -> Channel {
    let caller = caller.into();
    let settings = match caller {
        Credentials::Service(_) => CallSettings::default(),
        Credentials::Fixed(_) | Credentials::Anonymous => CallSettings::plain(),
    };
    connect_as(target, address, caller, rules, &Calls::new(settings))
}

/// As [`connect_with_rules`], as one of the calls of a service that has others: what protects a callee is shared by all channels to it.
#[must_use]
pub fn connect_as(
    target: &'static str,
    address: &Address,
    caller: impl Into<Credentials>,
    rules: &'static [MethodRule],
    calls: &Calls,
) -> Channel {
    let caller = caller.into();
    let service = match &caller {
        Credentials::Service(identity) => Some(identity.service()),
        Credentials::Fixed(_) | Credentials::Anonymous => None,
    };
    let service = service.map(str::to_owned);
    let endpoints = Endpoints::new(target, address.clone());
    let signed = Identify::new(Transport::new(target, endpoints.clone(), rules), target, caller);
    let sender = Inject::new(signed, target, calls.injector().clone());
    Channel { stack: stack(sender, target, rules, calls, service, peer(address)), endpoints }
}

/// What a call passes before it is signed and sent.
fn stack<S>(
    sender: S,
    target: &'static str,
    rules: &'static [MethodRule],
    calls: &Calls,
    service: Option<String>,
    peer: Vec<KeyValue>,
) -> Observe<Guards<S>> {
    let observer = Observer::new(Side::Client, service, peer);
    let callee = calls.callee(target, rules);
    let guarded = Breakers::new(sender, callee.circuits);
    let limited = Bulkhead::new(guarded, callee.places);
    let repeated = Retries::new(limited, callee.policy);
    Observe::new(Deadlines::new(repeated, rules), observer, rules)
}

/// The layers of a channel over any callee, but for those that sign and send: what they cost can be measured without a network.
#[cfg(feature = "testing")]
pub fn over<S>(
    callee: S,
    target: &'static str,
    rules: &'static [MethodRule],
    calls: &Calls,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + use<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    stack(Inject::new(callee, target, calls.injector().clone()), target, rules, calls, None, Vec::new())
}

/// The target as it is configured: which endpoint a call went to would be a series for each.
fn peer(address: &Address) -> Vec<KeyValue> {
    let [origin] = address.origins() else {
        return vec![KeyValue::new(names::SERVER_ADDRESS, address.to_string())];
    };
    let port = origin.port_u16().map(i64::from).unwrap_or_default();
    vec![KeyValue::new(names::SERVER_ADDRESS, origin.host().to_owned()), KeyValue::new(names::SERVER_PORT, port)]
}

impl Channel {
    /// How many requests were sent again since the channel was made, because a server had not looked at them.
    #[must_use]
    pub fn resends(&self) -> u64 {
        self.endpoints.resends()
    }

    /// Loses what a server did not look at, to show what resending is for.
    #[cfg(feature = "testing")]
    pub fn switch_resends_off(&self) {
        self.endpoints.switch_resends_off();
    }

    /// Which endpoints are left out although they are connected.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn ejected(&self) -> Vec<std::net::SocketAddr> {
        self.endpoints.ejected()
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.stack.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.stack.call(request)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}
