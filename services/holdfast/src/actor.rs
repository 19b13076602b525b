//! Somebody who uses the mesh: calls as a user makes them, each with an answer or the error to print.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use proto::contract::Role;
use proto::google::r#type::Money;
use proto::listing::v1::{
    Availability, CreateListingRequest, DateRange, DeleteListingRequest, Listing, QueryAvailabilityRequest,
};
use proto::message::v1::{ListMessagesRequest, Message};
use proto::mileage::v1::{GetMileageAccountRequest, ListMileageEntriesRequest, MileageEntry};
use proto::payment::v1::{GetPaymentRequest, ListPaymentsRequest, Payment};
use proto::reservation::v1::{
    ApproveReservationRequest, CancelReservationRequest, CompleteReservationRequest, CreateReservationRequest,
    GetReservationRequest, PayReservationRequest, RejectReservationRequest, Reservation,
};
use proto::view::v1::{GetTimelineRequest, ListTripsRequest, TimelineEntry, Trip, WatchTripRequest};
use proto::voucher::v1::{ListVouchersRequest, Voucher};
use tokio::time::{sleep, timeout};
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::api::{Clients, Target};
use crate::duration::readable;
use crate::failure::code_and_reason;

/// Before a watch that has ended is begun again.
const PAUSE: Duration = Duration::from_millis(20);

/// A user with a token of their own.
pub(crate) struct Actor {
    /// What a person calls them.
    pub(crate) name: String,
    clients: Clients,
}

impl Actor {
    /// `subject` is who the tokens name.
    ///
    /// # Errors
    /// The mesh has no such address.
    pub(crate) fn new(target: &Target, name: &str, subject: &str, role: Role) -> Result<Self> {
        Ok(Self { name: name.to_owned(), clients: target.clients(subject, role)? })
    }

    pub(crate) async fn offer(&self, listing: Listing) -> Result<Listing> {
        let request = CreateListingRequest { listing: Some(listing), request_id: request_id() };
        let answer = self.clients.listing.clone().create_listing(request).await?;
        answer.into_inner().listing.context("the answer holds no listing")
    }

    pub(crate) async fn delete_listing(&self, name: &str) -> Result<()> {
        let request = DeleteListingRequest { name: name.to_owned(), ..DeleteListingRequest::default() };
        self.clients.listing.clone().delete_listing(request).await?;
        Ok(())
    }

    pub(crate) async fn availability(&self, listing: &str, dates: Option<DateRange>) -> Result<Vec<Availability>> {
        let request = QueryAvailabilityRequest { name: listing.to_owned(), dates };
        Ok(self.clients.listing.clone().query_availability(request).await?.into_inner().availabilities)
    }

    pub(crate) async fn reserve(&self, request: &CreateReservationRequest) -> Result<Reservation> {
        made(self.clients.reservation.clone().create_reservation(request.clone()).await?.into_inner().reservation)
    }

    pub(crate) async fn approve(&self, name: &str) -> Result<Reservation> {
        let request =
            ApproveReservationRequest { name: name.to_owned(), request_id: request_id(), etag: String::new() };
        made(self.clients.reservation.clone().approve_reservation(request).await?.into_inner().reservation)
    }

    pub(crate) async fn reject(&self, name: &str, reason: &str) -> Result<Reservation> {
        let request = RejectReservationRequest {
            name: name.to_owned(),
            request_id: request_id(),
            etag: String::new(),
            reason: reason.to_owned(),
        };
        made(self.clients.reservation.clone().reject_reservation(request).await?.into_inner().reservation)
    }

    pub(crate) async fn pay(&self, name: &str, payment_method: &str) -> Result<Reservation> {
        let request = PayReservationRequest {
            name: name.to_owned(),
            request_id: request_id(),
            etag: String::new(),
            payment_method: payment_method.to_owned(),
        };
        made(self.clients.reservation.clone().pay_reservation(request).await?.into_inner().reservation)
    }

    pub(crate) async fn complete(&self, name: &str) -> Result<Reservation> {
        let request =
            CompleteReservationRequest { name: name.to_owned(), request_id: request_id(), etag: String::new() };
        made(self.clients.reservation.clone().complete_reservation(request).await?.into_inner().reservation)
    }

    pub(crate) async fn cancel(&self, name: &str) -> Result<Reservation> {
        let request = CancelReservationRequest { name: name.to_owned(), request_id: request_id(), etag: String::new() };
        made(self.clients.reservation.clone().cancel_reservation(request).await?.into_inner().reservation)
    }

    pub(crate) async fn reservation(&self, name: &str) -> Result<Reservation> {
        let request = GetReservationRequest { name: name.to_owned() };
        made(self.clients.reservation.clone().get_reservation(request).await?.into_inner().reservation)
    }

    pub(crate) async fn payment(&self, name: &str) -> Result<Payment> {
        let answer = self.clients.payment.clone().get_payment(GetPaymentRequest { name: name.to_owned() }).await?;
        answer.into_inner().payment.context("the answer holds no payment")
    }

    pub(crate) async fn payments(&self) -> Result<Vec<Payment>> {
        Ok(self.clients.payment.clone().list_payments(ListPaymentsRequest::default()).await?.into_inner().payments)
    }

    /// The balance.
    pub(crate) async fn miles(&self) -> Result<i64> {
        let request = GetMileageAccountRequest { name: "users/me/mileageAccount".to_owned() };
        let answer = self.clients.mileage.clone().get_mileage_account(request).await?;
        Ok(answer.into_inner().mileage_account.unwrap_or_default().balance)
    }

    pub(crate) async fn mileage_entries(&self) -> Result<Vec<MileageEntry>> {
        let request = ListMileageEntriesRequest { parent: "users/me".to_owned(), ..Default::default() };
        Ok(self.clients.mileage.clone().list_mileage_entries(request).await?.into_inner().mileage_entries)
    }

    pub(crate) async fn vouchers(&self) -> Result<Vec<Voucher>> {
        Ok(self.clients.voucher.clone().list_vouchers(ListVouchersRequest::default()).await?.into_inner().vouchers)
    }

    /// To this user, about this reservation, as they were sent.
    pub(crate) async fn messages(&self, reservation: &str) -> Result<Vec<Message>> {
        let request = ListMessagesRequest { reservation: reservation.to_owned(), ..Default::default() };
        let mut messages = self.clients.message.clone().list_messages(request).await?.into_inner().messages;
        messages.sort_by_key(|message| message.send_time.map(|sent| (sent.seconds, sent.nanos)));
        Ok(messages)
    }

    /// My page, the oldest first.
    pub(crate) async fn trips(&self) -> Result<Vec<Trip>> {
        let request = ListTripsRequest { order_by: "create_time".to_owned(), ..Default::default() };
        Ok(self.clients.view.clone().list_trips(request).await?.into_inner().trips)
    }

    pub(crate) async fn timeline(&self, reservation: &str) -> Result<Vec<TimelineEntry>> {
        let request = GetTimelineRequest { name: trip_name(reservation) };
        Ok(self.clients.view.clone().get_timeline(request).await?.into_inner().entries)
    }

    /// Watches a reservation on my page until it is as wanted.
    ///
    /// # Errors
    /// It is not within `limit`; the error says what was seen last.
    pub(crate) async fn watch(
        &self,
        reservation: &str,
        limit: Duration,
        wanted: impl Fn(&Trip) -> bool,
    ) -> Result<Trip> {
        let mut seen = String::new();
        let watching = async {
            loop {
                match self.watch_once(reservation, limit, &wanted, &mut seen).await {
                    Ok(Some(trip)) => return Ok(trip),
                    Ok(None) => {}
                    // The view has not heard of it yet, or drains, or it took as long as the whole may.
                    Err(status)
                        if matches!(status.code(), Code::NotFound | Code::Unavailable | Code::DeadlineExceeded) =>
                    {
                        seen = code_and_reason(&status);
                    }
                    Err(status) => return Err(status.into()),
                }
                sleep(PAUSE).await;
            }
        };
        match timeout(limit, watching).await {
            Ok(outcome) => outcome,
            Err(_) => bail!("after {} my page still shows {reservation} as {seen}", readable(limit)),
        }
    }

    async fn watch_once(
        &self,
        reservation: &str,
        limit: Duration,
        wanted: &impl Fn(&Trip) -> bool,
        seen: &mut String,
    ) -> Result<Option<Trip>, Status> {
        let mut request = Request::new(WatchTripRequest { name: trip_name(reservation) });
        request.set_timeout(limit);
        let mut stream = self.clients.view.clone().watch_trip(request).await?.into_inner();
        while let Some(answer) = stream.message().await? {
            let trip = answer.trip.unwrap_or_default();
            if wanted(&trip) {
                return Ok(Some(trip));
            }
            *seen = brief(&trip);
        }
        Ok(None)
    }
}

fn made(reservation: Option<Reservation>) -> Result<Reservation> {
    reservation.context("the answer holds no reservation")
}

fn request_id() -> String {
    Uuid::new_v4().to_string()
}

fn trip_name(reservation: &str) -> String {
    reservation.replacen("reservations/", "trips/", 1)
}

/// The name of an enum's value without what every value of it begins with.
pub(crate) fn word(value: &'static str) -> &'static str {
    ["STATE_", "CHANNEL_", "TOPIC_"].iter().find_map(|prefix| value.strip_prefix(prefix)).unwrap_or(value)
}

/// `KRW 240000`, `EUR 95.50`, or that there is nothing to pay.
pub(crate) fn amount(money: Option<&Money>) -> String {
    match money.map(mesh::value::Money::try_from) {
        Some(Ok(money)) if !money.is_zero() => money.to_string(),
        _ => "free of charge".to_owned(),
    }
}

/// A trip on one line, without what it has not.
pub(crate) fn brief(trip: &Trip) -> String {
    let mut parts =
        vec![trip.reservation.as_ref().map_or("no reservation", |shown| word(shown.state().as_str_name())).to_owned()];
    if !trip.payment.is_empty() {
        parts.push(format!("payment {}", word(trip.payment_state().as_str_name())));
    }
    if trip.mileage_points > 0 {
        parts.push(format!("miles {}", trip.mileage_points));
    }
    if !trip.ticket_number.is_empty() {
        parts.push(format!("voucher {} {}", trip.ticket_number, word(trip.voucher_state().as_str_name())));
    }
    parts.push(format!("place {}", word(trip.hold_state().as_str_name())));
    parts.push(format!("messages {}", trip.message_count));
    parts.join(", ")
}
