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
        Availability, CreateListingRequest, CreateReviewRequest, DateRange, DeleteListingRequest, Listing,
        QueryAvailabilityRequest, Review, SetCapacityRequest, Stay, UpdateListingRequest,
        listing_service_client::ListingServiceClient, review_service_client::ReviewServiceClient,
    },
    message::v1::{ListMessagesRequest, Message, message::Topic, message_service_client::MessageServiceClient},
    mileage::v1::{
        GetMileageAccountRequest, ListMileageEntriesRequest, MileageEntry, mileage_service_client::MileageServiceClient,
    },
    payment::v1::{GetPaymentRequest, ListPaymentsRequest, Payment, payment_service_client::PaymentServiceClient},
    reservation::v1::{
        ApproveReservationRequest, CancelReservationRequest, CompleteReservationRequest, CreateReservationRequest,
        GetReservationRequest, ListReservationsRequest, PayReservationRequest, RejectReservationRequest, Reservation,
        reservation::{Slot, State},
        reservation_service_client::ReservationServiceClient,
    },
    view::v1::{
        GetListingViewRequest, GetTimelineRequest, GetTripRequest, ListListingViewsRequest, ListTripsRequest,
        ListingView, TimelineEntry, Trip, view_service_client::ViewServiceClient,
    },
    voucher::v1::{ListVouchersRequest, Voucher, voucher_service_client::VoucherServiceClient},
};
use tonic::{Request, Status};

use crate::{PATIENCE, offers};

/// A user with one token.
#[derive(Clone)]
pub struct Caller {
    pub subject: String,
    pub listings: ListingServiceClient<Channel>,
    pub reservations: ReservationServiceClient<Channel>,
    payments: PaymentServiceClient<Channel>,
    mileage: MileageServiceClient<Channel>,
    messages: MessageServiceClient<Channel>,
    pub reviews: ReviewServiceClient<Channel>,
    pub vouchers: VoucherServiceClient<Channel>,
    pub views: ViewServiceClient<Channel>,
}

impl Caller {
    pub fn new(subject: &str, channel: impl Fn(&'static str) -> Channel) -> Self {
        Self {
            subject: subject.to_owned(),
            listings: ListingServiceClient::new(channel("listing")),
            reservations: ReservationServiceClient::new(channel("reservation")),
            payments: PaymentServiceClient::new(channel("payment")),
            mileage: MileageServiceClient::new(channel("mileage")),
            messages: MessageServiceClient::new(channel("message")),
            reviews: ReviewServiceClient::new(channel("listing")),
            vouchers: VoucherServiceClient::new(channel("voucher")),
            views: ViewServiceClient::new(channel("view")),
        }
    }

    /// Offers a room with so many units; its name.
    pub async fn offer(&self, units: i32) -> String {
        self.offer_listing(offers::room(units)).await
    }

    /// Offers something; its name.
    pub async fn offer_listing(&self, listing: Listing) -> String {
        let request = CreateListingRequest { listing: Some(listing), request_id: request_id() };
        let created = self.listings.clone().create_listing(request).await.expect("a listing");
        created.into_inner().listing.expect("the listing").name
    }

    pub async fn reserve(&self, request: &CreateReservationRequest) -> Result<Reservation, Status> {
        let answer = self.reservations.clone().create_reservation(request.clone()).await?;
        Ok(answer.into_inner().reservation.expect("a reservation"))
    }

    /// Reserves with a deadline of the caller's own.
    pub async fn reserve_within(
        &self,
        request: &CreateReservationRequest,
        budget: Duration,
    ) -> Result<Reservation, Status> {
        let mut request = Request::new(request.clone());
        request.set_timeout(budget);
        let answer = self.reservations.clone().create_reservation(request).await?;
        Ok(answer.into_inner().reservation.expect("a reservation"))
    }

    pub async fn cancel(&self, name: &str) -> Result<Reservation, Status> {
        let request = CancelReservationRequest { name: name.to_owned(), request_id: request_id(), etag: String::new() };
        let answer = self.reservations.clone().cancel_reservation(request).await?;
        Ok(answer.into_inner().reservation.expect("a reservation"))
    }

    pub async fn approve(&self, name: &str) -> Result<Reservation, Status> {
        let request =
            ApproveReservationRequest { name: name.to_owned(), request_id: request_id(), etag: String::new() };
        let answer = self.reservations.clone().approve_reservation(request).await?;
        Ok(answer.into_inner().reservation.expect("a reservation"))
    }

    pub async fn reject(&self, name: &str, reason: &str) -> Result<Reservation, Status> {
        let (name, reason) = (name.to_owned(), reason.to_owned());
        let request = RejectReservationRequest { name, request_id: request_id(), etag: String::new(), reason };
        let answer = self.reservations.clone().reject_reservation(request).await?;
        Ok(answer.into_inner().reservation.expect("a reservation"))
    }

    pub async fn pay(&self, name: &str, payment_method: &str) -> Result<Reservation, Status> {
        let (name, payment_method) = (name.to_owned(), payment_method.to_owned());
        let request = PayReservationRequest { name, request_id: request_id(), etag: String::new(), payment_method };
        let answer = self.reservations.clone().pay_reservation(request).await?;
        Ok(answer.into_inner().reservation.expect("a reservation"))
    }

    pub async fn complete(&self, name: &str) -> Result<Reservation, Status> {
        let request =
            CompleteReservationRequest { name: name.to_owned(), request_id: request_id(), etag: String::new() };
        let answer = self.reservations.clone().complete_reservation(request).await?;
        Ok(answer.into_inner().reservation.expect("a reservation"))
    }

    pub async fn reservation(&self, name: &str) -> Result<Reservation, Status> {
        let answer = self.reservations.clone().get_reservation(GetReservationRequest { name: name.to_owned() }).await?;
        Ok(answer.into_inner().reservation.expect("a reservation"))
    }

    pub async fn my_reservations(&self) -> Vec<Reservation> {
        let request = ListReservationsRequest { page_size: 500, page_token: String::new() };
        self.reservations.clone().list_reservations(request).await.expect("a list").into_inner().reservations
    }

    pub async fn payment(&self, name: &str) -> Payment {
        let answer = self.payments.clone().get_payment(GetPaymentRequest { name: name.to_owned() }).await;
        answer.expect("a payment").into_inner().payment.expect("a payment")
    }

    pub async fn miles(&self) -> i64 {
        let request = GetMileageAccountRequest { name: "users/me/mileageAccount".to_owned() };
        let answer = self.mileage.clone().get_mileage_account(request).await.expect("an account");
        answer.into_inner().mileage_account.expect("an account").balance
    }

    pub async fn messages(&self, reservation: &str) -> Vec<Message> {
        let request = ListMessagesRequest { reservation: reservation.to_owned(), ..ListMessagesRequest::default() };
        self.messages.clone().list_messages(request).await.expect("a list").into_inner().messages
    }

    pub async fn trip(&self, reservation: &str) -> Result<Trip, Status> {
        let answer = self.views.clone().get_trip(GetTripRequest { name: trip_name(reservation) }).await?;
        Ok(answer.into_inner().trip.expect("a trip"))
    }

    pub async fn timeline(&self, reservation: &str) -> Vec<TimelineEntry> {
        let request = GetTimelineRequest { name: trip_name(reservation) };
        self.views.clone().get_timeline(request).await.expect("a timeline").into_inner().entries
    }

    pub async fn my_trips(&self) -> Vec<Trip> {
        let request = ListTripsRequest { page_size: 500, ..ListTripsRequest::default() };
        self.views.clone().list_trips(request).await.expect("a list").into_inner().trips
    }

    pub async fn listing_view(&self, listing: &str) -> Result<ListingView, Status> {
        let name = listing.replace("listings/", "listingViews/");
        let answer = self.views.clone().get_listing_view(GetListingViewRequest { name }).await?;
        Ok(answer.into_inner().listing_view.expect("a view"))
    }

    pub async fn my_vouchers(&self) -> Vec<Voucher> {
        let request = ListVouchersRequest { page_size: 500, page_token: String::new() };
        self.vouchers.clone().list_vouchers(request).await.expect("a list").into_inner().vouchers
    }

    pub async fn review(&self, listing: &str, content: &str) -> Result<Review, Status> {
        let review = Review { content: content.to_owned(), ..Review::default() };
        let request =
            CreateReviewRequest { parent: listing.to_owned(), review: Some(review), request_id: request_id() };
        let answer = self.reviews.clone().create_review(request).await?;
        Ok(answer.into_inner().review.expect("a review"))
    }

    /// Units that are free on the first night of a stay.
    pub async fn free(&self, listing: &str, stay: &Stay) -> i32 {
        let first = Day::try_from(&stay.check_in_date.expect("a stay")).expect("a date");
        self.free_on(listing, Some(first)).await
    }

    /// Units that are free on a date, or in all where there are no dates.
    pub async fn free_on(&self, listing: &str, date: Option<Day>) -> i32 {
        let dates = date.map(|date| DateRange { start_date: Some(date.into()), end_date: Some(date.plus(1).into()) });
        let request = QueryAvailabilityRequest { name: listing.to_owned(), dates };
        let answer = self.listings.clone().query_availability(request).await.expect("availability");
        let Availability { available, .. } = *answer.into_inner().availabilities.first().expect("one of a date");
        available
    }

    /// Waits until the reservation is in this state.
    pub async fn until(&self, name: &str, state: State) -> Reservation {
        eventually(PATIENCE, || async move {
            self.reservation(name).await.ok().filter(|reservation| reservation.state() == state)
        })
        .await
    }

    /// Waits until my page shows the reservation as wanted.
    pub async fn until_trip(&self, name: &str, wanted: impl Fn(&Trip) -> bool) -> Trip {
        let wanted = &wanted;
        eventually(PATIENCE, || async move { self.trip(name).await.ok().filter(wanted) }).await
    }

    /// Waits until so many units are free on a date, or in all.
    pub async fn until_free(&self, listing: &str, date: Option<Day>, units: i32) {
        eventually(PATIENCE, || async move { self.free_on(listing, date).await == units }).await;
    }

    /// Waits until so many messages about the reservation are delivered.
    pub async fn until_told(&self, reservation: &str, count: usize) -> Vec<Message> {
        use proto::message::v1::message::State;
        eventually(PATIENCE, || async move {
            let messages = self.messages(reservation).await;
            let sent = messages.iter().filter(|message| message.state() == State::Sent).count();
            (sent >= count).then_some(messages)
        })
        .await
    }

    /// What has happened to the reservation, in order: the names of its events, once there are so many.
    pub async fn until_happened(&self, reservation: &str, count: usize) -> Vec<String> {
        let entries = eventually(PATIENCE, || async move {
            let answer = self.views.clone().get_timeline(GetTimelineRequest { name: trip_name(reservation) }).await;
            answer.ok().map(|answer| answer.into_inner().entries).filter(|entries| entries.len() >= count)
        })
        .await;
        entries.iter().filter_map(|entry| entry.r#type.rsplit('.').next()).map(str::to_owned).collect()
    }

    /// The lines of my account, newest first.
    pub async fn mileage_entries(&self) -> Vec<MileageEntry> {
        let request =
            ListMileageEntriesRequest { parent: "users/me".to_owned(), ..ListMileageEntriesRequest::default() };
        self.mileage.clone().list_mileage_entries(request).await.expect("a list").into_inner().mileage_entries
    }

    /// My payments, newest first; every customer's for an operator.
    pub async fn my_payments(&self) -> Vec<Payment> {
        let request = ListPaymentsRequest { page_size: 500, page_token: String::new() };
        self.payments.clone().list_payments(request).await.expect("a list").into_inner().payments
    }

    /// Changes these fields of a listing.
    pub async fn modify(&self, listing: Listing, fields: &[&str]) -> Result<Listing, Status> {
        let paths = fields.iter().map(|&field| field.to_owned()).collect();
        let update_mask = Some(prost_types::FieldMask { paths });
        let request = UpdateListingRequest { listing: Some(listing), update_mask, ..UpdateListingRequest::default() };
        let answer = self.listings.clone().update_listing(request).await?;
        Ok(answer.into_inner().listing.expect("the listing"))
    }

    /// Deletes a listing, whatever its etag.
    pub async fn withdraw(&self, listing: &str) -> Result<Listing, Status> {
        let request = DeleteListingRequest { name: listing.to_owned(), ..DeleteListingRequest::default() };
        let answer = self.listings.clone().delete_listing(request).await?;
        Ok(answer.into_inner().listing.expect("the listing"))
    }

    /// The overview of all listings.
    pub async fn listing_views(&self) -> Vec<ListingView> {
        let request = ListListingViewsRequest { page_size: 500, ..ListListingViewsRequest::default() };
        self.views.clone().list_listing_views(request).await.expect("a list").into_inner().listing_views
    }

    /// Waits until the overview shows the listing as wanted.
    pub async fn until_listing(&self, listing: &str, wanted: impl Fn(&ListingView) -> bool) -> ListingView {
        let wanted = &wanted;
        eventually(PATIENCE, || async move { self.listing_view(listing).await.ok().filter(wanted) }).await
    }

    /// Offers so many units on a date, or in all where there are no dates.
    pub async fn set_capacity(&self, listing: &str, date: Option<Day>, units: i32) -> Result<(), Status> {
        let dates = date.map(|date| DateRange { start_date: Some(date.into()), end_date: Some(date.plus(1).into()) });
        let request =
            SetCapacityRequest { name: listing.to_owned(), dates, capacity: units, request_id: String::new() };
        self.listings.clone().set_capacity(request).await.map(drop)
    }
}

/// What messages tell, in the order of the topics.
pub fn topics(messages: &[Message]) -> Vec<Topic> {
    let mut topics: Vec<_> = messages.iter().map(Message::topic).collect();
    topics.sort_unstable_by_key(|topic| *topic as i32);
    topics
}

pub fn trip_name(reservation: &str) -> String {
    reservation.replace("reservations/", "trips/")
}

pub fn won(units: i64) -> Money {
    Money { currency_code: "KRW".to_owned(), units, nanos: 0 }
}

pub fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Two nights, so many days from now in Seoul.
pub fn stay(days_ahead: i32) -> Stay {
    let first = today().plus(days_ahead);
    Stay { check_in_date: Some(first.into()), check_out_date: Some(first.plus(2).into()) }
}

pub fn today() -> Day {
    Zone::named("Asia/Seoul").expect("a zone").day_at(Micros::now())
}

/// A request for two nights a month from now.
pub fn wish(listing: &str) -> CreateReservationRequest {
    wish_from(listing, 30)
}

/// A request for two nights, the first of them so many days from now.
pub fn wish_from(listing: &str, days_ahead: i32) -> CreateReservationRequest {
    wish_for(listing, Some(Slot::Stay(stay(days_ahead))))
}

/// A request for a date, so many days from now.
pub fn wish_on(listing: &str, days_ahead: i32) -> CreateReservationRequest {
    wish_for(listing, Some(Slot::Date(today().plus(days_ahead).into())))
}

/// A request where there are no dates.
pub fn wish_now(listing: &str) -> CreateReservationRequest {
    wish_for(listing, None)
}

fn wish_for(listing: &str, slot: Option<Slot>) -> CreateReservationRequest {
    CreateReservationRequest {
        reservation: Some(Reservation {
            listing: listing.to_owned(),
            slot,
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
pub fn reason(status: &Status) -> String {
    Fault::from_status(status).reason().to_owned()
}
