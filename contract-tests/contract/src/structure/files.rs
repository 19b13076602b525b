//! Files: their options, and what was deleted from them.

use std::collections::BTreeSet;

use prost_reflect::{FileDescriptor, Syntax};
use prost_types::FileOptions;

use crate::{
    Diff,
    finding::At,
    rules::{self, Rule},
};

/// A file option: its rule, its number in `FileOptions`, its value with the default filled in.
type FileOption = (&'static Rule, i32, fn(&FileOptions) -> String);

const OPTIONS: i32 = 8;
const PACKAGE: i32 = 2;
const SYNTAX: i32 = 12;

#[rustfmt::skip]
static FILE_OPTIONS: [FileOption; 16] = [
    (&rules::FILE_SAME_JAVA_PACKAGE, 1, |options| options.java_package().to_owned()),
    (&rules::FILE_SAME_JAVA_OUTER_CLASSNAME, 8, |options| options.java_outer_classname().to_owned()),
    (&rules::FILE_SAME_OPTIMIZE_FOR, 9, |options| options.optimize_for().as_str_name().to_owned()),
    (&rules::FILE_SAME_JAVA_MULTIPLE_FILES, 10, |options| options.java_multiple_files().to_string()),
    (&rules::FILE_SAME_GO_PACKAGE, 11, |options| options.go_package().to_owned()),
    (&rules::FILE_SAME_CC_GENERIC_SERVICES, 16, |options| options.cc_generic_services().to_string()),
    (&rules::FILE_SAME_JAVA_GENERIC_SERVICES, 17, |options| options.java_generic_services().to_string()),
    (&rules::FILE_SAME_PY_GENERIC_SERVICES, 18, |options| options.py_generic_services().to_string()),
    (&rules::FILE_SAME_CC_ENABLE_ARENAS, 31, |options| options.cc_enable_arenas().to_string()),
    (&rules::FILE_SAME_OBJC_CLASS_PREFIX, 36, |options| options.objc_class_prefix().to_owned()),
    (&rules::FILE_SAME_CSHARP_NAMESPACE, 37, |options| options.csharp_namespace().to_owned()),
    (&rules::FILE_SAME_SWIFT_PREFIX, 39, |options| options.swift_prefix().to_owned()),
    (&rules::FILE_SAME_PHP_CLASS_PREFIX, 40, |options| options.php_class_prefix().to_owned()),
    (&rules::FILE_SAME_PHP_NAMESPACE, 41, |options| options.php_namespace().to_owned()),
    (&rules::FILE_SAME_PHP_METADATA_NAMESPACE, 44, |options| options.php_metadata_namespace().to_owned()),
    (&rules::FILE_SAME_RUBY_PACKAGE, 45, |options| options.ruby_package().to_owned()),
];

pub(crate) fn compare(diff: &mut Diff<'_>) {
    let (old, new) = (diff.old, diff.new);
    for file in old.files() {
        match new.files().find(|now| now.name() == file.name()) {
            Some(now) => {
                same_values(diff, &file, &now);
                deletions(diff, &file, &now);
            }
            None => diff.add(&rules::FILE_NO_DELETE, At::default(), file.name(), "the file was deleted"),
        }
    }
}

fn same_values(diff: &mut Diff<'_>, old: &FileDescriptor, new: &FileDescriptor) {
    let (was, is) = (old.file_descriptor_proto(), new.file_descriptor_proto());
    let syntax = |syntax: &str| if syntax.is_empty() { "proto2" } else { syntax }.to_owned();
    same(diff, &rules::FILE_SAME_PACKAGE, new, &[PACKAGE], was.package(), is.package());
    same(diff, &rules::FILE_SAME_SYNTAX, new, &[SYNTAX], &syntax(was.syntax()), &syntax(is.syntax()));
    let none = FileOptions::default();
    let (was, is) = (was.options.as_ref().unwrap_or(&none), is.options.as_ref().unwrap_or(&none));
    for (rule, number, value) in &FILE_OPTIONS {
        same(diff, rule, new, &[OPTIONS, *number], &value(was), &value(is));
    }
}

fn same(diff: &mut Diff<'_>, rule: &'static Rule, file: &FileDescriptor, path: &[i32], old: &str, new: &str) {
    if old != new {
        diff.add(rule, At::path(file, path), file.name(), format!("changed from {old:?} to {new:?}"));
    }
}

fn deletions(diff: &mut Diff<'_>, old: &FileDescriptor, new: &FileDescriptor) {
    let (was, is) = (Names::of(diff.old, old), Names::of(diff.new, new));
    let kinds: [(&'static Rule, &Nested, &Nested); 3] = [
        (&rules::MESSAGE_NO_DELETE, &was.messages, &is.messages),
        (&rules::ENUM_NO_DELETE, &was.enums, &is.enums),
        (&rules::EXTENSION_NO_DELETE, &was.extensions, &is.extensions),
    ];
    for (rule, was, now) in kinds {
        for name in was.difference(now) {
            let at = nearest_parent(diff, new, &is.messages, name);
            diff.add(rule, at, &full_name(old, name), "was deleted from its file");
        }
    }
    for name in was.services.difference(&is.services) {
        diff.add(&rules::SERVICE_NO_DELETE, At::file(new), &full_name(old, name), "was deleted from its file");
    }
}

/// The message that still holds what was deleted, or the file.
fn nearest_parent(diff: &Diff<'_>, file: &FileDescriptor, messages: &Nested, deleted: &str) -> At {
    let mut name = deleted;
    while let Some((parent, _)) = name.rsplit_once('.') {
        if messages.contains(parent)
            && let Some(message) = diff.new.message_by_name(&full_name(file, parent))
        {
            return At::path(file, message.path());
        }
        name = parent;
    }
    At::file(file)
}

/// Its enums are open, its texts UTF-8, and JSON is supported in full; of proto2 none of this holds.
pub(crate) fn is_proto3(file: &FileDescriptor) -> bool {
    file.syntax() == Syntax::Proto3
}

fn full_name(file: &FileDescriptor, nested: &str) -> String {
    if file.package_name().is_empty() { nested.to_owned() } else { format!("{}.{nested}", file.package_name()) }
}

/// Names without their package, so that a changed package is told once.
type Nested = BTreeSet<String>;

struct Names {
    messages: Nested,
    enums: Nested,
    extensions: Nested,
    services: Nested,
}

impl Names {
    fn of(set: &crate::DescriptorSet, file: &FileDescriptor) -> Self {
        let package = file.package_name();
        let nested = |name: &str| {
            let rest = name.strip_prefix(package).unwrap_or(name);
            rest.trim_start_matches('.').to_owned()
        };
        Self {
            messages: set.messages().filter(|it| it.parent_file() == *file).map(|it| nested(it.full_name())).collect(),
            enums: set.enums().filter(|it| it.parent_file() == *file).map(|it| nested(it.full_name())).collect(),
            extensions: set
                .extensions()
                .filter(|it| it.parent_file() == *file)
                .map(|it| nested(it.full_name()))
                .collect(),
            services: file.services().map(|it| nested(it.full_name())).collect(),
        }
    }
}
