//! Dotted paths into messages.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

/// The field at the end of a path.
#[must_use]
pub(crate) fn last(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    let (first, rest) = split(path);
    let field = message.get_field_by_name(first)?;
    match (rest, field.kind()) {
        (None, _) => Some(field),
        (Some(rest), Kind::Message(inner)) => last(&inner, rest),
        (Some(_), _) => None,
    }
}

/// Whether a path, as refusals write it, leads to a field or a oneof of the message.
#[must_use]
pub(crate) fn exists(message: &MessageDescriptor, path: &str) -> bool {
    let (first, rest) = split(path);
    let first = first.split('[').next().unwrap_or(first);
    match (message.get_field_by_name(first), rest) {
        (None, None) => message.oneofs().any(|oneof| oneof.name() == first),
        (None, Some(_)) => false,
        (Some(_), None) => true,
        (Some(field), Some(rest)) => matches!(field.kind(), Kind::Message(inner) if exists(&inner, rest)),
    }
}

/// The value at the end of a path, in the first item of each list on the way; `None` while it is not there.
#[must_use]
pub(crate) fn get(message: &DynamicMessage, path: &str) -> Option<Value> {
    let (first, rest) = split(path);
    let field = prost_reflect::ReflectMessage::descriptor(message).get_field_by_name(first)?;
    if !message.has_field(&field) {
        return None;
    }
    let value = message.get_field(&field).into_owned();
    let value = if field.is_list() { value.as_list()?.first()?.clone() } else { value };
    match rest {
        None => Some(value),
        Some(rest) => get(value.as_message()?, rest),
    }
}

/// Puts a value at the end of a path, making the messages on the way.
pub(crate) fn set(message: &mut DynamicMessage, path: &str, value: Value) {
    let (first, rest) = split(path);
    let Some(field) = prost_reflect::ReflectMessage::descriptor(message).get_field_by_name(first) else { return };
    match rest {
        None if field.is_list() => message.set_field(&field, Value::List(vec![value])),
        None => message.set_field(&field, value),
        Some(rest) => {
            if let Value::Message(inner) = message.get_field_mut(&field) {
                set(inner, rest, value);
            }
        }
    }
}

fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)))
}
