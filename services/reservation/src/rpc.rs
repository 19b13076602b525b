//! The gRPC side: who may do what to which reservation.

pub(crate) mod convert;
mod faults;
mod sagas;

use mesh::{
    fault::Fault,
    identity::{Principal, principal},
    requests::{self, RequestKey},
    value::{Page, PageSize},
};
use prost::Message;
use proto::{
    contract::Role,
    reservation::v1::{
        ApproveReservationRequest, ApproveReservationResponse, CancelReservationRequest, CancelReservationResponse,
        CompleteReservationRequest, CompleteReservationResponse, CreateReservationRequest, CreateReservationResponse,
        GetReservationRequest, GetReservationResponse, ListReservationsRequest, ListReservationsResponse,
        PayReservationRequest, PayReservationResponse, RejectReservationRequest, RejectReservationResponse,
        Reservation as Wire, reservation_service_server::ReservationService,
    },
};
use tonic::{Request, Response, Status};

use crate::{
    app::{self, App, Command, Verb},
    domain::{PaymentMethod, Reservation},
    store::Whose,
};
use faults::{About, fault};
pub(crate) use sagas::Sagas;

/// Serves `ReservationService`.
pub(crate) struct Rpc(pub(crate) App);

#[tonic::async_trait]
impl ReservationService for Rpc {
    async fn create_reservation(
        &self,
        request: Request<CreateReservationRequest>,
    ) -> Result<Response<CreateReservationResponse>, Status> {
        let customer = subject(&principal(&request)?)?;
        let request = request.into_inner();
        let wish = convert::wish(&request)?;
        let about = About::Listing(wish.listing, wish.slot);
        let body = CreateReservationRequest { request_id: String::new(), ..request.clone() };
        let key = key(&customer, "CreateReservation", &request.request_id, &body);
        let reserved = self.0.create(key, customer, wish).await.map_err(|error| fault(error, &about))?;
        Ok(Response::new(CreateReservationResponse { reservation: Some(reserved) }))
    }

    async fn get_reservation(
        &self,
        request: Request<GetReservationRequest>,
    ) -> Result<Response<GetReservationResponse>, Status> {
        let caller = principal(&request)?;
        let id = convert::reservation_id(&request.get_ref().name)?;
        let found = self.0.find(id, |reservation| may_see(&caller, reservation)).await;
        let reservation = found.map_err(|error| fault(error, &About::Reservation(id)))?;
        Ok(Response::new(GetReservationResponse { reservation: Some(convert::to_wire(&reservation)) }))
    }

    async fn list_reservations(
        &self,
        request: Request<ListReservationsRequest>,
    ) -> Result<Response<ListReservationsResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.into_inner();
        let whose = whose(&caller)?;
        let (kind, subject) = match &whose {
            Whose::Customer(subject) => ("customer", subject.as_str()),
            Whose::Host(subject) => ("host", subject.as_str()),
            Whose::Everyone => ("everyone", ""),
        };
        let query = ["reservations", kind, subject];
        let page = Page::parse(PageSize::STANDARD, request.page_size, &request.page_token, &query)?;
        let mut reservations = self.0.list(whose, page).await.map_err(|error| fault(error, &About::List))?;
        let next_page_token = page.cut(&mut reservations, |reservation| reservation.id);
        let reservations = reservations.iter().map(convert::to_wire).collect();
        Ok(Response::new(ListReservationsResponse { reservations, next_page_token }))
    }

    async fn approve_reservation(
        &self,
        request: Request<ApproveReservationRequest>,
    ) -> Result<Response<ApproveReservationResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.into_inner();
        let body = ApproveReservationRequest { request_id: String::new(), ..request.clone() };
        let command = command(&caller, "ApproveReservation", &request.request_id, &body)?;
        let reservation = self.run(command, &request.name, request.etag, Verb::Approve).await?;
        Ok(Response::new(ApproveReservationResponse { reservation: Some(reservation) }))
    }

    async fn reject_reservation(
        &self,
        request: Request<RejectReservationRequest>,
    ) -> Result<Response<RejectReservationResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.into_inner();
        let body = RejectReservationRequest { request_id: String::new(), ..request.clone() };
        let command = command(&caller, "RejectReservation", &request.request_id, &body)?;
        let reservation = self.run(command, &request.name, request.etag, Verb::Reject(request.reason)).await?;
        Ok(Response::new(RejectReservationResponse { reservation: Some(reservation) }))
    }

    async fn pay_reservation(
        &self,
        request: Request<PayReservationRequest>,
    ) -> Result<Response<PayReservationResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.into_inner();
        let body = PayReservationRequest { request_id: String::new(), ..request.clone() };
        let command = command(&caller, "PayReservation", &request.request_id, &body)?;
        let pay = Verb::Pay(PaymentMethod(request.payment_method));
        let reservation = self.run(command, &request.name, request.etag, pay).await?;
        Ok(Response::new(PayReservationResponse { reservation: Some(reservation) }))
    }

    async fn complete_reservation(
        &self,
        request: Request<CompleteReservationRequest>,
    ) -> Result<Response<CompleteReservationResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.into_inner();
        let body = CompleteReservationRequest { request_id: String::new(), ..request.clone() };
        let command = command(&caller, "CompleteReservation", &request.request_id, &body)?;
        let reservation = self.run(command, &request.name, request.etag, Verb::Complete).await?;
        Ok(Response::new(CompleteReservationResponse { reservation: Some(reservation) }))
    }

    async fn cancel_reservation(
        &self,
        request: Request<CancelReservationRequest>,
    ) -> Result<Response<CancelReservationResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.into_inner();
        let body = CancelReservationRequest { request_id: String::new(), ..request.clone() };
        let command = command(&caller, "CancelReservation", &request.request_id, &body)?;
        let reservation = self.run(command, &request.name, request.etag, Verb::Cancel).await?;
        Ok(Response::new(CancelReservationResponse { reservation: Some(reservation) }))
    }
}

impl Rpc {
    async fn run(
        &self,
        (request, caller): (app::Request, String),
        name: &str,
        etag: String,
        verb: Verb,
    ) -> Result<Wire, Fault> {
        let id = convert::reservation_id(name)?;
        let command = Command { request, caller, id, etag, verb };
        self.0.command(command).await.map_err(|error| fault(error, &About::Reservation(id)))
    }
}

fn command(
    caller: &Principal,
    method: &str,
    request_id: &str,
    body: &impl Message,
) -> Result<(app::Request, String), Fault> {
    let subject = subject(caller)?;
    Ok((key(&subject, method, request_id, body), subject))
}

fn subject(caller: &Principal) -> Result<String, Fault> {
    let subject = caller.user_id().map(str::to_owned);
    subject.ok_or_else(|| Fault::denied("NOT_ALLOWED", "only a user may do this"))
}

fn whose(caller: &Principal) -> Result<Whose, Fault> {
    let subject = subject(caller)?;
    Ok(if caller.has_role(Role::Operator) {
        Whose::Everyone
    } else if caller.has_role(Role::Customer) {
        Whose::Customer(subject)
    } else {
        Whose::Host(subject)
    })
}

fn may_see(caller: &Principal, reservation: &Reservation) -> bool {
    let is = |subject: Option<&str>| subject.is_some() && caller.user_id() == subject;
    caller.has_role(Role::Operator)
        || (caller.has_role(Role::Customer) && is(Some(&reservation.customer)))
        || (caller.has_role(Role::Host) && is(reservation.host()))
}

fn key(subject: &str, method: &str, request_id: &str, body: &impl Message) -> app::Request {
    // One UUID has one spelling here, however the caller wrote it.
    let key = RequestKey::new(subject, method, &request_id.to_ascii_lowercase());
    app::Request { key, fingerprint: requests::fingerprint(&body.encode_to_vec()) }
}
