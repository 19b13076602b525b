//! A user of the public RPCs.

use std::time::Duration;

use mesh::{
    client::Channel,
    fault::Fault,
    store::Micros,
    testing::eventually,
    value::{Day, Zone},
};
use proto::{
    google::r#type::Money,
    listing::v1::{
        CreateListingRequest, Listing, QueryAvailabilityRequest, ReservationPolicy, Stay, listing::Kind,
        listing_service_client::ListingServiceClient, reservation_policy::Mileage,
    },
    message::v1::{ListMessagesRequest, Message, message_service_client::MessageServiceClient},
    mileage::v1::{GetMileageAccountRequest, mileage_service_client::MileageServiceClient},
    payment::v1::{GetPaymentRequest, Payment, payment_service_client::PaymentServiceClient},
    reservation::v1::{
        CancelReservationRequest, CreateReservationRequest, GetReservationRequest, ListReservationsRequest,
        Reservation, reservation_service_client::ReservationServiceClient,
    },
    view::v1::{GetTimelineRequest, GetTripRequest, TimelineEntry, Trip, view_service_client::ViewServiceClient},
};
use tonic::{Request, Status};

use crate::world::PATIENCE;

/// What a room costs per night, in won.
pub(crate) const PRICE: i64 = 120_000;

/// A user with one token.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) subject: String,
    pub(crate) listings: ListingServiceClient<Channel>,
    pub(crate) reservations: ReservationServiceClient<Channel>,
    payments: PaymentServiceClient<Channel>,
    mileage: MileageServiceClient<Channel>,
    messages: MessageServiceClient<Channel>,
    views: ViewServiceClient<Channel>,
}

impl Caller {
    pub(crate) fn new(subject: &str, channel: impl Fn(&'static str) -> Channel) -> Self {
        Self {
            subject: subject.to_owned(),
            listings: ListingServiceClient::new(channel("listing")),
            reservations: ReservationServiceClient::new(channel("reservation")),
            payments: PaymentServiceClient::new(channel("payment")),
            mileage: MileageServiceClient::new(channel("mileage")),
            messages: MessageServiceClient::new(channel("message")),
            views: ViewServiceClient::new(channel("view")),
        }
    }

    /// Offers a room with so many units; its name.
    pub(crate) async fn offer(&self, units: i32) -> String {
        self.offer_with(units, Mileage::EarnGraceful).await
    }

    pub(crate) async fn offer_with(&self, units: i32, mileage: Mileage) -> String {
        let listing = Listing {
            display_name: "Room with a view".to_owned(),
            kind: Kind::Room.into(),
            price: Some(won(PRICE)),
            default_capacity: units,
            time_zone: "Asia/Seoul".to_owned(),
            policy: Some(ReservationPolicy { mileage: mileage.into(), mileage_points: 1 }),
            ..Listing::default()
        };
        let request = CreateListingRequest { listing: Some(listing), request_id: request_id() };
        let created = self.listings.clone().create_listing(request).await.expect("a listing");
        created.into_inner().listing.expect("the listing").name
    }

    pub(crate) async fn reserve(&self, request: &CreateReservationRequest) -> Result<Reservation, Status> {
        let answer = self.reservations.clone().create_reservation(request.clone()).await?;
        Ok(answer.into_inner().reservation.expect("a reservation"))
    }

    /// Reserves with a deadline of the caller's own.
    pub(crate) async fn reserve_within(
        &self,
        request: &CreateReservationRequest,
        budget: Duration,
    ) -> Result<Reservation, Status> {
        let mut request = Request::new(request.clone());
        request.set_timeout(budget);
        let answer = self.reservations.clone().create_reservation(request).await?;
        Ok(answer.into_inner().reservation.expect("a reservation"))
    }

    pub(crate) async fn cancel(&self, name: &str) -> Result<Reservation, Status> {
        let request = CancelReservationRequest { name: name.to_owned(), request_id: request_id(), etag: String::new() };
        let answer = self.reservations.clone().cancel_reservation(request).await?;
        Ok(answer.into_inner().reservation.expect("a reservation"))
    }

    pub(crate) async fn reservation(&self, name: &str) -> Result<Reservation, Status> {
        let answer = self.reservations.clone().get_reservation(GetReservationRequest { name: name.to_owned() }).await?;
        Ok(answer.into_inner().reservation.expect("a reservation"))
    }

    pub(crate) async fn my_reservations(&self) -> Vec<Reservation> {
        let request = ListReservationsRequest { page_size: 500, page_token: String::new() };
        self.reservations.clone().list_reservations(request).await.expect("a list").into_inner().reservations
    }

    pub(crate) async fn payment(&self, name: &str) -> Payment {
        let answer = self.payments.clone().get_payment(GetPaymentRequest { name: name.to_owned() }).await;
        answer.expect("a payment").into_inner().payment.expect("a payment")
    }

    pub(crate) async fn miles(&self) -> i64 {
        let request = GetMileageAccountRequest { name: "users/me/mileageAccount".to_owned() };
        let answer = self.mileage.clone().get_mileage_account(request).await.expect("an account");
        answer.into_inner().mileage_account.expect("an account").balance
    }

    pub(crate) async fn messages(&self, reservation: &str) -> Vec<Message> {
        let request = ListMessagesRequest { reservation: reservation.to_owned(), ..ListMessagesRequest::default() };
        self.messages.clone().list_messages(request).await.expect("a list").into_inner().messages
    }

    pub(crate) async fn trip(&self, reservation: &str) -> Result<Trip, Status> {
        let answer = self.views.clone().get_trip(GetTripRequest { name: trip_name(reservation) }).await?;
        Ok(answer.into_inner().trip.expect("a trip"))
    }

    pub(crate) async fn timeline(&self, reservation: &str) -> Vec<TimelineEntry> {
        let request = GetTimelineRequest { name: trip_name(reservation) };
        self.views.clone().get_timeline(request).await.expect("a timeline").into_inner().entries
    }

    /// Units that are free on the first night of a stay.
    pub(crate) async fn free(&self, listing: &str, stay: &Stay) -> i32 {
        let request = QueryAvailabilityRequest { name: listing.to_owned(), nights: Some(*stay) };
        let answer = self.listings.clone().query_availability(request).await.expect("availability");
        answer.into_inner().nights.first().expect("a night").available
    }

    /// Waits until the reservation is in this state.
    pub(crate) async fn until(&self, name: &str, state: proto::reservation::v1::reservation::State) -> Reservation {
        eventually(PATIENCE, || async move {
            self.reservation(name).await.ok().filter(|reservation| reservation.state() == state)
        })
        .await
    }

    /// Waits until so many messages about the reservation are delivered.
    pub(crate) async fn until_told(&self, reservation: &str, count: usize) -> Vec<Message> {
        use proto::message::v1::message::State;
        eventually(PATIENCE, || async move {
            let messages = self.messages(reservation).await;
            let sent = messages.iter().filter(|message| message.state() == State::Sent).count();
            (sent >= count).then_some(messages)
        })
        .await
    }
}

pub(crate) fn trip_name(reservation: &str) -> String {
    reservation.replace("reservations/", "trips/")
}

pub(crate) fn won(units: i64) -> Money {
    Money { currency_code: "KRW".to_owned(), units, nanos: 0 }
}

pub(crate) fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Two nights, so many days from now in Seoul.
pub(crate) fn stay(days_ahead: i32) -> Stay {
    let first = today().plus(days_ahead);
    Stay { check_in_date: Some(first.into()), check_out_date: Some(first.plus(2).into()) }
}

pub(crate) fn today() -> Day {
    Zone::named("Asia/Seoul").expect("a zone").day_at(Micros::now())
}

/// A request for two nights a month from now.
pub(crate) fn wish(listing: &str) -> CreateReservationRequest {
    CreateReservationRequest {
        reservation: Some(Reservation {
            listing: listing.to_owned(),
            stay: Some(stay(30)),
            units: 1,
            persons: 2,
            ..Reservation::default()
        }),
        payment_method: "pm_card_visa".to_owned(),
        request_id: request_id(),
        expected_total: None,
    }
}

/// The reason of an error answer.
pub(crate) fn reason(status: &Status) -> String {
    Fault::from_status(status).reason().to_owned()
}
