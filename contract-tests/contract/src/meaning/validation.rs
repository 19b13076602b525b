//! The rules of `buf.validate` on a field, flattened, and what a change of one does to the values that pass.

use std::{cmp::Ordering, collections::BTreeMap, fmt};

use prost_reflect::{DynamicMessage, FieldDescriptor, ReflectMessage, Value};

use super::options::{extension, flag};

/// What a change does to the values that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Fewer.
    Narrowed,
    /// More.
    Widened,
    /// Others.
    Moved,
    /// Nobody can tell.
    Undecidable,
}

/// One rule of a field that changed.
pub(crate) struct Change {
    pub(crate) effect: Effect,
    pub(crate) text: String,
}

/// `string.max_len` and the like, to what they are set to.
pub(crate) type Rules = BTreeMap<String, Value>;

fn option(field: &FieldDescriptor) -> Option<DynamicMessage> {
    extension(&field.options(), "buf.validate.field")?.as_message().cloned()
}

/// Whether a request without the field is refused.
pub(crate) fn is_required(field: &FieldDescriptor) -> bool {
    option(field).is_some_and(|rules| flag(&rules, "required"))
}

/// Every rule that changed. That a field became required is no change of a rule but a demand of its own.
pub(crate) fn changes(old: &FieldDescriptor, new: &FieldDescriptor) -> Vec<Change> {
    let (was, is) = (rules(old), rules(new));
    let mut names: Vec<&String> = was.keys().chain(is.keys()).collect();
    names.sort();
    names.dedup();
    let change = |name: &String| {
        let (was, is) = (was.get(name), is.get(name));
        let effect = effect(name, was, is).filter(|effect| name != "required" || *effect == Effect::Widened)?;
        Some(Change { effect, text: format!("{name} changed from {} to {}", Shown(was), Shown(is)) })
    };
    names.into_iter().filter_map(change).collect()
}

pub(crate) fn rules(field: &FieldDescriptor) -> Rules {
    let mut rules = Rules::new();
    if let Some(option) = option(field) {
        flatten(&option, "", &mut rules);
    }
    rules
}

fn flatten(message: &DynamicMessage, prefix: &str, rules: &mut Rules) {
    for (field, value) in message.fields() {
        let name = format!("{prefix}{}", field.name());
        match value {
            Value::Message(inner) if inner.descriptor().package_name() != "google.protobuf" => {
                flatten(inner, &format!("{name}."), rules);
            }
            _ => {
                if let Some((name, value)) = plain(&name, value) {
                    rules.insert(name, value);
                }
            }
        }
    }
}

/// Spells a rule in one way where there are several: `gt: 0` of an integer is `gte: 1`, and what allows all is none.
fn plain(name: &str, value: &Value) -> Option<(String, Value)> {
    let leaf = leaf(name);
    let whole = match value {
        Value::I32(number) => Some(i64::from(*number)),
        Value::I64(number) => Some(*number),
        _ => None,
    };
    match (leaf, whole) {
        ("example", _) => None,
        ("gt", Some(number)) => Some((format!("{name}e"), Value::I64(number.checked_add(1)?))),
        ("lt", Some(number)) => Some((format!("{name}e"), Value::I64(number.checked_sub(1)?))),
        ("gte" | "lte", Some(number)) => Some((name.to_owned(), Value::I64(number))),
        _ if *value == Value::Bool(false) || *value == Value::EnumNumber(0) => None,
        _ if leaf.starts_with("min_") && *value == Value::U64(0) => None,
        _ => Some((name.to_owned(), value.clone())),
    }
}

fn leaf(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, leaf)| leaf)
}

fn effect(name: &str, old: Option<&Value>, new: Option<&Value>) -> Option<Effect> {
    let leaf = leaf(name);
    let relaxes = leaf == "ignore";
    match (old, new) {
        (None, None) => None,
        (Some(old), Some(new)) if old == new => None,
        (None, Some(_)) => Some(if relaxes { Effect::Widened } else { Effect::Narrowed }),
        (Some(_), None) => Some(if relaxes { Effect::Narrowed } else { Effect::Widened }),
        (Some(old), Some(new)) => Some(match leaf {
            "gt" | "gte" => bound(old, new),
            "lt" | "lte" => bound(new, old),
            _ if leaf.starts_with("min_") => bound(old, new),
            _ if leaf.starts_with("max_") => bound(new, old),
            "in" => subset(old, new),
            "not_in" => subset(new, old),
            "pattern" | "cel" | "cel_expression" | "ignore" => Effect::Undecidable,
            _ => Effect::Moved,
        }),
    }
}

/// A lower bound that was `old`.
fn bound(old: &Value, new: &Value) -> Effect {
    match order(old, new) {
        Some(Ordering::Less) => Effect::Narrowed,
        Some(Ordering::Greater) => Effect::Widened,
        _ => Effect::Undecidable,
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::I64(a), Value::I64(b)) => a.partial_cmp(b),
        (Value::U32(a), Value::U32(b)) => a.partial_cmp(b),
        (Value::U64(a), Value::U64(b)) => a.partial_cmp(b),
        (Value::F32(a), Value::F32(b)) => a.partial_cmp(b),
        (Value::F64(a), Value::F64(b)) => a.partial_cmp(b),
        (Value::Message(a), Value::Message(b)) => instant(a)?.partial_cmp(&instant(b)?),
        _ => None,
    }
}

/// Of a duration or timestamp: seconds and nanoseconds.
fn instant(message: &DynamicMessage) -> Option<(i64, i32)> {
    Some((message.get_field_by_name("seconds")?.as_i64()?, message.get_field_by_name("nanos")?.as_i32()?))
}

/// The values allowed were `old`.
fn subset(old: &Value, new: &Value) -> Effect {
    let (Some(old), Some(new)) = (old.as_list(), new.as_list()) else { return Effect::Undecidable };
    match (old.iter().all(|value| new.contains(value)), new.iter().all(|value| old.contains(value))) {
        (true, _) => Effect::Widened,
        (false, true) => Effect::Narrowed,
        (false, false) => Effect::Moved,
    }
}

/// A value of a rule, or that there is none.
pub(crate) struct Shown<'a>(pub(crate) Option<&'a Value>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some(Value::Message(message)) => match instant(message) {
                Some((seconds, nanos)) => write!(f, "{seconds}.{nanos:09} s"),
                None => write!(f, "{message:?}"),
            },
            Some(Value::Bool(value)) => write!(f, "{value}"),
            Some(Value::I64(value)) => write!(f, "{value}"),
            Some(Value::U64(value)) => write!(f, "{value}"),
            Some(Value::String(value)) => write!(f, "{value:?}"),
            Some(value) => write!(f, "{value:?}"),
        }
    }
}
