//! What the smoke test does: a host offers, a customer books and cancels.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use proto::contract::Role;
use proto::listing::v1::{Listing, ReservationPolicy, hold};
use proto::message::v1::{Message, message};
use proto::payment::v1::payment;
use proto::reservation::v1::{CreateReservationRequest, Reservation, reservation};
use proto::view::v1::Trip;
use uuid::Uuid;

use crate::actor::Actor;
use crate::api::Target;
use crate::business::{Business, dates, days_ahead, won};
use crate::health;
use crate::service::Service;
use crate::steps::Steps;

const PRICE: i64 = 38_000;
const NIGHTS: i32 = 2;
const DAYS_AHEAD: i32 = 30;
const CAPACITY: i32 = 3;
const MILES: i64 = 7;
const HEALTH_LIMIT: Duration = Duration::from_secs(10);

/// Users made for this run: nothing done before can disturb it.
pub(super) struct Journey {
    host: Actor,
    customer: Actor,
}

/// A place and nights to stay there.
pub(super) struct Offer {
    listing: String,
    slot: Option<reservation::Slot>,
}

/// A reservation and the request that made it.
pub(super) struct Booked {
    request: CreateReservationRequest,
    reservation: Reservation,
}

impl Journey {
    pub(super) fn new(target: &Target) -> Result<Self> {
        let run = Uuid::new_v4().simple().to_string();
        let host = Actor::new(target, "the host", &format!("smoke-host-{run}"), Role::Host)?;
        let customer = Actor::new(target, "the customer", &format!("smoke-{run}"), Role::Customer)?;
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
        let listing = Listing {
            display_name: "Smoke test".to_owned(),
            price: Some(won(PRICE)),
            policy: Some(ReservationPolicy { mileage_points: MILES, ..ReservationPolicy::default() }),
            ..Business::Airbnb.listing(CAPACITY)
        };
        let listing = steps.step("a host registers a listing", self.host.offer(listing)).await?.name;
        let offer = Offer { listing, slot: Business::Airbnb.slot(days_ahead(DAYS_AHEAD), NIGHTS) };
        steps.step("every night is free", self.expect_held(&offer, 0)).await?;
        Ok(offer)
    }

    async fn expect_held(&self, offer: &Offer, held: i32) -> Result<()> {
        let nights = self.customer.availability(&offer.listing, dates(offer.slot.as_ref())).await?;
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

    pub(super) async fn book(&self, offer: &Offer, steps: &mut Steps) -> Result<Booked> {
        let mut request = Business::Airbnb.request(offer.listing.clone(), offer.slot, Uuid::new_v4());
        request.expected_total = Some(won(PRICE * i64::from(NIGHTS)));
        let reservation = steps.step("a customer books two nights and is confirmed", self.create(&request)).await?;
        Ok(Booked { request, reservation })
    }

    async fn create(&self, request: &CreateReservationRequest) -> Result<Reservation> {
        let reservation = self.customer.reserve(request).await?;
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
            shows(trip, reservation::State::Confirmed)
                && trip.payment_state() == payment::State::Approved
                && trip.hold_state() == hold::State::Committed
                && trip.mileage_points == MILES
        };
        self.expect_trip("my page shows it confirmed, paid, with miles", reservation, confirmed, steps).await?;
        steps.step("the same request again answers the same reservation", self.repeat(booked)).await
    }

    async fn expect_paid(&self, reservation: &Reservation) -> Result<()> {
        let payment = self.customer.payment(&reservation.payment).await?;
        ensure!(payment.state() == payment::State::Approved, "{} is {}", payment.name, payment.state().as_str_name());
        ensure!(payment.amount == reservation.total, "{} differs from the total of {}", payment.name, reservation.name);
        ensure!(payment.reservation == reservation.name, "{} pays for {}", payment.name, payment.reservation);
        Ok(())
    }

    async fn expect_miles(&self, title: &str, balance: i64, entries: usize, steps: &mut Steps) -> Result<()> {
        let probe = async || {
            let (found, lines) = (self.customer.miles().await?, self.customer.mileage_entries().await?.len());
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
            let messages = self.customer.messages(&reservation.name).await?;
            let sent = |message: &&Message| message.topic() == topic && message.state() == message::State::Sent;
            Ok(match messages.iter().filter(sent).count() {
                0 => Err(format!("no {} was sent", topic.as_str_name())),
                1 => Ok(()),
                times => bail!("{} was sent {times} times", topic.as_str_name()),
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
        let watching = self.customer.watch(&reservation.name, steps.patience(), right);
        steps.step(title, watching).await.map(|_| ())
    }

    async fn repeat(&self, booked: &Booked) -> Result<()> {
        let again = self.create(&booked.request).await?;
        ensure!(again.name == booked.reservation.name, "it made {} beside {}", again.name, booked.reservation.name);
        let payments = self.customer.payments().await?;
        ensure!(payments.len() == 1, "the customer now has {} payments", payments.len());
        Ok(())
    }

    pub(super) async fn cancel(&self, offer: &Offer, booked: &Booked, steps: &mut Steps) -> Result<()> {
        let reservation = &booked.reservation;
        steps.step("the customer cancels", self.customer.cancel(&reservation.name)).await?;
        let cancelled = async || {
            let state = self.customer.reservation(&reservation.name).await?.state();
            Ok(if state == reservation::State::Cancelled { Ok(()) } else { Err(state.as_str_name().to_owned()) })
        };
        steps.eventually("the reservation is cancelled", cancelled).await?;
        let refunded = async || {
            let state = self.customer.payment(&reservation.payment).await?.state();
            Ok(if state == payment::State::Cancelled { Ok(()) } else { Err(state.as_str_name().to_owned()) })
        };
        steps.eventually("the money is back", refunded).await?;
        self.expect_miles("the miles are given back", 0, 2, steps).await?;
        let free = async || {
            let nights = self.customer.availability(&offer.listing, dates(offer.slot.as_ref())).await?;
            let held = nights.iter().map(|night| night.held).max().unwrap_or(0);
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
            shows(trip, reservation::State::Cancelled)
                && trip.payment_state() == payment::State::Cancelled
                && trip.mileage_points == 0
        };
        self.expect_trip("my page shows it cancelled and refunded", reservation, cancelled, steps).await?;
        steps.step("the host deletes the listing", self.host.delete_listing(&offer.listing)).await
    }
}

fn shows(trip: &Trip, state: reservation::State) -> bool {
    trip.reservation.as_ref().map(Reservation::state) == Some(state)
}
