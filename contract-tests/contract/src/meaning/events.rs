//! Where events go.

use prost_reflect::{DynamicMessage, MessageDescriptor};

use super::options::{extension, text};
use crate::{
    Diff,
    finding::At,
    rules::{self, Rule},
};

const OPTION: [i32; 2] = [7, 50011];

static PARTS: [(&str, &Rule); 3] = [
    ("stream", &rules::SEM_EVENT_STREAM_CHANGED),
    ("subject", &rules::SEM_EVENT_SUBJECT_CHANGED),
    ("key", &rules::SEM_EVENT_KEY_CHANGED),
];

/// What the option `holdfast.options.v1.event` says, if the message is an event.
pub(crate) fn option(message: &MessageDescriptor) -> Option<DynamicMessage> {
    extension(&message.options(), "holdfast.options.v1.event")?.as_message().cloned()
}

pub(crate) fn compare(diff: &mut Diff<'_>, old: &MessageDescriptor, new: &MessageDescriptor) {
    let Some(was) = option(old) else { return };
    let at = At::option(&new.parent_file(), new.path(), &OPTION);
    let Some(is) = option(new) else {
        diff.add(&rules::SEM_EVENT_LOST, at, new.full_name(), "is no longer published as an event");
        return;
    };
    for (part, rule) in PARTS {
        let (was, is) = (text(&was, part), text(&is, part));
        if was != is {
            diff.add(rule, at.clone(), new.full_name(), format!("the {part} changed from {was:?} to {is:?}"));
        }
    }
}
