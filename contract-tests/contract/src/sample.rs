//! Messages that are the same whoever makes them: every field is set, to a value that its rules let pass and that differs from its
//! neighbours'.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, OneofDescriptor, Value};
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::{
    meaning::validation::{self, Rules},
    surface::parent,
};

/// Items of a list, unless its rules allow fewer: one alone would not show that there is a list.
const ITEMS: u64 = 2;
/// Beyond what a double can hold: JSON writes it as a text, and who reads it as a number loses the last digit.
const GREAT: i64 = (1 << 53) + 1;

/// A message of each shape: `full`, and one more for each other member of a oneof, named by it.
pub(crate) fn samples(message: &MessageDescriptor) -> Vec<(String, DynamicMessage)> {
    let mut cases = vec![("full".to_owned(), Maker::default().message(message))];
    for (path, oneof) in oneofs(message, "", &mut Vec::new()) {
        for member in oneof.fields().skip(1) {
            let chosen = Some(format!("{path}{}", member.name()));
            let case = format!("{path}{}", member.name()).replace('.', "-");
            cases.push((case, Maker { chosen, ..Maker::default() }.message(message)));
        }
    }
    cases
}

/// The oneofs in a message and below, with the path to the message that has them.
fn oneofs(message: &MessageDescriptor, at: &str, above: &mut Vec<String>) -> Vec<(String, OneofDescriptor)> {
    if above.iter().any(|name| name == message.full_name()) {
        return Vec::new();
    }
    above.push(message.full_name().to_owned());
    let real = message.oneofs().filter(|oneof| !oneof.is_synthetic());
    let mut found: Vec<_> = real.map(|oneof| (at.to_owned(), oneof)).collect();
    for field in message.fields() {
        if let Kind::Message(inner) = field.kind() {
            found.extend(oneofs(&inner, &format!("{at}{}.", field.name()), above));
        }
    }
    above.pop();
    found
}

#[derive(Default)]
struct Maker {
    /// The path of the member that is to be set of its oneof.
    chosen: Option<String>,
    /// Where it is.
    path: Vec<String>,
    /// The messages around, so that one within itself ends.
    above: Vec<String>,
}

impl Maker {
    fn message(&mut self, descriptor: &MessageDescriptor) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        if well_known(&mut message) {
            return message;
        }
        self.above.push(descriptor.full_name().to_owned());
        for field in descriptor.fields() {
            if !self.is_wanted(&field) {
                continue;
            }
            self.path.push(field.name().to_owned());
            let value = self.value(&field);
            self.path.pop();
            if let Some(value) = value {
                message.set_field(&field, value);
            }
        }
        self.above.pop();
        message
    }

    /// Of a oneof, the chosen member or the first.
    fn is_wanted(&self, field: &FieldDescriptor) -> bool {
        let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) else { return true };
        let here = |name: &str| {
            let path = self.path.iter().map(String::as_str).chain([name]);
            self.chosen.as_deref() == Some(path.collect::<Vec<_>>().join(".").as_str())
        };
        let chosen = oneof.fields().find(|member| here(member.name()));
        chosen.or_else(|| oneof.fields().next()).is_some_and(|member| member == *field)
    }

    fn value(&mut self, field: &FieldDescriptor) -> Option<Value> {
        let rules = validation::rules(field);
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else { return None };
            let value = self.single(&entry.map_entry_value_field(), &Rules::new(), 0)?;
            // One entry: the order of more is nobody's promise.
            return Some(Value::Map([(key(&entry.map_entry_key_field()), value)].into()));
        }
        if field.is_list() {
            let most = number(&rules, "repeated.max_items").unwrap_or(ITEMS);
            let items = (0..ITEMS.min(most)).filter_map(|nth| self.single(field, &rules, nth));
            return Some(Value::List(items.collect()));
        }
        self.single(field, &rules, 0)
    }

    /// The n-th value of a field; `None` for a message within itself.
    fn single(&mut self, field: &FieldDescriptor, rules: &Rules, nth: u64) -> Option<Value> {
        let seed = i64::from(field.number()) + i64::try_from(nth).unwrap_or_default();
        Some(match field.kind() {
            Kind::Message(inner) if self.above.iter().any(|name| name == inner.full_name()) => return None,
            Kind::Message(inner) => Value::Message(self.message(&inner)),
            Kind::Enum(values) => {
                let known: Vec<i32> = values.values().map(|value| value.number()).filter(|it| *it != 0).collect();
                let nth = usize::try_from(nth).unwrap_or_default();
                Value::EnumNumber(known.iter().rev().nth(nth).or(known.first()).copied().unwrap_or_default())
            }
            Kind::String => Value::String(text(field, rules, nth)),
            Kind::Bytes => Value::Bytes(vec![0, 0xff, u8::try_from(seed).unwrap_or_default()].into()),
            Kind::Bool => Value::Bool(true),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                Value::I32(i32::try_from(bounded(rules, seed + 100)).unwrap_or_default())
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(bounded(rules, GREAT + 2 * seed)),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(u32::try_from(seed + 100).unwrap_or_default()),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(u64::MAX - u64::try_from(seed).unwrap_or_default()),
            Kind::Float => Value::F32(0.5 + u8::try_from(seed).map_or(0.0, f32::from)),
            Kind::Double => Value::F64(0.1 + u8::try_from(seed).map_or(0.0, f64::from)),
        })
    }
}

/// Types that everybody knows: not every value of their fields is one of them.
fn well_known(message: &mut DynamicMessage) -> bool {
    let name = prost_reflect::ReflectMessage::descriptor(message).full_name().to_owned();
    let mut set = |name: &str, value: Value| message.set_field_by_name(name, value);
    match name.as_str() {
        "google.type.Date" => {
            set("year", Value::I32(2028));
            set("month", Value::I32(2));
            set("day", Value::I32(29));
        }
        "google.type.Money" => {
            set("currency_code", Value::String("USD".to_owned()));
            set("units", Value::I64(GREAT));
            set("nanos", Value::I32(990_000_000));
        }
        "google.protobuf.Timestamp" => {
            set("seconds", Value::I64(1_835_435_045));
            set("nanos", Value::I32(678_901_000));
        }
        "google.protobuf.Duration" => {
            set("seconds", Value::I64(3_601));
            set("nanos", Value::I32(500_000_000));
        }
        "google.protobuf.FieldMask" => {
            set("paths", Value::List(vec![Value::String("display_name".to_owned())]));
        }
        _ => return false,
    }
    true
}

fn key(field: &FieldDescriptor) -> MapKey {
    match field.kind() {
        Kind::Bool => MapKey::Bool(true),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => MapKey::I64(GREAT),
        Kind::Uint32 | Kind::Fixed32 => MapKey::U32(7),
        Kind::Uint64 | Kind::Fixed64 => MapKey::U64(7),
        Kind::String => MapKey::String("키".to_owned()),
        _ => MapKey::I32(7),
    }
}

fn rule<'a>(rules: &'a Rules, name: &str) -> Option<&'a Value> {
    rules.iter().find(|(rule, _)| rule.trim_start_matches("repeated.items.") == name).map(|(_, value)| value)
}

fn number(rules: &Rules, name: &str) -> Option<u64> {
    match rule(rules, name)? {
        Value::U64(number) => Some(*number),
        _ => None,
    }
}

/// The wanted number, or the nearest that the rules let pass.
fn bounded(rules: &Rules, wanted: i64) -> i64 {
    let bound = |leaf: &str| {
        rules.iter().find_map(|(name, value)| match value {
            Value::I64(number) if name.ends_with(leaf) => Some(*number),
            _ => None,
        })
    };
    wanted.min(bound(".lte").unwrap_or(i64::MAX)).max(bound(".gte").unwrap_or(i64::MIN))
}

/// What the pattern accepts, a UUID, or the field's name behind letters of more than one byte.
fn text(field: &FieldDescriptor, rules: &Rules, nth: u64) -> String {
    if let Some(Value::String(pattern)) = rule(rules, "string.pattern") {
        return accepted(pattern);
    }
    if rule(rules, "string.uuid").is_some() {
        return format!("01890a5d-ac96-774b-bcce-{:012}", u64::from(field.number()) + nth);
    }
    let within = parent(field.full_name()).unwrap_or_default();
    let text = format!("예약 {}.{}", within.rsplit('.').next().unwrap_or_default(), field.name());
    let most = number(rules, "string.max_len").and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    text.chars().take(most).collect()
}

/// The first text that a regular expression accepts, repetitions as short as they may be.
fn accepted(pattern: &str) -> String {
    fn write(part: &Hir, text: &mut String) {
        match part.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => text.push_str(&String::from_utf8_lossy(&literal.0)),
            HirKind::Class(Class::Unicode(class)) => {
                text.extend(class.ranges().first().map(regex_syntax::hir::ClassUnicodeRange::start));
            }
            HirKind::Class(Class::Bytes(class)) => {
                text.extend(class.ranges().first().map(|range| char::from(range.start())));
            }
            HirKind::Repetition(repetition) => {
                for _ in 0..repetition.min.max(u32::from(repetition.max.is_none())) {
                    write(&repetition.sub, text);
                }
            }
            HirKind::Capture(capture) => write(&capture.sub, text),
            HirKind::Concat(parts) => parts.iter().for_each(|part| write(part, text)),
            HirKind::Alternation(parts) => parts.iter().take(1).for_each(|part| write(part, text)),
        }
    }
    let mut text = String::new();
    if let Ok(parsed) = regex_syntax::parse(pattern) {
        write(&parsed, &mut text);
    }
    text
}
