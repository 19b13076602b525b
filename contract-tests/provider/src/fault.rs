//! Requests with exactly one thing wrong, and requests at the edge of what is right.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use crate::model::{Model, is_foreign};
use crate::pattern;
use crate::rules::{self, Rules, Violation, Written};
use crate::values::{Amount, Maker};

/// A number that no contract defines.
pub(crate) const UNDEFINED: i32 = 9999;

/// A field of a request, by the fields that lead to it.
#[derive(Clone, Debug)]
pub(crate) struct Place(Vec<FieldDescriptor>);

/// One rule of one field of a request.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// The field.
    pub(crate) place: Place,
    /// The rule, as the contract spells it.
    pub(crate) rule: &'static str,
}

impl Place {
    /// The field itself.
    #[must_use]
    pub(crate) fn field(&self) -> &FieldDescriptor {
        self.0.last().expect("a place has a field")
    }

    /// The path in names of checks: `listing.policy.notifications.channel`.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        self.0.iter().map(|field| field.name().to_owned()).collect::<Vec<_>>().join(".")
    }

    /// The path in refusals: `listing.policy.notifications[0].channel`.
    #[must_use]
    pub(crate) fn path(&self) -> String {
        let (last, parents) = self.0.split_last().expect("a place has a field");
        let parents =
            parents.iter().map(|field| format!("{}{}.", field.name(), if field.is_list() { "[0]" } else { "" }));
        parents.collect::<String>() + last.name()
    }

    /// Changes the message that holds the field, making those on the way as they have to be.
    fn change(
        &self,
        model: &Model,
        maker: &mut Maker,
        message: &mut DynamicMessage,
        work: &mut dyn FnMut(&mut Maker, &mut DynamicMessage),
    ) {
        Self::change_in(&self.0, model, maker, message, work);
    }

    fn change_in(
        way: &[FieldDescriptor],
        model: &Model,
        maker: &mut Maker,
        message: &mut DynamicMessage,
        work: &mut dyn FnMut(&mut Maker, &mut DynamicMessage),
    ) {
        let [field, rest @ ..] = way else { return };
        if rest.is_empty() {
            return work(maker, message);
        }
        if !message.has_field(field) {
            let inner = maker.item(model, field, Amount::Least);
            message.set_field(field, if field.is_list() { Value::List(vec![inner]) } else { inner });
        }
        let inner = match message.get_field_mut(field) {
            Value::List(items) => items.first_mut(),
            other => Some(other),
        };
        if let Some(Value::Message(inner)) = inner {
            Self::change_in(rest, model, maker, inner, work);
        }
    }

    /// The request with this place there and as it has to be.
    #[must_use]
    pub(crate) fn open(&self, model: &Model, maker: &mut Maker, request: &DynamicMessage) -> DynamicMessage {
        let mut request = request.clone();
        self.change(model, maker, &mut request, &mut |_, _| {});
        request
    }

    /// The request with this value at the place.
    #[must_use]
    pub(crate) fn with(
        &self,
        model: &Model,
        maker: &mut Maker,
        request: &DynamicMessage,
        value: &Value,
    ) -> DynamicMessage {
        let mut request = request.clone();
        self.change(model, maker, &mut request, &mut |_, message| message.set_field(self.field(), value.clone()));
        request
    }
}

/// Every place of a request that a caller fills.
#[must_use]
pub(crate) fn places(model: &Model, request: &MessageDescriptor) -> Vec<Place> {
    let mut found = Vec::new();
    walk(model, request, &mut Vec::new(), &mut found);
    found
}

fn walk(model: &Model, message: &MessageDescriptor, way: &mut Vec<FieldDescriptor>, found: &mut Vec<Place>) {
    for field in message.fields().filter(|field| !model.rules(field).output_only && !field.is_map()) {
        let again = way.iter().any(|before| before.full_name() == field.full_name());
        way.push(field.clone());
        found.push(Place(way.clone()));
        if let Kind::Message(inner) = field.kind()
            && !is_foreign(&inner)
            && !again
        {
            walk(model, &inner, way, found);
        }
        way.pop();
    }
}

/// Every rule of a request that can be broken alone.
#[must_use]
pub(crate) fn faults(model: &Model, request: &MessageDescriptor) -> Vec<Fault> {
    let of = |place: Place| {
        let rules = model.rules(place.field()).clone();
        rule_names(&rules).into_iter().map(move |rule| Fault { place: place.clone(), rule })
    };
    places(model, request).into_iter().flat_map(of).collect()
}

fn rule_names(rules: &Rules) -> Vec<&'static str> {
    let all = [
        ("required", rules.required),
        ("gte", rules.min.is_some()),
        ("lte", rules.max.is_some()),
        ("min_len", rules.min_len.is_some_and(|length| length > 1)),
        ("max_len", rules.max_len.is_some()),
        ("pattern", rules.pattern.is_some()),
        ("uuid", rules.uuid),
        ("defined_only", rules.defined_only),
        ("max_items", rules.max_items.is_some()),
    ];
    all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}

impl Fault {
    /// The name in checks: `listing.max_len`.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.place.name(), self.rule)
    }

    /// A valid request with this one rule broken; `None` if no value is found that breaks no other.
    #[must_use]
    pub(crate) fn plant(&self, model: &Model, maker: &mut Maker, valid: &DynamicMessage) -> Option<DynamicMessage> {
        let rules = model.rules(self.place.field()).clone();
        let field = self.place.field().clone();
        let mut planted = valid.clone();
        self.place.change(model, maker, &mut planted, &mut |maker, message| {
            match self.rule {
                "required" => message.clear_field(&field),
                rule => {
                    let value = wrong(model, maker, &field, &rules, rule, message);
                    if let Some(value) = value {
                        message.set_field(&field, value);
                    }
                }
            };
        });
        let expected = Violation { field: self.path(), rule: self.rule };
        (rules::violations(model, &planted, Written::ByCaller) == [expected]).then_some(planted)
    }

    /// The field that the refusal has to name.
    #[must_use]
    pub(crate) fn path(&self) -> String {
        let is_item = self.place.field().is_list() && self.rule != "max_items" && self.rule != "required";
        self.place.path() + if is_item { "[0]" } else { "" }
    }
}

fn wrong(
    model: &Model,
    maker: &mut Maker,
    field: &FieldDescriptor,
    rules: &Rules,
    rule: &str,
    message: &DynamicMessage,
) -> Option<Value> {
    let value = match rule {
        "gte" => number(field, rules.min?.checked_sub(1)?)?,
        "lte" => number(field, rules.max?.checked_add(1)?)?,
        "min_len" => text(rules.min_len? - 1),
        "max_len" => text(rules.max_len? + 1),
        "uuid" => Value::String("not-a-uuid".to_owned()),
        "pattern" => {
            let present = message.get_field(field).as_str().map(str::to_owned).filter(|text| !text.is_empty());
            let like = present.or_else(|| maker.item(model, field, Amount::Least).as_str().map(str::to_owned))?;
            Value::String(pattern::refused(rules.pattern.as_ref()?, &like)?)
        }
        "defined_only" if field.is_list() => Value::List(vec![Value::EnumNumber(UNDEFINED)]),
        "defined_only" => Value::EnumNumber(UNDEFINED),
        "max_items" => Value::List((0..=rules.max_items?).map(|_| maker.item(model, field, Amount::Least)).collect()),
        _ => return None,
    };
    Some(value)
}

fn number(field: &FieldDescriptor, number: i64) -> Option<Value> {
    match field.kind() {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Some(Value::I32(i32::try_from(number).ok()?)),
        _ => Some(Value::I64(number)),
    }
}

fn text(characters: u64) -> Value {
    Value::String("예".repeat(usize::try_from(characters).unwrap_or(usize::MAX)))
}

/// A value at the edge of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    /// The rule, as the contract spells it.
    pub(crate) rule: &'static str,
    /// The value.
    pub(crate) value: Value,
    /// Whether the rule accepts it.
    pub(crate) accepted: bool,
}

/// The values on both sides of each limit of a field. Empty if it has none.
#[must_use]
pub(crate) fn edges(model: &Model, maker: &mut Maker, field: &FieldDescriptor) -> Vec<Edge> {
    let rules = model.rules(field);
    let mut found = Vec::new();
    let mut add = |rule, value: Option<Value>, accepted| {
        found.extend(value.map(|value| Edge { rule, value, accepted }));
    };
    let is_number = rules.min.is_some() || rules.max.is_some();
    if is_number {
        let widest = matches!(field.kind(), Kind::Int32).then_some(i64::from(i32::MAX)).unwrap_or(i64::MAX);
        let (min, max) = (rules.min.unwrap_or_default(), rules.max.unwrap_or(widest));
        add("gte", number(field, min), true);
        add("lte", number(field, max), true);
        add("gte", rules.min.and_then(|min| number(field, min.checked_sub(1)?)), false);
        add("lte", rules.max.and_then(|max| number(field, max.checked_add(1)?)), false);
    }
    if rules.pattern.is_none() && !rules.uuid {
        add("min_len", rules.min_len.map(text), true);
        add("max_len", rules.max_len.map(text), true);
        add(
            "max_len",
            rules.max_len.map(|most| Value::String("a".repeat(usize::try_from(most).unwrap_or_default()))),
            true,
        );
        add("max_len", rules.max_len.map(|most| text(most + 1)), false);
    }
    if let Some(most) = rules.max_items {
        let mut items = |count| Value::List((0..count).map(|_| maker.item(model, field, Amount::Least)).collect());
        let (full, over) = (items(most), items(most + 1));
        add("max_items", Some(full), true);
        add("max_items", Some(over), false);
    }
    found
}
