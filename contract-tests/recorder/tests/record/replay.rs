//! Recorded requests, asked of the provider as it is now: what is read of the answers must be there as it was.

use std::collections::{BTreeMap, BTreeSet};

use contract::DescriptorSet;
use contract::consumers::{Calling, Case, Consumer, request, rpc};
use mesh::fault::Fault;
use mesh::store::Id;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use proto::contract::Role;
use proto::listing::v1::Listing;
use serde_json::Value;
use world::caller::won;
use world::{offers, raw};

use crate::calls::SCENES;
use crate::is_ours;
use crate::journeys::caller;
use crate::stage::Stage;

/// What came of it.
pub(crate) struct Replayed {
    /// How many requests were sent.
    pub(crate) asked: usize,
    /// What consumers would miss.
    pub(crate) missed: Vec<String>,
}

/// Each scene is played again with a listing of its own and new ids.
pub(crate) async fn replay(stage: &Stage, set: &DescriptorSet, consumers: &[Consumer]) -> Replayed {
    let mut replayed = Replayed { asked: 0, missed: Vec::new() };
    let hana = caller(stage, "hana", Role::Host);
    for consumer in consumers {
        for scene in scenes(consumer) {
            let mut ids = Ids { listing: hana.offer_listing(listing(scene)).await, known: BTreeMap::new() };
            for (calling, rpc, case) in in_order(set, consumer, scene) {
                let which = format!("{}: {} in {scene:?}", consumer.consumer, rpc.full_name());
                let found = ask(stage, consumer, &rpc, &ids.instead(&case.request)).await;
                if let Ok(answer) = &found {
                    ids.learn(&case.answer, answer);
                }
                replayed.asked += 1;
                replayed
                    .missed
                    .extend(differences(calling, case, &found).into_iter().map(|it| format!("{which}: {it}")));
            }
        }
    }
    replayed
}

fn scenes(consumer: &Consumer) -> BTreeSet<&str> {
    consumer.rpcs.values().flat_map(|calling| &calling.cases).map(|case| case.scene.as_str()).collect()
}

/// What a scene is played with; one that is not ours, with the only room of the README.
fn listing(scene: &str) -> Listing {
    let ours = SCENES.iter().find(|it| it.name == scene);
    ours.map_or_else(|| Listing { price: Some(won(90_000)), ..offers::room(1) }, |scene| (scene.listing)())
}

fn in_order<'a>(
    set: &DescriptorSet,
    consumer: &'a Consumer,
    scene: &str,
) -> Vec<(&'a Calling, MethodDescriptor, &'a Case)> {
    let of_rpc = |(name, calling): (&'a String, &'a Calling)| {
        let rpc = rpc(set, name).unwrap_or_else(|| panic!("no {name}"));
        calling.cases.iter().map(move |case| (calling, rpc.clone(), case))
    };
    let mut cases: Vec<_> = consumer.rpcs.iter().flat_map(of_rpc).filter(|(_, _, case)| case.scene == scene).collect();
    cases.sort_by_key(|(_, _, case)| case.step);
    cases
}

/// Ids for placeholders.
struct Ids {
    listing: String,
    known: BTreeMap<String, String>,
}

impl Ids {
    fn instead(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), self.instead(value))).collect(),
            Value::Array(items) => items.iter().map(|item| self.instead(item)).collect(),
            Value::String(text) => Value::String(self.text(text)),
            other => other.clone(),
        }
    }

    fn text(&mut self, text: &str) -> String {
        if text.starts_with("listings/") {
            return self.listing.clone();
        }
        let Some(placeholder) = id(text) else { return text.to_owned() };
        let id = self.known.entry(placeholder.to_owned()).or_insert_with(|| Id::generate().to_string());
        text.replace(placeholder, id)
    }

    /// What the provider has named is called so from now on.
    fn learn(&mut self, recorded: &Value, answer: &Value) {
        match (recorded, answer) {
            (Value::Object(recorded), Value::Object(fields)) => {
                let both = recorded.iter().filter_map(|(name, value)| Some((value, fields.get(name)?)));
                both.for_each(|(recorded, value)| self.learn(recorded, value));
            }
            (Value::Array(recorded), Value::Array(items)) => {
                recorded.iter().zip(items).for_each(|(recorded, item)| self.learn(recorded, item));
            }
            (Value::String(recorded), Value::String(text)) => {
                if let (Some(placeholder), Some(id)) = (id(recorded), id(text)) {
                    self.known.entry(placeholder.to_owned()).or_insert_with(|| id.to_owned());
                }
            }
            _ => {}
        }
    }
}

/// The id in a name, or an id by itself.
fn id(text: &str) -> Option<&str> {
    let id = text.split_once('/').map_or(text, |(_, id)| id);
    uuid::Uuid::try_parse(id).is_ok().then_some(id)
}

/// The answer as JSON, or the reason of the refusal. Who is no service of ours asks as a customer.
async fn ask(stage: &Stage, consumer: &Consumer, rpc: &MethodDescriptor, json: &Value) -> Result<Value, String> {
    let provider = stage.addresses.keys().find(|name| **name == consumer.provider).expect("a service");
    let channel = if is_ours(consumer) {
        stage.mesh.service(provider, stage.addresses[provider], &consumer.consumer)
    } else {
        stage.user(provider, &consumer.consumer, Role::Customer)
    };
    let request = request(rpc, json).expect("a request of its type");
    let path = format!("/{}/{}", rpc.parent_service().full_name(), rpc.name());
    match raw::call(&channel, &path, &request.encode_to_vec()).await {
        Ok(bytes) => {
            let answer = DynamicMessage::decode(rpc.output(), bytes.as_slice()).expect("an answer of its type");
            Ok(contract::vectors::json(&answer))
        }
        Err(status) => Err(Fault::from_status(&status).reason().to_owned()),
    }
}

/// What was recorded and is not found: refusals are equal, choices are equal, all else that was there is there.
fn differences(calling: &Calling, case: &Case, found: &Result<Value, String>) -> Vec<String> {
    let found = match found {
        Err(reason) if *reason == case.refused => return Vec::new(),
        Err(reason) => return vec![format!("refused with {reason}")],
        Ok(_) if !case.refused.is_empty() => return vec![format!("not refused with {}", case.refused)],
        Ok(found) => found,
    };
    let difference = |path: &String| {
        let recorded = at(&case.answer, path)?;
        match at(found, path) {
            None => Some(format!("{path} is not there")),
            Some(now) if calling.choices.contains_key(path) && now != recorded => {
                Some(format!("{path} was {recorded} and is {now}"))
            }
            Some(_) => None,
        }
    };
    calling.reads.keys().filter_map(difference).collect()
}

/// The value at a path of field names; of lists, in the first item.
fn at<'a>(json: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(json, |value, name| {
        let value = value.as_array().map_or(Some(value), |items| items.first())?;
        value.get(camel(name))
    })
}

/// As JSON names a field.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |camel, word| {
        let mut letters = word.chars();
        let capital = letters.next().map(|letter| letter.to_ascii_uppercase());
        camel + &capital.into_iter().chain(letters).collect::<String>()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_answered_is_asked_for_by_its_name() {
        let placeholder = |number: u32| format!("00000000-0000-4000-8000-{number:012}");
        let given = Id::generate().to_string();
        let mut ids = Ids { listing: "listings/1".to_owned(), known: BTreeMap::new() };
        let recorded = json!({"reservation": {"name": format!("reservations/{}", placeholder(1)), "units": 1}});
        ids.learn(&recorded, &json!({"reservation": {"name": format!("reservations/{given}"), "units": 1}}));
        let request = json!({
            "name": format!("reservations/{}", placeholder(1)), "listing": format!("listings/{}", placeholder(2)),
            "requestId": placeholder(3), "again": [placeholder(3)], "card": "pm/1",
        });
        let sent = ids.instead(&request);
        assert_eq!(sent["name"], format!("reservations/{given}"));
        assert_eq!(sent["listing"], "listings/1");
        assert_eq!(sent["card"], "pm/1");
        assert_eq!(sent["again"][0], sent["requestId"]);
        assert_ne!(sent["requestId"], placeholder(3));
    }

    #[test]
    fn what_is_read_must_be_there_as_it_was() {
        let case = Case {
            scene: String::new(),
            step: 1,
            request: json!({}),
            answer: json!({"payment": {"name": "payments/1", "state": "STATE_APPROVED", "items": [{"lineText": "a"}]}}),
            refused: String::new(),
        };
        let reads = ["payment.name", "payment.state", "payment.items.line_text"];
        let calling = Calling {
            reads: reads.map(|path| (path.to_owned(), String::new())).into(),
            choices: [("payment.state".to_owned(), contract::consumers::Choice::default())].into(),
            ..Calling::default()
        };
        let check = |found: Result<Value, String>, expected: &[&str]| {
            assert_eq!(differences(&calling, &case, &found), expected);
        };
        check(
            Ok(json!({"payment": {"name": "payments/2", "state": "STATE_APPROVED", "items": [{"lineText": "b"}]}})),
            &[],
        );
        check(
            Ok(json!({"payment": {"state": "STATE_DECLINED", "items": []}})),
            &[
                "payment.items.line_text is not there",
                "payment.name is not there",
                "payment.state was \"STATE_APPROVED\" and is \"STATE_DECLINED\"",
            ],
        );
        check(Err("BUSY".to_owned()), &["refused with BUSY"]);
        let refused = Case { refused: "BUSY".to_owned(), ..case.clone() };
        assert!(differences(&calling, &refused, &Err("BUSY".to_owned())).is_empty());
        assert_eq!(differences(&calling, &refused, &Ok(json!({}))), ["not refused with BUSY"]);
    }
}
