//! Enums that responses or events hold.

use prost_reflect::EnumDescriptor;

use crate::{Diff, finding::At, rules};

/// A reader built before a value came has no branch for it.
pub(crate) fn compare(diff: &mut Diff<'_>, old: &EnumDescriptor, new: &EnumDescriptor) {
    for value in new.values().filter(|value| old.get_value(value.number()).is_none()) {
        let at = At::path(&new.parent_file(), value.path());
        let message = format!("{} = {} is new to those who read it", value.name(), value.number());
        diff.add(&rules::SEM_ENUM_WIDENED_OUT, at, value.full_name(), message);
    }
}
