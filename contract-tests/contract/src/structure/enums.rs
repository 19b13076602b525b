//! Enums and their values.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{EnumDescriptor, EnumValueDescriptor};

use super::{
    files::is_proto3,
    ranges::{self, Range},
};
use crate::{Diff, finding::At, rules};

const NUMBER: i32 = 2;

pub(crate) fn compare(diff: &mut Diff<'_>, old: &EnumDescriptor, new: &EnumDescriptor) {
    let (was, is) = (names_by_number(old), names_by_number(new));
    for (number, names) in &was {
        match is.get(number) {
            Some(now) => same_names(diff, new, *number, names, now),
            None => deleted(diff, new, *number, names),
        }
    }
    freed(diff, old, new);
    syntax(diff, old, new);
}

/// Several names of one number are aliases.
fn names_by_number(descriptor: &EnumDescriptor) -> BTreeMap<i32, BTreeSet<String>> {
    let mut names = BTreeMap::<_, BTreeSet<_>>::new();
    for value in descriptor.values() {
        names.entry(value.number()).or_default().insert(value.name().to_owned());
    }
    names
}

fn at(descriptor: &EnumDescriptor) -> At {
    At::path(&descriptor.parent_file(), descriptor.path())
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// An alias may come, but none may go; told at each value that has the number now.
fn same_names(
    diff: &mut Diff<'_>,
    new: &EnumDescriptor,
    number: i32,
    old_names: &BTreeSet<String>,
    names: &BTreeSet<String>,
) {
    if old_names.is_subset(names) {
        return;
    }
    let now: Vec<EnumValueDescriptor> = new.values().filter(|value| value.number() == number).collect();
    for value in now {
        let at = At::part(&new.parent_file(), value.path(), &[NUMBER]);
        let message = format!("{number} was named {} and is now {}", list(old_names), list(names));
        diff.add(&rules::ENUM_VALUE_SAME_NAME, at, value.full_name(), message);
    }
}

fn deleted(diff: &mut Diff<'_>, new: &EnumDescriptor, number: i32, names: &BTreeSet<String>) {
    let symbol = format!("{}.{}", new.full_name(), names.first().map_or("", String::as_str));
    let names_text = list(names);
    let message = format!("{names_text} = {number} was deleted");
    diff.add(&rules::ENUM_VALUE_NO_DELETE, at(new), &symbol, message);
    if !new.reserved_ranges().any(|range| range.contains(&number)) {
        let message = format!("{names_text} = {number} was deleted and the number not reserved");
        diff.add(&rules::ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED, at(new), &symbol, message);
    }
    if !names.iter().all(|name| new.reserved_names().any(|reserved| reserved == name)) {
        let message = format!("{names_text} = {number} was deleted and not every name reserved");
        diff.add(&rules::ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED, at(new), &symbol, message);
    }
}

fn freed(diff: &mut Diff<'_>, old: &EnumDescriptor, new: &EnumDescriptor) {
    let reserved = |descriptor: &EnumDescriptor| -> Vec<Range> {
        descriptor.reserved_ranges().map(|range| i64::from(*range.start())..=i64::from(*range.end())).collect()
    };
    for range in ranges::shrunk(&reserved(old), &reserved(new)) {
        let message = format!("the reserved range {} lost a number", ranges::name(range));
        diff.add(&rules::RESERVED_ENUM_NO_DELETE, at(new), new.full_name(), message);
    }
    for name in old.reserved_names().filter(|name| !new.reserved_names().any(|now| now == *name)) {
        let message = format!("the name {name:?} is no longer reserved");
        diff.add(&rules::RESERVED_ENUM_NO_DELETE, at(new), new.full_name(), message);
    }
}

fn syntax(diff: &mut Diff<'_>, old: &EnumDescriptor, new: &EnumDescriptor) {
    let (was_open, is_open) = (is_proto3(&old.parent_file()), is_proto3(&new.parent_file()));
    if was_open != is_open {
        let message = if is_open { "changed from closed to open" } else { "changed from open to closed" };
        diff.add(&rules::ENUM_SAME_TYPE, at(new), new.full_name(), message);
    }
    if was_open && !is_open {
        let message = "JSON is supported by best effort only";
        diff.add(&rules::ENUM_SAME_JSON_FORMAT, at(new), new.full_name(), message);
    }
}
