//! Who may call an RPC, for how long, by which HTTP paths, and what it may answer.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DynamicMessage, Kind, MethodDescriptor, ReflectMessage, Value};

use super::options::{extension, get, list, text};
use crate::{Diff, finding::At, rules};

const OPTIONS: i32 = 4;
const HTTP: [i32; 2] = [OPTIONS, 72_295_728];
const ACCESS: [i32; 2] = [OPTIONS, 50001];
const DEADLINE: [i32; 2] = [OPTIONS, 50002];
const ERRORS: [i32; 2] = [OPTIONS, 50003];
const IDEMPOTENCY_KEY: [i32; 2] = [OPTIONS, 50005];
pub(crate) const IDEMPOTENT: i32 = 2;
pub(crate) const NO_SIDE_EFFECTS: i32 = 1;

pub(crate) fn compare(diff: &mut Diff<'_>, old: &MethodDescriptor, new: &MethodDescriptor) {
    access(diff, old, new);
    deadline(diff, old, new);
    errors(diff, old, new);
    idempotency_key(diff, old, new);
    http(diff, old, new);
}

/// Asked of new RPCs only; what a released one declares is a structural matter.
pub(crate) fn declares_idempotency(diff: &mut Diff<'_>, new: &MethodDescriptor) {
    let level = get(&new.options(), "idempotency_level").and_then(|level| level.as_enum_number());
    if !matches!(level, Some(NO_SIDE_EFFECTS | IDEMPOTENT)) {
        let message = "callers cannot know whether they may repeat it";
        diff.add(&rules::SEM_IDEMPOTENCY_UNDECLARED, at(new, &[]), new.full_name(), message);
    }
}

fn at(rpc: &MethodDescriptor, option: &[i32]) -> At {
    At::option(&rpc.parent_file(), rpc.path(), option)
}

pub(crate) fn option(rpc: &MethodDescriptor, name: &str) -> Option<DynamicMessage> {
    extension(&rpc.options(), name)?.as_message().cloned()
}

fn access(diff: &mut Diff<'_>, old: &MethodDescriptor, new: &MethodDescriptor) {
    let (was, is) = (callers(old), callers(new));
    for caller in was.difference(&is) {
        let message = format!("{caller} may no longer call");
        diff.add(&rules::SEM_ACCESS_NARROWED, at(new, &ACCESS), new.full_name(), message);
    }
    for caller in is.difference(&was) {
        diff.add(&rules::SEM_ACCESS_WIDENED, at(new, &ACCESS), new.full_name(), format!("{caller} may call"));
    }
}

/// Roles and services by name.
pub(crate) fn callers(rpc: &MethodDescriptor) -> BTreeSet<String> {
    let Some(access) = option(rpc, "holdfast.options.v1.access") else { return BTreeSet::new() };
    let roles = list(&access, "roles").into_iter().map(|role| enum_name(&access, "roles", &role));
    let services = list(&access, "services").into_iter().filter_map(|name| name.as_str().map(str::to_owned));
    roles.chain(services).collect()
}

pub(crate) fn enum_name(message: &DynamicMessage, field: &str, value: &Value) -> String {
    let number = value.as_enum_number().unwrap_or_default();
    let name = message.descriptor().get_field_by_name(field).and_then(|field| match field.kind() {
        Kind::Enum(descriptor) => Some(descriptor.get_value(number)?.name().to_owned()),
        _ => None,
    });
    name.unwrap_or_else(|| number.to_string())
}

fn deadline(diff: &mut Diff<'_>, old: &MethodDescriptor, new: &MethodDescriptor) {
    const NAME: &str = "holdfast.options.v1.deadline";
    let (Some(was), Some(is)) = (option(old, NAME), option(new, NAME)) else { return };
    let limit = |budget: &DynamicMessage, name| get(budget, name).and_then(|limit| limit.as_i32()).unwrap_or_default();
    for (name, may_rise) in [("default_ms", true), ("max_ms", true), ("min_ms", false)] {
        let (was, is) = (limit(&was, name), limit(&is, name));
        if was != is && (is > was) != may_rise {
            let message = format!("{name} changed from {was} to {is}");
            diff.add(&rules::SEM_DEADLINE_LOWERED, at(new, &DEADLINE), new.full_name(), message);
        }
    }
}

fn errors(diff: &mut Diff<'_>, old: &MethodDescriptor, new: &MethodDescriptor) {
    let (was, is) = (reasons(old), reasons(new));
    for (reason, codes) in &was {
        let (rule, message) = match is.get(reason) {
            None => (&rules::SEM_ERROR_REASON_LOST, format!("{reason} is no longer declared")),
            Some(now) if now != codes => {
                (&rules::SEM_ERROR_CODE_CHANGED, format!("the code of {reason} changed from {codes:?} to {now:?}"))
            }
            Some(_) => continue,
        };
        diff.add(rule, at(new, &ERRORS), new.full_name(), message);
    }
    for reason in is.keys().filter(|reason| !was.contains_key(*reason)) {
        let message = format!("{reason} is declared");
        diff.add(&rules::SEM_ERROR_REASON_ADDED, at(new, &ERRORS), new.full_name(), message);
    }
}

/// One that is declared for the first time promises more; any other change takes repeats for new calls, or new calls for
/// repeats.
fn idempotency_key(diff: &mut Diff<'_>, old: &MethodDescriptor, new: &MethodDescriptor) {
    let (was, is) = (key(old), key(new));
    if was.is_empty() || was == is {
        return;
    }
    let message = if is.is_empty() {
        format!("no longer says that {} make a call a repeat", joined(&was))
    } else {
        format!("what makes a call a repeat changed from {} to {}", joined(&was), joined(&is))
    };
    diff.add(&rules::SEM_IDEMPOTENCY_KEY_CHANGED, at(new, &IDEMPOTENCY_KEY), new.full_name(), message);
}

/// The fields that name what a call does.
fn key(rpc: &MethodDescriptor) -> BTreeSet<String> {
    let fields = extension(&rpc.options(), "holdfast.options.v1.idempotency_key");
    let fields = fields.as_ref().and_then(Value::as_list).unwrap_or_default();
    fields.iter().filter_map(|field| field.as_str().map(str::to_owned)).collect()
}

fn joined(fields: &BTreeSet<String>) -> String {
    fields.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Each declared reason with its status codes.
pub(crate) fn reasons(rpc: &MethodDescriptor) -> BTreeMap<String, BTreeSet<String>> {
    let mut reasons = BTreeMap::<_, BTreeSet<_>>::new();
    let errors = extension(&rpc.options(), "holdfast.options.v1.errors");
    for case in errors.as_ref().and_then(Value::as_list).unwrap_or_default().iter().filter_map(Value::as_message) {
        let code = get(case, "code").map(|code| enum_name(case, "code", &code)).unwrap_or_default();
        reasons.entry(text(case, "reason")).or_default().insert(code);
    }
    reasons
}

/// A verb and path, and which fields are the bodies.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Binding {
    pub(crate) route: String,
    pub(crate) bodies: (String, String),
}

fn http(diff: &mut Diff<'_>, old: &MethodDescriptor, new: &MethodDescriptor) {
    let (was, is) = (bindings(old), bindings(new));
    let mut unknown: Vec<&Binding> = is.iter().filter(|binding| !was.contains(binding)).collect();
    for lost in was.iter().filter(|binding| !is.contains(binding)) {
        // What took its place: the same route with other bodies, else another route.
        let heir = unknown.iter().position(|binding| binding.route == lost.route).or(unknown.len().checked_sub(1));
        let (rule, message) = match heir.map(|index| unknown.remove(index)) {
            Some(heir) if heir.route == lost.route => {
                (&rules::SEM_HTTP_BINDING_CHANGED, format!("the bodies of {} changed", lost.route))
            }
            Some(heir) => (&rules::SEM_HTTP_BINDING_CHANGED, format!("{} became {}", lost.route, heir.route)),
            None => (&rules::SEM_HTTP_BINDING_LOST, format!("{} is gone", lost.route)),
        };
        diff.add(rule, at(new, &HTTP), new.full_name(), message);
    }
}

pub(crate) fn bindings(rpc: &MethodDescriptor) -> BTreeSet<Binding> {
    let Some(rule) = option(rpc, "google.api.http") else { return BTreeSet::new() };
    let more = list(&rule, "additional_bindings");
    let rules = more.iter().filter_map(Value::as_message).chain([&rule]);
    rules.filter_map(binding).collect()
}

fn binding(rule: &DynamicMessage) -> Option<Binding> {
    let (verb, pattern) = rule.fields().find(|(field, _)| field.containing_oneof().is_some())?;
    let route = match pattern {
        Value::Message(custom) => format!("{} {}", text(custom, "kind"), text(custom, "path")),
        path => format!("{} {}", verb.name(), path.as_str().unwrap_or_default()),
    };
    Some(Binding { route, bodies: (text(rule, "body"), text(rule, "response_body")) })
}
