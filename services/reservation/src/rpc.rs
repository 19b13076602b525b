//! The gRPC side: conversions, ownership, and the one table from errors to answers.

use std::time::Duration;

use mesh::{
    fault::Fault,
    identity::{Principal, principal},
    requests::{self, RequestKey},
    store::{Id, StoreError},
    value::{Day, Money, Page, PageSize, etag, format_name, format_user, id_of, user_of},
};
use prost::Message;
use proto::{
    contract::Role,
    listing::v1::{self as listing, PlaceHoldResponse, ReservationPolicy, reservation_policy},
    reservation::v1::{
        self as wire, CancelReservationRequest, CancelReservationResponse, CreateReservationRequest,
        CreateReservationResponse, GetReservationRequest, GetReservationResponse, ListReservationsRequest,
        ListReservationsResponse, reservation_service_server::ReservationService,
    },
};
use tonic::{Request, Response, Status};

use crate::{
    app::{self, App, Error},
    domain::{Deal, Failure, Mileage, PaymentMethod, Refusal, Reservation, State, Stay, StayError, Trouble, Wish},
    store::Whose,
};

/// Told to callers who should come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Told to callers whose first call is still under way.
const RETRY_REPEAT_AFTER: Duration = Duration::from_millis(200);

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
        let wish = wish(&request)?;
        let (listing, method) = (wish.listing, "CreateReservation");
        let body = CreateReservationRequest { request_id: String::new(), ..request.clone() };
        let key = key(&customer, method, &request.request_id, &body);
        let response =
            self.0.create(key, customer, wish).await.map_err(|error| fault(error, &About::Listing(listing)))?;
        Ok(Response::new(response))
    }

    async fn get_reservation(
        &self,
        request: Request<GetReservationRequest>,
    ) -> Result<Response<GetReservationResponse>, Status> {
        let caller = principal(&request)?;
        let id = reservation_id(&request.get_ref().name)?;
        let found = self.0.find(id, |reservation| may_see(&caller, reservation)).await;
        let reservation = found.map_err(|error| fault(error, &About::Reservation(id)))?;
        Ok(Response::new(GetReservationResponse { reservation: Some(to_wire(&reservation)) }))
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
        let reservations = reservations.iter().map(to_wire).collect();
        Ok(Response::new(ListReservationsResponse { reservations, next_page_token }))
    }

    async fn cancel_reservation(
        &self,
        request: Request<CancelReservationRequest>,
    ) -> Result<Response<CancelReservationResponse>, Status> {
        let customer = subject(&principal(&request)?)?;
        let request = request.into_inner();
        let id = reservation_id(&request.name)?;
        let body = CancelReservationRequest { request_id: String::new(), ..request.clone() };
        let key = key(&customer, "CancelReservation", &request.request_id, &body);
        let cancelled = self.0.cancel(key, &customer, id, &request.etag).await;
        let reservation = cancelled.map_err(|error| fault(error, &About::Reservation(id)))?;
        Ok(Response::new(CancelReservationResponse { reservation: Some(reservation) }))
    }
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
        || (caller.has_role(Role::Host) && is(reservation.deal.as_ref().map(|deal| deal.host.as_str())))
}

fn key(subject: &str, method: &str, request_id: &str, body: &impl Message) -> app::Request {
    // One UUID has one spelling here, however the caller wrote it.
    let key = RequestKey::new(subject, method, &request_id.to_ascii_lowercase());
    app::Request { key, fingerprint: requests::fingerprint(&body.encode_to_vec()) }
}

fn reservation_id(name: &str) -> Result<Id, Fault> {
    id_of("reservations", name)
        .ok_or_else(|| Fault::invalid("name", "NAME_MALFORMED", "must be reservations/{reservation}"))
}

fn wish(request: &CreateReservationRequest) -> Result<Wish, Fault> {
    let asked = request.reservation.as_ref().ok_or_else(|| missing("reservation"))?;
    let listing = id_of("listings", &asked.listing)
        .ok_or_else(|| Fault::invalid("reservation.listing", "NAME_MALFORMED", "must be listings/{listing}"))?;
    let stay = asked.stay.as_ref().ok_or_else(|| missing("reservation.stay"))?;
    let day = |date: Option<&proto::google::r#type::Date>, field: &str| {
        let field = format!("reservation.stay.{field}");
        let date = date.ok_or_else(|| missing(&field))?;
        Day::try_from(date).map_err(|error| Fault::invalid(field, "DATE_INVALID", error.to_string()))
    };
    let check_in = day(stay.check_in_date.as_ref(), "check_in_date")?;
    let check_out = day(stay.check_out_date.as_ref(), "check_out_date")?;
    let stay = Stay::new(check_in, check_out).map_err(|error| {
        let reason = match error {
            StayError::Empty => "STAY_EMPTY",
            StayError::TooLong => "STAY_TOO_LONG",
        };
        Fault::invalid("reservation.stay.check_out_date", reason, error.to_string())
    })?;
    let expected_total = request
        .expected_total
        .as_ref()
        .map(|total| Money::try_from(total).and_then(Money::not_negative))
        .transpose()
        .map_err(|error| Fault::invalid("expected_total", error.reason(), error.to_string()))?;
    Ok(Wish {
        listing,
        stay,
        units: asked.units,
        persons: asked.persons,
        payment_method: PaymentMethod(request.payment_method.clone()),
        expected_total,
    })
}

fn missing(field: &str) -> Fault {
    Fault::invalid(field, "REQUIRED", "must be set")
}

/// A stay as the contract has it.
pub(crate) fn stay(stay: Stay) -> listing::Stay {
    listing::Stay { check_in_date: Some(stay.check_in.into()), check_out_date: Some(stay.check_out.into()) }
}

/// The deal in listing's answer; `None` when it names no price.
pub(crate) fn deal(placed: PlaceHoldResponse) -> Option<Deal> {
    use reservation_policy::Mileage as Wire;
    let total = Money::try_from(placed.total.as_ref()?).ok()?;
    let policy = placed.policy.unwrap_or_default();
    let mileage = match (policy.mileage(), policy.mileage_points) {
        (Wire::Unspecified | Wire::None, _) | (_, ..=0) => Mileage::None,
        (Wire::EarnGraceful, points) => Mileage::Graceful(points),
        (Wire::EarnStrict, points) => Mileage::Strict(points),
    };
    let host = user_of(&placed.host)?.to_owned();
    Some(Deal { total, host, listing_title: placed.listing_display_name, mileage })
}

/// A reservation as the contract has it.
pub(crate) fn to_wire(reservation: &Reservation) -> wire::Reservation {
    use reservation_policy::Mileage as Wire;
    let deal = reservation.deal.as_ref();
    wire::Reservation {
        name: format_name("reservations", reservation.id),
        listing: format_name("listings", reservation.listing),
        stay: Some(stay(reservation.stay)),
        units: reservation.units,
        persons: reservation.persons,
        customer: format_user(&reservation.customer),
        host: deal.map(|deal| format_user(&deal.host)).unwrap_or_default(),
        listing_display_name: deal.map(|deal| deal.listing_title.clone()).unwrap_or_default(),
        state: wire_state(reservation.state).into(),
        total: deal.map(|deal| deal.total.into()),
        payment: reservation.payment.map(|id| format_name("payments", id)).unwrap_or_default(),
        policy: deal.map(|deal| {
            let (mileage, mileage_points) = match deal.mileage {
                Mileage::None => (Wire::None, 0),
                Mileage::Graceful(points) => (Wire::EarnGraceful, points),
                Mileage::Strict(points) => (Wire::EarnStrict, points),
            };
            ReservationPolicy { mileage: mileage.into(), mileage_points }
        }),
        create_time: Some(reservation.created_at.into()),
        update_time: Some(reservation.updated_at.into()),
        etag: etag(reservation.version),
    }
}

fn wire_state(state: State) -> wire::reservation::State {
    match state {
        State::Requested => wire::reservation::State::Requested,
        State::Confirmed => wire::reservation::State::Confirmed,
        State::CancelRequested => wire::reservation::State::CancelRequested,
        State::Cancelled => wire::reservation::State::Cancelled,
        State::Rejected => wire::reservation::State::Rejected,
    }
}

/// What a call was about, for the details of its error.
enum About {
    Listing(Id),
    Reservation(Id),
    List,
}

impl About {
    fn name(&self) -> String {
        match self {
            Self::Listing(id) => format_name("listings", *id),
            Self::Reservation(id) => format_name("reservations", *id),
            Self::List => "reservations".to_owned(),
        }
    }
}

/// The one table from errors to answers.
fn fault(error: Error, about: &About) -> Fault {
    match error {
        Error::Failed(failure) => failed(&failure, about.name()),
        Error::NotFound => Fault::not_found("RESERVATION_NOT_FOUND", "holdfast.dev/Reservation", about.name()),
        Error::NotCancellable(error) => {
            Fault::precondition("RESERVATION_NOT_CANCELLABLE", "STATE", about.name(), error.to_string())
        }
        Error::RequestIdReused => {
            Fault::invalid("request_id", "REQUEST_ID_REUSED", "was used with another request; make a new one")
        }
        Error::InProgress => Fault::aborted("REQUEST_IN_PROGRESS", "the first call with this request id is under way")
            .retry_after(RETRY_REPEAT_AFTER),
        Error::Conflict => Fault::aborted("ETAG_MISMATCH", "somebody else changed it since; read it again"),
        Error::Store(StoreError::Deadline) => Fault::deadline_exceeded("the database was not done in time"),
        Error::Store(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the database did not do its work");
            Fault::unavailable("STORE_UNAVAILABLE", "the service cannot reach its data; try again", RETRY_AFTER)
        }
    }
}

fn failed(failure: &Failure, listing: String) -> Fault {
    let reason = failure.reason();
    let refusal = match failure {
        Failure::ComeBack(Trouble::OutOfTime) => {
            return Fault::deadline_exceeded("the reservation was not confirmed in time; it is being undone")
                .retry_after(RETRY_AFTER);
        }
        Failure::ComeBack(_) => {
            let message = "a service that is needed does not answer; nothing was reserved, try again";
            return Fault::unavailable(reason, message, RETRY_AFTER);
        }
        Failure::Refused(refusal) => refusal,
    };
    match refusal {
        Refusal::ListingNotFound => Fault::not_found(reason, "holdfast.dev/Listing", listing),
        Refusal::ListingDeleted => {
            Fault::precondition(reason, "STATE", listing, "the listing takes no more reservations")
        }
        Refusal::NoAvailability => {
            Fault::precondition(reason, "AVAILABILITY", listing, "too few units are free on some of these nights")
        }
        Refusal::PriceChanged => Fault::precondition(reason, "PRICE", listing, "it costs something else than expected"),
        Refusal::DateInPast => Fault::invalid("reservation.stay.check_in_date", reason, "has passed at the listing"),
        Refusal::CurrencyMismatch => Fault::invalid("expected_total", reason, "is not in the listing's currency"),
        Refusal::PaymentDeclined(code) => {
            Fault::precondition(reason, "PAYMENT", listing, "the payment provider declined the payment")
                .with("decline_code", code.clone())
        }
        Refusal::PaymentMethodUnknown => {
            Fault::invalid("payment_method", reason, "is not known to the payment provider")
        }
        Refusal::Cancelled => Fault::precondition(reason, "STATE", listing, "it was cancelled before it was confirmed"),
    }
}
