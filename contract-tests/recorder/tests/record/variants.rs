//! A message with one thing changed, in every way that makes sense.

use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};

/// No contract of ours defines a value of this number.
pub(crate) const UNKNOWN: i32 = 9999;
/// Messages within messages at most.
const DEPTH: usize = 8;

/// What was done to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is not there.
    Cleared,
    /// It is another.
    Other,
    /// It is this value of its enum.
    Known(String),
    /// It is a value that the enum does not define.
    Unknown,
}

/// A message with one field changed.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    /// From the message to the field; of a list, the first item.
    pub(crate) path: Vec<FieldDescriptor>,
    pub(crate) change: Change,
    value: Option<Value>,
}

impl Variant {
    /// Changes a message likewise.
    pub(crate) fn apply(&self, message: &mut DynamicMessage) {
        put(message, &self.path, self.value.clone());
    }

    /// The message with the change.
    pub(crate) fn of(&self, message: &DynamicMessage) -> DynamicMessage {
        let mut changed = message.clone();
        self.apply(&mut changed);
        changed
    }

    /// `reservation.policy.payment`.
    pub(crate) fn dotted(&self) -> String {
        dotted(&self.path)
    }
}

pub(crate) fn dotted(path: &[FieldDescriptor]) -> String {
    path.iter().map(FieldDescriptor::name).collect::<Vec<_>>().join(".")
}

/// Every variant of a message, its fields' fields included.
pub(crate) fn variants(message: &DynamicMessage) -> Vec<Variant> {
    let mut found = Vec::new();
    walk(message, &mut Vec::new(), &mut found);
    found
}

fn walk(within: &DynamicMessage, path: &mut Vec<FieldDescriptor>, found: &mut Vec<Variant>) {
    for field in within.descriptor().fields() {
        path.push(field.clone());
        let current = within.has_field(&field).then(|| within.get_field(&field).into_owned());
        let mut add = |change, value| found.push(Variant { path: path.clone(), change, value });
        if current.is_some() {
            add(Change::Cleared, None);
        }
        let item = current.as_ref().map(first);
        for (change, value) in others(&field, item.flatten()) {
            add(change, Some(if field.is_list() { Value::List(vec![value]) } else { value }));
        }
        if let Some(Some(Value::Message(inner))) = &item
            && !field.is_map()
            && path.len() < DEPTH
        {
            walk(inner, path, found);
        }
        path.pop();
    }
}

/// Of a list, its first item.
fn first(value: &Value) -> Option<&Value> {
    value.as_list().map_or(Some(value), |items| items.first())
}

/// Sets the field at the end of a path, or clears it. Lists on the way are entered at their first item.
fn put(message: &mut DynamicMessage, path: &[FieldDescriptor], value: Option<Value>) {
    let [field, rest @ ..] = path else { return };
    if rest.is_empty() {
        match value {
            Some(value) => message.set_field(field, value),
            None => message.clear_field(field),
        }
        return;
    }
    let inner = match message.get_field_mut(field) {
        Value::List(items) => items.first_mut(),
        value => Some(value),
    };
    if let Some(Value::Message(inner)) = inner {
        put(inner, rest, value);
    }
}

/// Other values of a field's type; `current` is the field's, or its first item.
fn others(field: &FieldDescriptor, current: Option<&Value>) -> Vec<(Change, Value)> {
    if field.is_map() {
        return Vec::new();
    }
    let other = |values: Vec<Value>| values.into_iter().map(|value| (Change::Other, value)).collect();
    match (field.kind(), current) {
        (Kind::Enum(values), _) => {
            let known = values.values().filter(|value| Some(value.number()) != current.and_then(Value::as_enum_number));
            let known = known.map(|value| (Change::Known(value.name().to_owned()), Value::EnumNumber(value.number())));
            known.chain([(Change::Unknown, Value::EnumNumber(UNKNOWN))]).collect()
        }
        // What is in it is changed by itself.
        (Kind::Message(_), Some(_)) => Vec::new(),
        (Kind::Message(message), None) => other(vec![Value::Message(filled(&message))]),
        (Kind::String, current) => {
            let text = current.and_then(Value::as_str).unwrap_or_default();
            other(other_texts(text).into_iter().map(Value::String).collect())
        }
        (_, Some(current)) => other(other_numbers(current)),
        (kind, None) => other(vec![filled_scalar(&kind)]),
    }
}

/// Another id in a resource's name, another word elsewhere; and an upper-case word and a language, for texts that are codes.
fn other_texts(text: &str) -> Vec<String> {
    match text.rfind(|it: char| it.is_ascii_hexdigit()) {
        Some(at) if text.len() >= 36 && text.contains('-') => {
            let digit = if text[at..].starts_with('7') { '8' } else { '7' };
            vec![format!("{}{digit}{}", &text[..at], &text[at + 1..])]
        }
        _ if text.is_empty() => ["probe", "PROBE", "ko"].map(str::to_owned).into(),
        _ if text.len() == 2 => ["en", "ko", "xx"].into_iter().filter(|it| *it != text).map(str::to_owned).collect(),
        _ => vec![format!("{text}x")],
    }
}

fn other_numbers(current: &Value) -> Vec<Value> {
    match current {
        Value::Bool(value) => vec![Value::Bool(!value)],
        Value::I32(value) => vec![Value::I32(value + 1), Value::I32(value.saturating_mul(2))],
        Value::I64(value) => vec![Value::I64(value + 1), Value::I64(value.saturating_mul(2))],
        Value::U32(value) => vec![Value::U32(value + 1)],
        Value::U64(value) => vec![Value::U64(value + 1)],
        Value::F32(value) => vec![Value::F32(value + 1.0)],
        Value::F64(value) => vec![Value::F64(value + 1.0)],
        Value::Bytes(_) => vec![Value::Bytes(bytes::Bytes::from_static(b"probe"))],
        _ => Vec::new(),
    }
}

/// A message in which every scalar is set; what others define is something that they would accept.
pub(crate) fn filled(descriptor: &MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    let mut set = |name: &str, value: Value| message.set_field_by_name(name, value);
    match descriptor.full_name() {
        "google.type.Date" => {
            set("year", Value::I32(2031));
            set("month", Value::I32(7));
            set("day", Value::I32(14));
        }
        "google.type.Money" => {
            set("currency_code", Value::String("KRW".to_owned()));
            set("units", Value::I64(7));
        }
        "google.protobuf.Duration" | "google.protobuf.Timestamp" => set("seconds", Value::I64(7200)),
        _ => fill(&mut message),
    }
    message
}

fn fill(message: &mut DynamicMessage) {
    for field in message.descriptor().fields() {
        let is_taken = field.containing_oneof().is_some_and(|oneof| oneof.fields().any(|it| message.has_field(&it)));
        if is_taken || field.is_list() || field.is_map() {
            continue;
        }
        let value = match field.kind() {
            Kind::Message(inner) => Value::Message(filled(&inner)),
            kind => filled_scalar(&kind),
        };
        message.set_field(&field, value);
    }
}

fn filled_scalar(kind: &Kind) -> Value {
    match kind {
        Kind::Bool => Value::Bool(true),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(7),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(7),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(7),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(7),
        Kind::Float => Value::F32(7.0),
        Kind::Double => Value::F64(7.0),
        Kind::Bytes => Value::Bytes(bytes::Bytes::from_static(b"probe")),
        Kind::Enum(values) => Value::EnumNumber(last(values)),
        Kind::String | Kind::Message(_) => Value::String("probe".to_owned()),
    }
}

fn last(values: &EnumDescriptor) -> i32 {
    values.values().map(|value| value.number()).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn every_field_of_a_message_is_changed_and_nothing_else() {
        let pool = DescriptorPool::decode(proto::contract::FILE_DESCRIPTOR_SET).unwrap();
        let event = pool.get_message_by_name("holdfast.voucher.v1.VoucherIssued").unwrap();
        let message = filled(&event);
        let found = variants(&message);
        let paths: BTreeSet<String> = found.iter().map(Variant::dotted).collect();
        let voucher = pool.get_message_by_name("holdfast.voucher.v1.Voucher").unwrap();
        for field in voucher.fields() {
            assert!(paths.contains(&format!("voucher.{}", field.name())), "{}", field.name());
        }
        assert!(found.iter().all(|variant| variant.of(&message) != message));
        let unknown = found.iter().find(|variant| variant.change == Change::Unknown).unwrap();
        assert_eq!(unknown.dotted(), "voucher.state");
    }
}
