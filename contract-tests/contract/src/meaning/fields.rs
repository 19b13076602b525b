//! What fields say besides their type.

use prost_reflect::{FieldDescriptor, MessageDescriptor};

use super::{
    options::{Behavior, behaves, flag},
    reach::Reach,
    validation::{self, Effect},
};
use crate::{Diff, finding::At, rules};

const OPTIONS: i32 = 8;
const PACKED: [i32; 2] = [OPTIONS, 2];
const DEBUG_REDACT: [i32; 2] = [OPTIONS, 16];
const VALIDATION: [i32; 2] = [OPTIONS, 1159];
const FIELD_BEHAVIOR: [i32; 2] = [OPTIONS, 1052];

pub(crate) fn compare(diff: &mut Diff<'_>, reach: &Reach, old: &MessageDescriptor, new: &MessageDescriptor) {
    for now in new.fields() {
        match old.get_field(now.number()) {
            Some(field) => compare_field(diff, reach, &field, &now),
            None => added(diff, reach, old, &now),
        }
    }
}

fn at(field: &FieldDescriptor, option: &[i32]) -> At {
    At::option(&field.parent_message().parent_file(), field.path(), option)
}

fn added(diff: &mut Diff<'_>, reach: &Reach, old: &MessageDescriptor, new: &FieldDescriptor) {
    let is_required = behaves(new, Behavior::Required) || validation::is_required(new);
    if reach.is_sent(old.full_name()) && is_required && !behaves(new, Behavior::OutputOnly) {
        let message = "callers who do not know the new field would be refused";
        diff.add(&rules::SEM_INPUT_REQUIRED_ADDED, at(new, &[]), new.full_name(), message);
    }
    let oneof = new.containing_oneof().filter(|oneof| !oneof.is_synthetic());
    if let Some(oneof) = oneof
        && reach.is_read(old.full_name())
        && old.oneofs().any(|it| it.name() == oneof.name())
    {
        let message = format!("a new choice of the oneof {} is unknown to those who read it", oneof.name());
        diff.add(&rules::SEM_ONEOF_WIDENED_OUT, at(new, &[]), new.full_name(), message);
    }
}

fn compare_field(diff: &mut Diff<'_>, reach: &Reach, old: &FieldDescriptor, new: &FieldDescriptor) {
    let message = old.parent_message();
    let is_sent = reach.is_sent(message.full_name()) && !behaves(old, Behavior::OutputOnly);
    let is_read = reach.is_read(message.full_name()) && !behaves(old, Behavior::InputOnly);
    if is_sent && behaves(new, Behavior::OutputOnly) {
        let message = "what callers set here would be ignored";
        diff.add(&rules::SEM_INPUT_WRITABLE_LOST, at(new, &FIELD_BEHAVIOR), new.full_name(), message);
    } else if is_sent {
        demands(diff, old, new);
    }
    for change in validation::changes(old, new) {
        let rule = match change.effect {
            Effect::Undecidable if is_sent || is_read => &rules::SEM_RULE_UNDECIDABLE,
            Effect::Narrowed | Effect::Moved if is_sent => &rules::SEM_INPUT_RULE_NARROWED,
            Effect::Widened | Effect::Moved if is_read => &rules::SEM_OUTPUT_RULE_WIDENED,
            _ => continue,
        };
        diff.add(rule, at(new, &VALIDATION), new.full_name(), change.text);
    }
    others(diff, old, new);
}

/// REQUIRED without a rule that enforces it is a promise callers must expect to be kept.
fn demands(diff: &mut Diff<'_>, old: &FieldDescriptor, new: &FieldDescriptor) {
    let gained = |behavior| behaves(new, behavior) && !behaves(old, behavior);
    let was_enforced = validation::is_required(old);
    let (option, what) = if !was_enforced && validation::is_required(new) {
        (&VALIDATION, "requests without it would be refused")
    } else if !was_enforced && gained(Behavior::Required) {
        (&FIELD_BEHAVIOR, "field_behavior REQUIRED was added")
    } else if gained(Behavior::Immutable) {
        (&FIELD_BEHAVIOR, "field_behavior IMMUTABLE was added")
    } else {
        return;
    };
    diff.add(&rules::SEM_INPUT_REQUIRED_ADDED, at(new, option), new.full_name(), what);
}

fn others(diff: &mut Diff<'_>, old: &FieldDescriptor, new: &FieldDescriptor) {
    let is_redacted = |field: &FieldDescriptor| flag(&field.options(), "debug_redact");
    if is_redacted(old) && !is_redacted(new) {
        let message = "debug_redact was removed: its value would appear in logs";
        diff.add(&rules::SEM_REDACT_LOST, at(new, &DEBUG_REDACT), new.full_name(), message);
    }
    if old.is_list() && new.is_list() && old.kind() == new.kind() && old.is_packed() != new.is_packed() {
        let message = if new.is_packed() { "is now packed" } else { "is no longer packed" };
        diff.add(&rules::SEM_PACKED_CHANGED, at(new, &PACKED), new.full_name(), message);
    }
}
