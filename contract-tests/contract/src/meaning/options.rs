//! Reads options as dynamic messages: what a set's own extensions say, known to this program or not.

use prost_reflect::{DynamicMessage, FieldDescriptor, Value};

/// The value of an extension, if it is set.
pub(crate) fn extension(options: &DynamicMessage, name: &str) -> Option<Value> {
    options.extensions().find(|(extension, _)| extension.full_name() == name).map(|(_, value)| value.clone())
}

/// A field of a message, or its default.
pub(crate) fn get(message: &DynamicMessage, field: &str) -> Option<Value> {
    message.get_field_by_name(field).map(std::borrow::Cow::into_owned)
}

pub(crate) fn text(message: &DynamicMessage, field: &str) -> String {
    get(message, field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

pub(crate) fn flag(options: &DynamicMessage, field: &str) -> bool {
    get(options, field).and_then(|value| value.as_bool()).unwrap_or_default()
}

pub(crate) fn list(message: &DynamicMessage, field: &str) -> Vec<Value> {
    get(message, field).and_then(|value| value.as_list().map(<[Value]>::to_vec)).unwrap_or_default()
}

/// `google.api.field_behavior`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behavior {
    Required = 2,
    OutputOnly = 3,
    InputOnly = 4,
    Immutable = 5,
    Identifier = 8,
}

pub(crate) fn behaves(field: &FieldDescriptor, behavior: Behavior) -> bool {
    let behaviors = extension(&field.options(), "google.api.field_behavior");
    let behaviors = behaviors.as_ref().and_then(Value::as_list).unwrap_or_default();
    behaviors.iter().any(|value| value.as_enum_number() == Some(behavior as i32))
}
