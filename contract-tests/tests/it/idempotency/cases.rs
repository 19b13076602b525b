//! A case for each RPC that changes something: what has to be there first, a call, and what it does.

use mesh::{client::Channel, testing::eventually};
use prost::Message;
use proto::{
    contract::Role,
    listing::v1::{
        CreateListingRequest, CreateReviewRequest, DateRange, DeleteListingRequest, DeleteReviewRequest, Listing,
        PlaceHoldRequest, ReleaseHoldRequest, Review, SetCapacityRequest, UpdateListingRequest, UpdateReviewRequest,
        place_hold_request::Slot,
    },
    mileage::v1::{AccrueMileageRequest, ReverseMileageRequest},
    payment::v1::{ChargePaymentRequest, RefundPaymentRequest, RegisterPaymentRequest},
    reservation::v1::{
        ApproveReservationRequest, CancelReservationRequest, CompleteReservationRequest, CreateReservationRequest,
        PayReservationRequest, RejectReservationRequest,
    },
};
use world::{
    PATIENCE, World,
    caller::{Caller, request_id, stay, today, wish, wish_on, won},
    offers, raw,
};

/// A call that can be made again.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) path: &'static str,
    pub(super) channel: Channel,
    pub(super) body: Vec<u8>,
    /// The same key with another body, and the reason it is refused for.
    pub(super) other: Option<(Vec<u8>, &'static str)>,
    /// Where its effect shows: a service, and rows to count.
    pub(super) effect: (&'static str, &'static str),
}

impl Call {
    fn other<M: Message>(self, message: &M, reason: &'static str) -> Self {
        Self { other: Some((message.encode_to_vec(), reason)), ..self }
    }
}

/// Where calls are prepared; it remembers what could be ended later.
pub(super) struct Stage<'a> {
    world: &'a World,
    listings: Vec<(Caller, String)>,
    reservations: Vec<(Caller, String)>,
}

/// What there is to end.
pub(super) struct End {
    listings: Vec<(Caller, String)>,
    reservations: Vec<(Caller, String)>,
}

impl End {
    /// Cancels and deletes all of it; what cannot be any more has been.
    pub(super) async fn all(&self) {
        for (customer, reservation) in &self.reservations {
            let _ = customer.cancel(reservation).await;
        }
        for (host, listing) in &self.listings {
            let _ = host.withdraw(listing).await;
        }
    }
}

const REUSED: &str = "REQUEST_ID_REUSED";

macro_rules! told {
    ($event:literal) => {
        concat!("outbox WHERE kind = 'holdfast.", $event, "'")
    };
}

impl<'a> Stage<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        Self { world, listings: Vec::new(), reservations: Vec::new() }
    }

    /// What is needed for a call of this method is there; `None` for a method without a case. The caller's request id, where there is one,
    /// is `key`; everybody is called after `user`.
    pub(super) async fn prepare(&mut self, path: &'static str, user: &str, key: &str) -> Option<Call> {
        let (service, method) = path.strip_prefix("/holdfast.")?.split_once(".v1.")?;
        Some(match (service, method.split_once('/')?.1) {
            ("listing", "PlaceHold" | "ReleaseHold") => self.hold(path).await,
            ("listing", _) if path.contains("ReviewService") => self.review(path, user, key).await?,
            ("listing", _) => self.listing(path, user, key).await?,
            ("reservation", _) => self.reservation(path, user, key).await?,
            ("payment", _) => self.payment(path).await?,
            ("mileage", _) => self.mileage(path).await?,
            _ => return None,
        })
    }

    /// What was prepared, to be ended.
    pub(super) fn into_end(self) -> End {
        End { listings: self.listings, reservations: self.reservations }
    }

    fn host(&self, user: &str) -> Caller {
        self.world.caller(user, Role::Host)
    }

    async fn offer(&mut self, host: &str, listing: Listing) -> String {
        let host = self.host(host);
        let name = host.offer_listing(listing).await;
        self.listings.push((host, name.clone()));
        name
    }

    async fn reserve(&mut self, customer: &str, request: &CreateReservationRequest) -> String {
        let customer = self.world.customer(customer);
        let name = customer.reserve(request).await.expect("a place is free").name;
        self.reservations.push((customer, name.clone()));
        name
    }

    fn call<M: Message>(&self, path: &'static str, user: &str, role: Role, message: &M, effect: &'static str) -> Call {
        let service = if path.contains(".listing.") { "listing" } else { "reservation" };
        let channel = self.world.user(service, user, role);
        Call { path, channel, body: message.encode_to_vec(), other: None, effect: (service, effect) }
    }

    fn peer<M: Message>(
        &self,
        path: &'static str,
        [service, caller]: [&'static str; 2],
        message: &M,
        effect: &'static str,
    ) -> Call {
        let channel = self.world.peer(service, caller);
        Call { path, channel, body: message.encode_to_vec(), other: None, effect: (service, effect) }
    }

    async fn listing(&mut self, path: &'static str, host: &str, key: &str) -> Option<Call> {
        let request_id = key.to_owned();
        if path.ends_with("/CreateListing") {
            let create =
                |units| CreateListingRequest { listing: Some(offers::room(units)), request_id: key.to_owned() };
            let call = self.call(path, host, Role::Host, &create(1), told!("listing.v1.ListingRegistered"));
            return Some(call.other(&create(2), REUSED));
        }
        let name = self.offer(host, offers::room(1)).await;
        Some(match path.rsplit('/').next()? {
            "UpdateListing" => {
                let update = |title: &str| UpdateListingRequest {
                    listing: Some(Listing {
                        name: name.clone(),
                        display_name: title.to_owned(),
                        // A repeat must not be measured by it again.
                        etag: "\"1\"".to_owned(),
                        ..Listing::default()
                    }),
                    update_mask: Some(prost_types::FieldMask { paths: vec!["display_name".to_owned()] }),
                    request_id: request_id.clone(),
                };
                let call = self.call(path, host, Role::Host, &update("Renamed"), told!("listing.v1.ListingModified"));
                call.other(&update("Renamed again"), REUSED)
            }
            "DeleteListing" => {
                let delete = |etag: &str| DeleteListingRequest {
                    name: name.clone(),
                    etag: etag.to_owned(),
                    request_id: request_id.clone(),
                };
                let call = self.call(path, host, Role::Host, &delete("\"1\""), told!("listing.v1.ListingDeleted"));
                call.other(&delete(""), REUSED)
            }
            "SetCapacity" => {
                let first = today().plus(40);
                let dates = DateRange { start_date: Some(first.into()), end_date: Some(first.plus(2).into()) };
                let set = |capacity| SetCapacityRequest {
                    name: name.clone(),
                    dates: Some(dates),
                    capacity,
                    request_id: request_id.clone(),
                };
                let call = self.call(path, host, Role::Host, &set(3), told!("listing.v1.CapacityChanged"));
                call.other(&set(4), REUSED)
            }
            _ => return None,
        })
    }

    async fn review(&mut self, path: &'static str, guest: &str, key: &str) -> Option<Call> {
        let parent = self.offer("hana", offers::room(2)).await;
        self.reserve(guest, &wish(&parent)).await;
        let caller = self.world.customer(guest);
        // The first one waits until listing has heard that the stay is confirmed.
        let left = eventually(PATIENCE, || async { caller.review(&parent, "Quiet.").await.ok() }).await;
        let review = |content: &str| Some(Review { content: content.to_owned(), ..Review::default() });
        let request_id = key.to_owned();
        Some(match path.rsplit('/').next()? {
            "CreateReview" => {
                let create = |content: &str| CreateReviewRequest {
                    parent: parent.clone(),
                    review: review(content),
                    request_id: request_id.clone(),
                };
                let call = self.call(path, guest, Role::Customer, &create("Sunny."), told!("listing.v1.ReviewCreated"));
                call.other(&create("Rainy."), REUSED)
            }
            "UpdateReview" => {
                let update = |content: &str| UpdateReviewRequest {
                    review: Some(Review { content: content.to_owned(), ..left.clone() }),
                    update_mask: None,
                    request_id: request_id.clone(),
                };
                let call =
                    self.call(path, guest, Role::Customer, &update("Sunny."), told!("listing.v1.ReviewModified"));
                call.other(&update("Rainy."), REUSED)
            }
            "DeleteReview" => {
                let another = caller.review(&parent, "Near the sea.").await.expect("another").name;
                let delete = |name: &str| DeleteReviewRequest { name: name.to_owned(), request_id: request_id.clone() };
                let call =
                    self.call(path, guest, Role::Customer, &delete(&left.name), told!("listing.v1.ReviewDeleted"));
                call.other(&delete(&another), REUSED)
            }
            _ => return None,
        })
    }

    async fn reservation(&mut self, path: &'static str, user: &str, key: &str) -> Option<Call> {
        let (request_id, blank) = (key.to_owned(), String::new());
        let (host, guest) = (format!("{user}-host"), user);
        Some(match path.rsplit('/').next()? {
            "CreateReservation" => {
                let listing = self.offer(&host, offers::room(9)).await;
                let create = CreateReservationRequest { request_id, ..wish(&listing) };
                let other = CreateReservationRequest { payment_method: "pm_card_other".to_owned(), ..create.clone() };
                let told = told!("reservation.v1.ReservationConfirmed");
                self.call(path, guest, Role::Customer, &create, told).other(&other, REUSED)
            }
            "ApproveReservation" => {
                let listing = self.offer(&host, offers::room_by_approval(1)).await;
                let name = self.reserve(guest, &wish(&listing)).await;
                let approve = ApproveReservationRequest { name, request_id, etag: blank };
                let other = ApproveReservationRequest { etag: "\"1\"".to_owned(), ..approve.clone() };
                let told = told!("reservation.v1.ReservationApproved");
                self.call(path, &host, Role::Host, &approve, told).other(&other, REUSED)
            }
            "RejectReservation" => {
                let listing = self.offer(&host, offers::room_by_approval(1)).await;
                let name = self.reserve(guest, &wish(&listing)).await;
                let reject = RejectReservationRequest { name, request_id, etag: blank, reason: "Full.".to_owned() };
                let other = RejectReservationRequest { reason: "Closed.".to_owned(), ..reject.clone() };
                let told = told!("reservation.v1.ReservationRejected");
                self.call(path, &host, Role::Host, &reject, told).other(&other, REUSED)
            }
            "PayReservation" => {
                let listing = self.offer(&host, offers::resort(1)).await;
                let name = self.reserve(guest, &wish_on(&listing, 30)).await;
                let payment_method = "pm_card_visa".to_owned();
                let pay = PayReservationRequest { name, request_id, etag: blank, payment_method };
                let other = PayReservationRequest { payment_method: "pm_card_other".to_owned(), ..pay.clone() };
                let told = told!("reservation.v1.ReservationConfirmed");
                self.call(path, guest, Role::Customer, &pay, told).other(&other, REUSED)
            }
            "CompleteReservation" => {
                let listing = self.offer(&host, offers::room(1)).await;
                let name = self.reserve(guest, &wish(&listing)).await;
                let complete = CompleteReservationRequest { name, request_id, etag: blank };
                let other = CompleteReservationRequest { etag: "\"1\"".to_owned(), ..complete.clone() };
                let told = told!("reservation.v1.ReservationCompleted");
                self.call(path, &host, Role::Host, &complete, told).other(&other, REUSED)
            }
            "CancelReservation" => {
                let listing = self.offer(&host, offers::room(1)).await;
                let name = self.reserve(guest, &wish(&listing)).await;
                let cancel = CancelReservationRequest { name, request_id, etag: blank };
                let other = CancelReservationRequest { etag: "\"1\"".to_owned(), ..cancel.clone() };
                let told = told!("reservation.v1.ReservationCancelRequested");
                self.call(path, guest, Role::Customer, &cancel, told).other(&other, REUSED)
            }
            _ => return None,
        })
    }

    /// Of a reservation that nobody has made: only listing knows.
    async fn hold(&mut self, path: &'static str) -> Call {
        const PEERS: [&str; 2] = ["listing", "reservation"];
        let listing = self.offer("hana", offers::room(1)).await;
        let reservation = format!("reservations/{}", request_id());
        let place = PlaceHoldRequest {
            reservation: reservation.clone(),
            listing,
            customer: "users/gil".to_owned(),
            slot: Some(Slot::Stay(stay(30))),
            units: 1,
            expected_total: None,
            persons: 1,
        };
        const PLACE: &str = "/holdfast.listing.v1.HoldService/PlaceHold";
        let placing = self.peer(PLACE, PEERS, &place, told!("listing.v1.HoldPlaced"));
        if path == PLACE {
            return placing;
        }
        raw::call(&placing.channel, PLACE, &placing.body).await.expect("placed");
        self.peer(path, PEERS, &ReleaseHoldRequest { reservation }, told!("listing.v1.HoldReleased"))
    }

    async fn payment(&mut self, path: &'static str) -> Option<Call> {
        const PEERS: [&str; 2] = ["payment", "reservation"];
        let reservation = format!("reservations/{}", request_id());
        let customer = "users/gil".to_owned();
        let charge = ChargePaymentRequest {
            reservation: reservation.clone(),
            customer: customer.clone(),
            amount: Some(won(38_000)),
            payment_method: "pm_card_visa".to_owned(),
            ..ChargePaymentRequest::default()
        };
        const CHARGE: &str = "/holdfast.payment.v1.ChargeService/ChargePayment";
        let charging = self.peer(CHARGE, PEERS, &charge, told!("payment.v1.PaymentApproved"));
        let dearer = Some(won(38_001));
        Some(match path.rsplit('/').next()? {
            "RegisterPayment" => {
                let register = RegisterPaymentRequest { reservation, customer, amount: Some(won(38_000)) };
                let other = RegisterPaymentRequest { amount: dearer, ..register.clone() };
                self.peer(path, PEERS, &register, "payments").other(&other, "PAYMENT_MISMATCH")
            }
            "ChargePayment" => charging.other(&ChargePaymentRequest { amount: dearer, ..charge }, "PAYMENT_MISMATCH"),
            "RefundPayment" => {
                raw::call(&charging.channel, CHARGE, &charging.body).await.expect("charged");
                let refund = RefundPaymentRequest { reservation };
                self.peer(path, PEERS, &refund, told!("payment.v1.PaymentCancelled"))
            }
            _ => return None,
        })
    }

    async fn mileage(&mut self, path: &'static str) -> Option<Call> {
        const PEERS: [&str; 2] = ["mileage", "payment"];
        let payment = format!("payments/{}", request_id());
        let accrue = AccrueMileageRequest {
            payment: payment.clone(),
            reservation: format!("reservations/{}", request_id()),
            customer: "users/gil".to_owned(),
            points: 5,
        };
        const ACCRUE: &str = "/holdfast.mileage.v1.AccrualService/AccrueMileage";
        let accruing = self.peer(ACCRUE, PEERS, &accrue, told!("mileage.v1.MileageIncreased"));
        Some(match path.rsplit('/').next()? {
            "AccrueMileage" => accruing.other(&AccrueMileageRequest { points: 6, ..accrue }, "MILEAGE_MISMATCH"),
            "ReverseMileage" => {
                raw::call(&accruing.channel, ACCRUE, &accruing.body).await.expect("accrued");
                let reverse = ReverseMileageRequest { payment };
                self.peer(path, PEERS, &reverse, told!("mileage.v1.MileageDecreased"))
            }
            _ => return None,
        })
    }
}
