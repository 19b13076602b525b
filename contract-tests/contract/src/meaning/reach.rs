//! Which messages and enums callers send, and which they or consumers read.

use std::collections::BTreeSet;

use prost_reflect::{Kind, MessageDescriptor};

use super::{
    events,
    options::{Behavior, behaves},
};
use crate::DescriptorSet;

pub(crate) struct Reach {
    sent: BTreeSet<String>,
    read: BTreeSet<String>,
}

impl Reach {
    pub(crate) fn of(set: &DescriptorSet) -> Self {
        let mut reach = Self { sent: BTreeSet::new(), read: BTreeSet::new() };
        for rpc in set.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            walk(&rpc.input(), Behavior::OutputOnly, &mut reach.sent);
            walk(&rpc.output(), Behavior::InputOnly, &mut reach.read);
        }
        for message in set.messages().filter(|message| events::option(message).is_some()) {
            walk(&message, Behavior::InputOnly, &mut reach.read);
        }
        reach
    }

    /// Requests hold it.
    pub(crate) fn is_sent(&self, name: &str) -> bool {
        self.sent.contains(name)
    }

    /// Responses or events hold it.
    pub(crate) fn is_read(&self, name: &str) -> bool {
        self.read.contains(name)
    }
}

/// Adds a message and what it holds, but for the fields that do not travel in this direction.
fn walk(message: &MessageDescriptor, except: Behavior, found: &mut BTreeSet<String>) {
    if !found.insert(message.full_name().to_owned()) {
        return;
    }
    for field in message.fields().filter(|field| !behaves(field, except)) {
        match field.kind() {
            Kind::Message(inner) => walk(&inner, except, found),
            Kind::Enum(inner) => {
                found.insert(inner.full_name().to_owned());
            }
            _ => {}
        }
    }
}
