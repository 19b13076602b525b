//! The structural rules: who is paired with whom.
//!
//! Files are paired by path; messages, enums and services by full name wherever they are; fields and enum values by number;
//! RPCs by name; extensions by the extended message and number. Whether something was deleted is asked within the file
//! that held it.

mod enums;
mod fields;
mod files;
mod messages;
mod ranges;
mod services;

use crate::Diff;

pub(crate) fn compare(diff: &mut Diff<'_>) {
    let (old, new) = (diff.old, diff.new);
    files::compare(diff);
    for message in old.messages() {
        if let Some(now) = new.message_by_name(message.full_name()) {
            messages::compare(diff, &message, &now);
        }
    }
    for descriptor in old.enums() {
        if let Some(now) = new.enum_by_name(descriptor.full_name()) {
            enums::compare(diff, &descriptor, &now);
        }
    }
    for service in old.services() {
        if let Some(now) = new.service_by_name(service.full_name()) {
            services::compare(diff, &service, &now);
        }
    }
    fields::extensions(diff);
}
