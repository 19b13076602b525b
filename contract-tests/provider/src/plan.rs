//! Which checks there are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::checks::{Kind, access, repeats, transport};
use crate::fault;
use crate::model::{Idempotency, Model, Rpc};
use crate::unmet::Unmet;
use crate::values::Maker;

/// Which checks can be made of a target.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The roles for which there is a token; `None` if there are keys, to sign for anybody.
    pub roles: Option<BTreeSet<String>>,
    /// What is published is heard.
    pub hears_events: bool,
    /// How long each service is fuzzed; zero is not at all.
    pub fuzz: Duration,
}

impl Plan {
    /// Everything there is, as in the committed listing.
    pub const FULL: Self = Self { roles: None, hears_events: true, fuzz: Duration::from_secs(2) };

    /// Whether there is anybody to call the RPC.
    #[must_use]
    pub fn may_call(&self, rpc: &Rpc) -> bool {
        self.roles.as_ref().is_none_or(|roles| rpc.roles.iter().any(|role| roles.contains(role)))
    }
}

/// One check, by a name that does not change.
#[derive(Clone, Debug)]
pub struct Check {
    /// `<package.Service>/<Method>::<check>[::<field>.<rule>]`.
    pub name: String,
    pub(crate) kind: Kind,
}

impl Check {
    /// What is declared is met, or on the list. It judges all others, so it makes sense with all of them only.
    #[must_use]
    pub fn unmet(list: Unmet) -> Self {
        Self { name: "coverage::unmet".to_owned(), kind: Kind::Unmet(list) }
    }

    /// Whether it judges what the others have seen, so that they have to be over.
    #[must_use]
    pub fn is_late(&self) -> bool {
        use Kind::{
            ErrorsDeclared, EventAsDeclared, EventsDeclared, NoSurpriseFields, OutputHonoursRules, Publishes, Unmet,
        };
        matches!(
            self.kind,
            ErrorsDeclared(_)
                | NoSurpriseFields(_)
                | OutputHonoursRules(_)
                | Publishes(_)
                | EventsDeclared
                | EventAsDeclared(_)
                | Unmet(_)
        )
    }
}

/// Every check that the contracts imply and the plan allows; those that judge the others come last.
#[must_use]
pub fn checks(model: &Model, plan: &Plan) -> Vec<Check> {
    let mut all = vec![Check { name: "coverage::links".to_owned(), kind: Kind::Links }];
    for service in model.services() {
        let of_service = |rpc: &&Arc<Rpc>| rpc.service() == service && plan.may_call(rpc);
        let rpcs: Vec<_> = model.rpcs().filter(of_service).cloned().collect();
        let mut add = |name: &str, kind| all.push(Check { name: format!("{service}::{name}"), kind });
        add("schema_served", Kind::SchemaServed(service.clone()));
        for probe in transport::Probe::ALL {
            add(probe.name(), Kind::Transport(probe, rpcs.clone()));
        }
        if !plan.fuzz.is_zero() {
            add("fuzz", Kind::Fuzz(rpcs, plan.fuzz));
        }
    }
    for rpc in model.rpcs().filter(|rpc| plan.may_call(rpc)) {
        let kinds = of_rpc(model, plan, rpc);
        all.extend(kinds.into_iter().map(|(name, kind)| Check { name: format!("{}::{name}", rpc.path()), kind }));
    }
    if plan.hears_events {
        all.push(Check { name: "events::declared".to_owned(), kind: Kind::EventsDeclared });
        all.extend(model.events().iter().enumerate().map(|(index, event)| Check {
            name: format!("event::{}::as_declared", event.message.full_name()),
            kind: Kind::EventAsDeclared(index),
        }));
    }
    all.sort_by_key(Check::is_late);
    all
}

/// What makes a check of an RPC.
type Make = fn(Arc<Rpc>) -> Kind;

fn of_rpc(model: &Model, plan: &Plan, rpc: &Arc<Rpc>) -> Vec<(String, Kind)> {
    let mut all = Vec::new();
    let mut add = |name: String, kind: Make| all.push((name, kind(Arc::clone(rpc))));
    add("is_implemented".to_owned(), Kind::IsImplemented);
    add("accepts_minimal".to_owned(), Kind::AcceptsMinimal);
    add("accepts_maximal".to_owned(), Kind::AcceptsMaximal);
    add("errors_declared".to_owned(), Kind::ErrorsDeclared);
    add("no_surprise_fields".to_owned(), Kind::NoSurpriseFields);
    add("output_honours_rules".to_owned(), Kind::OutputHonoursRules);
    // Of what no calls lead to, only a refusal could be repeated.
    if !rpc.unreachable {
        of_answers(plan, rpc, &mut add);
    }
    let input = rpc.method.input();
    let places = fault::places(model, &input);
    if places.iter().any(|place| place.field().kind().as_enum().is_some()) {
        add("tolerates_unknown_enum".to_owned(), Kind::ToleratesUnknownEnum);
    }
    for fault in fault::faults(model, &input) {
        all.push((format!("rejects::{}", fault.name()), Kind::Rejects(Arc::clone(rpc), fault)));
    }
    let mut maker = Maker::new(0, "");
    for place in places.into_iter().filter(|place| !fault::edges(model, &mut maker, place.field()).is_empty()) {
        all.push((format!("boundary::{}", place.name()), Kind::Boundary(Arc::clone(rpc), place)));
    }
    for who in access::cases(model, plan, rpc) {
        all.push((format!("access::{}", who.name()), Kind::Access(Arc::clone(rpc), who)));
    }
    all
}

/// The checks that need an OK answer.
fn of_answers(plan: &Plan, rpc: &Rpc, add: &mut dyn FnMut(String, Make)) {
    add("tolerates_unknown_field".to_owned(), Kind::ToleratesUnknownField);
    match rpc.idempotency {
        Idempotency::Safe => add("is_safe".to_owned(), Kind::IsSafe),
        Idempotency::Idempotent => add("is_idempotent".to_owned(), Kind::IsIdempotent),
        Idempotency::None => {}
    }
    if plan.hears_events {
        match rpc.idempotency {
            Idempotency::Safe => add("publishes_nothing".to_owned(), Kind::Publishes),
            Idempotency::Idempotent => add("publishes_once".to_owned(), Kind::Publishes),
            Idempotency::None => {}
        }
    }
    if rpc.errors.iter().any(|(_, reason)| reason == repeats::REUSED) {
        add("refuses_reused_request_id".to_owned(), Kind::RefusesReusedRequestId);
    }
    if rpc.is_stream() {
        add("stream_shape".to_owned(), Kind::StreamShape);
    }
    if rpc.is_paged() {
        add("pagination".to_owned(), Kind::Pagination);
    }
}

/// The names of all checks, sorted: what is committed, so that a check that goes away is seen.
#[must_use]
pub fn surface(checks: &[Check]) -> String {
    let names: BTreeSet<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    names.into_iter().map(|name| format!("{name}\n")).collect()
}
