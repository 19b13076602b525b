//! The checks, by what they judge.

pub(crate) mod access;
mod fuzz;
mod lists;
pub(crate) mod repeats;
mod requests;
pub(crate) mod transport;

use std::sync::Arc;
use std::time::Duration;

use crate::events;
use crate::failure::Failure;
use crate::fault::{Fault, Place};
use crate::model::Rpc;
use crate::reflection::{self, Version};
use crate::suite::{Seen, Suite};
use crate::unmet::Unmet;

use access::Who;
use transport::Probe;

/// What is checked.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Links,
    SchemaServed(String),
    Transport(Probe, Vec<Arc<Rpc>>),
    Fuzz(Vec<Arc<Rpc>>, Duration),
    IsImplemented(Arc<Rpc>),
    AcceptsMinimal(Arc<Rpc>),
    AcceptsMaximal(Arc<Rpc>),
    Rejects(Arc<Rpc>, Fault),
    Boundary(Arc<Rpc>, Place),
    ToleratesUnknownField(Arc<Rpc>),
    ToleratesUnknownEnum(Arc<Rpc>),
    IsSafe(Arc<Rpc>),
    IsIdempotent(Arc<Rpc>),
    RefusesReusedRequestId(Arc<Rpc>),
    Publishes(Arc<Rpc>),
    StreamShape(Arc<Rpc>),
    Pagination(Arc<Rpc>),
    Access(Arc<Rpc>, Who),
    ErrorsDeclared(Arc<Rpc>),
    NoSurpriseFields(Arc<Rpc>),
    OutputHonoursRules(Arc<Rpc>),
    EventsDeclared,
    EventAsDeclared(usize),
    Unmet(Unmet),
}

/// Runs one check.
pub(crate) async fn run(suite: &Suite, check: &crate::Check) -> Result<(), Failure> {
    let name = check.name.as_str();
    match &check.kind {
        Kind::Links => links(suite),
        Kind::SchemaServed(service) => schema_served(suite, service).await,
        Kind::Transport(probe, rpcs) => transport::run(suite, *probe, rpcs).await,
        Kind::Fuzz(rpcs, time) => fuzz::run(suite, name, rpcs, *time).await,
        Kind::IsImplemented(rpc) => requests::is_implemented(suite, rpc).await,
        Kind::AcceptsMinimal(rpc) => requests::accepts_minimal(suite, name, rpc).await,
        Kind::AcceptsMaximal(rpc) => requests::accepts_maximal(suite, name, rpc).await,
        Kind::Rejects(rpc, fault) => requests::rejects(suite, name, rpc, fault).await,
        Kind::Boundary(rpc, place) => requests::boundary(suite, name, rpc, place).await,
        Kind::ToleratesUnknownField(rpc) => requests::tolerates_unknown_field(suite, name, rpc).await,
        Kind::ToleratesUnknownEnum(rpc) => requests::tolerates_unknown_enum(suite, name, rpc).await,
        Kind::IsSafe(rpc) => repeats::is_safe(suite, name, rpc).await,
        Kind::IsIdempotent(rpc) => repeats::is_idempotent(suite, name, rpc).await,
        Kind::RefusesReusedRequestId(rpc) => repeats::refuses_reused_request_id(suite, name, rpc).await,
        Kind::Publishes(rpc) => repeats::publishes(suite, name, rpc).await,
        Kind::StreamShape(rpc) => lists::stream_shape(suite, name, rpc).await,
        Kind::Pagination(rpc) => lists::pagination(suite, name, rpc).await,
        Kind::Access(rpc, who) => access::run(suite, name, rpc, who).await,
        Kind::ErrorsDeclared(rpc) => judged(suite, rpc, |seen| seen.undeclared).await,
        Kind::NoSurpriseFields(rpc) => judged(suite, rpc, |seen| seen.surprising).await,
        Kind::OutputHonoursRules(rpc) => judged(suite, rpc, |seen| seen.dishonoured).await,
        Kind::EventsDeclared => events::check_declared(suite.model(), &captured(suite)),
        Kind::EventAsDeclared(index) => {
            events::check_type(suite.model(), &suite.model().events()[*index], &captured(suite)).map(drop)
        }
        Kind::Unmet(list) => list.check(&suite.declared()),
    }
}

fn captured(suite: &Suite) -> Vec<events::Captured> {
    suite.recorder().map(events::Recorder::events).unwrap_or_default()
}

fn links(suite: &Suite) -> Result<(), Failure> {
    let broken = suite.model().broken_links();
    if broken.is_empty() {
        return Ok(());
    }
    Err(Failure::of("links lead from nothing to an OK answer of every RPC", broken.join("\n            ")))
}

/// What all calls of an RPC have shown; run alone, the check makes some itself: an OK, a refusal of the request and of the caller.
async fn judged(suite: &Suite, rpc: &Arc<Rpc>, trouble: fn(Seen) -> Vec<Failure>) -> Result<(), Failure> {
    if suite.seen(rpc).answered == 0 {
        requests::accepts_minimal(suite, &format!("{}::judged", rpc.path()), rpc).await?;
        requests::refusals(suite, rpc).await?;
    }
    trouble(suite.seen(rpc)).into_iter().next().map_or(Ok(()), Err)
}

/// Both versions of reflection serve the file with the service as it was compiled, byte for byte.
async fn schema_served(suite: &Suite, service: &str) -> Result<(), Failure> {
    let server = suite.server(service)?;
    let file = suite.model().pool().get_service_by_name(service).map(|service| service.parent_file().name().to_owned());
    let file = file.unwrap_or_default();
    let compiled = suite.contracts().get(&file);
    for version in [Version::V1, Version::V1Alpha] {
        let contract = format!("reflection {version:?} serves {file} as it was compiled, options included");
        let served = reflection::files(server, version, service).await;
        let served = served.map_err(|error| Failure::of(contract.clone(), crate::failure::status(&error)))?;
        match (served.get(&file), compiled) {
            (Some(served), Some(compiled)) if served == compiled => {}
            (Some(served), Some(compiled)) => {
                let found = format!("{} other bytes instead of {}", served.len(), compiled.len());
                return Err(Failure::of(contract, found));
            }
            _ => return Err(Failure::of(contract, "another file")),
        }
    }
    Ok(())
}
