//! The people: a host who offers, customers who reserve, change their minds and ask again; and what they were told.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use holdfast::business::{Business, days_ahead};
use mesh::client::{self, Address, Channel, Credentials};
use mesh::fault::Fault;
use mesh::simulation::note;
use proto::listing::v1::listing_service_client::ListingServiceClient;
use proto::listing::v1::{CreateListingRequest, DeleteListingRequest, Listing};
use proto::reservation::v1::reservation::State;
use proto::reservation::v1::reservation_service_client::ReservationServiceClient;
use proto::reservation::v1::{
    ApproveReservationRequest, CancelReservationRequest, PayReservationRequest, RejectReservationRequest, Reservation,
};
use tokio::time::sleep;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::plan::{Journey, Offer, Plan, Step};

/// An answer that may be another one later is asked for so often.
const TRIES: u32 = 6;
/// While the system is still being repaired, booking is tried so often.
/// A peer that is gone without a word is noticed after 13 s, and sagas pause for up to 30 s.
const PROBES: u32 = 180;
const PAUSE: Duration = Duration::from_millis(300);

/// Tokens, by subject.
pub(crate) type Tokens = Rc<dyn Fn(&str) -> String>;

/// What people share with whoever watches them.
#[derive(Default)]
pub(crate) struct Watch {
    /// The listings are there.
    pub(crate) opened: Cell<bool>,
    /// Faults are over: what is asked now has to work, soon.
    pub(crate) calm: Cell<bool>,
    pub(crate) told: RefCell<Told>,
}

/// What the customers know.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) requests: Vec<Told1>,
    pub(crate) violations: Vec<String>,
    pub(crate) calls: u64,
    pub(crate) failures: u64,
}

/// About one request to reserve.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told1 {
    pub(crate) customer: String,
    /// The reservation it became.
    pub(crate) name: Option<String>,
    /// It was refused for good.
    pub(crate) refused: bool,
    /// Every state the customer or the host was told by an answer, oldest first.
    pub(crate) states: Vec<State>,
}

/// Opens the listings, lets the customers loose, and in the end books once more.
pub(crate) async fn run(plan: Rc<Plan>, tokens: Tokens, watch: Rc<Watch>) -> turmoil::Result {
    let host = Person::new("hana", &tokens, &watch);
    let mut offers = Vec::new();
    for offer in &plan.offers {
        offers.push(host.offer(&offer.listing).await);
    }
    let spare = host.offer(&Business::Airbnb.listing(1000)).await;
    watch.opened.set(true);
    let offered = Rc::new(offers);
    let customers = plan.customers.iter().enumerate().map(|(number, journeys)| {
        let customer = Person::new(&format!("customer-{number}"), &tokens, &watch);
        let (host, plan, offered) = (&host, &plan, &offered);
        async move {
            let travels = journeys
                .iter()
                .map(|journey| customer.travel(host, journey, &plan.offers[journey.offer], &offered[journey.offer]));
            if plan.at_once {
                join_all(travels).await;
                return;
            }
            for travel in travels {
                travel.await;
            }
        }
    });
    join_all(customers).await;
    while !watch.calm.get() {
        sleep(PAUSE).await;
    }
    Person::new("probe", &tokens, &watch).probe(&spare).await;
    Ok(())
}

struct Person {
    subject: String,
    listings: ListingServiceClient<Channel>,
    reservations: ReservationServiceClient<Channel>,
    watch: Rc<Watch>,
}

/// What an answer means to who asked.
enum Answer {
    Yes(Box<Reservation>),
    /// It will not be another one later.
    No,
    /// Nobody knows.
    Later,
}

impl Person {
    fn new(subject: &str, tokens: &Tokens, watch: &Rc<Watch>) -> Self {
        let token = tokens(subject);
        let channel = |service: &'static str| {
            let address: Address = crate::world::url(service).parse().expect("an address");
            client::connect(service, &address, Credentials::token(&token))
        };
        Self {
            subject: subject.to_owned(),
            listings: ListingServiceClient::new(channel("listing")),
            reservations: ReservationServiceClient::new(channel("reservation")),
            watch: watch.clone(),
        }
    }

    async fn offer(&self, listing: &Listing) -> String {
        let request = CreateListingRequest { listing: Some(listing.clone()), request_id: request_id() };
        loop {
            match self.listings.clone().create_listing(request.clone()).await {
                Ok(answer) => return answer.into_inner().listing.unwrap_or_default().name,
                Err(status) => {
                    assert_eq!(status.code(), Code::Unavailable, "a listing is refused: {status}");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Reserves, and does what is planned then.
    async fn travel(&self, host: &Self, journey: &Journey, offer: &Offer, listing: &str) {
        sleep(journey.pause).await;
        let index = {
            let mut told = self.watch.told.borrow_mut();
            told.requests.push(Told1 { customer: self.subject.clone(), ..Told1::default() });
            told.requests.len() - 1
        };
        let slot = offer.business.slot(days_ahead(journey.day), journey.nights);
        let mut request = offer.business.request(listing.to_owned(), slot, Uuid::new_v4());
        if !request.payment_method.is_empty() {
            journey.card.clone_into(&mut request.payment_method);
        }
        let mut made = None;
        let mut repeats = u32::from(journey.repeats);
        for _ in 0..TRIES {
            let mut asked = Request::new(request.clone());
            if let Some(budget) = journey.budget {
                asked.set_timeout(budget);
            }
            let answer = self.reservations.clone().create_reservation(asked).await;
            match self.hear("create", answer.map(|answer| answer.into_inner().reservation)) {
                Answer::Yes(reservation) => {
                    self.reserved(index, &reservation);
                    made = Some(reservation.name);
                    if repeats == 0 {
                        break;
                    }
                    repeats -= 1;
                }
                Answer::No => {
                    self.watch.told.borrow_mut().requests[index].refused = true;
                    break;
                }
                Answer::Later => {}
            }
            sleep(PAUSE).await;
        }
        let Some(name) = made else { return };
        for step in &journey.then {
            self.step(host, index, &name, listing, *step).await;
        }
    }

    fn reserved(&self, index: usize, reservation: &Reservation) {
        let mut told = self.watch.told.borrow_mut();
        let before = told.requests[index].name.replace(reservation.name.clone());
        if let Some(before) = before.filter(|before| *before != reservation.name) {
            told.violations.push(format!("one request made two reservations: {before} and {}", reservation.name));
        }
        told.requests[index].states.push(reservation.state());
    }

    async fn step(&self, host: &Self, index: usize, name: &str, listing: &str, step: Step) {
        let (name, request_id) = (name.to_owned(), request_id());
        for _ in 0..TRIES {
            let (name, request_id, etag) = (name.clone(), request_id.clone(), String::new());
            let answer = match step {
                Step::Wait(time) => {
                    sleep(time).await;
                    return;
                }
                Step::Withdraw => return host.withdraw(listing).await,
                Step::Approve => {
                    let request = ApproveReservationRequest { name, request_id, etag };
                    let answer = host.reservations.clone().approve_reservation(request).await;
                    host.hear("approve", answer.map(|answer| answer.into_inner().reservation))
                }
                Step::Reject => {
                    let request = RejectReservationRequest { name, request_id, etag, reason: "full".to_owned() };
                    let answer = host.reservations.clone().reject_reservation(request).await;
                    host.hear("reject", answer.map(|answer| answer.into_inner().reservation))
                }
                Step::Pay(card) => {
                    let payment_method = card.to_owned();
                    let request = PayReservationRequest { name, request_id, etag, payment_method };
                    let answer = self.reservations.clone().pay_reservation(request).await;
                    self.hear("pay", answer.map(|answer| answer.into_inner().reservation))
                }
                Step::Cancel => {
                    let request = CancelReservationRequest { name, request_id, etag };
                    let answer = self.reservations.clone().cancel_reservation(request).await;
                    self.hear("cancel", answer.map(|answer| answer.into_inner().reservation))
                }
            };
            match answer {
                Answer::Yes(reservation) => return self.reserved(index, &reservation),
                Answer::No => return,
                Answer::Later => sleep(PAUSE).await,
            }
        }
    }

    async fn withdraw(&self, listing: &str) {
        let request = DeleteListingRequest { name: listing.to_owned(), etag: String::new(), request_id: request_id() };
        let answer = self.listings.clone().delete_listing(request).await;
        note(format_args!("{} withdraws {listing}: {:?}", self.subject, answer.map_err(|status| status.code()).err()));
    }

    /// Books where there is room enough. It may take a while until all is repaired.
    async fn probe(&self, listing: &str) {
        let slot = Business::Airbnb.slot(days_ahead(5), 1);
        let request = Business::Airbnb.request(listing.to_owned(), slot, Uuid::new_v4());
        for _ in 0..PROBES {
            let answer = self.reservations.clone().create_reservation(request.clone()).await;
            if let Answer::Yes(reservation) = self.hear("probe", answer.map(|answer| answer.into_inner().reservation))
                && reservation.state() == State::Confirmed
            {
                return;
            }
            sleep(PAUSE).await;
        }
        self.watch.told.borrow_mut().violations.push("nobody can book long after all faults are over".to_owned());
    }

    fn hear(&self, call: &str, answer: Result<Option<Reservation>, Status>) -> Answer {
        let mut told = self.watch.told.borrow_mut();
        told.calls += 1;
        match answer {
            Ok(Some(reservation)) => {
                note(format_args!("{} {call}: {} {:?}", self.subject, reservation.name, reservation.state()));
                Answer::Yes(Box::new(reservation))
            }
            Ok(None) => {
                told.violations.push(format!("{call} was answered without a reservation"));
                Answer::No
            }
            Err(status) => {
                told.failures += 1;
                let fault = Fault::from_status(&status);
                note(format_args!("{} {call}: {:?} {}", self.subject, status.code(), fault.reason()));
                match status.code() {
                    Code::Unavailable | Code::DeadlineExceeded | Code::Aborted => Answer::Later,
                    Code::InvalidArgument | Code::FailedPrecondition | Code::NotFound | Code::ResourceExhausted => {
                        Answer::No
                    }
                    code => {
                        told.violations.push(format!("{call} was answered {code:?}: {}", status.message()));
                        Answer::No
                    }
                }
            }
        }
    }
}

fn request_id() -> String {
    Uuid::new_v4().to_string()
}
