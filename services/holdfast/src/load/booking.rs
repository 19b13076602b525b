//! What one iteration does: a complete CreateReservation of a random stay by one of several customers.

use std::time::Duration;

use anyhow::Result;
use mesh::fault::Fault;
use mesh::store::Micros;
use mesh::value::{Day, Zone};
use proto::contract::Role;
use proto::google::r#type::Money;
use proto::listing::v1::{CreateListingRequest, Listing, Stay, listing};
use proto::reservation::v1::reservation_service_client::ReservationServiceClient;
use proto::reservation::v1::{CreateReservationRequest, Reservation, reservation};
use rand::Rng as _;
use tonic::Request;
use uuid::Uuid;

use super::LoadArgs;
use crate::api::{Authorized, Bearer, Target};
use crate::failure::code_and_reason;
use crate::service::Service;

/// The greatest the contract allows: the place is never what limits.
const CAPACITY: i32 = 100_000;
/// Stays begin within so many days from now.
const HORIZON_DAYS: i32 = 330;
const LONGEST_STAY_NIGHTS: i32 = 3;
/// A caller told to come back later waits as told, but not longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Everything needed to book.
pub(super) struct Bookings {
    listings: Vec<String>,
    first_day: Day,
    deadline: Duration,
    clients: Vec<ReservationServiceClient<Authorized>>,
}

/// What came of one booking.
pub(super) struct Outcome {
    /// Confirmed, or the code and reason of the refusal.
    pub(super) result: Result<(), String>,
    /// What the answer says to wait before the next.
    pub(super) wait: Duration,
}

impl Bookings {
    /// Makes the listings, connects, and signs the customers' tokens.
    pub(super) async fn prepare(target: &Target, args: &LoadArgs) -> Result<Self> {
        let run = Uuid::new_v4().simple().to_string();
        let mut host = target.clients(&format!("load-host-{run}"), Role::Host)?.listing;
        let mut listings = Vec::new();
        for number in 1..=args.listings {
            let request = CreateListingRequest { listing: Some(place(number)), request_id: Uuid::new_v4().to_string() };
            listings.push(host.create_listing(request).await?.into_inner().listing.unwrap_or_default().name);
        }
        let life = Duration::from_secs(args.warmup + args.seconds) + args.deadline + Duration::from_secs(600);
        let customers: Vec<Bearer> = (1..=args.customers)
            .map(|number| target.bearer(&format!("load-{run}-{number}"), Role::Customer, life))
            .collect();
        let clients = clients(target, args.connections, &customers)?;
        let today = Zone::named("Etc/UTC").expect("the zone database has UTC").day_at(Micros::now());
        Ok(Self { listings, first_day: today.plus(2), deadline: args.deadline, clients })
    }

    /// Books once, as the caller of this number.
    pub(super) async fn book(&self, caller: usize) -> Outcome {
        let mut client = self.clients[caller % self.clients.len()].clone();
        let mut request = Request::new(self.request());
        request.set_timeout(self.deadline);
        match client.create_reservation(request).await {
            Ok(answer) => {
                let state = answer.into_inner().reservation.unwrap_or_default().state();
                let result = if state == reservation::State::Confirmed {
                    Ok(())
                } else {
                    Err(format!("OK, but {}", state.as_str_name()))
                };
                Outcome { result, wait: Duration::ZERO }
            }
            Err(status) => {
                let wait = Fault::from_status(&status).retry_delay().unwrap_or_default().min(LONGEST_WAIT);
                Outcome { result: Err(code_and_reason(&status)), wait }
            }
        }
    }

    fn request(&self) -> CreateReservationRequest {
        let mut random = rand::rng();
        let check_in = self.first_day.plus(random.random_range(0..HORIZON_DAYS));
        let check_out = check_in.plus(random.random_range(1..=LONGEST_STAY_NIGHTS));
        let listing = self.listings[random.random_range(0..self.listings.len())].clone();
        let stay = Stay { check_in_date: Some(check_in.into()), check_out_date: Some(check_out.into()) };
        CreateReservationRequest {
            reservation: Some(Reservation {
                listing,
                stay: Some(stay),
                units: 1,
                persons: 2,
                ..Reservation::default()
            }),
            payment_method: "pm_card_visa".to_owned(),
            request_id: Uuid::from_u128(random.random()).to_string(),
            expected_total: None,
        }
    }
}

/// One client for each customer, spread over the connections.
fn clients(
    target: &Target,
    connections: u32,
    customers: &[Bearer],
) -> Result<Vec<ReservationServiceClient<Authorized>>> {
    let channels: Vec<_> = (0..connections).map(|_| target.channel(Service::Reservation)).collect::<Result<_>>()?;
    let count = customers.len().max(channels.len());
    let pair = |index: usize| (channels[index % channels.len()].clone(), customers[index % customers.len()].clone());
    Ok((0..count)
        .map(pair)
        .map(|(channel, customer)| ReservationServiceClient::with_interceptor(channel, customer))
        .collect())
}

fn place(number: u32) -> Listing {
    Listing {
        display_name: format!("Load test {number}"),
        kind: listing::Kind::Room.into(),
        price: Some(Money { currency_code: "KRW".to_owned(), units: 10_000, nanos: 0 }),
        default_capacity: CAPACITY,
        time_zone: "Etc/UTC".to_owned(),
        ..Listing::default()
    }
}
