//! What the smoke test does: a host offers, a customer books and cancels.

use std::time::Duration;

use anyhow::{Result, ensure};
use mesh::store::Micros;
use mesh::value::{Day, Zone};
use proto::contract::Role;
use proto::google::r#type::Money;
use proto::listing::v1::{
    CreateListingRequest, DeleteListingRequest, Listing, NightAvailability, QueryAvailabilityRequest,
    ReservationPolicy, Stay, listing, reservation_policy,
};
use proto::message::v1::{ListMessagesRequest, Message, message};
use proto::mileage::v1::{GetMileageAccountRequest, ListMileageEntriesRequest};
use proto::payment::v1::{GetPaymentRequest, ListPaymentsRequest, Payment, payment};
use proto::reservation::v1::{
    CancelReservationRequest, CreateReservationRequest, GetReservationRequest, Reservation, reservation,
};
use proto::view::v1::{GetTripRequest, Trip};
use tonic::Code;
use uuid::Uuid;

use super::steps::Steps;
use crate::api::{Clients, Target};
use crate::health;
use crate::service::Service;

const PRICE_UNITS: i64 = 38_000;
const NIGHTS: i32 = 2;
const CAPACITY: i32 = 3;
const MILES: i64 = 7;
const HEALTH_LIMIT: Duration = Duration::from_secs(10);

/// Users made for this run: nothing done before can disturb it.
pub(super) struct Journey {
    host: Clients,
    customer: Clients,
}

/// A place and nights to stay there.
pub(super) struct Offer {
    listing: String,
    stay: Stay,
}

/// A reservation and the request that made it.
pub(super) struct Booked {
    request: CreateReservationRequest,
    reservation: Reservation,
}

impl Journey {
    pub(super) fn new(target: &Target) -> Result<Self> {
        let run = Uuid::new_v4().simple().to_string();
        let host = target.clients(&format!("smoke-host-{run}"), Role::Host)?;
        let customer = target.clients(&format!("smoke-{run}"), Role::Customer)?;
        Ok(Self { host, customer })
    }

    pub(super) async fn health(&self, target: &Target, steps: &mut Steps) -> Result<()> {
        for service in Service::ALL {
            let channel = target.channel(service)?;
            steps
                .step(
                    &format!("{service} is serving at {}", target.url(service)),
                    health::serving(channel, HEALTH_LIMIT),
                )
                .await?;
        }
        Ok(())
    }

    pub(super) async fn offer(&self, steps: &mut Steps) -> Result<Offer> {
        let listing = steps.step("a host registers a listing", self.create_listing()).await?;
        // A month ahead, it is past today in every zone.
        let check_in = Zone::named("Etc/UTC").expect("the zone database has UTC").day_at(Micros::now()).plus(30);
        let stay =
            Stay { check_in_date: Some(check_in.into()), check_out_date: Some(Day::plus(check_in, NIGHTS).into()) };
        let offer = Offer { listing, stay };
        steps.step("every night is free", self.expect_held(&offer, 0)).await?;
        Ok(offer)
    }

    async fn create_listing(&self) -> Result<String> {
        let policy =
            ReservationPolicy { mileage: reservation_policy::Mileage::EarnGraceful.into(), mileage_points: MILES };
        let listing = Listing {
            display_name: "Smoke test".to_owned(),
            kind: listing::Kind::Room.into(),
            price: Some(Money { currency_code: "KRW".to_owned(), units: PRICE_UNITS, nanos: 0 }),
            default_capacity: CAPACITY,
            time_zone: "Asia/Seoul".to_owned(),
            policy: Some(policy),
            ..Listing::default()
        };
        let request = CreateListingRequest { listing: Some(listing), request_id: Uuid::new_v4().to_string() };
        let created = self.host.listing.clone().create_listing(request).await?.into_inner();
        Ok(created.listing.unwrap_or_default().name)
    }

    async fn expect_held(&self, offer: &Offer, held: i32) -> Result<()> {
        let nights = self.nights(offer).await?;
        ensure!(nights.len() == 2, "asked for {NIGHTS} nights, told of {}", nights.len());
        for night in nights {
            let fits = night.capacity == CAPACITY && night.held == held && night.available == CAPACITY - held;
            ensure!(
                fits,
                "a night has capacity {}, held {}, available {}; {held} should be held",
                night.capacity,
                night.held,
                night.available
            );
        }
        Ok(())
    }

    async fn nights(&self, offer: &Offer) -> Result<Vec<NightAvailability>> {
        let request = QueryAvailabilityRequest { name: offer.listing.clone(), nights: Some(offer.stay) };
        Ok(self.customer.listing.clone().query_availability(request).await?.into_inner().nights)
    }

    pub(super) async fn book(&self, offer: &Offer, steps: &mut Steps) -> Result<Booked> {
        let wanted = Reservation {
            listing: offer.listing.clone(),
            stay: Some(offer.stay),
            units: 1,
            persons: 2,
            ..Reservation::default()
        };
        let request = CreateReservationRequest {
            reservation: Some(wanted),
            payment_method: "pm_card_visa".to_owned(),
            request_id: Uuid::new_v4().to_string(),
            expected_total: Some(Money {
                currency_code: "KRW".to_owned(),
                units: PRICE_UNITS * i64::from(NIGHTS),
                nanos: 0,
            }),
        };
        let reservation = steps.step("a customer books two nights and is confirmed", self.create(&request)).await?;
        Ok(Booked { request, reservation })
    }

    async fn create(&self, request: &CreateReservationRequest) -> Result<Reservation> {
        let answer = self.customer.reservation.clone().create_reservation(request.clone()).await?.into_inner();
        let reservation = answer.reservation.unwrap_or_default();
        ensure!(
            reservation.state() == reservation::State::Confirmed,
            "{} is {}",
            reservation.name,
            reservation.state().as_str_name()
        );
        Ok(reservation)
    }

    pub(super) async fn check_booked(&self, offer: &Offer, booked: &Booked, steps: &mut Steps) -> Result<()> {
        let reservation = &booked.reservation;
        steps.step("the payment is approved, of the whole amount", self.expect_paid(reservation)).await?;
        steps.step("the place is held on every night", self.expect_held(offer, 1)).await?;
        self.expect_miles("the miles are earned", MILES, 1, steps).await?;
        self.expect_message(
            "the customer is told of the confirmation",
            reservation,
            message::Topic::ReservationConfirmed,
            steps,
        )
        .await?;
        let confirmed = |trip: &Trip| {
            let told = trip.reservation.as_ref().map(Reservation::state);
            told == Some(reservation::State::Confirmed)
                && trip.payment_state() == payment::State::Approved
                && trip.mileage_points == MILES
        };
        self.expect_trip("my page shows it confirmed, paid, with miles", reservation, confirmed, steps).await?;
        steps.step("the same request again answers the same reservation", self.repeat(booked)).await
    }

    async fn payment(&self, reservation: &Reservation) -> Result<Payment> {
        let request = GetPaymentRequest { name: reservation.payment.clone() };
        Ok(self.customer.payment.clone().get_payment(request).await?.into_inner().payment.unwrap_or_default())
    }

    async fn expect_paid(&self, reservation: &Reservation) -> Result<()> {
        let payment = self.payment(reservation).await?;
        ensure!(payment.state() == payment::State::Approved, "{} is {}", payment.name, payment.state().as_str_name());
        ensure!(payment.amount == reservation.total, "{} differs from the total of {}", payment.name, reservation.name);
        ensure!(payment.reservation == reservation.name, "{} pays for {}", payment.name, payment.reservation);
        Ok(())
    }

    async fn expect_miles(&self, title: &str, balance: i64, entries: usize, steps: &mut Steps) -> Result<()> {
        let probe = async || {
            let mut mileage = self.customer.mileage.clone();
            let account = mileage
                .get_mileage_account(GetMileageAccountRequest { name: "users/me/mileageAccount".to_owned() })
                .await?;
            let found = account.into_inner().mileage_account.unwrap_or_default().balance;
            let listed = ListMileageEntriesRequest { parent: "users/me".to_owned(), ..Default::default() };
            let lines = mileage.list_mileage_entries(listed).await?.into_inner().mileage_entries.len();
            let fits = found == balance && lines == entries;
            Ok(if fits { Ok(()) } else { Err(format!("a balance of {found} miles from {lines} entries")) })
        };
        steps.eventually(title, probe).await
    }

    async fn expect_message(
        &self,
        title: &str,
        reservation: &Reservation,
        topic: message::Topic,
        steps: &mut Steps,
    ) -> Result<()> {
        let probe = async || {
            let request = ListMessagesRequest { reservation: reservation.name.clone(), ..Default::default() };
            let messages = self.customer.message.clone().list_messages(request).await?.into_inner().messages;
            let sent = |message: &&Message| message.topic() == topic && message.state() == message::State::Sent;
            Ok(match messages.iter().filter(sent).count() {
                0 => Err(format!("no {} was sent", topic.as_str_name())),
                1 => Ok(()),
                times => anyhow::bail!("{} was sent {times} times", topic.as_str_name()),
            })
        };
        steps.eventually(title, probe).await
    }

    async fn expect_trip(
        &self,
        title: &str,
        reservation: &Reservation,
        right: impl Fn(&Trip) -> bool,
        steps: &mut Steps,
    ) -> Result<()> {
        let name = reservation.name.replacen("reservations/", "trips/", 1);
        let probe = async || match self.customer.view.clone().get_trip(GetTripRequest { name: name.clone() }).await {
            Ok(answer) => {
                let trip = answer.into_inner().trip.unwrap_or_default();
                Ok(if right(&trip) { Ok(()) } else { Err(format!("shown as {}", brief(&trip))) })
            }
            Err(status) if status.code() == Code::NotFound => Ok(Err("not shown".to_owned())),
            Err(status) => Err(status.into()),
        };
        steps.eventually(title, probe).await
    }

    async fn repeat(&self, booked: &Booked) -> Result<()> {
        let again = self.create(&booked.request).await?;
        ensure!(again.name == booked.reservation.name, "it made {} beside {}", again.name, booked.reservation.name);
        let payments =
            self.customer.payment.clone().list_payments(ListPaymentsRequest::default()).await?.into_inner().payments;
        ensure!(payments.len() == 1, "the customer now has {} payments", payments.len());
        Ok(())
    }

    pub(super) async fn cancel(&self, offer: &Offer, booked: &Booked, steps: &mut Steps) -> Result<()> {
        let reservation = &booked.reservation;
        let request = CancelReservationRequest {
            name: reservation.name.clone(),
            request_id: Uuid::new_v4().to_string(),
            etag: String::new(),
        };
        let cancelling = async {
            self.customer.reservation.clone().cancel_reservation(request).await?;
            Ok(())
        };
        steps.step("the customer cancels", cancelling).await?;
        steps.eventually("the reservation is cancelled", async || self.state(reservation).await).await?;
        let refunded = async || {
            let state = self.payment(reservation).await?.state();
            Ok(if state == payment::State::Cancelled { Ok(()) } else { Err(state.as_str_name().to_owned()) })
        };
        steps.eventually("the money is back", refunded).await?;
        self.expect_miles("the miles are given back", 0, 2, steps).await?;
        let free = async || {
            let held = self.nights(offer).await?.iter().map(|night| night.held).max().unwrap_or(0);
            Ok(if held == 0 { Ok(()) } else { Err(format!("{held} held")) })
        };
        steps.eventually("the place is free again", free).await?;
        self.expect_message(
            "the customer is told of the cancellation",
            reservation,
            message::Topic::ReservationCancelled,
            steps,
        )
        .await?;
        let cancelled = |trip: &Trip| {
            let told = trip.reservation.as_ref().map(Reservation::state);
            told == Some(reservation::State::Cancelled)
                && trip.payment_state() == payment::State::Cancelled
                && trip.mileage_points == 0
        };
        self.expect_trip("my page shows it cancelled and refunded", reservation, cancelled, steps).await?;
        let removing = async {
            let request = DeleteListingRequest { name: offer.listing.clone(), etag: String::new() };
            self.host.listing.clone().delete_listing(request).await?;
            Ok(())
        };
        steps.step("the host deletes the listing", removing).await
    }

    async fn state(&self, reservation: &Reservation) -> Result<Result<(), String>> {
        let request = GetReservationRequest { name: reservation.name.clone() };
        let found = self
            .customer
            .reservation
            .clone()
            .get_reservation(request)
            .await?
            .into_inner()
            .reservation
            .unwrap_or_default();
        Ok(if found.state() == reservation::State::Cancelled {
            Ok(())
        } else {
            Err(found.state().as_str_name().to_owned())
        })
    }
}

fn brief(trip: &Trip) -> String {
    let state = trip.reservation.as_ref().map_or("no reservation", |reservation| reservation.state().as_str_name());
    format!("{state}, {}, {} miles", trip.payment_state().as_str_name(), trip.mileage_points)
}
