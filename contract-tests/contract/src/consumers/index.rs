//! Which consumer relies on which symbol.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};

use super::{Calling, Choice, Consumer, Hurt, fields, oneof, request, rpc};
use crate::{DescriptorSet, Finding};

/// By full name, those who send or read a symbol; and of enums and oneofs, whether they take what they do not know.
#[derive(Debug, Default)]
pub(crate) struct Index {
    users: BTreeMap<String, BTreeSet<String>>,
    choosers: BTreeMap<String, BTreeMap<String, bool>>,
    /// Fields that had another name, under which they are used.
    renamed: BTreeMap<String, String>,
}

impl Index {
    /// Of consumers as a released set names what they use: it knows what today's has lost.
    pub(crate) fn of_consumers(consumers: &[Consumer], set: &DescriptorSet, current: &DescriptorSet) -> Self {
        let mut index = Self { renamed: renamed(set, current), ..Self::default() };
        for consumer in consumers {
            for (name, event) in &consumer.events {
                if let Some(message) = set.message_by_name(name) {
                    index.reading(&consumer.consumer, &message, &event.reads, &event.choices);
                }
            }
            for (name, calling) in &consumer.rpcs {
                index.calling(&consumer.consumer, set, name, calling);
            }
        }
        index
    }

    /// Who uses a symbol.
    pub(crate) fn of(&self, symbol: &str) -> Vec<String> {
        let symbol = self.renamed.get(symbol).map_or(symbol, String::as_str);
        self.users.get(symbol).into_iter().flatten().cloned().collect()
    }

    /// Who reads the enum or oneof that a finding says has grown.
    pub(crate) fn choosers(&self, finding: &Finding, current: &DescriptorSet) -> Hurt {
        let grown = |symbol: &str| {
            let in_enum = current.enums().find(|it| it.values().any(|value| value.full_name() == symbol));
            in_enum.map(|it| it.full_name().to_owned()).or_else(|| {
                let (message, name) = symbol.rsplit_once('.')?;
                let field = current.message_by_name(message)?.get_field_by_name(name)?;
                Some(field.containing_oneof()?.full_name().to_owned())
            })
        };
        let choosers = grown(&finding.symbol).and_then(|name| self.choosers.get(&name));
        let Some(choosers) = choosers else { return Hurt::default() };
        let intolerant = choosers.iter().filter(|(_, tolerates)| !**tolerates).map(|(who, _)| who.clone());
        let intolerant: Vec<String> = intolerant.collect();
        if intolerant.is_empty() {
            return Hurt { consumers: choosers.keys().cloned().collect(), tolerated: true };
        }
        Hurt { consumers: intolerant, tolerated: false }
    }

    fn add(&mut self, who: &str, symbol: &str) {
        self.users.entry(symbol.to_owned()).or_default().insert(who.to_owned());
    }

    fn calling(&mut self, who: &str, set: &DescriptorSet, name: &str, calling: &Calling) {
        let Some(rpc) = rpc(set, name) else { return };
        self.add(who, rpc.full_name());
        self.add(who, rpc.parent_service().full_name());
        self.reading(who, &rpc.output(), &calling.reads, &calling.choices);
        for case in &calling.cases {
            if let Ok(request) = request(&rpc, &case.request) {
                self.sending(who, &request);
            }
        }
    }

    fn sending(&mut self, who: &str, message: &DynamicMessage) {
        self.add(who, message.descriptor().full_name());
        for (field, value) in message.fields() {
            self.field(who, &field);
            let inner = value.as_list().unwrap_or(std::slice::from_ref(value));
            inner.iter().filter_map(Value::as_message).for_each(|inner| self.sending(who, inner));
        }
    }

    fn reading(
        &mut self,
        who: &str,
        message: &MessageDescriptor,
        reads: &BTreeMap<String, String>,
        choices: &BTreeMap<String, Choice>,
    ) {
        self.add(who, message.full_name());
        for field in reads.keys().filter_map(|path| fields(message, path)).flatten() {
            self.add(who, field.parent_message().full_name());
            self.field(who, &field);
        }
        for (path, choice) in choices {
            let of_enum = fields(message, path).and_then(|fields| fields.last()?.kind().as_enum().cloned());
            let name = match of_enum {
                Some(of_enum) => {
                    let known = of_enum.values().filter(|value| choice.knows.contains(value.name()));
                    known.for_each(|value| self.add(who, value.full_name()));
                    of_enum.full_name().to_owned()
                }
                None => match oneof(message, path) {
                    Some(oneof) => oneof.full_name().to_owned(),
                    None => continue,
                },
            };
            self.add(who, &name);
            let tolerates = self.choosers.entry(name).or_default().entry(who.to_owned()).or_insert(true);
            *tolerates &= choice.tolerates_unknown;
        }
    }

    /// A field, its oneof and its type.
    fn field(&mut self, who: &str, field: &FieldDescriptor) {
        self.add(who, field.full_name());
        if let Some(oneof) = field.containing_oneof() {
            self.add(who, oneof.full_name());
        }
        match field.kind() {
            Kind::Message(inner) => self.add(who, inner.full_name()),
            Kind::Enum(inner) => self.add(who, inner.full_name()),
            _ => {}
        }
    }
}

/// Fields whose name changed, from the new one to the old.
fn renamed(old: &DescriptorSet, new: &DescriptorSet) -> BTreeMap<String, String> {
    let pairs = old.messages().filter_map(|message| Some((new.message_by_name(message.full_name())?, message)));
    let fields = pairs.flat_map(|(now, was)| {
        was.fields().filter_map(move |field| Some((now.get_field(field.number())?, field))).collect::<Vec<_>>()
    });
    let names = fields.map(|(now, was)| (now.full_name().to_owned(), was.full_name().to_owned()));
    names.filter(|(now, was)| now != was).collect()
}
