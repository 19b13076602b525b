//! What a set promises, symbol by symbol, in words that can be compared, counted and reviewed.
//!
//! Every symbol has a line for its shape and a line for each option, known to this program or not. Comments and places are
//! left out: they promise nothing to a program.

use std::{collections::BTreeMap, fmt};

use prost_reflect::{
    Cardinality, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, FileDescriptor, Kind, MapKey,
    MessageDescriptor, MethodDescriptor, Value,
};

use crate::{DescriptorSet, digest::sha256, meaning::events};

/// What a symbol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SymbolKind {
    File,
    Message,
    Event,
    Field,
    Oneof,
    Enum,
    EnumValue,
    Extension,
    Service,
    Rpc,
}

impl SymbolKind {
    /// As one says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Message => "message",
            Self::Event => "event",
            Self::Field => "field",
            Self::Oneof => "oneof",
            Self::Enum => "enum",
            Self::EnumValue => "enum value",
            Self::Extension => "extension",
            Self::Service => "service",
            Self::Rpc => "RPC",
        }
    }
}

/// One symbol.
#[derive(Debug)]
pub struct Symbol {
    /// What it is.
    pub kind: SymbolKind,
    /// Its shape, then its options.
    pub lines: Vec<String>,
    /// It is marked so itself; a oneof when all its fields are.
    pub is_deprecated: bool,
}

/// Every symbol of a set, by full name; files by path.
#[derive(Debug)]
pub struct Surface(BTreeMap<String, Symbol>);

impl Surface {
    /// Reads a set.
    #[must_use]
    pub fn of(set: &DescriptorSet) -> Self {
        let mut surface = Self(BTreeMap::new());
        set.files().for_each(|file| surface.file(&file));
        set.messages().for_each(|message| surface.message(&message));
        set.enums().for_each(|descriptor| surface.enumeration(&descriptor));
        set.extensions().for_each(|extension| surface.extension(&extension));
        for service in set.services() {
            surface.add(SymbolKind::Service, service.full_name(), vec!["service".to_owned()], &service.options());
            service.methods().for_each(|rpc| surface.rpc(&rpc));
        }
        surface
    }

    /// Every symbol, by name.
    pub fn symbols(&self) -> impl Iterator<Item = (&str, &Symbol)> {
        self.0.iter().map(|(name, symbol)| (name.as_str(), symbol))
    }

    /// A symbol by its full name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Symbol> {
        self.0.get(name)
    }

    /// A symbol's lines; none if it is not there.
    #[must_use]
    pub fn lines(&self, name: &str) -> &[String] {
        self.get(name).map_or(&[], |symbol| &symbol.lines)
    }

    /// Stands for all that is promised of a symbol, or for its absence.
    #[must_use]
    pub fn fingerprint(&self, name: &str) -> String {
        self.get(name)
            .map_or_else(|| "absent".to_owned(), |symbol| sha256(symbol.lines.join("\n").as_bytes())[..16].to_owned())
    }

    /// It is marked deprecated, or what holds it is.
    #[must_use]
    pub fn is_deprecated(&self, name: &str) -> bool {
        self.get(name).is_some_and(|symbol| symbol.is_deprecated)
            || parent(name).is_some_and(|parent| self.is_deprecated(parent))
    }

    fn add(&mut self, kind: SymbolKind, name: &str, mut lines: Vec<String>, set: &DynamicMessage) {
        let is_deprecated = crate::meaning::options::flag(set, "deprecated");
        lines.extend(options(set));
        self.0.insert(name.to_owned(), Symbol { kind, lines, is_deprecated });
    }

    fn file(&mut self, file: &FileDescriptor) {
        let syntax = format!("syntax {:?}", file.syntax());
        self.add(
            SymbolKind::File,
            file.name(),
            vec![format!("package {}", file.package_name()), syntax],
            &file.options(),
        );
    }

    fn message(&mut self, message: &MessageDescriptor) {
        let kind = if events::option(message).is_some() { SymbolKind::Event } else { SymbolKind::Message };
        let mut lines = vec![if message.is_map_entry() { "map entry" } else { "message" }.to_owned()];
        lines.extend(message.reserved_ranges().map(|range| format!("reserved {} to {}", range.start, range.end - 1)));
        lines.extend(message.reserved_names().map(|name| format!("reserved {name:?}")));
        lines
            .extend(message.extension_ranges().map(|range| format!("extensions {} to {}", range.start, range.end - 1)));
        self.add(kind, message.full_name(), lines, &message.options());
        for field in message.fields() {
            self.add(SymbolKind::Field, field.full_name(), vec![shape(&field)], &field.options());
        }
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            let is_deprecated = oneof.fields().all(|field| self.is_deprecated(field.full_name()));
            let mut lines = vec!["oneof".to_owned()];
            lines.extend(options(&oneof.options()));
            self.0.insert(oneof.full_name().to_owned(), Symbol { kind: SymbolKind::Oneof, lines, is_deprecated });
        }
    }

    fn enumeration(&mut self, descriptor: &EnumDescriptor) {
        let mut lines = vec!["enum".to_owned()];
        lines
            .extend(descriptor.reserved_ranges().map(|range| format!("reserved {} to {}", range.start(), range.end())));
        lines.extend(descriptor.reserved_names().map(|name| format!("reserved {name:?}")));
        self.add(SymbolKind::Enum, descriptor.full_name(), lines, &descriptor.options());
        for value in descriptor.values() {
            self.add(
                SymbolKind::EnumValue,
                value.full_name(),
                vec![format!("value {}", value.number())],
                &value.options(),
            );
        }
    }

    fn extension(&mut self, extension: &ExtensionDescriptor) {
        let shape = format!(
            "extension {} of {}: {}{}",
            extension.number(),
            extension.containing_message().full_name(),
            if extension.is_list() { "repeated " } else { "" },
            type_name(&extension.kind()),
        );
        self.add(SymbolKind::Extension, extension.full_name(), vec![shape], &extension.options());
    }

    fn rpc(&mut self, rpc: &MethodDescriptor) {
        let stream = |is_stream| if is_stream { "stream " } else { "" };
        let shape = format!(
            "rpc ({}{}) returns ({}{})",
            stream(rpc.is_client_streaming()),
            rpc.input().full_name(),
            stream(rpc.is_server_streaming()),
            rpc.output().full_name(),
        );
        self.add(SymbolKind::Rpc, rpc.full_name(), vec![shape], &rpc.options());
    }
}

/// The listing for review: a line of a symbol on each line, sorted.
impl fmt::Display for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, symbol) in &self.0 {
            for line in &symbol.lines {
                writeln!(f, "{name} {line}")?;
            }
        }
        Ok(())
    }
}

/// The name of what holds a symbol; a package, too, has a name.
pub(crate) fn parent(name: &str) -> Option<&str> {
    if name.contains('/') { None } else { name.rsplit_once('.').map(|(parent, _)| parent) }
}

fn shape(field: &FieldDescriptor) -> String {
    let cardinality = match field.cardinality() {
        Cardinality::Required => "required ",
        Cardinality::Repeated if !field.is_map() => "repeated ",
        Cardinality::Optional if field.field_descriptor_proto().proto3_optional() => "optional ",
        _ => "",
    };
    let mut shape =
        format!("field {} {cardinality}{}, JSON {}", field.number(), type_name(&field.kind()), field.json_name());
    if let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
        shape += &format!(", in oneof {}", oneof.name());
    }
    if let Some(default) = &field.field_descriptor_proto().default_value {
        shape += &format!(", default {default:?}");
    }
    shape
}

/// As a `.proto` file writes it; messages and enums by full name.
#[must_use]
pub fn type_name(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) if message.is_map_entry() => {
            let (key, value) = (message.map_entry_key_field(), message.map_entry_value_field());
            format!("map<{}, {}>", type_name(&key.kind()), type_name(&value.kind()))
        }
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(descriptor) => descriptor.full_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}

fn options(set: &DynamicMessage) -> Vec<String> {
    let own = set.fields().map(|(field, value)| (field.name().to_owned(), field.kind(), value));
    let more = set.extensions().map(|(extension, value)| (extension.full_name().to_owned(), extension.kind(), value));
    let mut lines = Vec::new();
    for (name, kind, value) in own.chain(more) {
        let values = value.as_list().unwrap_or(std::slice::from_ref(value));
        lines.extend(values.iter().map(|value| format!("option {name} {}", text(value, &kind))));
    }
    lines.sort();
    lines
}

/// A value in one line, enum values by name.
fn text(value: &Value, kind: &Kind) -> String {
    match value {
        Value::EnumNumber(number) => {
            let value = kind.as_enum().and_then(|descriptor| descriptor.get_value(*number));
            value.map_or_else(|| number.to_string(), |value| value.name().to_owned())
        }
        Value::Message(message) => {
            let own =
                message.fields().map(|(field, value)| format!("{}: {}", field.name(), text(value, &field.kind())));
            let more =
                message.extensions().map(|(it, value)| format!("[{}]: {}", it.full_name(), text(value, &it.kind())));
            format!("{{{}}}", own.chain(more).collect::<Vec<_>>().join(", "))
        }
        Value::List(values) => {
            format!("[{}]", values.iter().map(|value| text(value, kind)).collect::<Vec<_>>().join(", "))
        }
        Value::Map(entries) => {
            let kind = kind.as_message().map_or_else(|| kind.clone(), |entry| entry.map_entry_value_field().kind());
            let mut entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{}: {}", key_text(key), text(value, &kind))).collect();
            entries.sort();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Bool(value) => value.to_string(),
        Value::I32(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        Value::F32(value) => value.to_string(),
        Value::F64(value) => value.to_string(),
        Value::String(value) => format!("{value:?}"),
        Value::Bytes(value) => format!("{value:?}"),
    }
}

fn key_text(key: &MapKey) -> String {
    format!("{key:?}")
}
