//! Writes the table of methods, the event rules and the redacting `Debug` implementations.

use std::fmt::Write;

use anyhow::{Context, Result, bail, ensure};
use heck::{ToSnakeCase, ToUpperCamelCase};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

use crate::{
    options::{PACKAGE, enum_names, extension, message, number, text},
    validation,
};

/// `METHODS` and `EVENTS`.
pub(crate) fn methods(pool: &DescriptorPool) -> Result<String> {
    let mut code = String::from("/// Every RPC's rules.\npub static METHODS: &[MethodRule] = &[\n");
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        code += &rule(pool, &method).with_context(|| format!("in the options of {}", method.full_name()))?;
    }
    code += "];\n";
    Ok(code)
}

fn rule(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<String> {
    // One message can be kept, to be sent again when that is safe.
    ensure!(!method.is_client_streaming(), "a caller does not stream");
    let set = method.options();
    let option = |name: &str| -> Result<_> {
        extension(pool, &set, &format!("{PACKAGE}.{name}"))?.with_context(|| format!("{PACKAGE}.{name} is not set"))
    };
    let access = option("access")?;
    let roles: Vec<_> = enum_names(message(&access)?, "roles")?
        .into_iter()
        .map(|role| match role.as_str() {
            "ROLE_CUSTOMER" => Ok("Role::Customer"),
            "ROLE_HOST" => Ok("Role::Host"),
            "ROLE_OPERATOR" => Ok("Role::Operator"),
            other => bail!("{other} is no role"),
        })
        .collect::<Result<_>>()?;
    let services = message(&access)?.get_field_by_name("services").context("no field services")?.into_owned();
    let services =
        services.as_list().context("not a list")?.iter().filter_map(|name| name.as_str()).collect::<Vec<_>>();
    ensure!(!roles.is_empty() || !services.is_empty(), "access lets nobody call");

    let deadline = option("deadline")?;
    let limit = |name: &str| -> Result<i64> {
        number(message(&deadline)?.get_field_by_name(name).context("no such limit")?.as_ref())
    };
    let (default, max, min) = (limit("default_ms")?, limit("max_ms")?, limit("min_ms")?);
    ensure!(0 < min && min <= default && default <= max, "deadline is not 0 < min ≤ default ≤ max");

    let level = set.get_field_by_name("idempotency_level").context("no idempotency_level")?;
    let (no_side_effects, idempotent) = match number(level.as_ref())? {
        1 => (true, true),
        2 => (false, true),
        _ => bail!("idempotency_level is not set"),
    };
    if !no_side_effects {
        check_idempotency_key(pool, method)?;
    }
    let priority = priority(pool, method, &roles, no_side_effects)?;
    Ok(format!(
        "MethodRule {{ path: \"/{}/{}\", roles: &[{}], services: &{services:?}, deadline: DeadlineBudget {{ default_ms: \
         {default}, max_ms: {max}, min_ms: {min} }}, priority: Priority::{priority}, no_side_effects: {no_side_effects}, idempotent: {idempotent} }},\n",
        method.parent_service().full_name(),
        method.name(),
        roles.join(", "),
    ))
}

/// As the option says, else as the kind of the RPC does.
fn priority(
    pool: &DescriptorPool,
    method: &MethodDescriptor,
    roles: &[&str],
    no_side_effects: bool,
) -> Result<&'static str> {
    let said = extension(pool, &method.options(), &format!("{PACKAGE}.priority"))?;
    match said.as_ref().map_or(Ok(0), number)? {
        0 if roles == ["Role::Operator"] => Ok("Admin"),
        0 if roles.is_empty() => Ok("Finish"),
        0 if no_side_effects => Ok("Read"),
        0 | 1 => Ok("New"),
        2 => Ok("Read"),
        3 => Ok("Finish"),
        4 => Ok("Admin"),
        other => bail!("{other} is no priority"),
    }
}

/// What changes something is named by its caller, by `request_id`, or by what it is about.
fn check_idempotency_key(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<()> {
    let key = extension(pool, &method.options(), &format!("{PACKAGE}.idempotency_key"))?;
    let key = key.context("idempotency_key is not set")?;
    let names: Vec<_> = key.as_list().context("not a list")?.iter().filter_map(|name| name.as_str()).collect();
    let request = method.input();
    for name in &names {
        request.get_field_by_name(name).with_context(|| format!("the idempotency_key {name} is no field"))?;
    }
    let by_caller = request.get_field_by_name("request_id").is_some();
    ensure!(!by_caller || names == ["request_id"], "the idempotency_key is not request_id");
    Ok(())
}

/// `Validate` for every message of ours, `Event` for events, `Debug` for those with something to hide.
pub(crate) fn messages(pool: &DescriptorPool) -> Result<String> {
    let requests: Vec<String> = pool
        .services()
        .flat_map(|service| service.methods().map(|method| method.input().full_name().to_owned()).collect::<Vec<_>>())
        .collect();
    let mut code = String::new();
    for descriptor in ours(pool) {
        let is_request = requests.iter().any(|name| name == descriptor.full_name());
        code += &validation::implementation(pool, &descriptor, is_request)?;
        let set = descriptor.options();
        if let Some(event) = extension(pool, &set, &format!("{PACKAGE}.event"))? {
            code += &event_implementation(&descriptor, message(&event)?)
                .with_context(|| format!("in the event option of {}", descriptor.full_name()))?;
        }
        if descriptor.fields().any(|field| is_redacted(&field)) {
            code += &debug_implementation(&descriptor);
        }
    }
    Ok(code)
}

/// `reencode`: the code of any message, found by name.
pub(crate) fn reencode(pool: &DescriptorPool) -> String {
    let mut code = String::from(
        "/// Decodes a message and encodes it again, as servers and clients do; `None` if none of ours has the name.\n///\n\
         /// # Errors\n/// The bytes are not the message.\n\
         pub fn reencode(name: &str, bytes: &[u8]) -> Option<Result<Vec<u8>, prost::DecodeError>> {\n    \
         fn again<M: prost::Message + Default>(bytes: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {\n        \
         Ok(M::decode(bytes)?.encode_to_vec())\n    }\n    Some(match name {\n",
    );
    for descriptor in ours(pool) {
        let path = rust_path(&descriptor);
        writeln!(code, "        {:?} => again::<crate::generated::{path}>(bytes),", descriptor.full_name())
            .expect("writing to a String cannot fail");
    }
    code + "        _ => return None,\n    })\n}\n"
}

/// Messages for which `Debug` is written here.
pub(crate) fn redacted(pool: &DescriptorPool) -> Vec<String> {
    ours(pool)
        .filter(|message| message.fields().any(|field| is_redacted(&field)))
        .map(|message| message.full_name().to_owned())
        .collect()
}

fn ours(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> {
    pool.all_messages().filter(|message| {
        let package = message.package_name();
        package.starts_with("holdfast.") && package != PACKAGE && !message.is_map_entry()
    })
}

fn is_redacted(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").is_some_and(|value| value.as_bool() == Some(true))
}

fn event_implementation(descriptor: &MessageDescriptor, event: &prost_reflect::DynamicMessage) -> Result<String> {
    let (stream, subject, key) = (text(event, "stream")?, text(event, "subject")?, text(event, "key")?);
    let package = descriptor.package_name();
    let service = package.split('.').nth(1).context("an event's package is holdfast.<service>.<version>")?;
    ensure!(stream == service.to_uppercase(), "the stream of {service} is {}", service.to_uppercase());
    let subject = subject.strip_suffix(".{id}").context("the last token of the subject is not {id}")?;
    ensure!(subject.starts_with(&format!("holdfast.evt.{service}.")), "the subject is another service's");
    ensure!(subject.ends_with(".v1"), "the subject names no version before the id");
    Ok(format!(
        "impl crate::contract::Event for {} {{\n    const TYPE: &'static str = {:?};\n    const STREAM: &'static str = {stream:?};\n    \
         const SUBJECT: &'static str = {subject:?};\n    fn key(&self) -> &str {{ {} }}\n}}\n",
        rust_path(descriptor),
        descriptor.full_name(),
        accessor(descriptor, &key)?,
    ))
}

/// An expression for the text at a dotted path.
fn accessor(descriptor: &MessageDescriptor, path: &str) -> Result<String> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = descriptor.get_field_by_name(first).with_context(|| format!("no field {first}"))?;
    match (field.kind(), rest) {
        (Kind::String, None) => Ok(format!("&self.{first}")),
        (Kind::Message(inner), Some(rest)) => {
            let leaf = inner.get_field_by_name(rest).with_context(|| format!("no field {rest}"))?;
            ensure!(leaf.kind() == Kind::String, "{path} is not a text");
            Ok(format!("self.{first}.as_ref().map_or(\"\", |{first}| {first}.{rest}.as_str())"))
        }
        _ => bail!("{path} does not lead to a text"),
    }
}

fn debug_implementation(descriptor: &MessageDescriptor) -> String {
    let mut fields = String::new();
    for field in descriptor.fields() {
        assert!(field.containing_oneof().is_none(), "redaction next to a oneof is not supported");
        let name = field.name();
        // As prost escapes the words that fields are called by and Rust keeps for itself.
        let raw = if matches!(name, "match" | "move" | "ref" | "type" | "use") { "r#" } else { "" };
        let value = if is_redacted(&field) { "&\"<redacted>\"".to_owned() } else { format!("&self.{raw}{name}") };
        write!(fields, ".field({name:?}, {value})").expect("writing to a String cannot fail");
    }
    format!(
        "impl ::core::fmt::Debug for {} {{\n    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n        \
         f.debug_struct({:?}){fields}.finish()\n    }}\n}}\n",
        rust_path(descriptor),
        descriptor.name(),
    )
}

/// `holdfast::listing::v1::Listing`; messages nested in others do not occur.
pub(crate) fn rust_path(descriptor: &MessageDescriptor) -> String {
    let package = descriptor.package_name().replace('.', "::");
    format!("{package}::{}", descriptor.name())
}

/// `holdfast::listing::v1::hold::Slot::Stay`: the variant that prost makes of a field of a oneof.
pub(crate) fn rust_choice(field: &FieldDescriptor, oneof: &str) -> String {
    let message = field.parent_message();
    let package = message.package_name().replace('.', "::");
    format!(
        "{package}::{}::{}::{}",
        message.name().to_snake_case(),
        oneof.to_upper_camel_case(),
        field.name().to_upper_camel_case()
    )
}

/// What the option `field_behavior` says of a field.
pub(crate) fn is_output_only(pool: &DescriptorPool, field: &FieldDescriptor) -> Result<bool> {
    const OUTPUT_ONLY: i64 = 3;
    let Some(behavior) = extension(pool, &field.options(), "google.api.field_behavior")? else { return Ok(false) };
    for value in behavior.as_list().context("field_behavior is a list")? {
        if number(value)? == OUTPUT_ONLY {
            return Ok(true);
        }
    }
    Ok(false)
}
