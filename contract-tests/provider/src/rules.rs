//! The rules of fields, read from their options, and a second opinion on what breaks them.
//!
//! Nothing here is the code that servers are built with: a rule that both misread alike would never be noticed.

use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};
use regex::Regex;

use crate::model::{Model, is_foreign, option};

/// What a field must be.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// A request without it is refused.
    pub(crate) required: bool,
    /// A caller has to set it, though not in every call: the contract says REQUIRED and does not check it.
    pub(crate) wanted: bool,
    /// The service sets it.
    pub(crate) output_only: bool,
    /// It names what the message is; the service gives it.
    pub(crate) identifier: bool,
    /// The other rules are not asked of an unset value.
    pub(crate) ignore_zero: bool,
    /// Characters at least.
    pub(crate) min_len: Option<u64>,
    /// Characters at most.
    pub(crate) max_len: Option<u64>,
    /// What a text looks like.
    pub(crate) pattern: Option<Regex>,
    /// A text is a UUID.
    pub(crate) uuid: bool,
    /// The least number.
    pub(crate) min: Option<i64>,
    /// The greatest number.
    pub(crate) max: Option<i64>,
    /// An enum, or each of a list, has a value that the contract defines.
    pub(crate) defined_only: bool,
    /// Items at most.
    pub(crate) max_items: Option<u64>,
    /// A value to begin with.
    pub(crate) example: Option<Value>,
}

impl Rules {
    pub(crate) const NONE: Self = Self {
        required: false,
        wanted: false,
        output_only: false,
        identifier: false,
        ignore_zero: false,
        min_len: None,
        max_len: None,
        pattern: None,
        uuid: false,
        min: None,
        max: None,
        defined_only: false,
        max_items: None,
        example: None,
    };

    pub(crate) fn of(pool: &DescriptorPool, field: &FieldDescriptor) -> Self {
        let mut rules = Self::NONE;
        let set = field.options();
        let behaviors = option(pool, &set, "google.api.field_behavior");
        for behavior in behaviors.as_ref().and_then(Value::as_list).unwrap_or_default() {
            match behavior.as_enum_number() {
                Some(2) => rules.wanted = true,
                Some(3) => rules.output_only = true,
                Some(8) => rules.identifier = true,
                _ => {}
            }
        }
        if let Some(Value::Message(constraints)) = option(pool, &set, "buf.validate.field") {
            rules.read(&constraints);
        }
        rules
    }

    fn read(&mut self, constraints: &DynamicMessage) {
        for (field, value) in constraints.fields() {
            match (field.name(), value) {
                ("required", Value::Bool(required)) => self.required = *required,
                ("ignore", Value::EnumNumber(ignore)) => self.ignore_zero = *ignore == 1,
                (_, Value::Message(typed)) => self.read_typed(typed),
                _ => {}
            }
        }
    }

    fn read_typed(&mut self, typed: &DynamicMessage) {
        for (field, value) in typed.fields() {
            let number = match value {
                Value::I32(number) => Some(i64::from(*number)),
                Value::I64(number) => Some(*number),
                _ => None,
            };
            match (field.name(), value) {
                ("gte", _) => self.min = number,
                ("gt", _) => self.min = number.map(|number| number + 1),
                ("lte", _) => self.max = number,
                ("lt", _) => self.max = number.map(|number| number - 1),
                ("min_len", Value::U64(length)) => self.min_len = Some(*length),
                ("max_len", Value::U64(length)) => self.max_len = Some(*length),
                ("max_items", Value::U64(count)) => self.max_items = Some(*count),
                ("pattern", Value::String(pattern)) => self.pattern = Regex::new(pattern).ok(),
                ("uuid", Value::Bool(uuid)) => self.uuid = *uuid,
                ("defined_only", Value::Bool(defined)) => self.defined_only = *defined,
                ("example", Value::List(examples)) => self.example = examples.first().cloned(),
                ("items", Value::Message(items)) => {
                    for (_, rules) in items.fields() {
                        if let Value::Message(rules) = rules {
                            self.read_typed(rules);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// Who wrote a message: a caller leaves alone what only the service sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// A caller, as a request.
    ByCaller,
    /// The service, as an answer or an event.
    ByService,
}

/// A rule that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Where, as refusals write it: `listing.policy.notifications[0].channel`.
    pub(crate) field: String,
    /// Which rule, as the contract spells it: `max_len`.
    pub(crate) rule: &'static str,
}

/// The rules that a message breaks.
#[must_use]
pub(crate) fn violations(model: &Model, message: &DynamicMessage, written: Written) -> Vec<Violation> {
    let mut found = Vec::new();
    check(model, message, written, "", &mut found);
    found
}

fn check(model: &Model, message: &DynamicMessage, written: Written, at: &str, found: &mut Vec<Violation>) {
    if is_foreign(&message.descriptor()) {
        return;
    }
    for field in message.descriptor().fields() {
        let rules = model.rules(&field);
        if rules.output_only && written == Written::ByCaller {
            continue;
        }
        let here = if at.is_empty() { field.name().to_owned() } else { format!("{at}.{}", field.name()) };
        let is_set = message.has_field(&field);
        let mut broken = |rule, field: &str| found.push(Violation { field: field.to_owned(), rule });
        if rules.required && !is_set {
            broken("required", &here);
            continue;
        }
        let value = message.get_field(&field);
        if let Value::List(items) = value.as_ref() {
            if rules.max_items.is_some_and(|max| items.len() as u64 > max) {
                broken("max_items", &here);
            }
            for (index, item) in items.iter().enumerate() {
                let here = format!("{here}[{index}]");
                if let Value::Message(item) = item {
                    check(model, item, written, &here, found);
                } else if let Some(rule) = broken_by(rules, &field, item) {
                    found.push(Violation { field: here, rule });
                }
            }
            continue;
        }
        match value.as_ref() {
            Value::Message(inner) if is_set => check(model, inner, written, &here, found),
            Value::Message(_) | Value::Map(_) => {}
            value => {
                if (!rules.ignore_zero || is_set)
                    && let Some(rule) = broken_by(rules, &field, value)
                {
                    broken(rule, &here);
                }
            }
        }
    }
}

fn broken_by(rules: &Rules, field: &FieldDescriptor, value: &Value) -> Option<&'static str> {
    let number = match value {
        Value::I32(number) => Some(i64::from(*number)),
        Value::I64(number) => Some(*number),
        _ => None,
    };
    let length = value.as_str().map(|text| text.chars().count() as u64);
    let is_uuid = |text: &str| text.len() == 36 && uuid::Uuid::try_parse(text).is_ok();
    let is_defined = |number| matches!(field.kind(), Kind::Enum(values) if values.get_value(number).is_some());
    let broken = [
        ("gte", matches!((rules.min, number), (Some(min), Some(number)) if number < min)),
        ("lte", matches!((rules.max, number), (Some(max), Some(number)) if number > max)),
        ("min_len", matches!((rules.min_len, length), (Some(min), Some(length)) if length < min)),
        ("max_len", matches!((rules.max_len, length), (Some(max), Some(length)) if length > max)),
        ("pattern", matches!((&rules.pattern, value.as_str()), (Some(is), Some(text)) if !is.is_match(text))),
        ("uuid", rules.uuid && value.as_str().is_some_and(|text| !is_uuid(text))),
        ("defined_only", rules.defined_only && value.as_enum_number().is_some_and(|number| !is_defined(number))),
    ];
    broken.into_iter().find(|(_, broken)| *broken).map(|(rule, _)| rule)
}
