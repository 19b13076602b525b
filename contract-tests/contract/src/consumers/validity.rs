//! Whether a request passes the rules of its fields, as the descriptors say them.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};
use regex::Regex;

use crate::meaning::{
    options::{Behavior, behaves},
    validation,
};

/// A field whose rule is broken.
struct Broken {
    field: FieldDescriptor,
    rule: String,
}

/// What a request breaks, e.g. `holdfast.voucher.v1.ListVouchersRequest.page_token breaks string.max_len`.
pub(crate) fn violations(request: &DynamicMessage) -> Vec<String> {
    broken(request).into_iter().map(|it| format!("{} breaks {}", it.field.full_name(), it.rule)).collect()
}

/// Whether it breaks a rule of this field.
pub(crate) fn breaks(request: &DynamicMessage, field: &str) -> bool {
    broken(request).iter().any(|it| it.field.full_name() == field)
}

fn broken(request: &DynamicMessage) -> Vec<Broken> {
    let mut found = Vec::new();
    check(request, &mut found);
    found
}

fn check(message: &DynamicMessage, found: &mut Vec<Broken>) {
    for field in message.descriptor().fields().filter(|field| !behaves(field, Behavior::OutputOnly)) {
        let is_set = message.has_field(&field);
        let rules = validation::rules(&field);
        let mut add = |rule: &str| found.push(Broken { field: field.clone(), rule: rule.to_owned() });
        if !is_set && rules.contains_key("required") {
            add("required");
        }
        if !is_set && (rules.contains_key("ignore") || field.supports_presence() || field.is_list()) {
            continue;
        }
        let value = message.get_field(&field);
        for (name, rule) in &rules {
            let (items, name) = match name.strip_prefix("repeated.items.") {
                Some(name) => (value.as_list().unwrap_or_default(), name),
                None => (std::slice::from_ref(value.as_ref()), name.as_str()),
            };
            if items.iter().any(|item| !passes(&field, item, name, rule)) {
                add(name);
            }
        }
        let inner = value.as_list().unwrap_or(std::slice::from_ref(value.as_ref()));
        inner.iter().filter_map(Value::as_message).for_each(|inner| check(inner, found));
    }
}

/// Whether a value passes one rule, `string.max_len` and the like. Rules that are no rules of values, and such as the gate calls
/// undecidable but for patterns, let everything pass.
fn passes(field: &FieldDescriptor, value: &Value, name: &str, rule: &Value) -> bool {
    let leaf = name.rsplit_once('.').map_or(name, |(_, leaf)| leaf);
    let number = match value {
        Value::I32(number) => Some(i64::from(*number)),
        Value::I64(number) => Some(*number),
        _ => None,
    };
    let text = value.as_str();
    let length = text.map(|text| text.chars().count() as u64);
    let count = value.as_list().map(|items| items.len() as u64);
    match (leaf, rule) {
        ("gte", Value::I64(least)) => number.is_none_or(|number| number >= *least),
        ("lte", Value::I64(most)) => number.is_none_or(|number| number <= *most),
        ("min_len", Value::U64(least)) => length.is_none_or(|length| length >= *least),
        ("max_len", Value::U64(most)) => length.is_none_or(|length| length <= *most),
        ("min_items", Value::U64(least)) => count.is_none_or(|count| count >= *least),
        ("max_items", Value::U64(most)) => count.is_none_or(|count| count <= *most),
        ("in", Value::List(allowed)) => allowed.contains(value),
        ("not_in", Value::List(refused)) => !refused.contains(value),
        ("pattern", Value::String(pattern)) => {
            text.is_none_or(|text| Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text)))
        }
        ("uuid", Value::Bool(true)) => text.is_none_or(is_uuid),
        ("defined_only", Value::Bool(true)) => match (field.kind(), value.as_enum_number()) {
            (Kind::Enum(values), Some(number)) => values.get_value(number).is_some(),
            _ => true,
        },
        _ => true,
    }
}

/// Lower or upper case, with its dashes.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_dashes() {
        for (text, expected) in [
            ("01890a5d-ac96-774b-bcce-b302099a8057", true),
            ("01890A5D-AC96-774B-BCCE-B302099A8057", true),
            ("01890a5dac96774bbcceb302099a8057", false),
            ("01890a5d-ac96-774b-bcce-b302099a805", false),
            ("01890a5d-ac96-774b-bcce-b302099a805g", false),
        ] {
            assert_eq!(is_uuid(text), expected, "{text}");
        }
    }

    #[test]
    fn rules_are_asked_of_their_types() {
        let pool = prost_reflect::DescriptorPool::decode(proto::contract::FILE_DESCRIPTOR_SET).unwrap();
        let field = pool
            .get_message_by_name("holdfast.voucher.v1.ListVouchersRequest")
            .and_then(|message| message.get_field_by_name("page_token"))
            .unwrap();
        let text = |text: &str| Value::String(text.to_owned());
        for (value, name, rule, expected) in [
            (text("예약"), "string.max_len", Value::U64(2), true),
            (text("예약이"), "string.max_len", Value::U64(2), false),
            (text("a"), "string.min_len", Value::U64(2), false),
            (Value::I32(4), "int32.lte", Value::I64(4), true),
            (Value::I64(5), "int64.lte", Value::I64(4), false),
            (Value::I64(5), "int64.in", Value::List(vec![Value::I64(4)]), false),
            (text("pm_1"), "string.pattern", text("^pm_[a-z]+$"), false),
            (text("pm_a"), "string.pattern", text("^pm_[a-z]+$"), true),
            (Value::List(vec![text("a"), text("b")]), "repeated.max_items", Value::U64(1), false),
        ] {
            assert_eq!(passes(&field, &value, name, &rule), expected, "{name} {value:?}");
        }
    }
}
