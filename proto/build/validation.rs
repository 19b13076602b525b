//! Turns `buf.validate` rules into calls of `crate::validation`. A rule that is not known here fails the build.

use std::fmt::Write;

use anyhow::{Context, Result, bail, ensure};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, Value};

use crate::{
    options::{extension, message, number, set_fields},
    rules::{is_output_only, rust_choice, rust_path},
};

/// `impl Validate` for a message.
pub(crate) fn implementation(
    pool: &DescriptorPool,
    descriptor: &MessageDescriptor,
    is_request: bool,
) -> Result<String> {
    let mut body = String::new();
    for field in descriptor.fields() {
        // What a caller sends in an output-only field is ignored, so nothing is asked of it.
        if !is_output_only(pool, &field)? {
            let checks = match field.containing_oneof() {
                Some(oneof) => choice_checks(pool, &field, oneof.name()),
                None => field_checks(pool, &field),
            };
            body += &checks.with_context(|| format!("in the rules of {}", field.full_name()))?;
        }
    }
    let (path, violations) = if body.is_empty() { ("_", "_") } else { ("path", "violations") };
    Ok(format!(
        "impl crate::contract::Validate for {} {{\n    const IS_REQUEST: bool = {is_request};\n    fn validate(&self, {path}: \
         &crate::contract::FieldPath<'_>, {violations}: &mut Vec<crate::contract::Violation>) {{\n{body}    }}\n}}\n",
        rust_path(descriptor),
    ))
}

/// A field of a oneof: it has no rules of its own, only those of the message it may hold.
fn choice_checks(pool: &DescriptorPool, field: &FieldDescriptor, oneof: &str) -> Result<String> {
    ensure!(Rules::of(pool, field)? == Rules::default(), "rules on a field of a oneof are not supported");
    if !is_ours(&field.kind()) {
        return Ok(String::new());
    }
    let (name, choice) = (field.name(), rust_choice(field, oneof));
    Ok(format!(
        "if let Some({choice}(inner)) = &self.{oneof} {{ crate::contract::Validate::validate(inner, &path.field({name:?}), violations); }}\n"
    ))
}

fn field_checks(pool: &DescriptorPool, field: &FieldDescriptor) -> Result<String> {
    let rules = Rules::of(pool, field)?;
    let name = field.name();
    let at = format!("&path.field({name:?})");
    let mut code = String::new();

    if rules.required {
        let present = match field.kind() {
            _ if field.is_list() => format!("!self.{name}.is_empty()"),
            Kind::Message(_) => format!("self.{name}.is_some()"),
            Kind::String | Kind::Bytes => format!("!self.{name}.is_empty()"),
            _ => format!("self.{name} != 0"),
        };
        writeln!(code, "crate::validation::required({present}, {at}, violations);")?;
    }
    if field.is_list() {
        if let Some(max) = rules.max_items {
            writeln!(code, "crate::validation::items(self.{name}.len(), {max}, {at}, violations);")?;
        }
        if rules.defined_only {
            let known = defined_values(field)?;
            writeln!(
                code,
                "for (index, item) in self.{name}.iter().enumerate() {{ crate::validation::defined(matches!(item, {known}), &path.element({name:?}, index), violations); }}"
            )?;
        }
        if is_ours(&field.kind()) {
            writeln!(
                code,
                "for (index, item) in self.{name}.iter().enumerate() {{ crate::contract::Validate::validate(item, &path.element({name:?}, index), violations); }}"
            )?;
        }
        return Ok(code);
    }
    if is_ours(&field.kind()) {
        writeln!(
            code,
            "if let Some(inner) = &self.{name} {{ crate::contract::Validate::validate(inner, {at}, violations); }}"
        )?;
    }

    let mut checks = String::new();
    if rules.min_len.is_some() || rules.max_len.is_some() {
        let (min, max) = (rules.min_len, rules.max_len);
        writeln!(checks, "crate::validation::length(&self.{name}, {min:?}, {max:?}, {at}, violations);")?;
    }
    if let Some(pattern) = &rules.pattern {
        writeln!(
            checks,
            "{{ static PATTERN: ::std::sync::LazyLock<::regex::Regex> = ::std::sync::LazyLock::new(|| \
             ::regex::Regex::new({pattern:?}).expect(\"checked when the contract was compiled\")); \
             crate::validation::pattern(&self.{name}, &PATTERN, {at}, violations); }}"
        )?;
    }
    if rules.uuid {
        writeln!(checks, "crate::validation::uuid(&self.{name}, {at}, violations);")?;
    }
    if rules.min.is_some() || rules.max.is_some() {
        let (min, max) = (rules.min, rules.max);
        writeln!(checks, "crate::validation::range(i64::from(self.{name}), {min:?}, {max:?}, {at}, violations);")?;
    }
    if rules.defined_only {
        let known = defined_values(field)?;
        writeln!(checks, "crate::validation::defined(matches!(self.{name}, {known}), {at}, violations);")?;
    }
    // An absent text is told once, as missing, not again as malformed.
    let skip_zero = rules.ignore_zero || (rules.required && matches!(field.kind(), Kind::String));
    match (checks.is_empty(), skip_zero) {
        (true, _) => {}
        (false, false) => code += &checks,
        (false, true) => {
            let set = if matches!(field.kind(), Kind::String) {
                format!("!self.{name}.is_empty()")
            } else {
                format!("self.{name} != 0")
            };
            write!(code, "if {set} {{\n{checks}}}\n")?;
        }
    }
    Ok(code)
}

fn is_ours(kind: &Kind) -> bool {
    matches!(kind, Kind::Message(message) if message.package_name().starts_with("holdfast."))
}

/// The numbers of a field's enum, as a pattern.
fn defined_values(field: &FieldDescriptor) -> Result<String> {
    let Kind::Enum(descriptor) = field.kind() else { bail!("enum rules on another type") };
    let known: Vec<_> = descriptor.values().map(|value| value.number().to_string()).collect();
    Ok(known.join(" | "))
}

#[derive(Default, PartialEq)]
struct Rules {
    required: bool,
    ignore_zero: bool,
    min_len: Option<u64>,
    max_len: Option<u64>,
    pattern: Option<String>,
    uuid: bool,
    min: Option<i64>,
    max: Option<i64>,
    /// Of the value, or of each item of a list.
    defined_only: bool,
    max_items: Option<u64>,
}

impl Rules {
    fn of(pool: &DescriptorPool, field: &FieldDescriptor) -> Result<Self> {
        let mut rules = Self::default();
        if let Some(option) = extension(pool, &field.options(), "buf.validate.field")? {
            rules.read(&option)?;
        }
        Ok(rules)
    }

    fn read(&mut self, option: &Value) -> Result<()> {
        for (name, value) in set_fields(message(option)?) {
            match name.as_str() {
                "required" => self.required = value.as_bool().context("not a bool")?,
                "ignore" => match value.as_enum_number() {
                    Some(1) => self.ignore_zero = true,
                    other => bail!("ignore = {other:?} is not supported"),
                },
                "string" | "int32" | "int64" | "enum" | "repeated" => {
                    for (rule, value) in set_fields(message(value)?) {
                        self.read_typed(&format!("{name}.{rule}"), value)?;
                    }
                }
                other => bail!("the rule {other} is not supported"),
            }
        }
        Ok(())
    }

    fn read_typed(&mut self, rule: &str, value: &Value) -> Result<()> {
        match rule {
            "string.min_len" => self.min_len = Some(u64::try_from(number(value)?)?),
            "string.max_len" => self.max_len = Some(u64::try_from(number(value)?)?),
            "string.uuid" => self.uuid = value.as_bool().context("not a bool")?,
            "string.pattern" => {
                let pattern = value.as_str().context("not a text")?;
                regex::Regex::new(pattern)
                    .with_context(|| format!("the pattern {pattern} is no regular expression"))?;
                self.pattern = Some(pattern.to_owned());
            }
            "int32.gte" | "int64.gte" => self.min = Some(number(value)?),
            "int32.lte" | "int64.lte" => self.max = Some(number(value)?),
            "enum.defined_only" => self.defined_only = value.as_bool().context("not a bool")?,
            // Where a test shall begin; it restricts nothing.
            "string.example" | "int32.example" | "int64.example" => {}
            "repeated.max_items" => self.max_items = Some(u64::try_from(number(value)?)?),
            "repeated.items" => {
                let mut items = Self::default();
                items.read(value)?;
                self.defined_only = std::mem::take(&mut items.defined_only);
                ensure!(items == Self::default(), "of the rules for items only enum.defined_only is supported");
            }
            other => bail!("the rule {other} is not supported"),
        }
        Ok(())
    }
}
