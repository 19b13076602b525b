//! Who gets in: those whom the contract names, with a good token, to what is theirs.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message;
use prost_reflect::DynamicMessage;
use tonic::Code;

use super::lists::identity;
use crate::call::{Answer, Sent};
use crate::chain::Chain;
use crate::credentials::{Caller, Forgery};
use crate::declared;
use crate::failure::Failure;
use crate::model::{Model, Rpc};
use crate::plan::Plan;
use crate::suite::{Suite, items};

/// Roles that reach their own only, unless the contract says `public`.
const TENANTS: [&str; 2] = ["customer", "host"];

/// Who tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Role(String),
    Service(String),
    Forged(Forgery),
    /// Another user of the role than the one whose things are asked for.
    OtherTenant(String),
}

impl Who {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Role(role) => format!("role_{role}"),
            Self::Service(service) => format!("service_{service}"),
            Self::Forged(forgery) => forgery.name().to_owned(),
            Self::OtherTenant(role) => format!("other_{role}"),
        }
    }
}

/// Everybody who could try, of those whom we can play.
pub(crate) fn cases(model: &Model, plan: &Plan, rpc: &Rpc) -> Vec<Who> {
    let is_spoken_for = |role: &String| plan.roles.as_ref().is_none_or(|roles| roles.contains(role));
    let mut all: Vec<Who> = model.roles().into_iter().filter(is_spoken_for).map(Who::Role).collect();
    if plan.roles.is_none() {
        all.extend(model.callers().into_iter().map(Who::Service));
        all.extend(Forgery::ALL.into_iter().map(Who::Forged));
        all.extend(others(model, rpc).into_iter().map(Who::OtherTenant));
    } else {
        let forgeries = Forgery::ALL.into_iter().filter(|forgery| forgery.needs_only_a_token());
        all.extend(forgeries.map(Who::Forged));
    }
    all
}

/// The roles that may call and have a part in the making of what is asked for.
fn others(model: &Model, rpc: &Rpc) -> BTreeSet<String> {
    let mut makers = BTreeSet::new();
    let mut open: Vec<&str> = rpc.links.iter().map(|link| link.rpc.as_str()).collect();
    while let Some(first) = open.pop().and_then(|name| model.rpc(name)) {
        makers.extend(first.roles.first().cloned());
        open.extend(first.links.iter().map(|link| link.rpc.as_str()));
    }
    let owns = |role: &String| TENANTS.contains(&role.as_str()) && makers.contains(role) && !rpc.public;
    rpc.roles.iter().filter(|role| owns(role)).cloned().collect()
}

pub(super) async fn run(suite: &Suite, name: &str, rpc: &Arc<Rpc>, who: &Who) -> Result<(), Failure> {
    let chain = Chain::new(suite, rpc, name);
    match who {
        Who::Role(role) => knock(suite, rpc, &chain.user(role), rpc.roles.contains(role)).await,
        Who::Service(service) => {
            knock(suite, rpc, &Caller::Service(service.clone()), rpc.services.contains(service)).await
        }
        Who::Forged(forgery) => refuses_forged(suite, rpc, &chain.caller(rpc)?, *forgery).await,
        Who::OtherTenant(role) => hides_from_others(suite, name, rpc, role).await,
    }
}

/// Whoever may not call is told so before anything else; whoever may is not.
async fn knock(suite: &Suite, rpc: &Arc<Rpc>, caller: &Caller, may: bool) -> Result<(), Failure> {
    let request = if may { suite.base(rpc).await?.request } else { DynamicMessage::new(rpc.method.input()) };
    let answer = suite.call(rpc, caller, &request).await;
    let refused =
        answer.error().filter(|status| matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated));
    let is_right = match (may, refused) {
        (true, refused) => refused.is_none(),
        (false, refused) => refused
            .is_some_and(|status| status.code() == Code::PermissionDenied && declared::reason(status) == "NOT_ALLOWED"),
    };
    if is_right {
        return Ok(());
    }
    let contract = if may { "may call" } else { "PERMISSION_DENIED/NOT_ALLOWED, whatever is asked: may not call" };
    Err(suite.failure(rpc, caller, &request, format!("{caller} {contract}"), &answer))
}

async fn refuses_forged(suite: &Suite, rpc: &Arc<Rpc>, caller: &Caller, forgery: Forgery) -> Result<(), Failure> {
    let request = suite.base(rpc).await?.request;
    let token = suite.credentials().forged(forgery, caller, &suite.audience(rpc));
    let Some(token) = token else {
        return Err(Failure::of(format!("a token: {}", forgery.name()), "it cannot be made from these keys"));
    };
    let authorization = token.map(|token| format!("Bearer {token}"));
    let messages = vec![request.encode_to_vec().into()];
    let answer = suite.send_with(rpc, Sent { authorization, messages, ..suite.sent(rpc) }).await;
    suite.observe(rpc, caller, &request, &answer);
    let reason = if forgery == Forgery::Missing { "CREDENTIALS_MISSING" } else { "CREDENTIALS_INVALID" };
    let is_right = answer
        .error()
        .is_some_and(|status| status.code() == Code::Unauthenticated && declared::reason(status) == reason);
    if is_right {
        return Ok(());
    }
    let contract = format!("UNAUTHENTICATED/{reason}: the token is {}", forgery.name());
    Err(suite.failure(rpc, caller, &request, contract, &answer))
}

/// What belongs to one user does not exist for another.
async fn hides_from_others(suite: &Suite, name: &str, rpc: &Arc<Rpc>, role: &str) -> Result<(), Failure> {
    let mut chain = Chain::new(suite, rpc, name);
    let (owner, request) = (chain.user(role), chain.request(rpc).await?);
    let stranger = Chain::new(suite, rpc, &format!("{name}::stranger")).user(role);
    let answer = suite.call(rpc, &stranger, &request).await;
    let is_hidden = if rpc.is_paged() {
        let owned = suite.call(rpc, &owner, &request).await;
        answer.error().is_none() && names(suite, rpc, &answer).is_disjoint(&names(suite, rpc, &owned))
    } else {
        let hides = [Code::NotFound, Code::PermissionDenied, Code::FailedPrecondition];
        answer.error().is_some_and(|status| hides.contains(&status.code())) || answers_own(suite, rpc, &answer, &owner)
    };
    if is_hidden {
        return Ok(());
    }
    let contract = format!("{stranger} does not reach what is {owner}'s");
    Err(suite.failure(rpc, &stranger, &request, contract, &answer))
}

fn names(suite: &Suite, rpc: &Rpc, answer: &Answer) -> BTreeSet<String> {
    let pages = suite.decoded(rpc, answer).unwrap_or_default();
    pages.iter().flat_map(items).map(|item| identity(&item)).collect()
}

/// A request may name the caller (`users/me`): then the stranger is answered with what is their own.
fn answers_own(suite: &Suite, rpc: &Rpc, answer: &Answer, owner: &Caller) -> bool {
    let Caller::User { subject, .. } = owner else { return false };
    let is_linked = rpc.links.iter().any(|link| link.copies.is_some());
    let shown = suite.decoded(rpc, answer).unwrap_or_default();
    !is_linked
        && answer.error().is_none()
        && shown.iter().all(|message| !crate::failure::json(message).contains(subject))
}
