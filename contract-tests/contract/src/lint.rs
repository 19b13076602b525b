//! What every event's declaration must be like, whatever was released: the build checks each by itself, this checks them together.

use std::collections::BTreeMap;

use crate::{
    DescriptorSet,
    consumers::fields,
    meaning::{events, options::text},
};

/// What is wrong with the events of a set.
#[must_use]
pub fn events(set: &DescriptorSet) -> Vec<String> {
    let mut faults = Vec::new();
    let mut subjects: BTreeMap<String, String> = BTreeMap::new();
    for message in set.messages() {
        let (name, file) = (message.full_name(), message.parent_file());
        let in_events_file = file.name().ends_with("_events.proto");
        let Some(option) = events::option(&message) else {
            if in_events_file {
                faults.push(format!("{name} is no event, and {} is for events", file.name()));
            }
            continue;
        };
        if !in_events_file {
            faults.push(format!("{name} is an event, and {} is not for events", file.name()));
        }
        let (subject, key) = (text(&option, "subject"), text(&option, "key"));
        if !is_versioned(&subject) {
            faults.push(format!("{name}: {subject} does not end with a version and {{id}}"));
        }
        let last = fields(&message, &key).and_then(|fields| fields.last().cloned());
        if !last.is_some_and(|field| !field.is_list() && !field.is_map() && field.kind().as_message().is_none()) {
            faults.push(format!("{name}: its key {key} leads to no single value"));
        }
        if let Some(other) = subjects.insert(subject.clone(), name.to_owned()) {
            faults.push(format!("{name} has the subject of {other}: {subject}"));
        }
    }
    faults
}

/// `….v1.{id}`: all but the version and the id are words.
fn is_versioned(subject: &str) -> bool {
    let tokens: Vec<&str> = subject.split('.').collect();
    let [words @ .., version, "{id}"] = &tokens[..] else { return false };
    let number = version.strip_prefix('v').unwrap_or_default();
    let is_word = |token: &&str| !token.is_empty() && token.bytes().all(|it| it.is_ascii_lowercase() || it == b'_');
    words.len() > 1 && words.iter().all(is_word) && number.parse::<u32>().is_ok_and(|number| number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_ends_with_its_version_and_the_id() {
        for (subject, expected) in [
            ("holdfast.evt.voucher.voucher.issued.v1.{id}", true),
            ("holdfast.evt.voucher.voucher.force_issued.v12.{id}", true),
            ("holdfast.evt.voucher.voucher.issued.{id}", false),
            ("holdfast.evt.voucher.voucher.issued.v1", false),
            ("holdfast.evt.voucher.{id}.issued.v1.{id}", false),
            ("holdfast.evt.voucher.*.issued.v1.{id}", false),
            ("holdfast.evt.voucher..issued.v1.{id}", false),
            ("holdfast.evt.voucher.voucher.issued.v0.{id}", false),
            ("", false),
        ] {
            assert_eq!(is_versioned(subject), expected, "{subject}");
        }
    }
}
