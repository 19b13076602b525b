//! Messages: what they lost, and their options.

use prost_reflect::{MessageDescriptor, OneofDescriptor};
use prost_types::MessageOptions;

use super::{
    fields::{self, Field},
    files::is_proto3,
    ranges::{self, Range},
};
use crate::{Diff, finding::At, rules};

const OPTIONS: i32 = 7;
const NO_STANDARD_DESCRIPTOR_ACCESSOR: i32 = 2;

pub(crate) fn compare(diff: &mut Diff<'_>, old: &MessageDescriptor, new: &MessageDescriptor) {
    deleted_fields(diff, old, new);
    deleted_oneofs(diff, old, new);
    freed(diff, old, new);
    required(diff, old, new);
    json(diff, old, new);
    accessor(diff, old, new);
    for field in old.fields() {
        if let Some(now) = new.get_field(field.number()) {
            fields::compare(diff, &Field::of(&field), &Field::of(&now));
        }
    }
}

fn at(message: &MessageDescriptor) -> At {
    let path = fields::map_place(message).unwrap_or_else(|| message.path().to_vec());
    At::path(&message.parent_file(), &path)
}

fn deleted_fields(diff: &mut Diff<'_>, old: &MessageDescriptor, new: &MessageDescriptor) {
    for field in old.fields().filter(|field| new.get_field(field.number()).is_none()) {
        let number = field.number();
        diff.add(&rules::FIELD_NO_DELETE, at(new), field.full_name(), format!("field {number} was deleted"));
        if !new.reserved_ranges().any(|range| range.contains(&number)) {
            let message = format!("field {number} was deleted and its number not reserved");
            diff.add(&rules::FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED, at(new), field.full_name(), message);
        }
        if !new.reserved_names().any(|name| name == field.name()) {
            let message = format!("field {number} was deleted and its name not reserved");
            diff.add(&rules::FIELD_NO_DELETE_UNLESS_NAME_RESERVED, at(new), field.full_name(), message);
        }
    }
}

fn deleted_oneofs(diff: &mut Diff<'_>, old: &MessageDescriptor, new: &MessageDescriptor) {
    for oneof in old.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        let same_name = |now: &OneofDescriptor| now.name() == oneof.name();
        if !new.oneofs().any(|now| same_name(&now)) {
            diff.add(&rules::ONEOF_NO_DELETE, at(new), oneof.full_name(), "the oneof was deleted");
        }
    }
}

fn freed(diff: &mut Diff<'_>, old: &MessageDescriptor, new: &MessageDescriptor) {
    let extensions = |message: &MessageDescriptor| message.extension_ranges().map(inclusive).collect::<Vec<_>>();
    for range in ranges::shrunk(&extensions(old), &extensions(new)) {
        let message = format!("the extension range {} lost a number", ranges::name(range));
        diff.add(&rules::EXTENSION_MESSAGE_NO_DELETE, at(new), new.full_name(), message);
    }
    let reserved = |message: &MessageDescriptor| message.reserved_ranges().map(inclusive).collect::<Vec<_>>();
    for range in ranges::shrunk(&reserved(old), &reserved(new)) {
        let message = format!("the reserved range {} lost a number", ranges::name(range));
        diff.add(&rules::RESERVED_MESSAGE_NO_DELETE, at(new), new.full_name(), message);
    }
    for name in old.reserved_names().filter(|name| !new.reserved_names().any(|now| now == *name)) {
        let message = format!("the name {name:?} is no longer reserved");
        diff.add(&rules::RESERVED_MESSAGE_NO_DELETE, at(new), new.full_name(), message);
    }
}

/// Descriptors count the end of a message's range out.
fn inclusive(range: std::ops::Range<u32>) -> Range {
    i64::from(range.start)..=i64::from(range.end) - 1
}

fn required(diff: &mut Diff<'_>, old: &MessageDescriptor, new: &MessageDescriptor) {
    let is_required =
        |message: &MessageDescriptor, number| message.get_field(number).is_some_and(|field| field.is_required());
    for field in old.fields().filter(|field| field.is_required() && !is_required(new, field.number())) {
        diff.add(&rules::MESSAGE_SAME_REQUIRED_FIELDS, at(new), field.full_name(), "is no longer required");
    }
    for field in new.fields().filter(|field| field.is_required() && !is_required(old, field.number())) {
        let at = At::path(&new.parent_file(), field.path());
        diff.add(&rules::MESSAGE_SAME_REQUIRED_FIELDS, at, field.full_name(), "has become required");
    }
}

fn json(diff: &mut Diff<'_>, old: &MessageDescriptor, new: &MessageDescriptor) {
    if is_proto3(&old.parent_file()) && !is_proto3(&new.parent_file()) {
        let message = "JSON is supported by best effort only";
        diff.add(&rules::MESSAGE_SAME_JSON_FORMAT, at(new), new.full_name(), message);
    }
}

fn accessor(diff: &mut Diff<'_>, old: &MessageDescriptor, new: &MessageDescriptor) {
    let is_removed = |message: &MessageDescriptor| {
        message.descriptor_proto().options.as_ref().is_some_and(MessageOptions::no_standard_descriptor_accessor)
    };
    if !is_removed(old) && is_removed(new) {
        let at = At::part(&new.parent_file(), new.path(), &[OPTIONS, NO_STANDARD_DESCRIPTOR_ACCESSOR]);
        let message = "no_standard_descriptor_accessor was switched on";
        diff.add(&rules::MESSAGE_NO_REMOVE_STANDARD_DESCRIPTOR_ACCESSOR, at, new.full_name(), message);
    }
}
