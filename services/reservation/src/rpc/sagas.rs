//! Sagas on the wire, for operators.

use mesh::{
    fault::Fault,
    identity::principal,
    store::{Id, Micros},
    value::{Page, PageSize, format_name, format_user, id_of},
};
use proto::reservation::v1::{
    self as wire, AbandonSagaRequest, AbandonSagaResponse, GetSagaRequest, GetSagaResponse, ListSagasRequest,
    ListSagasResponse, RetrySagaRequest, RetrySagaResponse, saga, saga_service_server::SagaService,
};
use tonic::{Request, Response, Status};

use super::{convert, faults::saga_fault, subject};
use crate::{
    app::{App, SeenSaga},
    domain::Failure,
    store::sagas::{Standing, Step},
};

/// Serves `SagaService`.
pub(crate) struct Sagas(pub(crate) App);

#[tonic::async_trait]
impl SagaService for Sagas {
    async fn list_sagas(&self, request: Request<ListSagasRequest>) -> Result<Response<ListSagasResponse>, Status> {
        let request = request.into_inner();
        let standings: Vec<Standing> = Standing::ALL
            .into_iter()
            .filter(|standing| request.states.is_empty() || request.states.contains(&i32::from(state(*standing))))
            .collect();
        let query = ["sagas", &format!("{standings:?}")];
        let page = Page::parse(PageSize::STANDARD, request.page_size, &request.page_token, &query)?;
        let none = Id::from_bytes([0; 16]);
        let mut found = self.0.sagas(standings, page).await.map_err(|error| saga_fault(error, none))?;
        let next_page_token = page.cut(&mut found, |seen| seen.saga.reservation);
        Ok(Response::new(ListSagasResponse { sagas: found.iter().map(to_wire).collect(), next_page_token }))
    }

    async fn get_saga(&self, request: Request<GetSagaRequest>) -> Result<Response<GetSagaResponse>, Status> {
        let id = saga_id(&request.into_inner().name)?;
        let seen = self.0.saga(id).await.map_err(|error| saga_fault(error, id))?;
        Ok(Response::new(GetSagaResponse { saga: Some(to_wire(&seen)) }))
    }

    async fn retry_saga(&self, request: Request<RetrySagaRequest>) -> Result<Response<RetrySagaResponse>, Status> {
        let operator = subject(&principal(&request)?)?;
        let id = saga_id(&request.into_inner().name)?;
        tracing::info!(operator, saga = %id, "an operator has a saga taken up");
        let seen = self.0.retry_saga(id).await.map_err(|error| saga_fault(error, id))?;
        Ok(Response::new(RetrySagaResponse { saga: Some(to_wire(&seen)) }))
    }

    async fn abandon_saga(
        &self,
        request: Request<AbandonSagaRequest>,
    ) -> Result<Response<AbandonSagaResponse>, Status> {
        let operator = subject(&principal(&request)?)?;
        let AbandonSagaRequest { name, reason, give_up } = request.into_inner();
        let id = saga_id(&name)?;
        tracing::info!(operator, saga = %id, reason, give_up, "an operator abandons a saga");
        let abandoned = self.0.abandon_saga(id, &operator, &reason, give_up).await;
        let seen = abandoned.map_err(|error| saga_fault(error, id))?;
        Ok(Response::new(AbandonSagaResponse { saga: Some(to_wire(&seen)) }))
    }
}

fn saga_id(name: &str) -> Result<Id, Fault> {
    id_of("sagas", name).ok_or_else(|| Fault::invalid("name", "NAME_MALFORMED", "must be sagas/{saga}"))
}

fn state(standing: Standing) -> saga::State {
    match standing {
        Standing::Forward => saga::State::Forward,
        Standing::Waiting => saga::State::Waiting,
        Standing::Undoing => saga::State::Undoing,
        Standing::Abandoned => saga::State::Abandoned,
    }
}

fn step(step: Step) -> saga::Step {
    match step {
        Step::Book => saga::Step::Book,
        Step::Wait => saga::Step::Wait,
        Step::Approve => saga::Step::Approve,
        Step::Pay => saga::Step::Pay,
        Step::Retry => saga::Step::Retry,
    }
}

fn to_wire(seen: &SeenSaga) -> wire::Saga {
    let SeenSaga { saga, reservation } = seen;
    let abandoned = saga.abandoned.as_ref();
    wire::Saga {
        name: format_name("sagas", saga.reservation),
        reservation: format_name("reservations", saga.reservation),
        reservation_state: convert::to_wire(reservation).state,
        state: state(saga.standing()).into(),
        step: step(saga.step).into(),
        failure: saga.failure.as_ref().map(Failure::reason).unwrap_or_default().to_owned(),
        last_error: saga.last_error.clone().unwrap_or_default(),
        takeover_count: saga.takeovers,
        charge_attempt: saga.charge_attempt,
        step_time: Some(saga.began_at.into()),
        // Whoever comes first may take it up.
        lease_expire_time: Some(saga.lease_until).filter(|until| *until > Micros(0)).map(Into::into),
        abandon_time: abandoned.map(|abandoned| abandoned.at.into()),
        abandoned_by: abandoned.map(|abandoned| format_user(&abandoned.by)).unwrap_or_default(),
        abandon_reason: abandoned.map(|abandoned| abandoned.reason.clone()).unwrap_or_default(),
        outstanding: Some(outstanding(seen)),
    }
}

fn outstanding(seen: &SeenSaga) -> wire::Outstanding {
    let taken = seen.outstanding();
    wire::Outstanding {
        hold: taken.hold,
        listing: format_name("listings", seen.reservation.listing),
        charge: taken.charge,
        customer: format_user(&seen.reservation.customer),
        amount: taken.amount.map(Into::into),
        payment: seen.reservation.payment.map(|id| format_name("payments", id)).unwrap_or_default(),
    }
}
