//! Fields, of messages and of extensions.

use prost_reflect::{ExtensionDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, Value};
use prost_types::{FieldDescriptorProto, FieldOptions, FileOptions, field_options::CType};

use super::files::is_proto3;
use crate::{
    Diff,
    finding::At,
    rules::{self, Rule},
};

const NAME: i32 = 1;
const TYPE: i32 = 5;
const TYPE_NAME: i32 = 6;
const DEFAULT_VALUE: i32 = 7;
const OPTIONS: i32 = 8;
const JSON_NAME: i32 = 10;
const CTYPE: i32 = 1;
const JSTYPE: i32 = 6;
/// `java_string_check_utf8`, from the root of a file.
const JAVA_STRING_CHECK_UTF8: [i32; 2] = [8, 27];

/// How many values a field holds, and whether none can be told from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cardinality {
    Implicit,
    Explicit,
    Required,
    Repeated,
    Map,
}

impl Cardinality {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Implicit => "optional with implicit presence",
            Self::Explicit => "optional with explicit presence",
            Self::Required => "required",
            Self::Repeated => "repeated",
            Self::Map => "map",
        }
    }

    /// Those that read each other's bytes and JSON share a shape.
    const fn shape(self) -> Self {
        match self {
            Self::Implicit | Self::Explicit => Self::Implicit,
            Self::Required | Self::Repeated | Self::Map => self,
        }
    }
}

/// What fields and extensions have in common.
pub(crate) struct Field {
    file: FileDescriptor,
    path: Vec<i32>,
    proto: FieldDescriptorProto,
    full_name: String,
    json_name: String,
    kind: Kind,
    cardinality: Cardinality,
    default: Value,
    /// Not the hidden one of `optional`.
    oneof: Option<String>,
    is_extension: bool,
    is_in_map_entry: bool,
}

impl Field {
    pub(crate) fn of(field: &FieldDescriptor) -> Self {
        let cardinality = if field.is_map() {
            Cardinality::Map
        } else if field.is_list() {
            Cardinality::Repeated
        } else if field.is_required() {
            Cardinality::Required
        } else if field.supports_presence() {
            Cardinality::Explicit
        } else {
            Cardinality::Implicit
        };
        let message = field.parent_message();
        Self {
            file: message.parent_file(),
            path: map_place(message).unwrap_or_else(|| field.path().to_vec()),
            proto: field.field_descriptor_proto().clone(),
            full_name: field.full_name().to_owned(),
            json_name: field.json_name().to_owned(),
            kind: field.kind(),
            cardinality,
            default: field.default_value(),
            oneof: field.containing_oneof().filter(|oneof| !oneof.is_synthetic()).map(|oneof| oneof.name().to_owned()),
            is_extension: false,
            is_in_map_entry: message.is_map_entry(),
        }
    }

    fn of_extension(field: &ExtensionDescriptor) -> Self {
        Self {
            file: field.parent_file(),
            path: field.path().to_vec(),
            proto: field.field_descriptor_proto().clone(),
            full_name: field.full_name().to_owned(),
            json_name: field.json_name().to_owned(),
            kind: field.kind(),
            cardinality: if field.is_list() { Cardinality::Repeated } else { Cardinality::Explicit },
            default: field.default_value(),
            oneof: None,
            is_extension: true,
            is_in_map_entry: false,
        }
    }

    fn at(&self) -> At {
        At::path(&self.file, &self.path)
    }

    /// A part of the field that its file may spell out.
    fn at_part(&self, part: &[i32]) -> At {
        At::part(&self.file, &self.path, part)
    }

    fn at_type(&self) -> At {
        let part = if matches!(self.kind, Kind::Message(_) | Kind::Enum(_)) { TYPE_NAME } else { TYPE };
        self.at_part(&[part])
    }

    fn option<T>(&self, read: fn(&FieldOptions) -> T) -> T {
        read(self.proto.options.as_ref().unwrap_or(&FieldOptions::default()))
    }

    fn is_64_bit(&self) -> bool {
        matches!(self.kind, Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64)
    }

    /// `string`, or the full name of a message or enum.
    fn type_text(&self) -> String {
        match &self.kind {
            Kind::Message(message) => message.full_name().to_owned(),
            Kind::Enum(descriptor) => descriptor.full_name().to_owned(),
            scalar => format!("{scalar:?}").to_lowercase(),
        }
    }
}

/// Where a file spells out a map entry, which is generated: as the type of the field it was generated for.
pub(crate) fn map_place(entry: &MessageDescriptor) -> Option<Vec<i32>> {
    let parent = entry.parent_message().filter(|_| entry.is_map_entry())?;
    let field = parent.fields().find(|field| field.kind().as_message() == Some(entry))?;
    Some([field.path(), &[TYPE_NAME]].concat())
}

/// Extensions, paired by what they extend and their number.
pub(crate) fn extensions(diff: &mut Diff<'_>) {
    let (old, new) = (diff.old, diff.new);
    for extension in old.extensions() {
        let key = |it: &ExtensionDescriptor| (it.containing_message().full_name().to_owned(), it.number());
        if let Some(now) = new.extensions().find(|now| key(now) == key(&extension)) {
            compare(diff, &Field::of_extension(&extension), &Field::of_extension(&now));
        }
    }
}

pub(crate) fn compare(diff: &mut Diff<'_>, old: &Field, new: &Field) {
    names(diff, old, new);
    types(diff, old, new);
    cardinality(diff, old, new);
    oneof(diff, old, new);
    default(diff, old, new);
    options(diff, old, new);
}

fn changed(diff: &mut Diff<'_>, rule: &'static Rule, at: At, new: &Field, what: &str, values: (&str, &str)) {
    let message = format!("{what} changed from {:?} to {:?}", values.0, values.1);
    diff.add(rule, at, &new.full_name, message);
}

fn names(diff: &mut Diff<'_>, old: &Field, new: &Field) {
    let name = |field: &Field| {
        if field.is_extension { field.full_name.clone() } else { field.proto.name().to_owned() }
    };
    let (was, is) = (name(old), name(new));
    if was != is {
        changed(diff, &rules::FIELD_SAME_NAME, new.at_part(&[NAME]), new, "the name", (&was, &is));
    }
    if !old.is_extension && old.json_name != new.json_name {
        let at = new.at_part(&[JSON_NAME]);
        changed(diff, &rules::FIELD_SAME_JSON_NAME, at, new, "the JSON name", (&old.json_name, &new.json_name));
    }
}

fn types(diff: &mut Diff<'_>, old: &Field, new: &Field) {
    let (was, is) = (old.type_text(), new.type_text());
    if was == is && old.proto.r#type() == new.proto.r#type() {
        return;
    }
    changed(diff, &rules::FIELD_SAME_TYPE, new.at_type(), new, "the type", (&was, &is));
    if !is_wire_json_compatible(&old.kind, &new.kind) {
        changed(diff, &rules::FIELD_WIRE_JSON_COMPATIBLE_TYPE, new.at_type(), new, "the type", (&was, &is));
    }
}

/// Whether each type reads the other's bytes and JSON.
fn is_wire_json_compatible(old: &Kind, new: &Kind) -> bool {
    match (old, new) {
        (Kind::Int32 | Kind::Uint32, Kind::Int32 | Kind::Uint32)
        | (Kind::Int64 | Kind::Uint64, Kind::Int64 | Kind::Uint64)
        | (Kind::Fixed32 | Kind::Sfixed32, Kind::Fixed32 | Kind::Sfixed32)
        | (Kind::Fixed64 | Kind::Sfixed64, Kind::Fixed64 | Kind::Sfixed64) => true,
        // Another enum will do if it is called the same and holds at least the same.
        (Kind::Enum(old), Kind::Enum(new)) => {
            old.name() == new.name()
                && old
                    .values()
                    .all(|value| new.values().any(|now| now.name() == value.name() && now.number() == value.number()))
        }
        _ => false,
    }
}

fn cardinality(diff: &mut Diff<'_>, old: &Field, new: &Field) {
    // The fields of a map entry are generated.
    if old.cardinality == new.cardinality || (old.is_in_map_entry && new.is_in_map_entry) {
        return;
    }
    let (was, is) = (old.cardinality, new.cardinality);
    let texts = (was.as_str(), is.as_str());
    changed(diff, &rules::FIELD_SAME_CARDINALITY, new.at(), new, "the cardinality", texts);
    if was.shape() != is.shape() {
        changed(diff, &rules::FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY, new.at(), new, "the cardinality", texts);
    }
}

fn oneof(diff: &mut Diff<'_>, old: &Field, new: &Field) {
    if old.oneof != new.oneof && !old.is_extension {
        let text = |field: &Field| field.oneof.clone().unwrap_or_default();
        changed(diff, &rules::FIELD_SAME_ONEOF, new.at(), new, "the oneof", (&text(old), &text(new)));
    }
}

fn default(diff: &mut Diff<'_>, old: &Field, new: &Field) {
    let singular = |field: &Field| {
        !matches!(field.cardinality, Cardinality::Repeated | Cardinality::Map) && field.kind.as_message().is_none()
    };
    if singular(old) && singular(new) && !is_same_default(&old.default, &new.default) {
        let texts = (old.proto.default_value(), new.proto.default_value());
        changed(diff, &rules::FIELD_SAME_DEFAULT, new.at_part(&[DEFAULT_VALUE]), new, "the default", texts);
    }
}

/// A declared default, or zero.
#[derive(PartialEq)]
enum Default<'a> {
    Text(&'a [u8]),
    Integer(i128),
    Float(f64),
}

impl<'a> Default<'a> {
    fn of(value: &'a Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.as_bytes()),
            Value::Bytes(bytes) => Self::Text(bytes),
            Value::Bool(is) => Self::Integer(i128::from(*is)),
            Value::I32(number) | Value::EnumNumber(number) => Self::Integer(i128::from(*number)),
            Value::I64(number) => Self::Integer(i128::from(*number)),
            Value::U32(number) => Self::Integer(i128::from(*number)),
            Value::U64(number) => Self::Integer(i128::from(*number)),
            Value::F32(number) => Self::Float(f64::from(*number)),
            Value::F64(number) => Self::Float(*number),
            // These have none; the caller has excluded them.
            Value::Message(_) | Value::List(_) | Value::Map(_) => Self::Text(b""),
        }
    }

    fn is_zero(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Integer(number) => *number == 0,
            Self::Float(number) => *number == 0.0,
        }
    }
}

/// Compared by value across types: a type that changed is told by another rule.
fn is_same_default(old: &Value, new: &Value) -> bool {
    let (was, is) = (Default::of(old), Default::of(new));
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "at the width of the narrower")]
    match (&was, &is) {
        _ if was.is_zero() && is.is_zero() => true,
        (Default::Float(a), Default::Float(b)) if matches!((old, new), (Value::F64(_), Value::F64(_))) => {
            a == b || (a.is_nan() && b.is_nan())
        }
        (Default::Float(a), Default::Float(b)) => *a as f32 == *b as f32 || (a.is_nan() && b.is_nan()),
        (Default::Float(a), Default::Integer(b)) | (Default::Integer(b), Default::Float(a)) => *a == *b as f64,
        _ => was == is,
    }
}

fn options(diff: &mut Diff<'_>, old: &Field, new: &Field) {
    let (was, is) = (old.option(FieldOptions::jstype), new.option(FieldOptions::jstype));
    if old.is_64_bit() && new.is_64_bit() && was != is {
        let texts = (was.as_str_name(), is.as_str_name());
        changed(diff, &rules::FIELD_SAME_JSTYPE, new.at_part(&[OPTIONS, JSTYPE]), new, "jstype", texts);
    }
    let is_text = |field: &Field| matches!(field.kind, Kind::String | Kind::Bytes);
    let (was, is) = (old.option(FieldOptions::ctype), new.option(FieldOptions::ctype));
    let is_loosened = was == CType::StringPiece && is == CType::String;
    if is_text(old) && is_text(new) && was != is && !is_loosened && !(old.is_in_map_entry && new.is_in_map_entry) {
        let texts = (was.as_str_name(), is.as_str_name());
        changed(diff, &rules::FIELD_SAME_CPP_STRING_TYPE, new.at_part(&[OPTIONS, CTYPE]), new, "ctype", texts);
    }
    if matches!((&old.kind, &new.kind), (Kind::String, Kind::String)) {
        utf8(diff, old, new);
    }
}

fn utf8(diff: &mut Diff<'_>, old: &Field, new: &Field) {
    let mode = |verifies| if verifies { "VERIFY" } else { "NONE" };
    let (was, is) = (is_proto3(&old.file), is_proto3(&new.file));
    if was != is {
        let texts = (mode(was), mode(is));
        changed(diff, &rules::FIELD_SAME_UTF8_VALIDATION, new.at(), new, "UTF-8 validation", texts);
    }
    let (was, is) = (java_verifies(&old.file), java_verifies(&new.file));
    if was != is {
        let at = At { span: At::path(&new.file, &JAVA_STRING_CHECK_UTF8).span.or(new.at().span), ..new.at() };
        let texts = (mode(was), mode(is));
        changed(diff, &rules::FIELD_SAME_JAVA_UTF8_VALIDATION, at, new, "UTF-8 validation in Java", texts);
    }
}

fn java_verifies(file: &FileDescriptor) -> bool {
    is_proto3(file) || file.file_descriptor_proto().options.as_ref().is_some_and(FileOptions::java_string_check_utf8)
}
