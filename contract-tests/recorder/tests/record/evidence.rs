//! From what a consumer did with a message and with its variants to what it reads of it.

use std::collections::{BTreeMap, BTreeSet};

use contract::consumers::{Choice, Reading};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};

use crate::variants::{Change, Variant, dotted};

/// What came of a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome<T> {
    /// It was taken.
    pub(crate) is_taken: bool,
    /// All that can be seen of it, steady from run to run.
    pub(crate) seen: T,
}

/// What is read, as far as was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    reads: BTreeMap<String, FieldDescriptor>,
    choices: BTreeMap<String, Choice>,
}

impl Evidence {
    /// Adds a message that was taken, and what its variants came to. What differs was read.
    pub(crate) fn add<T: PartialEq>(
        &mut self,
        message: &DynamicMessage,
        taken: &Outcome<T>,
        variants: &[(Variant, Outcome<T>)],
    ) {
        let mut enums: BTreeMap<String, Vec<(&Change, &Outcome<T>)>> = BTreeMap::new();
        for (variant, outcome) in variants {
            let path = variant.dotted();
            let field = variant.path.last().expect("a variant changes a field");
            if outcome != taken {
                self.reads.insert(path.clone(), field.clone());
            }
            if let Some(oneof) = oneof_path(&variant.path) {
                let choice = self.choices.entry(oneof).or_insert_with(tolerant);
                if outcome != taken {
                    choice.knows.insert(field.name().to_owned());
                }
                // To a reader built before a member came, the oneof is not set.
                if variant.change == Change::Cleared {
                    choice.tolerates_unknown &= outcome.is_taken;
                }
            }
            if matches!(field.kind(), Kind::Enum(_)) {
                enums.entry(path).or_default().push((&variant.change, outcome));
            }
        }
        for (path, outcomes) in enums {
            self.add_enum(&path, current(message, &path), taken, &outcomes);
        }
    }

    fn add_enum<T: PartialEq>(
        &mut self,
        path: &str,
        current: Option<String>,
        taken: &Outcome<T>,
        outcomes: &[(&Change, &Outcome<T>)],
    ) {
        let Some((_, unknown)) = outcomes.iter().find(|(change, _)| **change == Change::Unknown) else { return };
        let choice = self.choices.entry(path.to_owned()).or_insert_with(tolerant);
        choice.tolerates_unknown &= unknown.is_taken;
        let others = outcomes.iter().filter_map(|(change, outcome)| match change {
            Change::Known(value) => Some((value.clone(), *outcome)),
            _ => None,
        });
        let known = others.chain(current.map(|value| (value, taken))).filter(|(_, outcome)| outcome != unknown);
        choice.knows.extend(known.map(|(value, _)| value));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    /// A message whose fields are read is not read besides; choices that make no difference are none.
    pub(crate) fn reading(self) -> Reading {
        let within: BTreeSet<String> = self.reads.keys().flat_map(|path| parents(path)).collect();
        let mut reading = Reading::default();
        for (path, choice) in self.choices {
            let is_read = self.reads.contains_key(&path) || !choice.knows.is_empty();
            if is_read {
                reading.choices.insert(path, choice);
            }
        }
        for (path, field) in self.reads.into_iter().filter(|(path, _)| !within.contains(path)) {
            reading.reads.insert(path, contract::type_name(&field.kind()));
        }
        reading
    }
}

fn tolerant() -> Choice {
    Choice { knows: BTreeSet::new(), tolerates_unknown: true }
}

/// `a.b.c` is in `a.b` and in `a`.
fn parents(path: &str) -> Vec<String> {
    path.match_indices('.').map(|(at, _)| path[..at].to_owned()).collect()
}

fn oneof_path(path: &[FieldDescriptor]) -> Option<String> {
    let [parents @ .., field] = path else { return None };
    let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic())?;
    let parents = dotted(parents);
    Some(if parents.is_empty() { oneof.name().to_owned() } else { format!("{parents}.{}", oneof.name()) })
}

/// The value of an enum field, by name; of a list, that of its first item.
fn current(message: &DynamicMessage, path: &str) -> Option<String> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = message.descriptor().get_field_by_name(first)?;
    let value = message.get_field(&field).into_owned();
    let value = match &value {
        Value::List(items) => items.first()?.clone(),
        _ => value,
    };
    match (rest, value) {
        (Some(rest), Value::Message(inner)) => current(&inner, rest),
        (None, Value::EnumNumber(number)) => {
            field.kind().as_enum()?.get_value(number).map(|value| value.name().to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::variants::{filled, variants};

    /// What a reader that answers so of each message is seen to read.
    fn read_by(message: &str, reader: impl Fn(&DynamicMessage) -> Result<String, ()>) -> Reading {
        let pool = DescriptorPool::decode(proto::contract::FILE_DESCRIPTOR_SET).unwrap();
        let message = filled(&pool.get_message_by_name(message).unwrap());
        let outcome = |message: &DynamicMessage| {
            let seen = reader(message);
            Outcome { is_taken: seen.is_ok(), seen }
        };
        let outcomes: Vec<_> =
            variants(&message).into_iter().map(|it| (it.clone(), outcome(&it.of(&message)))).collect();
        let mut evidence = Evidence::default();
        evidence.add(&message, &outcome(&message), &outcomes);
        evidence.reading()
    }

    fn field(message: &DynamicMessage, path: &str) -> Value {
        let inner = |value: Value, name| value.as_message().unwrap().get_field_by_name(name).unwrap().into_owned();
        path.split('.').fold(Value::Message(message.clone()), inner)
    }

    #[test]
    fn what_makes_a_difference_is_read_and_nothing_else() {
        let number = |message: &DynamicMessage| format!("{:?}", field(message, "voucher.ticket_number"));
        let reading = read_by("holdfast.voucher.v1.VoucherIssued", |message| Ok(number(message)));
        assert_eq!(reading.reads, [("voucher.ticket_number".to_owned(), "string".to_owned())].into());
        assert!(reading.choices.is_empty());
        let nothing = read_by("holdfast.voucher.v1.VoucherIssued", |_| Ok(String::new()));
        assert_eq!(nothing, Reading::default());
    }

    #[test]
    fn values_of_an_enum_that_are_told_apart_are_known_and_an_error_is_no_tolerance() {
        const ISSUED: i32 = 1;
        let state = |message: &DynamicMessage| field(message, "voucher.state").as_enum_number().unwrap();
        let branches = |message: &DynamicMessage| Ok((state(message) == ISSUED).to_string());
        let choice = |reading: &Reading| reading.choices["voucher.state"].clone();
        let tolerant = choice(&read_by("holdfast.voucher.v1.VoucherIssued", branches));
        assert_eq!(tolerant, Choice { knows: ["STATE_ISSUED".to_owned()].into(), tolerates_unknown: true });
        let refuses = |message: &DynamicMessage| if state(message) > 2 { Err(()) } else { branches(message) };
        let intolerant = choice(&read_by("holdfast.voucher.v1.VoucherIssued", refuses));
        assert!(!intolerant.tolerates_unknown);
        assert!(intolerant.knows.contains("STATE_CANCELLED"), "it is no error: {intolerant:?}");
    }

    #[test]
    fn a_oneof_is_a_choice_of_its_members() {
        let is_date = |message: &DynamicMessage| {
            let hold = field(message, "hold");
            let hold = hold.as_message().unwrap();
            hold.has_field_by_name("date") || hold.has_field_by_name("stay")
        };
        let reader = |message: &DynamicMessage| if is_date(message) { Ok(String::new()) } else { Err(()) };
        let reading = read_by("holdfast.listing.v1.HoldPlaced", reader);
        assert!(!reading.choices["hold.slot"].tolerates_unknown, "without a slot it is refused");
    }
}
