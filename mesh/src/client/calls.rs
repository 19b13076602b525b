//! How one service calls others: the numbers, and what an operator sees and changes while it runs.
//!
//! What protects a callee is one for all channels to it: breakers, retry budget and bulkhead are kept here by the callee's name.

use std::sync::{Arc, Mutex, PoisonError};

use proto::contract::MethodRule;

use super::breaker::{self, Breaker, Circuits, Mode, Snapshot};
use super::bulkhead::Places;
use super::inject::{InjectedFault, Injector};
use super::retry::{Policy, Retry};

/// Calls to one service at once; Envoy's and gRFC A32's limit, and below what a server takes on a connection.
const CALLS_LIMIT: usize = 1024;

/// The numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct CallSettings {
    /// Those of the breakers, if there are to be any.
    pub breaker: Option<Breaker>,
    /// Those of the retry loop, if calls are to be repeated.
    pub retry: Option<Retry>,
    /// Calls to one service at once, if that is to be limited.
    pub limit: Option<usize>,
    /// Faults from the beginning on.
    pub faults: Vec<InjectedFault>,
}

impl Default for CallSettings {
    fn default() -> Self {
        let (breaker, retry) = (Some(Breaker::default()), Some(Retry::default()));
        Self { breaker, retry, limit: Some(CALLS_LIMIT), faults: Vec::new() }
    }
}

impl CallSettings {
    /// Nothing between caller and callee: who calls as a user, or as nobody, sees every answer.
    #[must_use]
    pub fn plain() -> Self {
        Self { breaker: None, retry: None, limit: None, faults: Vec::new() }
    }
}

/// The calls of one service. Clones share it.
#[derive(Clone)]
pub struct Calls(Arc<Inner>);

struct Inner {
    settings: CallSettings,
    injector: Injector,
    callees: Mutex<Vec<Callee>>,
}

/// What all channels to one service have in common.
#[derive(Clone)]
pub(super) struct Callee {
    pub(super) name: &'static str,
    rules: &'static [MethodRule],
    pub(super) circuits: Circuits,
    pub(super) policy: Option<Arc<Policy>>,
    pub(super) places: Option<Arc<Places>>,
}

/// One breaker as it is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BreakerState {
    pub(crate) callee: &'static str,
    /// `package.Service/Method`.
    pub(crate) method: &'static str,
    pub(crate) snapshot: Snapshot,
    pub(crate) rejected: u64,
}

impl Calls {
    /// With these numbers.
    #[must_use]
    pub fn new(settings: CallSettings) -> Self {
        let injector = Injector::new(&settings.faults);
        Self(Arc::new(Inner { settings, injector, callees: Mutex::default() }))
    }

    /// What stands before the service of this name.
    pub(super) fn callee(&self, name: &'static str, rules: &'static [MethodRule]) -> Callee {
        let mut callees = self.0.callees.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |callee: &&Callee| callee.name == name && std::ptr::eq(callee.rules, rules);
        if let Some(callee) = callees.iter().find(known) {
            return callee.clone();
        }
        let CallSettings { breaker, retry, limit, .. } = self.0.settings;
        let callee = Callee {
            name,
            rules,
            circuits: breaker::circuits(name, rules, breaker),
            policy: retry.map(|retry| Arc::new(Policy::new(name, rules, retry))),
            places: limit.map(|limit| Arc::new(Places::new(name, limit))),
        };
        callees.push(callee.clone());
        callee
    }

    /// The faults in its calls.
    pub(crate) fn injector(&self) -> &Injector {
        &self.0.injector
    }

    /// Whether it has a channel to the service of this name.
    pub(crate) fn knows(&self, callee: &str) -> bool {
        self.callees().iter().any(|known| known.name == callee)
    }

    /// The breakers that something has happened to, by callee and method.
    pub(crate) fn breakers(&self) -> Vec<BreakerState> {
        let callees = self.callees();
        let circuits = callees.iter().flat_map(|callee| callee.circuits.values());
        let mut breakers: Vec<_> =
            circuits.map(|method| &*method.circuit).filter(|circuit| circuit.is_used()).map(state_of).collect();
        breakers.sort_by_key(|breaker| (breaker.callee, breaker.method));
        breakers
    }

    /// Says who decides for a breaker, if there is one.
    pub(crate) fn override_breaker(&self, callee: &str, method: &str, mode: Mode) -> Option<BreakerState> {
        let callees = self.callees();
        let mut circuits =
            callees.iter().filter(|known| known.name == callee).flat_map(|known| known.circuits.values());
        let circuit = &circuits.find(|found| found.circuit.method() == method)?.circuit;
        circuit.set(mode);
        Some(state_of(circuit))
    }

    fn callees(&self) -> Vec<Callee> {
        self.0.callees.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self::new(CallSettings::default())
    }
}

fn state_of(circuit: &breaker::Circuit) -> BreakerState {
    BreakerState {
        callee: circuit.target(),
        method: circuit.method(),
        snapshot: circuit.snapshot(),
        rejected: circuit.rejected(),
    }
}
