//! What one iteration does: everything a business needs to have a random slot confirmed for one of several customers.

use std::time::Duration;

use anyhow::Result;
use mesh::fault::Fault;
use mesh::value::Day;
use proto::contract::Role;
use proto::listing::v1::{CreateListingRequest, Listing};
use proto::reservation::v1::reservation_service_client::ReservationServiceClient;
use proto::reservation::v1::{
    ApproveReservationRequest, CreateReservationRequest, PayReservationRequest, Reservation, reservation,
};
use rand::Rng as _;
use tonic::{Request, Status};
use uuid::Uuid;

use super::LoadArgs;
use crate::api::{Authorized, Bearer, Target};
use crate::business::{Business, GOOD_CARD, days_ahead};
use crate::failure::code_and_reason;
use crate::service::Service;

/// The greatest the contract allows: the place is never what limits.
const CAPACITY: i32 = 100_000;
/// Slots begin within so many days from now.
const HORIZON_DAYS: i32 = 330;
const LONGEST_STAY_NIGHTS: i32 = 3;
/// A caller told to come back later waits as told, but not longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Everything needed to book.
pub(super) struct Bookings {
    business: Business,
    listings: Vec<String>,
    first_day: Day,
    deadline: Duration,
    customers: Vec<ReservationServiceClient<Authorized>>,
    /// The one host, on every connection.
    hosts: Vec<ReservationServiceClient<Authorized>>,
}

/// What came of one iteration.
pub(super) struct Outcome {
    /// Confirmed, or the code and reason of the refusal.
    pub(super) result: Result<(), String>,
    /// What the answer says to wait before the next.
    pub(super) wait: Duration,
}

impl Bookings {
    /// Makes the listings, connects, and signs the tokens.
    pub(super) async fn prepare(target: &Target, args: &LoadArgs) -> Result<Self> {
        let run = Uuid::new_v4().simple().to_string();
        let host = format!("load-host-{run}");
        let mut client = target.clients(&host, Role::Host)?.listing;
        let mut listings = Vec::new();
        for number in 1..=args.listings {
            let place = Listing { display_name: format!("Load test {number}"), ..args.policy.listing(CAPACITY) };
            let request = CreateListingRequest { listing: Some(place), request_id: Uuid::new_v4().to_string() };
            listings.push(client.create_listing(request).await?.into_inner().listing.unwrap_or_default().name);
        }
        let life = Duration::from_secs(args.warmup + args.seconds) + args.deadline + Duration::from_secs(600);
        let customers: Vec<Bearer> = (1..=args.customers)
            .map(|number| target.bearer(&format!("load-{run}-{number}"), Role::Customer, life))
            .collect();
        Ok(Self {
            business: args.policy,
            listings,
            first_day: days_ahead(2),
            deadline: args.deadline,
            customers: clients(target, args.connections, &customers)?,
            hosts: clients(target, args.connections, &[target.bearer(&host, Role::Host, life)])?,
        })
    }

    /// The calls of one iteration, one after the other.
    pub(super) const fn calls(&self) -> &'static str {
        match self.business {
            Business::Airbnb | Business::Screening => "CreateReservation",
            Business::Approval | Business::Taxi => "CreateReservation + ApproveReservation",
            Business::Resort => "CreateReservation + PayReservation",
        }
    }

    /// Has one slot confirmed, as the caller of this number.
    pub(super) async fn book(&self, caller: usize) -> Outcome {
        match self.confirm(caller).await {
            Ok(reservation) if reservation.state() == reservation::State::Confirmed => {
                Outcome { result: Ok(()), wait: Duration::ZERO }
            }
            Ok(reservation) => {
                let result = Err(format!("OK, but {}", reservation.state().as_str_name()));
                Outcome { result, wait: Duration::ZERO }
            }
            Err(status) => {
                let wait = Fault::from_status(&status).retry_delay().unwrap_or_default().min(LONGEST_WAIT);
                Outcome { result: Err(code_and_reason(&status)), wait }
            }
        }
    }

    /// Makes the calls.
    async fn confirm(&self, caller: usize) -> Result<Reservation, Status> {
        let mut customer = self.customers[caller % self.customers.len()].clone();
        let (request, request_id) = self.request();
        let made = customer.create_reservation(self.within(request)).await?.into_inner().reservation;
        let (name, etag) = (made.as_ref().map(|made| made.name.clone()).unwrap_or_default(), String::new());
        let answered = match self.business {
            Business::Airbnb | Business::Screening => made,
            Business::Approval | Business::Taxi => {
                let mut host = self.hosts[caller % self.hosts.len()].clone();
                let approve = ApproveReservationRequest { name, request_id, etag };
                host.approve_reservation(self.within(approve)).await?.into_inner().reservation
            }
            Business::Resort => {
                let payment_method = GOOD_CARD.to_owned();
                let pay = PayReservationRequest { name, request_id, etag, payment_method };
                customer.pay_reservation(self.within(pay)).await?.into_inner().reservation
            }
        };
        Ok(answered.unwrap_or_default())
    }

    fn within<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.deadline);
        request
    }

    /// The first call, and the request id of the second.
    fn request(&self) -> (CreateReservationRequest, String) {
        let mut random = rand::rng();
        let first = self.first_day.plus(random.random_range(0..HORIZON_DAYS));
        let slot = self.business.slot(first, random.random_range(1..=LONGEST_STAY_NIGHTS));
        let listing = self.listings[random.random_range(0..self.listings.len())].clone();
        let mut request_id = || Uuid::from_u128(random.random());
        (self.business.request(listing, slot, request_id()), request_id().to_string())
    }
}

/// One client for each of these users, or one for each connection if there are more, spread over the connections.
fn clients(target: &Target, connections: u32, users: &[Bearer]) -> Result<Vec<ReservationServiceClient<Authorized>>> {
    let channels: Vec<_> = (0..connections).map(|_| target.channel(Service::Reservation)).collect::<Result<_>>()?;
    let count = users.len().max(channels.len());
    let pair = |index: usize| (channels[index % channels.len()].clone(), users[index % users.len()].clone());
    Ok((0..count).map(pair).map(|(channel, user)| ReservationServiceClient::with_interceptor(channel, user)).collect())
}
