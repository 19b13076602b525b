//! The faults in the calls of this service to others: listed, set, ended.

use std::time::Duration;

use proto::mesh::v1::injected_fault::Kind;
use proto::mesh::v1::injected_fault_service_server::InjectedFaultService;
use proto::mesh::v1::{
    DeleteInjectedFaultRequest, DeleteInjectedFaultResponse, InjectedFault as Wire, ListInjectedFaultsRequest,
    ListInjectedFaultsResponse, SetInjectedFaultRequest, SetInjectedFaultResponse,
};
use tonic::{Request, Response, Status};

use super::{Admin, count, page_of};
use crate::client::{Action, Active, InjectedFault, InjectedFaultError};
use crate::fault::{Fault, code_name};
use crate::identity::principal;
use crate::value::{Page, PageSize};

const COLLECTION: &str = "injectedFaults/";

/// A fault that nobody said an end of.
const TTL: Duration = Duration::from_mins(10);
/// Whoever wants one for longer says so again.
const TTL_LIMIT: Duration = Duration::from_hours(24);

#[tonic::async_trait]
impl InjectedFaultService for Admin {
    async fn list_injected_faults(
        &self,
        request: Request<ListInjectedFaultsRequest>,
    ) -> Result<Response<ListInjectedFaultsResponse>, Status> {
        let ListInjectedFaultsRequest { page_size, page_token } = request.into_inner();
        let page = Page::parse(PageSize::STANDARD, page_size, &page_token, &["injectedFaults", self.0.service])?;
        let (found, next_page_token) = page_of(&page, self.0.calls.injector().list());
        let injected_faults = found.iter().map(|active| to_wire(active)).collect();
        Ok(Response::new(ListInjectedFaultsResponse { injected_faults, next_page_token }))
    }

    async fn set_injected_fault(
        &self,
        request: Request<SetInjectedFaultRequest>,
    ) -> Result<Response<SetInjectedFaultResponse>, Status> {
        let operator = principal(&request)?;
        let wire = request.into_inner().injected_fault.unwrap_or_default();
        let ttl = ttl_of(&wire)?;
        let fault = from_wire(wire).map_err(|error| invalid("injected_fault", &error.to_string()))?;
        if !self.0.calls.knows(&fault.callee) {
            return Err(Fault::not_found("CALLEE_NOT_FOUND", "callee", fault.callee).into());
        }
        tracing::warn!(%operator, %fault, ttl_s = ttl.as_secs(), "an operator injects a fault into calls");
        let active = self.0.calls.injector().set(fault, ttl);
        Ok(Response::new(SetInjectedFaultResponse { injected_fault: Some(to_wire(&active)) }))
    }

    async fn delete_injected_fault(
        &self,
        request: Request<DeleteInjectedFaultRequest>,
    ) -> Result<Response<DeleteInjectedFaultResponse>, Status> {
        let operator = principal(&request)?;
        let name = request.into_inner().name;
        let removed = name.strip_prefix(COLLECTION).and_then(|id| self.0.calls.injector().remove(id));
        let removed = removed
            .ok_or_else(|| Fault::not_found("INJECTED_FAULT_NOT_FOUND", "holdfast.dev/InjectedFault", name.as_str()))?;
        tracing::warn!(%operator, fault = %removed.fault, "an operator ends a fault");
        Ok(Response::new(DeleteInjectedFaultResponse { injected_fault: Some(to_wire(&removed)) }))
    }
}

fn invalid(field: &str, description: &str) -> Fault {
    Fault::invalid(field, "INJECTED_FAULT_INVALID", description)
}

fn ttl_of(wire: &Wire) -> Result<Duration, Fault> {
    let Some(ttl) = wire.ttl else { return Ok(TTL) };
    let ttl = Duration::try_from(ttl).ok().filter(|ttl| !ttl.is_zero());
    ttl.map(|ttl| ttl.min(TTL_LIMIT)).ok_or_else(|| invalid("injected_fault.ttl", "must be more than nothing"))
}

fn from_wire(wire: Wire) -> Result<InjectedFault, InjectedFaultError> {
    let time = |time: Option<prost_types::Duration>| {
        time.map_or(Ok(Duration::ZERO), Duration::try_from).map_err(|_| InjectedFaultError::Action)
    };
    let action = match wire.kind() {
        Kind::Delay => Action::delay(time(wire.min_delay)?, time(wire.max_delay)?)?,
        Kind::Abort => Action::abort(&wire.code)?,
        Kind::Hang => Action::Hang,
        Kind::Unspecified => return Err(InjectedFaultError::Action),
    };
    Ok(InjectedFault {
        callee: wire.callee,
        method: Some(wire.method).filter(|method| !method.is_empty()),
        action,
        permille: u32::try_from(wire.permille).map_err(|_| InjectedFaultError::Share)?,
        seed: wire.seed.cast_unsigned(),
    })
}

fn to_wire(active: &Active) -> Wire {
    let InjectedFault { callee, method, action, permille, seed } = &active.fault;
    let (calls, injected) = active.counts();
    let time = |time: Duration| prost_types::Duration::try_from(time).ok();
    let (kind, code, min_delay, max_delay) = match *action {
        Action::Delay(from, to) => (Kind::Delay, "", time(from), time(to)),
        Action::Abort(code) => (Kind::Abort, code_name(code), None, None),
        Action::Hang => (Kind::Hang, "", None, None),
    };
    Wire {
        name: format!("{COLLECTION}{}", active.fault.id()),
        callee: callee.clone(),
        method: method.clone().unwrap_or_default(),
        kind: kind.into(),
        code: code.to_owned(),
        min_delay,
        max_delay,
        permille: i32::try_from(*permille).unwrap_or(i32::MAX),
        seed: seed.cast_signed(),
        ttl: None,
        expire_time: active.expires.map(|(_, time)| time.into()),
        call_count: count(calls),
        injected_count: count(injected),
    }
}
