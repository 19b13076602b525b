//! What the consumers of our contracts send and read, as `contract-tests/consumers/` holds it.
//!
//! A file for each consumer and provider. Those of our own services are written by the test `recorder`, which runs them; others may
//! lay theirs beside them. They are held against today's contracts: what a consumer reads must be there and be of the type that
//! it was, reasons that it handles must be declared, requests that it sends must pass. And a finding of the gate tells whom it
//! hurts.

mod index;
mod validity;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{DescriptorSet, Finding, meaning::rpcs, surface::type_name};

pub(crate) use index::Index;

/// One consumer of one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Who consumes.
    pub consumer: String,
    /// The service that it consumes: `listing` of `holdfast.listing.v1`.
    pub provider: String,
    /// By the event's full name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<String, Reading>,
    /// By the RPC's full name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rpcs: BTreeMap<String, Calling>,
}

/// What of an event makes a difference to its consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// Dotted paths and their types, as a `.proto` file writes them.
    pub reads: BTreeMap<String, String>,
    /// Of the enums and oneofs among them, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub choices: BTreeMap<String, Choice>,
}

/// How a choice is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Values, or members, that are not taken for an unknown one.
    pub knows: BTreeSet<String>,
    /// An unknown one is no error.
    pub tolerates_unknown: bool,
}

/// How an RPC is called, and what of its answer makes a difference to the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calling {
    /// Requests that were sent.
    pub cases: Vec<Case>,
    /// As for events.
    pub reads: BTreeMap<String, String>,
    /// As for events.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub choices: BTreeMap<String, Choice>,
    /// Declared reasons that the caller does not treat as any refusal.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub reasons: BTreeSet<String>,
}

/// A request, and what is read of its answer. Ids are placeholders, the same within a scene.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it is a part of.
    pub scene: String,
    /// When it is sent in its scene, from 1.
    pub step: usize,
    /// Canonical JSON.
    pub request: Value,
    /// Canonical JSON of the answer, nothing in it but what is read.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub answer: Value,
    /// The reason of a refusal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub refused: String,
}

/// Why consumers cannot be held against the contracts.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "fields: which file, the cause")]
pub enum ConsumersError {
    /// A file cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    File { path: PathBuf, source: io::Error },
    /// It is no consumer.
    #[error("{} cannot be understood", path.display())]
    Malformed { path: PathBuf, source: serde_json::Error },
}

/// Reads every consumer of a folder, sorted by file name; none where there is no folder.
///
/// # Errors
///
/// A file cannot be read, or is no consumer.
pub fn read(folder: &Path) -> Result<Vec<Consumer>, ConsumersError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ConsumersError::File { path, source }
    };
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).map_err(failed(folder))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<BTreeSet<_>>>().map_err(failed(folder))?;
    let files = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).map_err(failed(path))?;
        serde_json::from_str(&text).map_err(|source| ConsumersError::Malformed { path: path.clone(), source })
    };
    files.map(read).collect()
}

impl Consumer {
    /// As its file has it: keys sorted.
    ///
    /// # Panics
    ///
    /// Never: it is JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}\n", serde_json::to_value(self).expect("texts and lists are JSON"))
    }

    /// What it expects of the contracts and they do not hold.
    #[must_use]
    pub fn unmet(&self, set: &DescriptorSet) -> Vec<String> {
        let mut unmet = Vec::new();
        for (name, event) in &self.events {
            match set.message_by_name(name) {
                Some(message) => unmet.extend(self.misread(&message, &event.reads, &event.choices)),
                None => unmet.push(format!("{} consumes {name}, which is no event", self.consumer)),
            }
        }
        for (name, calling) in &self.rpcs {
            match rpc(set, name) {
                Some(rpc) => {
                    unmet.extend(self.misread(&rpc.output(), &calling.reads, &calling.choices));
                    unmet.extend(self.refused(&rpc, calling));
                }
                None => unmet.push(format!("{} calls {name}, which is no RPC", self.consumer)),
            }
        }
        let package = format!("holdfast.{}.", self.provider);
        let foreign = self.events.keys().chain(self.rpcs.keys()).filter(|name| !name.starts_with(&package));
        unmet.extend(foreign.map(|name| format!("{}: {name} is not of {}", self.consumer, self.provider)));
        unmet
    }

    fn misread(
        &self,
        message: &MessageDescriptor,
        reads: &BTreeMap<String, String>,
        choices: &BTreeMap<String, Choice>,
    ) -> Vec<String> {
        let who = format!("{} reads {}", self.consumer, message.full_name());
        let mut unmet = Vec::new();
        for (path, expected) in reads {
            match fields(message, path).as_deref() {
                None => unmet.push(format!("{who}.{path}, which is not there")),
                Some([.., field]) if type_name(&field.kind()) != *expected => {
                    unmet.push(format!("{who}.{path} as {expected}, and it is {}", type_name(&field.kind())));
                }
                Some(_) => {}
            }
        }
        for (path, choice) in choices {
            let there = members(message, path);
            let lost = choice.knows.iter().filter(|value| !there.contains(*value));
            unmet.extend(lost.map(|value| format!("{who}.{path} and knows {value}, which is not there")));
        }
        unmet
    }

    fn refused(&self, rpc: &MethodDescriptor, calling: &Calling) -> Vec<String> {
        let who = format!("{} calls {}", self.consumer, rpc.full_name());
        let declared = rpcs::reasons(rpc);
        let lost = calling.reasons.iter().filter(|reason| !declared.contains_key(*reason));
        let mut unmet: Vec<String> =
            lost.map(|reason| format!("{who} and handles {reason}, which is not declared")).collect();
        for case in &calling.cases {
            let which = format!("{who}, and its request {} of {:?}", case.step, case.scene);
            match request(rpc, &case.request) {
                Ok(request) => {
                    let broken = validity::violations(&request);
                    unmet.extend(broken.into_iter().map(|broken| format!("{which} is refused: {broken}")));
                }
                Err(error) => unmet.push(format!("{which} is none: {error}")),
            }
            if !case.refused.is_empty() && !declared.contains_key(&case.refused) {
                unmet.push(format!("{which} is answered {}, which is not declared", case.refused));
            }
        }
        unmet
    }
}

/// What the consumers expect of the contracts and they do not hold, sorted.
#[must_use]
pub fn unmet(consumers: &[Consumer], set: &DescriptorSet) -> Vec<String> {
    let unmet: BTreeSet<String> = consumers.iter().flat_map(|consumer| consumer.unmet(set)).collect();
    unmet.into_iter().collect()
}

/// An RPC by its full name.
#[must_use]
pub fn rpc(set: &DescriptorSet, name: &str) -> Option<MethodDescriptor> {
    let (service, _) = name.rsplit_once('.')?;
    set.service_by_name(service)?.methods().find(|rpc| rpc.full_name() == name)
}

/// The reasons that an RPC declares, each with its status codes.
#[must_use]
pub fn declared(rpc: &MethodDescriptor) -> BTreeMap<String, BTreeSet<String>> {
    rpcs::reasons(rpc)
}

/// A request as it was recorded.
///
/// # Errors
///
/// It holds what the request does not.
pub fn request(rpc: &MethodDescriptor, json: &Value) -> Result<DynamicMessage, serde_json::Error> {
    DynamicMessage::deserialize(rpc.input(), json)
}

/// The fields on a dotted path; lists are looked into.
pub(crate) fn fields(message: &MessageDescriptor, path: &str) -> Option<Vec<FieldDescriptor>> {
    let mut message = Some(message.clone());
    let mut fields = Vec::new();
    for name in path.split('.') {
        let within = message.take()?;
        let field = within.get_field_by_name(name)?;
        if let Kind::Message(inner) = field.kind() {
            message = Some(inner);
        }
        fields.push(field);
    }
    Some(fields)
}

/// The values of the enum, or the members of the oneof, at the end of a path.
fn members(message: &MessageDescriptor, path: &str) -> BTreeSet<String> {
    if let Some(fields) = fields(message, path) {
        return match fields.last().map(FieldDescriptor::kind) {
            Some(Kind::Enum(values)) => values.values().map(|value| value.name().to_owned()).collect(),
            _ => BTreeSet::new(),
        };
    }
    oneof(message, path).map(|oneof| oneof.fields().map(|field| field.name().to_owned()).collect()).unwrap_or_default()
}

/// The oneof at the end of a path.
pub(crate) fn oneof(message: &MessageDescriptor, path: &str) -> Option<prost_reflect::OneofDescriptor> {
    let (within, name) = match path.rsplit_once('.') {
        None => (message.clone(), path),
        Some((parent, name)) => match fields(message, parent)?.last()?.kind() {
            Kind::Message(inner) => (inner, name),
            _ => return None,
        },
    };
    within.oneofs().find(|oneof| oneof.name() == name)
}

/// Whom a finding hurts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hurt {
    /// Consumers, and what of theirs if it is a request.
    pub consumers: Vec<String>,
    /// Nobody: every consumer that reads the choice takes what it does not know.
    pub tolerated: bool,
}

/// Whom a finding hurts, of the consumers that an index was made of.
#[must_use]
pub(crate) fn hurt(index: &Index, finding: &Finding, consumers: &[Consumer], current: &DescriptorSet) -> Hurt {
    match finding.rule.id {
        "SEM_INPUT_RULE_NARROWED" | "SEM_INPUT_REQUIRED_ADDED" | "SEM_RULE_UNDECIDABLE" => {
            Hurt { consumers: senders(index, finding, consumers, current), tolerated: false }
        }
        "SEM_ENUM_WIDENED_OUT" | "SEM_ONEOF_WIDENED_OUT" => index.choosers(finding, current),
        _ => Hurt { consumers: index.of(&finding.symbol), tolerated: false },
    }
}

/// Those who send the field, or a message that lacks it, and whose requests would be refused.
fn senders(index: &Index, finding: &Finding, consumers: &[Consumer], current: &DescriptorSet) -> Vec<String> {
    let mut found = Vec::new();
    for consumer in consumers {
        let refused = consumer
            .rpcs
            .iter()
            .filter_map(|(name, calling)| Some((rpc(current, name)?, calling)))
            .flat_map(|(rpc, calling)| calling.cases.iter().filter_map(move |case| request(&rpc, &case.request).ok()))
            .filter(|request| validity::breaks(request, &finding.symbol))
            .count();
        match refused {
            0 if index.of(&finding.symbol).contains(&consumer.consumer) => {
                found.push(format!("{} (the requests it recorded pass)", consumer.consumer));
            }
            0 => {}
            count => found.push(format!("{} (requests refused: {count})", consumer.consumer)),
        }
    }
    found.dedup();
    found
}
