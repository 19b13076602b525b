//! What each service that calls another sends, and what it does with the answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use contract::consumers::{Calling, Case, declared};
use mesh::fault::Fault;
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, MethodDescriptor, ReflectMessage, Value as Field,
};
use proto::contract::Role;
use proto::google::r#type::Date;
use proto::listing::v1::{Listing, ReservationPolicy, Stay, reservation_policy::Mileage};
use proto::reservation::v1::{CreateReservationRequest, Reservation, reservation::Slot};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use world::caller::{request_id, won};
use world::offers;

use crate::events::shape;
use crate::evidence::{Evidence, Outcome};
use crate::journeys::caller;
use crate::stage::{Heard, Lie, Stage};
use crate::steady::{Steady, differences, without};
use crate::variants::variants;

const GOOD_CARD: &str = "pm_card_visa";
const BAD_CARD: &str = "pm_card_chargeDeclinedInsufficientFunds";
/// Units of each listing: enough for every variant.
const UNITS: i32 = 1000;
/// A customer waits no longer; who has no answer by then has none.
const LIMIT: Duration = Duration::from_secs(5);
/// Playings until two of them agree.
const TRIES: usize = 5;
/// No contract of ours declares it.
const UNHEARD_OF: &str = "UNHEARD_OF";

/// A reservation that takes its own way through the callees.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) listing: fn() -> Listing,
    slot: fn() -> Option<Slot>,
    card: &'static str,
    is_cancelled: bool,
}

pub(crate) const SCENES: [Scene; 5] = [
    Scene { name: "paid at once", listing: room, slot: nights, card: GOOD_CARD, is_cancelled: false },
    Scene {
        name: "paid at once, miles or nothing",
        listing: strict,
        slot: nights,
        card: GOOD_CARD,
        is_cancelled: false,
    },
    Scene { name: "declined", listing: room, slot: nights, card: BAD_CARD, is_cancelled: false },
    Scene { name: "paid later", listing: resort, slot: date, card: "", is_cancelled: false },
    Scene {
        name: "cancelled and refunded at once",
        listing: taxi,
        slot: whenever,
        card: GOOD_CARD,
        is_cancelled: true,
    },
];

fn room() -> Listing {
    offers::room(UNITS)
}

fn strict() -> Listing {
    let earn = |policy: &mut ReservationPolicy| policy.mileage = Mileage::EarnStrict.into();
    offers::with(room(), earn)
}

fn resort() -> Listing {
    offers::resort(UNITS)
}

fn taxi() -> Listing {
    offers::taxi(UNITS, 5_000)
}

// Days that stay the same, and stay ahead.
fn nights() -> Option<Slot> {
    let day = |day| Some(Date { year: 2090, month: 5, day });
    Some(Slot::Stay(Stay { check_in_date: day(17), check_out_date: day(19) }))
}

fn date() -> Option<Slot> {
    Some(Slot::Date(Date { year: 2090, month: 5, day: 17 }))
}

fn whenever() -> Option<Slot> {
    None
}

/// One playing of a scene.
struct Played {
    /// The customer was answered OK.
    is_ok: bool,
    seen: Value,
    /// What was sent to callees for it.
    heard: Vec<Heard>,
    customer: String,
}

/// What a caller sends and reads, by consumer, provider and RPC.
pub(crate) type Called = BTreeMap<(String, String, String), Calling>;

#[derive(Default)]
struct Call {
    evidence: Evidence,
    /// Of the answers that were probed.
    shapes: BTreeSet<String>,
    cases: Vec<(Case, Option<DynamicMessage>)>,
    reasons: BTreeSet<String>,
}

pub(crate) async fn probe(stage: &Stage, pool: &DescriptorPool) -> Called {
    let hana = caller(stage, "hana", Role::Host);
    let mut calls: BTreeMap<(String, String, String), Call> = BTreeMap::new();
    for scene in &SCENES {
        let listing = hana.offer_listing((scene.listing)()).await;
        let act = Act { stage, pool, scene, listing };
        let (one, other) = (act.play(None).await, act.play(None).await);
        let mut volatile = Vec::new();
        differences(&one.seen, &other.seen, "", &mut volatile);
        let mut steady = Steady::of(&one.customer);
        for (step, heard) in one.heard.iter().enumerate() {
            let key = (heard.consumer.to_owned(), heard.provider.to_owned(), heard.rpc.full_name().to_owned());
            let call = calls.entry(key).or_default();
            call.cases.push((case(scene, step, heard, &mut steady), heard.answer.clone().ok()));
            if let Ok(answer) = &heard.answer
                && call.shapes.insert(shape(answer))
            {
                act.probe_answer(heard, answer, &one, &volatile, &mut call.evidence).await;
            }
            if call.reasons.is_empty() {
                call.reasons = act.probe_reasons(heard, &volatile).await;
            }
        }
    }
    stage.wire.begin(None);
    calls.into_iter().map(|(key, call)| (key, calling(call))).collect()
}

fn case(scene: &Scene, step: usize, heard: &Heard, steady: &mut Steady) -> Case {
    let request = steady.value(&serde_json::to_value(&heard.request).expect("a message is JSON"));
    let (answer, refused) = match &heard.answer {
        Ok(answer) => (steady.value(&serde_json::to_value(answer).expect("a message is JSON")), String::new()),
        Err(status) => (Value::Null, Fault::from_status(status).reason().to_owned()),
    };
    Case { scene: scene.name.to_owned(), step: step + 1, request, answer, refused }
}

/// What is not read of an answer is not recorded.
fn calling(call: Call) -> Calling {
    let reading = call.evidence.reading();
    let paths: BTreeSet<&str> = reading.reads.keys().map(String::as_str).collect();
    let pruned = |(case, answer): (Case, Option<DynamicMessage>)| {
        let answer = answer.map_or(Value::Null, |answer| prune(&case.answer, &answer, "", &paths));
        Case { answer, ..case }
    };
    let cases = call.cases.into_iter().map(pruned).collect();
    Calling { cases, reads: reading.reads, choices: reading.choices, reasons: call.reasons }
}

/// Of the JSON of a message, what is at the paths or below.
fn prune(json: &Value, message: &DynamicMessage, at: &str, paths: &BTreeSet<&str>) -> Value {
    let keep = |field: FieldDescriptor| {
        let path = if at.is_empty() { field.name().to_owned() } else { format!("{at}.{}", field.name()) };
        let value = json.get(field.json_name())?;
        if paths.contains(path.as_str()) {
            return Some((field.json_name().to_owned(), value.clone()));
        }
        paths.iter().find(|it| it.starts_with(&format!("{path}.")))?;
        let kept = match (message.get_field(&field).as_ref(), value) {
            (Field::Message(inner), value) => prune(value, inner, &path, paths),
            (Field::List(items), Value::Array(values)) => {
                let first = items.first().and_then(Field::as_message).zip(values.first());
                first.map(|(item, value)| prune(value, item, &path, paths)).into_iter().collect()
            }
            _ => value.clone(),
        };
        Some((field.json_name().to_owned(), kept))
    };
    message.descriptor().fields().filter_map(keep).collect()
}

/// A scene with its listing.
struct Act<'a> {
    stage: &'a Stage,
    pool: &'a DescriptorPool,
    scene: &'a Scene,
    listing: String,
}

impl Act<'_> {
    async fn play(&self, lie: Option<(String, Lie)>) -> Played {
        let customer = format!("c{}", uuid::Uuid::new_v4().simple());
        let user = caller(self.stage, &customer, Role::Customer);
        self.stage.wire.begin(lie);
        let reserved = user.reserve_within(&self.request(), LIMIT).await;
        let cancelled = match &reserved {
            Ok(reservation) if self.scene.is_cancelled => Some(user.cancel(&reservation.name).await),
            _ => None,
        };
        let is_ok = reserved.is_ok() && cancelled.as_ref().is_none_or(Result::is_ok);
        let heard = self.heard(&customer);
        // What follows a refusal may follow later, and a call may be made again.
        let mut sent = Vec::new();
        for request in heard.iter().filter(|_| is_ok).map(|heard| json!([heard.rpc.full_name(), heard.request])) {
            if !sent.contains(&request) {
                sent.push(request);
            }
        }
        let seen = json!({
            "reserved": self.answer(&reserved),
            "cancelled": cancelled.as_ref().map(|cancelled| self.answer(cancelled)),
            "sent": sent,
        });
        let seen = Steady::of(&customer).value(&seen);
        Played { is_ok, seen, heard, customer }
    }

    fn request(&self) -> CreateReservationRequest {
        let expected_total = (self.scene.card == GOOD_CARD && !self.scene.is_cancelled).then(|| won(2 * offers::PRICE));
        CreateReservationRequest {
            reservation: Some(Reservation {
                listing: self.listing.clone(),
                slot: (self.scene.slot)(),
                units: 1,
                persons: 2,
                ..Reservation::default()
            }),
            payment_method: self.scene.card.to_owned(),
            request_id: request_id(),
            expected_total,
        }
    }

    fn answer(&self, answer: &Result<Reservation, Status>) -> Value {
        match answer {
            Ok(reservation) => self.json(reservation),
            Err(status) => json!([format!("{:?}", status.code()), Fault::from_status(status).reason()]),
        }
    }

    fn json(&self, reservation: &Reservation) -> Value {
        let descriptor = self.pool.get_message_by_name("holdfast.reservation.v1.Reservation").expect("ours");
        let message = DynamicMessage::decode(descriptor, reservation.encode_to_vec().as_slice()).expect("itself");
        serde_json::to_value(&message).expect("a message is JSON")
    }

    /// The calls made for a customer: others may still be undoing what went wrong before.
    fn heard(&self, customer: &str) -> Vec<Heard> {
        let text = |heard: &Heard, field: &str| {
            let value = heard.request.get_field_by_name(field);
            value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
        };
        let heard = self.stage.wire.heard();
        let customer = format!("users/{customer}");
        let theirs = heard.iter().filter(|heard| text(heard, "customer") == customer);
        let reservations: BTreeSet<String> = theirs.map(|heard| text(heard, "reservation")).collect();
        heard.into_iter().filter(|heard| reservations.contains(&text(heard, "reservation"))).collect()
    }

    /// Plays until two playings agree, or one comes to what is expected: a loaded machine may answer late.
    async fn settled(&self, lie: &(String, Lie), volatile: &[String], expected: &Value) -> Played {
        let mut last: Option<Played> = None;
        for _ in 0..TRIES {
            let played = self.play(Some(lie.clone())).await;
            let played = Played { seen: without(played.seen, volatile), ..played };
            let agrees = last.as_ref().is_some_and(|last| last.seen == played.seen);
            if agrees || played.seen == *expected {
                return played;
            }
            last = Some(played);
        }
        panic!("{} under {lie:?} never comes to the same", self.scene.name)
    }

    async fn probe_answer(
        &self,
        heard: &Heard,
        answer: &DynamicMessage,
        base: &Played,
        volatile: &[String],
        evidence: &mut Evidence,
    ) {
        let outcome = |played: Played| Outcome { is_taken: played.is_ok || !base.is_ok, seen: played.seen };
        let taken = Outcome { is_taken: true, seen: without(base.seen.clone(), volatile) };
        let mut outcomes = Vec::new();
        for variant in variants(answer) {
            let lie = (heard.rpc.full_name().to_owned(), Lie::Changed(variant.clone()));
            outcomes.push((variant, outcome(self.settled(&lie, volatile, &taken.seen).await)));
        }
        evidence.add(answer, &taken, &outcomes);
    }

    /// The declared reasons that make a difference to any refusal of their code.
    async fn probe_reasons(&self, heard: &Heard, volatile: &[String]) -> BTreeSet<String> {
        let declared = declared(&heard.rpc);
        let pairs = declared.iter().flat_map(|(reason, codes)| codes.iter().map(move |code| (self.code(code), reason)));
        let mut of_code: BTreeMap<i32, Vec<&String>> = BTreeMap::new();
        pairs.for_each(|(code, reason)| of_code.entry(code).or_default().push(reason));
        let mut found = BTreeSet::new();
        for (code, reasons) in of_code {
            let unheard_of = self.refused(&heard.rpc, code, UNHEARD_OF, volatile, &Value::Null).await;
            for reason in reasons {
                if self.refused(&heard.rpc, code, reason, volatile, &unheard_of).await != unheard_of {
                    found.insert(reason.clone());
                }
            }
        }
        found
    }

    fn code(&self, name: &str) -> i32 {
        let codes = self.pool.get_enum_by_name("google.rpc.Code").expect("vendored");
        codes.get_value_by_name(name).expect("a code of gRPC").number()
    }

    async fn refused(
        &self,
        rpc: &MethodDescriptor,
        code: i32,
        reason: &str,
        volatile: &[String],
        expected: &Value,
    ) -> Value {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, proto::codec::ERROR_DOMAIN, HashMap::new());
        if code == Code::Unavailable as i32 {
            details.set_retry_info(Some(Duration::from_millis(10)));
        }
        let status = Status::with_error_details(Code::from(code), "refused by the test", details);
        let lie = (rpc.full_name().to_owned(), Lie::Refused(status));
        self.settled(&lie, volatile, expected).await.seen
    }
}
