//! The rules about what the options say: which values pass, who may call, what is answered, where events go.
//!
//! Direction decides. What requests hold may only be loosened, what responses and events hold only tightened; a message on
//! both sides may be neither. Directions are those of the old set: they are what somebody relies on.

mod enums;
pub(crate) mod events;
mod fields;
pub(crate) mod life;
pub(crate) mod options;
mod reach;
pub(crate) mod rpcs;
pub(crate) mod validation;

use crate::Diff;

pub(crate) fn compare(diff: &mut Diff<'_>) {
    let (old, new) = (diff.old, diff.new);
    let reach = reach::Reach::of(old);
    for message in old.messages().filter(|message| !message.is_map_entry()) {
        if let Some(now) = new.message_by_name(message.full_name()) {
            fields::compare(diff, &reach, &message, &now);
            events::compare(diff, &message, &now);
        }
    }
    for descriptor in old.enums().filter(|descriptor| reach.is_read(descriptor.full_name())) {
        if let Some(now) = new.enum_by_name(descriptor.full_name()) {
            enums::compare(diff, &descriptor, &now);
        }
    }
    for service in new.services() {
        let released = old.service_by_name(service.full_name());
        for rpc in service.methods() {
            match released
                .iter()
                .flat_map(|service| service.methods().collect::<Vec<_>>())
                .find(|it| it.name() == rpc.name())
            {
                Some(released) => rpcs::compare(diff, &released, &rpc),
                None => rpcs::declares_idempotency(diff, &rpc),
            }
        }
    }
    life::compare(diff);
}
