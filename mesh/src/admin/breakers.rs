//! The breakers before the services that this one calls: listed, and decided for.

use proto::mesh::v1::breaker_service_server::BreakerService;
use proto::mesh::v1::{
    Breaker, BreakerMode, ListBreakersRequest, ListBreakersResponse, OverrideBreakerRequest, OverrideBreakerResponse,
    breaker,
};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{Admin, count, page_of};
use crate::client::{BreakerState, Cause, Mode, Phase, Snapshot};
use crate::fault::Fault;
use crate::identity::principal;
use crate::store::Micros;
use crate::value::{Page, PageSize};

#[tonic::async_trait]
impl BreakerService for Admin {
    async fn list_breakers(
        &self,
        request: Request<ListBreakersRequest>,
    ) -> Result<Response<ListBreakersResponse>, Status> {
        let ListBreakersRequest { page_size, page_token, callee } = request.into_inner();
        let query = ["breakers", self.0.service, &callee];
        let page = Page::parse(PageSize::STANDARD, page_size, &page_token, &query)?;
        let wanted = |breaker: &BreakerState| callee.is_empty() || breaker.callee == callee;
        let all = self.0.calls.breakers().into_iter().filter(wanted).collect();
        let (found, next_page_token) = page_of(&page, all);
        Ok(Response::new(ListBreakersResponse { breakers: found.iter().map(to_wire).collect(), next_page_token }))
    }

    async fn override_breaker(
        &self,
        request: Request<OverrideBreakerRequest>,
    ) -> Result<Response<OverrideBreakerResponse>, Status> {
        let operator = principal(&request)?;
        let request = request.into_inner();
        let mode = match request.mode() {
            BreakerMode::Open => Mode::Open,
            BreakerMode::Disabled => Mode::Disabled,
            BreakerMode::Auto | BreakerMode::Unspecified => Mode::Auto,
        };
        let name = request.name;
        let state = parse(&name).and_then(|(callee, method)| self.0.calls.override_breaker(callee, &method, mode));
        let state =
            state.ok_or_else(|| Fault::not_found("BREAKER_NOT_FOUND", "holdfast.dev/Breaker", name.as_str()))?;
        tracing::warn!(%operator, breaker = name, ?mode, "an operator decides for a breaker");
        Ok(Response::new(OverrideBreakerResponse { breaker: Some(to_wire(&state)) }))
    }
}

/// The callee, and the method with its slash.
fn parse(name: &str) -> Option<(&str, String)> {
    let (callee, id) = name.strip_prefix("callees/")?.split_once("/breakers/")?;
    let (service, method) = id.rsplit_once('.')?;
    Some((callee, format!("{service}/{method}")))
}

fn to_wire(state: &BreakerState) -> Breaker {
    let BreakerState { callee, method, snapshot, rejected } = *state;
    let Snapshot { phase, cause, since, totals, next_probe } = snapshot;
    let (now, time) = (Instant::now(), Micros::now());
    let moment = |at: Instant| match at.checked_duration_since(now) {
        Some(left) => time.plus(left),
        None => time.minus(now.saturating_duration_since(at)),
    };
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    Breaker {
        name: format!("callees/{callee}/breakers/{}", method.replace('/', ".")),
        callee: callee.to_owned(),
        method: method.to_owned(),
        state: state_of(phase).into(),
        reason: cause.map_or(breaker::Reason::Unspecified, reason_of).into(),
        state_time: Some(moment(since).into()),
        call_count: number(totals.calls),
        failure_count: number(totals.failed),
        slow_count: number(totals.slow),
        rejection_count: count(rejected),
        next_probe_time: next_probe.map(|at| moment(at).into()),
    }
}

fn state_of(phase: Phase) -> breaker::State {
    match phase {
        Phase::Closed => breaker::State::Closed,
        Phase::HalfOpen => breaker::State::HalfOpen,
        Phase::Open => breaker::State::Open,
        Phase::ForcedOpen => breaker::State::ForcedOpen,
        Phase::Disabled => breaker::State::Disabled,
    }
}

fn reason_of(cause: Cause) -> breaker::Reason {
    match cause {
        Cause::FailureRate => breaker::Reason::FailureRate,
        Cause::SlowRate => breaker::Reason::SlowRate,
        Cause::Consecutive => breaker::Reason::Consecutive,
        Cause::OpenTime => breaker::Reason::OpenTime,
        Cause::Probe => breaker::Reason::Probe,
        Cause::Operator => breaker::Reason::Operator,
    }
}
