//! Deprecation and comments of everything that has a name.

use std::collections::BTreeMap;

use prost_reflect::{DynamicMessage, FileDescriptor};

use super::options::flag;
use crate::{DescriptorSet, Diff, comments::Comments, finding::At, rules};

/// Something with a name, wherever it is.
pub(crate) struct Symbol {
    pub(crate) file: FileDescriptor,
    pub(crate) path: Vec<i32>,
    options: DynamicMessage,
}

pub(crate) fn compare(diff: &mut Diff<'_>) {
    let (old, new) = (symbols(diff.old), symbols(diff.new));
    let (was, is) = (Comments::of(diff.old), Comments::of(diff.new));
    for (name, now) in &new {
        let Some(released) = old.get(name) else { continue };
        deprecation(diff, name, released, now);
        // A set without source information has no comments to compare.
        if let (Some(was), Some(is)) = (was.on(&released.file, &released.path), is.on(&now.file, &now.path))
            && was != is
        {
            diff.add(&rules::SEM_DOC_CHANGED, At::path(&now.file, &now.path), name, "its comment changed");
        }
    }
}

fn deprecation(diff: &mut Diff<'_>, name: &str, old: &Symbol, new: &Symbol) {
    let at = At::path(&new.file, &new.path);
    match (flag(&old.options, "deprecated"), flag(&new.options, "deprecated")) {
        (false, true) => diff.add(&rules::SEM_DEPRECATED, at, name, "was marked deprecated"),
        (true, false) => diff.add(&rules::SEM_UNDEPRECATED, at, name, "is no longer marked deprecated"),
        _ => {}
    }
}

/// By full name; fields and values are compared under the name they have.
pub(crate) fn symbols(set: &DescriptorSet) -> BTreeMap<String, Symbol> {
    let mut symbols = BTreeMap::new();
    let mut add = |name: &str, file: FileDescriptor, path: &[i32], options| {
        symbols.insert(name.to_owned(), Symbol { file, path: path.to_vec(), options });
    };
    for message in set.messages().filter(|message| !message.is_map_entry()) {
        add(message.full_name(), message.parent_file(), message.path(), message.options());
        for field in message.fields() {
            add(field.full_name(), message.parent_file(), field.path(), field.options());
        }
    }
    for descriptor in set.enums() {
        add(descriptor.full_name(), descriptor.parent_file(), descriptor.path(), descriptor.options());
        for value in descriptor.values() {
            add(value.full_name(), descriptor.parent_file(), value.path(), value.options());
        }
    }
    for service in set.services() {
        add(service.full_name(), service.parent_file(), service.path(), service.options());
        for rpc in service.methods() {
            add(rpc.full_name(), service.parent_file(), rpc.path(), rpc.options());
        }
    }
    symbols
}
