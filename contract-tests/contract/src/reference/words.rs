//! Descriptors in words.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, Value};

use crate::{
    meaning::{
        options::{Behavior, behaves, flag},
        validation::{self, Shown},
    },
    surface::type_name,
};

/// A text as a cell of a table.
pub(super) fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\n\n", "<br>").replace('\n', " ")
}

/// The first sentence.
pub(super) fn summary(comment: &str) -> String {
    let paragraph = comment.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let end = paragraph.find(". ").map_or(paragraph.len(), |end| end + 1);
    paragraph[..end].to_owned()
}

/// Where a heading of this name is linked, as GitHub makes it.
pub(super) fn anchor(name: &str) -> String {
    name.to_lowercase().replace('.', "")
}

/// The name within its package.
pub(super) fn short(full_name: &str, package: &str) -> String {
    full_name.strip_prefix(package).map_or(full_name, |rest| rest.trim_start_matches('.')).to_owned()
}

/// A field's type; ours are links.
pub(super) fn type_link(field: &FieldDescriptor, package: &str) -> String {
    let kind = field.kind();
    let name = match &kind {
        Kind::Message(entry) if entry.is_map_entry() => format!("`{}`", type_name(&kind)),
        Kind::Message(message) => link(message.full_name(), message.package_name(), package),
        Kind::Enum(descriptor) => link(descriptor.full_name(), descriptor.package_name(), package),
        _ => type_name(&kind),
    };
    if field.is_list() { format!("repeated {name}") } else { name }
}

/// A link to a message or an enum from a page; the names of others are no links.
pub(super) fn link(full_name: &str, of: &str, package: &str) -> String {
    let name = short(full_name, of);
    if !of.starts_with("holdfast.") {
        return format!("`{full_name}`");
    }
    let page = if of == package { String::new() } else { format!("{of}.md") };
    format!("[{name}]({page}#{})", anchor(&name))
}

/// What a field demands and promises.
pub(super) fn rules(field: &FieldDescriptor) -> String {
    let rules = validation::rules(field);
    let mut words = Vec::new();
    if behaves(field, Behavior::Required) || rules.contains_key("required") {
        words.push("required".to_owned());
    }
    for (behavior, word) in [
        (Behavior::OutputOnly, "output only"),
        (Behavior::InputOnly, "input only"),
        (Behavior::Immutable, "immutable"),
        (Behavior::Identifier, "identifier"),
    ] {
        if behaves(field, behavior) {
            words.push(word.to_owned());
        }
    }
    words.extend(rules.iter().filter(|(name, _)| *name != "required").map(|(name, value)| rule(name, value)));
    if let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
        words.push(format!("one of `{}`", oneof.name()));
    }
    if flag(&field.options(), "debug_redact") {
        words.push("never logged".to_owned());
    }
    if flag(&field.options(), "deprecated") {
        words.push("**deprecated**".to_owned());
    }
    words.join(", ")
}

fn rule(name: &str, value: &Value) -> String {
    let (scope, leaf) = match name.strip_prefix("repeated.items.") {
        Some(inner) => ("each ", inner),
        None => ("", name),
    };
    let value = Shown(Some(value));
    let words = match leaf.rsplit_once('.').map_or(leaf, |(_, leaf)| leaf) {
        "gte" => format!("≥ {value}"),
        "lte" => format!("≤ {value}"),
        "min_len" => format!("at least {value} characters"),
        "max_len" => format!("at most {value} characters"),
        "min_items" => format!("at least {value} items"),
        "max_items" => format!("at most {value} items"),
        "pattern" => format!("matches `{}`", value.to_string().trim_matches('"').replace("\\\\", "\\")),
        "uuid" => "a UUID".to_owned(),
        "defined_only" => "a defined value".to_owned(),
        "ignore" => "or not set".to_owned(),
        _ => format!("{leaf} = {value}"),
    };
    format!("{scope}{words}")
}

/// A table of a message's fields.
pub(super) fn fields(
    message: &MessageDescriptor,
    package: &str,
    comment: impl Fn(&FieldDescriptor) -> String,
) -> String {
    if message.fields().len() == 0 {
        return "It has no fields.\n".to_owned();
    }
    let rules: Vec<String> = message.fields().map(|field| cell(&rules(&field))).collect();
    // Most responses have none.
    let has_rules = rules.iter().any(|rules| !rules.is_empty());
    let mut table = if has_rules {
        "| field | type | rules | |\n|---|---|---|---|\n"
    } else {
        "| field | type | |\n|---|---|---|\n"
    }
    .to_owned();
    for (field, rules) in message.fields().zip(rules) {
        let rules = if has_rules { format!(" {rules} |") } else { String::new() };
        let kind = type_link(&field, package);
        table += &format!("| `{}` | {kind} |{rules} {} |\n", field.name(), cell(&comment(&field)));
    }
    table
}

/// `1.5 s`, `20 ms`.
pub(super) fn time(milliseconds: i32) -> String {
    if milliseconds % 1000 == 0 { format!("{} s", milliseconds / 1000) } else { format!("{milliseconds} ms") }
}
