//! JSON without what differs from run to run: ids become placeholders, times become distances.

use std::collections::BTreeMap;

use mesh::store::Micros;
use serde_json::Value;

const UUID: usize = 36;
const MINUTE_MICROS: i64 = 60_000_000;

/// Who books; users are told apart by the run.
pub(crate) const CUSTOMER: &str = "gil";

/// Gives ids their placeholders, in the order in which they come.
pub(crate) struct Steady {
    customer: String,
    ids: BTreeMap<String, String>,
    begin: Option<Micros>,
}

impl Steady {
    /// Of what was done for this customer.
    pub(crate) fn of(customer: &str) -> Self {
        Self { customer: format!("users/{customer}"), ids: BTreeMap::new(), begin: None }
    }

    pub(crate) fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let fields = fields.iter().filter(|(name, _)| *name != "etag");
                fields.map(|(name, value)| (name.clone(), self.value(value))).collect()
            }
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::String(text) => Value::String(self.text(text)),
            other => other.clone(),
        }
    }

    fn text(&mut self, text: &str) -> String {
        if text.ends_with('Z')
            && let Ok(time) = text.parse::<Micros>()
        {
            let begin = *self.begin.get_or_insert(time);
            return format!("{} min", (time.0 - begin.0 + MINUTE_MICROS / 2).div_euclid(MINUTE_MICROS));
        }
        let mut text = text.replace(&self.customer, &format!("users/{CUSTOMER}"));
        for at in (0..text.len().saturating_sub(UUID - 1)).rev() {
            let Some(id) = text.get(at..at + UUID).filter(|id| uuid::Uuid::try_parse(id).is_ok()) else { continue };
            let placeholder = self.placeholder(id);
            text.replace_range(at..at + UUID, &placeholder);
        }
        text
    }

    fn placeholder(&mut self, id: &str) -> String {
        let next = self.ids.len() + 1;
        self.ids.entry(id.to_owned()).or_insert_with(|| format!("00000000-0000-4000-8000-{next:012}")).clone()
    }
}

/// Takes out of both what they do not have in common, and answers where that was.
pub(crate) fn differences(one: &Value, other: &Value, at: &str, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(these), Value::Object(those)) if these.keys().eq(those.keys()) => {
            for (name, value) in these {
                differences(value, &those[name], &format!("{at}/{name}"), found);
            }
        }
        (Value::Array(these), Value::Array(those)) if these.len() == those.len() => {
            for (index, (value, other)) in these.iter().zip(those).enumerate() {
                differences(value, other, &format!("{at}/{index}"), found);
            }
        }
        _ if one == other => {}
        _ => found.push(at.to_owned()),
    }
}

/// The value without what is at these places.
pub(crate) fn without(mut value: Value, places: &[String]) -> Value {
    for place in places {
        if let Some(found) = value.pointer_mut(place) {
            *found = Value::Null;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_times_and_customers_are_steady() {
        let seen = |id: &str, customer: &str, time: &str, later: &str| {
            let value = json!({"name": format!("reservations/{id}"), "customer": format!("users/{customer}"),
                "again": [id], "etag": id, "created": time, "expires": later, "units": 3});
            Steady::of(customer).value(&value)
        };
        let one = seen("01890a5d-ac96-774b-bcce-b302099a8057", "a", "2026-11-21T20:00:01.5Z", "2026-11-21T21:00:01.6Z");
        let other =
            seen("01890a5d-ac96-774b-bcce-b302099a8058", "b", "2026-11-22T07:31:00Z", "2026-11-22T08:31:00.010Z");
        assert_eq!(one, other);
        assert_eq!(one["expires"], "60 min");
        assert_eq!(one["again"][0], "00000000-0000-4000-8000-000000000001");
        assert_eq!(one["customer"], "users/gil");
    }
}
