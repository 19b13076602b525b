//! What is accepted and what is refused.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DynamicMessage, Value};
use tonic::Code;

use crate::call::{Answer, Sent};
use crate::chain::Chain;
use crate::declared;
use crate::failure::Failure;
use crate::fault::{self, Edge, Fault, Place, UNDEFINED};
use crate::model::Rpc;
use crate::suite::{Base, Suite};
use crate::values::Amount;

/// Field 536870911, the last there is, with the text "new".
const NEW_FIELD: [u8; 9] = [0xfa, 0xff, 0xff, 0xff, 0x0f, 3, b'n', b'e', b'w'];

/// A valid request is not UNIMPLEMENTED.
pub(super) async fn is_implemented(suite: &Suite, rpc: &Arc<Rpc>) -> Result<(), Failure> {
    let mut request = DynamicMessage::new(rpc.method.input());
    suite.maker(&rpc.path()).fill(suite.model(), &mut request, Amount::Least);
    let caller = Chain::new(suite, rpc, &rpc.path()).caller(rpc)?;
    let answer = suite.call(rpc, &caller, &request).await;
    let is_missing = answer.error().is_some_and(|error| matches!(error.code(), Code::Unimplemented | Code::Unknown));
    if is_missing {
        return Err(suite.failure(rpc, &caller, &request, "the RPC is implemented", &answer));
    }
    Ok(())
}

/// The least valid request, after the calls it needs, is OK: without that no other check would say anything.
pub(super) async fn accepts_minimal(suite: &Suite, name: &str, rpc: &Arc<Rpc>) -> Result<(), Failure> {
    let mut chain = Chain::new(suite, rpc, name);
    if !rpc.unreachable {
        return chain.ok(rpc).await.map(drop);
    }
    let (caller, request) = (chain.caller(rpc)?, chain.request(rpc).await?);
    let answer = suite.call(rpc, &caller, &request).await;
    match answer.error().and_then(|error| declared::complaint(rpc, suite.domain(), error)) {
        None => Ok(()),
        Some(_) => Err(suite.failure(rpc, &caller, &request, "OK or a declared refusal", &answer)),
    }
}

/// The largest valid request is OK or refused as declared.
pub(super) async fn accepts_maximal(suite: &Suite, name: &str, rpc: &Arc<Rpc>) -> Result<(), Failure> {
    let mut chain = Chain::new(suite, rpc, name);
    let (caller, mut request) = (chain.caller(rpc)?, chain.linked(rpc).await?);
    chain.maker.fill(suite.model(), &mut request, Amount::Most);
    let answer = suite.call(rpc, &caller, &request).await;
    let complaint = answer.error().and_then(|error| declared::complaint(rpc, suite.domain(), error));
    let contract = "OK or a declared refusal: the largest valid request";
    match complaint {
        None if broken_rules(&answer).is_empty() => Ok(()),
        _ => Err(suite.failure(rpc, &caller, &request, contract, &answer)),
    }
}

/// One broken rule is refused by its field, and it is that rule which is refused.
pub(super) async fn rejects(suite: &Suite, name: &str, rpc: &Arc<Rpc>, fault: &Fault) -> Result<(), Failure> {
    let (base, mut chain) = (suite.base(rpc).await?, Chain::new(suite, rpc, name));
    let model = suite.model();
    let renewed = chain.renewed(rpc, &base.request);
    let valid = fault.place.open(model, &mut chain.maker, &renewed);
    let field = fault.path();
    let planted = fault.plant(model, &mut chain.maker, &valid).ok_or_else(|| {
        Failure::of(
            format!("{field} has the rule {}", fault.rule),
            "no witness: no value was found that breaks it alone; give the field an example",
        )
    })?;
    let answer = suite.call(rpc, &base.caller, &planted).await;
    if !refuses(&answer, &field) {
        let contract = format!("INVALID_ARGUMENT naming {field} ({} is all that is wrong)", fault.rule);
        return Err(suite.failure(rpc, &base.caller, &planted, contract, &answer));
    }
    let answer = suite.call(rpc, &base.caller, &valid).await;
    if code(&answer) == Code::InvalidArgument {
        let contract = format!("not INVALID_ARGUMENT: nothing is wrong, {} included", fault.name());
        return Err(suite.failure(rpc, &base.caller, &valid, contract, &answer));
    }
    Ok(())
}

fn code(answer: &Answer) -> Code {
    answer.error().map_or(Code::Ok, tonic::Status::code)
}

fn refuses(answer: &Answer, field: &str) -> bool {
    let names = |status| declared::fields(status).iter().any(|(named, _)| named == field);
    answer.error().is_some_and(|status| status.code() == Code::InvalidArgument && names(status))
}

/// Refusals of fields for rules that the contract writes as options, which a valid request cannot have broken.
fn broken_rules(answer: &Answer) -> Vec<(String, String)> {
    const KINDS: [&str; 4] = ["STRING_", "NUMBER_", "ENUM_", "REPEATED_"];
    let is_rule = |reason: &str| KINDS.iter().any(|kind| reason.starts_with(kind));
    let status = answer.error().filter(|status| declared::reason(status) == "INVALID_FIELD");
    let fields = status.map(declared::fields).unwrap_or_default();
    fields.into_iter().filter(|(_, reason)| is_rule(reason)).collect()
}

/// The values at a limit are accepted, one step further they are refused.
pub(super) async fn boundary(suite: &Suite, name: &str, rpc: &Arc<Rpc>, place: &Place) -> Result<(), Failure> {
    let (base, mut chain) = (suite.base(rpc).await?, Chain::new(suite, rpc, name));
    for edge in fault::edges(suite.model(), &mut chain.maker, place.field()) {
        let renewed = chain.renewed(rpc, &base.request);
        let request = place.with(suite.model(), &mut chain.maker, &renewed, &edge.value);
        let answer = suite.call(rpc, &base.caller, &request).await;
        let path = place.path();
        // What services ask beyond the options (a zone that exists, dates in order) they may go on asking.
        let by_option = broken_rules(&answer).iter().any(|(field, _)| *field == path);
        let kept = if edge.accepted { !by_option && is_settled(&answer) } else { refuses(&answer, &path) };
        if !kept {
            return Err(suite.failure(rpc, &base.caller, &request, told(&edge, &path), &answer));
        }
    }
    Ok(())
}

fn is_settled(answer: &Answer) -> bool {
    !matches!(code(answer), Code::Internal | Code::Unknown | Code::Unimplemented | Code::DataLoss)
}

fn told(edge: &Edge, path: &str) -> String {
    let length = match &edge.value {
        Value::String(text) => format!("{} characters", text.chars().count()),
        Value::List(items) => format!("{} items", items.len()),
        other => format!("{other:?}"),
    };
    let expected = if edge.accepted { "accepted" } else { "INVALID_ARGUMENT naming it" };
    format!("{path} = {length}, at the edge of {}: {expected}", edge.rule)
}

/// A field that the contract does not know changes nothing.
pub(super) async fn tolerates_unknown_field(suite: &Suite, name: &str, rpc: &Arc<Rpc>) -> Result<(), Failure> {
    let mut chain = Chain::new(suite, rpc, name);
    let (caller, request) = (chain.caller(rpc)?, chain.request(rpc).await?);
    let mut bytes = request.encode_to_vec();
    bytes.extend_from_slice(&NEW_FIELD);
    let sent = Sent { messages: vec![Bytes::from(bytes)], ..suite.sent(rpc) };
    let answer = suite.settled(|| suite.send(rpc, &caller, sent.clone())).await;
    if answer.error().is_some() {
        let contract = "OK: a field that the contract does not know (536870911) changes nothing";
        return Err(suite.failure(rpc, &caller, &request, contract, &answer));
    }
    Ok(())
}

/// An enum's number that the contract does not know is refused by its field, or counts as unspecified; it never breaks the server.
pub(super) async fn tolerates_unknown_enum(suite: &Suite, name: &str, rpc: &Arc<Rpc>) -> Result<(), Failure> {
    let (base, mut chain) = (suite.base(rpc).await?, Chain::new(suite, rpc, name));
    let model = suite.model();
    let places = fault::places(model, &rpc.method.input());
    for place in places.iter().filter(|place| place.field().kind().as_enum().is_some()) {
        let unknown = Value::EnumNumber(UNDEFINED);
        let value = if place.field().is_list() { Value::List(vec![unknown]) } else { unknown };
        let renewed = chain.renewed(rpc, &base.request);
        let request = place.with(model, &mut chain.maker, &renewed, &value);
        let answer = suite.call(rpc, &base.caller, &request).await;
        let kept = if model.rules(place.field()).defined_only {
            let path = place.path() + if place.field().is_list() { "[0]" } else { "" };
            refuses(&answer, &path)
        } else {
            is_settled(&answer)
        };
        if !kept {
            let contract = format!("{} = {UNDEFINED}: refused by name, or taken as unspecified", place.path());
            return Err(suite.failure(rpc, &base.caller, &request, contract, &answer));
        }
    }
    Ok(())
}

/// Some refusals, for checks that judge them.
pub(super) async fn refusals(suite: &Suite, rpc: &Arc<Rpc>) -> Result<(), Failure> {
    let Base { caller, request } = suite.base(rpc).await?;
    let mut maker = suite.maker(&rpc.path());
    for fault in fault::faults(suite.model(), &rpc.method.input()) {
        if let Some(planted) = fault.plant(suite.model(), &mut maker, &request) {
            suite.call(rpc, &caller, &planted).await;
        }
    }
    // As valid as a request can be that names what is not there.
    let mut missing = DynamicMessage::new(rpc.method.input());
    maker.fill(suite.model(), &mut missing, Amount::Least);
    suite.call(rpc, &caller, &missing).await;
    Ok(())
}
