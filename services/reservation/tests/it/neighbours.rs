//! Listing and payment as a test wants them, on real ports and behind the contract's rules: what they answer, and when, is
//! part of each sequence under test. What the real ones do is tested in their own crates and, with this one, in `create`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use mesh::{
    fault::Fault,
    server::{Routes, ServerSpec},
    store::Id,
    testing::{Running, TestMesh},
};
use proto::{
    google::r#type::Money,
    listing::v1::{
        Hold, PlaceHoldRequest, PlaceHoldResponse, ReleaseHoldRequest, ReleaseHoldResponse, ReservationPolicy,
        hold_service_server::{self, HoldService, HoldServiceServer},
        listing::Kind,
    },
    payment::v1::{
        ChargePaymentRequest, ChargePaymentResponse, Payment, RefundPaymentRequest, RefundPaymentResponse,
        RegisterPaymentRequest, RegisterPaymentResponse,
        charge_service_server::{self, ChargeService, ChargeServiceServer},
        payment::State,
    },
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// A method the provider declines, whatever else it does.
pub(crate) const DECLINED: &str = "pm_declined";
/// A method the provider does not know.
pub(crate) const UNKNOWN: &str = "pm_unknown";

/// What payment does with a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Takes,
    /// Answers UNAVAILABLE, and takes nothing.
    Away,
    /// Takes the money, and the answer is lost.
    TakesSilently,
    /// Insists on miles, and there are none: it undoes itself.
    FindsNoMiles,
    /// Waits until its mood changes.
    Thinks,
}

/// Both of them.
#[derive(Clone)]
pub(crate) struct Neighbours {
    mood: Arc<watch::Sender<Mood>>,
    state: Arc<Mutex<Books>>,
}

#[derive(Default)]
pub(crate) struct Books {
    pub(crate) policy: ReservationPolicy,
    pub(crate) price: i64,
    pub(crate) refunds_work: bool,
    /// By reservation, whether the place is taken; released ones stay.
    pub(crate) holds: HashMap<String, bool>,
    /// By reservation.
    pub(crate) payments: HashMap<String, Payment>,
    /// Reservation, attempt and method of each charge that arrived.
    pub(crate) charges: Vec<(String, i32, String)>,
}

impl Neighbours {
    /// Offering at this price, in won, under this policy.
    pub(crate) fn offering(price: i64, policy: ReservationPolicy) -> Self {
        let books = Books { policy, price, refunds_work: true, ..Books::default() };
        Self { mood: Arc::new(watch::Sender::new(Mood::Takes)), state: Arc::new(Mutex::new(books)) }
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.state.lock().expect("nobody panics with it")
    }

    pub(crate) fn payment_is(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Whether the place is taken.
    pub(crate) fn is_held(&self, reservation: &str) -> bool {
        self.books().holds.get(reservation).copied().unwrap_or_default()
    }

    /// How many places are taken.
    pub(crate) fn held(&self) -> usize {
        self.books().holds.values().filter(|held| **held).count()
    }

    pub(crate) fn payment(&self, reservation: &str) -> Option<State> {
        self.books().payments.get(reservation).map(Payment::state)
    }

    /// Attempts and methods of the charges for a reservation.
    pub(crate) fn charges(&self, reservation: &str) -> Vec<(i32, String)> {
        let books = self.books();
        let of = books.charges.iter().filter(|(of, ..)| of == reservation);
        of.map(|(_, attempt, method)| (*attempt, method.clone())).collect()
    }

    pub(crate) async fn serve_listing(&self, mesh: &TestMesh) -> Running {
        let routes = Routes::default().add_service(HoldServiceServer::new(self.clone()));
        serve(mesh, "listing", &[hold_service_server::SERVICE_NAME], routes).await
    }

    pub(crate) async fn serve_payment(&self, mesh: &TestMesh) -> Running {
        let routes = Routes::default().add_service(ChargeServiceServer::new(self.clone()));
        serve(mesh, "payment", &[charge_service_server::SERVICE_NAME], routes).await
    }
}

async fn serve(mesh: &TestMesh, name: &'static str, services: &'static [&'static str], routes: Routes) -> Running {
    let verifier = mesh.node().identity.verifier(name);
    let serve = |listener, shutdown| async move {
        let spec = ServerSpec::new(name, services, verifier);
        Ok(mesh::server::serve(spec, listener, routes, shutdown).await?)
    };
    Running::start(serve).await
}

#[tonic::async_trait]
impl HoldService for Neighbours {
    async fn place_hold(&self, request: Request<PlaceHoldRequest>) -> Result<Response<PlaceHoldResponse>, Status> {
        let request = request.into_inner();
        let mut books = self.books();
        if books.holds.get(&request.reservation) == Some(&false) {
            return Err(Fault::precondition("HOLD_RELEASED", "STATE", request.reservation, "given back").into());
        }
        books.holds.insert(request.reservation.clone(), true);
        Ok(Response::new(PlaceHoldResponse {
            hold: Some(Hold { reservation: request.reservation, ..Hold::default() }),
            total: Some(Money { currency_code: "KRW".to_owned(), units: books.price, nanos: 0 }),
            policy: Some(books.policy.clone()),
            host: "users/hana".to_owned(),
            listing_display_name: "Loft".to_owned(),
            listing_kind: Kind::Resort.into(),
            listing_region: "Jeju".to_owned(),
            host_language_code: "ko".to_owned(),
        }))
    }

    async fn release_hold(
        &self,
        request: Request<ReleaseHoldRequest>,
    ) -> Result<Response<ReleaseHoldResponse>, Status> {
        self.books().holds.insert(request.into_inner().reservation, false);
        Ok(Response::new(ReleaseHoldResponse { hold: None }))
    }
}

fn away() -> Status {
    Fault::unavailable("PROVIDER_UNAVAILABLE", "the provider does not answer", Duration::from_secs(1)).into()
}

fn new_payment(reservation: &str) -> Payment {
    Payment {
        name: format!("payments/{}", Id::generate()),
        reservation: reservation.to_owned(),
        state: State::Waiting.into(),
        ..Payment::default()
    }
}

#[tonic::async_trait]
impl ChargeService for Neighbours {
    async fn register_payment(
        &self,
        request: Request<RegisterPaymentRequest>,
    ) -> Result<Response<RegisterPaymentResponse>, Status> {
        let reservation = request.into_inner().reservation;
        if *self.mood.borrow() == Mood::Away {
            return Err(away());
        }
        let payment =
            self.books().payments.entry(reservation.clone()).or_insert_with(|| new_payment(&reservation)).clone();
        Ok(Response::new(RegisterPaymentResponse { payment: Some(payment) }))
    }

    async fn charge_payment(
        &self,
        request: Request<ChargePaymentRequest>,
    ) -> Result<Response<ChargePaymentResponse>, Status> {
        let request = request.into_inner();
        let (reservation, method) = (request.reservation, request.payment_method);
        self.books().charges.push((reservation.clone(), request.attempt, method.clone()));
        let mut moods = self.mood.subscribe();
        let mood = *moods.wait_for(|mood| *mood != Mood::Thinks).await.expect("the sender lives");
        if mood == Mood::Away {
            return Err(away());
        }
        let mut books = self.books();
        let payment = books.payments.entry(reservation.clone()).or_insert_with(|| new_payment(&reservation));
        match payment.state() {
            State::Cancelled => {
                return Err(Fault::precondition("PAYMENT_CANCELLED", "STATE", reservation, "undone").into());
            }
            _ if mood == Mood::FindsNoMiles => {
                payment.set_state(State::Cancelled);
                let after = Duration::from_secs(1);
                return Err(Fault::unavailable("MILEAGE_UNAVAILABLE", "no miles", after).into());
            }
            State::Approved => {}
            State::Declined if request.attempt <= payment.attempt => return Err(declined(&reservation)),
            _ => {
                payment.attempt = request.attempt;
                match method.as_str() {
                    DECLINED => {
                        payment.set_state(State::Declined);
                        return Err(declined(&reservation));
                    }
                    UNKNOWN => return Err(Fault::invalid("payment_method", "PAYMENT_METHOD_UNKNOWN", "unknown").into()),
                    _ => {
                        payment.provider_reference = format!("ch_{}", request.attempt);
                        payment.set_state(State::Approved);
                    }
                }
            }
        }
        if mood == Mood::TakesSilently {
            return Err(away());
        }
        Ok(Response::new(ChargePaymentResponse { payment: Some(payment.clone()) }))
    }

    async fn refund_payment(
        &self,
        request: Request<RefundPaymentRequest>,
    ) -> Result<Response<RefundPaymentResponse>, Status> {
        let reservation = request.into_inner().reservation;
        let mut books = self.books();
        if !books.refunds_work {
            return Err(away());
        }
        // Without a payment this one is the mark that refuses a later charge.
        let known = books.payments.contains_key(&reservation);
        let payment = books.payments.entry(reservation.clone()).or_insert_with(|| new_payment(&reservation));
        payment.set_state(State::Cancelled);
        Ok(Response::new(RefundPaymentResponse { payment: known.then(|| payment.clone()) }))
    }
}

fn declined(reservation: &str) -> Status {
    let fault = Fault::precondition("PAYMENT_DECLINED", "PAYMENT", reservation, "declined");
    fault.with("decline_code", "insufficient_funds".to_owned()).into()
}
