//! Requests made from rules: the least valid one, the largest, and any in between.

use std::hash::{DefaultHasher, Hash, Hasher};

use mesh::store::Micros;
use mesh::value::Day;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::model::{Model, is_foreign};
use crate::pattern::{self, Length};
use crate::rules::Rules;

/// Messages within messages at most.
const DEPTH: usize = 8;
/// Dates begin so many days from now: what is made for them can still be reserved, wherever it is.
const DAYS_AHEAD: i32 = 30;
/// Items of a list that has no limit.
const ITEMS: u64 = 3;
/// Characters of a text that has no limit.
const CHARACTERS: u64 = 64;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// How much of a message is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    /// What is required, with the least it may be.
    Least,
    /// Everything, with the most it may be.
    Most,
    /// Anything in between.
    Some,
}

/// Makes values, the same ones for the same seed and label.
#[derive(Clone, Debug)]
pub(crate) struct Maker {
    random: StdRng,
    next_day: Day,
}

impl Maker {
    /// For the check with this name.
    #[must_use]
    pub(crate) fn new(seed: u64, label: &str) -> Self {
        let mut hash = DefaultHasher::new();
        (seed, label).hash(&mut hash);
        let today = i32::try_from(Micros::now().0 / MICROS_PER_DAY).unwrap_or_default();
        Self { random: StdRng::seed_from_u64(hash.finish()), next_day: Day::from_number(today).plus(DAYS_AHEAD) }
    }

    /// Random numbers.
    pub(crate) fn random(&mut self) -> &mut StdRng {
        &mut self.random
    }

    /// A fresh UUID.
    pub(crate) fn uuid(&mut self) -> String {
        uuid::Builder::from_random_bytes(self.random.random()).into_uuid().to_string()
    }

    /// Fills what a request has not set yet.
    pub(crate) fn fill(&mut self, model: &Model, message: &mut DynamicMessage, amount: Amount) {
        self.fill_to(model, message, amount, 0);
    }

    fn fill_to(&mut self, model: &Model, message: &mut DynamicMessage, amount: Amount, depth: usize) {
        for field in message.descriptor().fields() {
            let rules = model.rules(&field);
            if rules.output_only || rules.identifier {
                continue;
            }
            if message.has_field(&field) {
                if let Value::Message(inner) = message.get_field_mut(&field)
                    && !is_foreign(&inner.descriptor())
                {
                    self.fill_to(model, inner, amount, depth + 1);
                }
                continue;
            }
            if self.wants(&field, rules, message, amount) && depth < DEPTH {
                let value = self.field(model, &field, rules, amount, depth);
                message.set_field(&field, value);
            }
        }
    }

    fn wants(&mut self, field: &FieldDescriptor, rules: &Rules, message: &DynamicMessage, amount: Amount) -> bool {
        if rules.required || rules.wanted {
            return true;
        }
        let taken = |oneof: prost_reflect::OneofDescriptor| oneof.fields().any(|other| message.has_field(&other));
        let is_free = field.containing_oneof().is_none_or(|oneof| !taken(oneof));
        match amount {
            Amount::Least => false,
            Amount::Most => is_free,
            Amount::Some => is_free && self.random.random(),
        }
    }

    fn field(&mut self, model: &Model, field: &FieldDescriptor, rules: &Rules, amount: Amount, depth: usize) -> Value {
        if !field.is_list() {
            return self.single(model, field, rules, amount, depth);
        }
        let most = rules.max_items.unwrap_or(ITEMS);
        let count = match amount {
            Amount::Least => 1,
            Amount::Most => most,
            Amount::Some => self.random.random_range(0..=most.min(ITEMS)),
        };
        Value::List((0..count).map(|_| self.single(model, field, rules, amount, depth)).collect())
    }

    /// One value of a field's type that its rules accept.
    pub(crate) fn item(&mut self, model: &Model, field: &FieldDescriptor, amount: Amount) -> Value {
        self.single(model, field, model.rules(field), amount, 0)
    }

    fn single(&mut self, model: &Model, field: &FieldDescriptor, rules: &Rules, amount: Amount, depth: usize) -> Value {
        if amount != Amount::Most
            && let Some(example) = &rules.example
        {
            return example.clone();
        }
        let amount = match amount {
            Amount::Some if self.random.random() => Amount::Most,
            Amount::Some => Amount::Least,
            other => other,
        };
        match field.kind() {
            Kind::String => Value::String(self.text(rules, amount)),
            Kind::Bytes => Value::Bytes(vec![b'x'; usize::from(amount == Amount::Most)].into()),
            Kind::Bool => Value::Bool(true),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number(rules, amount, i32::MAX)),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number(rules, amount, i64::MAX)),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(1),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(1),
            Kind::Float => Value::F32(1.0),
            Kind::Double => Value::F64(1.0),
            Kind::Enum(values) => {
                let mut known = values.values().map(|value| value.number()).filter(|number| *number != 0);
                let number = if amount == Amount::Most { known.last() } else { known.next() };
                Value::EnumNumber(number.unwrap_or_default())
            }
            Kind::Message(message) => Value::Message(self.message(model, &message, amount, depth + 1)),
        }
    }

    /// A message with what it needs.
    pub(crate) fn message(
        &mut self,
        model: &Model,
        descriptor: &MessageDescriptor,
        amount: Amount,
        depth: usize,
    ) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        if !self.fill_known(&mut message) {
            self.fill_to(model, &mut message, amount, depth);
        }
        message
    }

    /// Types that everybody knows have rules that no option tells.
    fn fill_known(&mut self, message: &mut DynamicMessage) -> bool {
        let descriptor = message.descriptor();
        let mut set = |name: &str, value: Value| message.set_field_by_name(name, value);
        match descriptor.full_name() {
            "google.type.Date" => {
                let date = proto::google::r#type::Date::from(self.next_day);
                self.next_day = self.next_day.plus(1);
                set("year", Value::I32(date.year));
                set("month", Value::I32(date.month));
                set("day", Value::I32(date.day));
            }
            "google.type.Money" => {
                set("currency_code", Value::String("KRW".to_owned()));
                set("units", Value::I64(1));
            }
            "google.protobuf.Duration" => set("seconds", Value::I64(3600)),
            "google.protobuf.Timestamp" => set("seconds", Value::I64(Micros::now().0 / 1_000_000)),
            "google.protobuf.FieldMask" => set("paths", Value::List(vec![Value::String("*".to_owned())])),
            _ => return is_foreign(&descriptor),
        }
        true
    }

    fn text(&mut self, rules: &Rules, amount: Amount) -> String {
        if rules.uuid {
            return self.uuid();
        }
        if let Some(pattern) = &rules.pattern {
            let length = if amount == Amount::Most { Length::Most } else { Length::Least };
            return pattern::accepted(pattern, length, &mut self.random).unwrap_or_default();
        }
        match (amount, &rules.example) {
            (Amount::Most, Some(Value::String(example))) => example.clone(),
            (Amount::Most, _) => "예".repeat(characters(rules.max_len.unwrap_or(CHARACTERS))),
            _ => "a".repeat(characters(rules.min_len.unwrap_or(1).max(1))),
        }
    }
}

fn characters(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The least number that is set, or the greatest.
fn number<N: TryFrom<i64> + Copy>(rules: &Rules, amount: Amount, greatest: N) -> N {
    let least = rules.min.unwrap_or(1).max(1);
    let wanted = if amount == Amount::Most { rules.max } else { Some(least) };
    wanted.and_then(|wanted| N::try_from(wanted).ok()).unwrap_or(greatest)
}
