//! The page of a package.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{
    EnumDescriptor, FileDescriptor, Kind, MessageDescriptor, MethodDescriptor, ServiceDescriptor, Value,
};

use super::{Book, PACKAGE, words};
use crate::meaning::{
    events,
    options::{extension, flag, get, text},
    rpcs,
};

pub(super) fn page(book: &Book<'_>, package: &str) -> String {
    let files = book.files(package);
    let (with_events, without): (Vec<_>, Vec<_>) = files.iter().partition(|file| is_of_events(file));
    let mut about: Vec<&str> = without.iter().map(|file| book.comment(file, &PACKAGE)).collect();
    // Files may say the same of their package.
    about.dedup();
    let mut page = format!("# {package}\n\n{}\n", about.join("\n\n"));
    let inlined = inlined(book);
    for service in book.services(package) {
        page += &service_section(book, package, &service, &inlined);
    }
    let events: Vec<MessageDescriptor> = book.events(package);
    if !events.is_empty() {
        let about: Vec<&str> = with_events.iter().map(|file| book.comment(file, &PACKAGE)).collect();
        page += &format!("\n## Events\n\n{}\n", about.join("\n\n"));
        events.iter().for_each(|event| page += &event_section(book, package, event));
    }
    let is_listed = |message: &MessageDescriptor| {
        !inlined.contains(message.full_name()) && events::option(message).is_none() && !message.is_map_entry()
    };
    let mut sections = String::new();
    for file in &files {
        for message in file.messages() {
            message_sections(book, package, &message, &is_listed, &mut sections);
        }
        file.enums().for_each(|descriptor| sections += &enum_section(book, package, &descriptor));
    }
    if !sections.is_empty() {
        page += &format!("\n## Messages\n{sections}");
    }
    page
}

fn is_of_events(file: &FileDescriptor) -> bool {
    file.messages().any(|message| events::option(&message).is_some())
}

/// Requests and responses of one RPC that nothing else holds: they are shown with it. By full name.
fn inlined(book: &Book<'_>) -> BTreeSet<String> {
    let mut uses = BTreeMap::<String, usize>::new();
    let mut count =
        |message: &MessageDescriptor, times| *uses.entry(message.full_name().to_owned()).or_default() += times;
    for rpc in book.set.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        count(&rpc.input(), 1);
        count(&rpc.output(), 1);
    }
    for field in book.set.messages().flat_map(|message| message.fields().collect::<Vec<_>>()) {
        if let Kind::Message(message) = field.kind() {
            count(&message, 2);
        }
    }
    uses.into_iter().filter(|(_, times)| *times == 1).map(|(name, _)| name).collect()
}

fn service_section(book: &Book<'_>, package: &str, service: &ServiceDescriptor, inlined: &BTreeSet<String>) -> String {
    let about = book.comment(&service.parent_file(), service.path());
    let mut section = format!("\n## {}\n\n{about}\n\n", service.name());
    for rpc in service.methods() {
        let summary = words::summary(book.comment(&service.parent_file(), rpc.path()));
        section += &format!("- [{}](#{}): {summary}\n", rpc.name(), words::anchor(rpc.name()));
    }
    for rpc in service.methods() {
        section += &rpc_section(book, package, &rpc, inlined);
    }
    section
}

fn rpc_section(book: &Book<'_>, package: &str, rpc: &MethodDescriptor, inlined: &BTreeSet<String>) -> String {
    let mut section = format!("\n### {}\n\n", rpc.name());
    if flag(&rpc.options(), "deprecated") {
        section += "**Deprecated.** ";
    }
    section += &format!("{}\n\n| | |\n|---|---|\n", book.comment(&rpc.parent_file(), rpc.path()));
    for (what, said) in facts(rpc) {
        section += &format!("| {what} | {} |\n", words::cell(&said));
    }
    for (what, message, is_stream) in
        [("Request", rpc.input(), rpc.is_client_streaming()), ("Response", rpc.output(), rpc.is_server_streaming())]
    {
        let stream = if is_stream { "a stream of " } else { "" };
        if inlined.contains(message.full_name()) {
            let about = book.comment(&message.parent_file(), message.path());
            section +=
                &format!("\n**{what}**: {stream}`{}`. {about}\n\n{}", message.name(), table(book, package, &message));
        } else {
            let link = words::link(message.full_name(), message.package_name(), package);
            section += &format!("\n**{what}**: {stream}{link}\n");
        }
    }
    section + &refusals(rpc)
}

/// What the options of an RPC say.
fn facts(rpc: &MethodDescriptor) -> Vec<(&'static str, String)> {
    let mut facts = vec![("callers", callers(rpc))];
    if let Some(budget) = rpcs::option(rpc, "holdfast.options.v1.deadline") {
        let limit = |name| words::time(get(&budget, name).and_then(|limit| limit.as_i32()).unwrap_or_default());
        let (default, max, min) = (limit("default_ms"), limit("max_ms"), limit("min_ms"));
        facts.push((
            "deadline",
            format!("{default} unless asked for, {max} at most; refused with less than {min} left"),
        ));
    }
    facts.push(("repeating it", repeating(rpc).to_owned()));
    for binding in rpcs::bindings(rpc) {
        let (body, response) = &binding.bodies;
        let (verb, path) = binding.route.split_once(' ').unwrap_or_default();
        let mut said = format!("`{} {path}`", verb.to_uppercase());
        if !body.is_empty() {
            said += &format!(", body `{body}`");
        }
        if !response.is_empty() {
            said += &format!(", answers with `{response}`");
        }
        facts.push(("HTTP", said));
    }
    facts
}

fn callers(rpc: &MethodDescriptor) -> String {
    let (roles, services): (Vec<String>, Vec<String>) =
        rpcs::callers(rpc).into_iter().partition(|caller| caller.starts_with("ROLE_"));
    let mut said: Vec<String> = roles.iter().map(|role| role.trim_start_matches("ROLE_").to_lowercase()).collect();
    said.extend(services.iter().map(|service| format!("the service {service}")));
    said.join(", ")
}

fn repeating(rpc: &MethodDescriptor) -> &'static str {
    match get(&rpc.options(), "idempotency_level").and_then(|level| level.as_enum_number()) {
        Some(rpcs::NO_SIDE_EFFECTS) => "safe: it only reads",
        Some(rpcs::IDEMPOTENT) => "safe: it changes nothing more",
        _ => "not safe",
    }
}

fn refusals(rpc: &MethodDescriptor) -> String {
    let errors = extension(&rpc.options(), "holdfast.options.v1.errors");
    let cases = errors.as_ref().and_then(Value::as_list).unwrap_or_default();
    if cases.is_empty() {
        return "\n**Refusals**: [those of any RPC](README.md#refusals)\n".to_owned();
    }
    let mut section =
        "\n**Refusals**, besides [those of any RPC](README.md#refusals):\n\n| code | reason |\n|---|---|\n".to_owned();
    for case in cases.iter().filter_map(Value::as_message) {
        let code = get(case, "code").map(|code| rpcs::enum_name(case, "code", &code)).unwrap_or_default();
        section += &format!("| {code} | `{}` |\n", text(case, "reason"));
    }
    section
}

fn event_section(book: &Book<'_>, package: &str, event: &MessageDescriptor) -> String {
    let option = events::option(event).expect("an event has its option");
    let about = book.comment(&event.parent_file(), event.path());
    format!(
        "\n### {}\n\n{about}\n\n| | |\n|---|---|\n| stream | {} |\n| subject | `{}` |\n| about | `{}` |\n\n{}",
        event.name(),
        text(&option, "stream"),
        text(&option, "subject"),
        text(&option, "key"),
        table(book, package, event),
    )
}

/// A message, and what is nested in it, whether or not the message itself is shown.
fn message_sections(
    book: &Book<'_>,
    package: &str,
    message: &MessageDescriptor,
    is_listed: &dyn Fn(&MessageDescriptor) -> bool,
    sections: &mut String,
) {
    if is_listed(message) {
        let about = book.comment(&message.parent_file(), message.path());
        let name = words::short(message.full_name(), package);
        *sections += &format!("\n### {name}\n\n{about}\n\n{}", table(book, package, message));
    }
    message.child_enums().for_each(|descriptor| *sections += &enum_section(book, package, &descriptor));
    for child in message.child_messages() {
        message_sections(book, package, &child, is_listed, sections);
    }
}

fn table(book: &Book<'_>, package: &str, message: &MessageDescriptor) -> String {
    words::fields(message, package, |field| book.comment(&message.parent_file(), field.path()).to_owned())
}

fn enum_section(book: &Book<'_>, package: &str, descriptor: &EnumDescriptor) -> String {
    let (file, name) = (descriptor.parent_file(), words::short(descriptor.full_name(), package));
    let mut section =
        format!("\n### {name}\n\n{}\n\n| value | number | |\n|---|---|---|\n", book.comment(&file, descriptor.path()));
    for value in descriptor.values() {
        let remark = if flag(&value.options(), "deprecated") { "**deprecated** " } else { "" };
        let about = words::cell(book.comment(&file, value.path()));
        section += &format!("| `{}` | {} | {remark}{about} |\n", value.name(), value.number());
    }
    section
}
