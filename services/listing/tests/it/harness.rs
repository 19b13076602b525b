//! A database, a server and callers for each test.

use std::ops::Deref;

use listing::app::{Answer, App, Change, Request, ReviewKey};
use listing::domain::{
    Availability, Days, Draft, Error, HoldRequest, Kind, Listing, Platform, Review, ReviewAfter, Slot,
};
use listing::{Config, audit};
use mesh::client::Channel;
use mesh::event::Received;
use mesh::requests::RequestKey;
use mesh::store::{DatabaseUrl, Id, Micros, Store};
use mesh::testing::{Running, TestMesh};
use mesh::value::{Currency, Day, Money, Zone, id_of};
use prost::Message as _;
use proto::contract::{Event, Role};
use proto::google::r#type as google;
use proto::listing::v1 as pb;
use proto::listing::v1::ReservationPolicy;
use proto::listing::v1::hold_service_client::HoldServiceClient;
use proto::listing::v1::listing_service_client::ListingServiceClient;
use proto::listing::v1::review_service_client::ReviewServiceClient;
use proto::reservation::v1::Reservation;
use tempfile::TempDir;

/// The use cases over a database of the test's own.
pub(crate) struct Database {
    pub(crate) store: Store,
    pub(crate) app: App,
    _dir: TempDir,
}

impl Deref for Database {
    type Target = App;

    fn deref(&self) -> &App {
        &self.app
    }
}

impl Database {
    pub(crate) fn new() -> Self {
        let (dir, url) = mesh::testing::database();
        Self::open(&url, dir)
    }

    pub(crate) fn open(url: &DatabaseUrl, dir: TempDir) -> Self {
        let store = Store::open(url, listing::NAME, listing::MIGRATIONS).expect("a fresh database");
        Self { app: App::new(store.clone(), Platform::default()), store, _dir: dir }
    }

    /// A room of `hana` for 38,000 won.
    pub(crate) async fn listing(&self, capacity: i32) -> Listing {
        self.listing_of(Kind::Room, capacity).await
    }

    pub(crate) async fn listing_of(&self, kind: Kind, capacity: i32) -> Listing {
        self.create_listing("hana", draft_of(kind, capacity), request()).await.expect("a valid listing")
    }

    /// The listing as it is; a repeat's is the first one.
    pub(crate) async fn create_listing(&self, host: &str, draft: Draft, request: Request) -> Result<Listing, Error> {
        let answer = self.app.create_listing(host, draft, request).await?;
        self.app.get_listing(id(&answer)).await
    }

    /// Without a request id, as the others below.
    pub(crate) async fn update_listing(&self, host: &str, change: Change) -> Result<Listing, Error> {
        self.app.update_listing(host, change, None).await.map(new)
    }

    pub(crate) async fn delete_listing(&self, host: &str, id: Id, etag: &str) -> Result<Listing, Error> {
        self.app.delete_listing(host, id, etag, None).await.map(new)
    }

    pub(crate) async fn update_review(&self, key: ReviewKey, author: &str, content: String) -> Result<Review, Error> {
        self.app.update_review(key, author, content, None).await.map(new)
    }

    pub(crate) async fn delete_review(&self, key: ReviewKey, author: &str) -> Result<(), Error> {
        self.app.delete_review(key, author, None).await
    }

    pub(crate) async fn set_capacity(
        &self,
        host: &str,
        id: Id,
        dates: Option<Days>,
        capacity: i32,
    ) -> Result<Vec<Availability>, Error> {
        self.app.set_capacity(host, id, dates, capacity, None).await.map(new)
    }

    /// Units held on each of a listing's first nights or dates.
    pub(crate) async fn held(&self, listing: Id, days: i32) -> Vec<i32> {
        self.available(listing, Some(stay(0, days))).await.iter().map(|day| day.held).collect()
    }

    pub(crate) async fn available(&self, listing: Id, dates: Option<Days>) -> Vec<Availability> {
        self.app.query_availability(listing, dates).await.expect("a listing").1
    }

    /// The use cases over the same database, under another platform.
    pub(crate) fn under(&self, platform: Platform) -> App {
        App::new(self.store.clone(), platform)
    }

    /// The rules that listing itself must keep, whatever a test did.
    pub(crate) async fn assert_sound(&self) {
        assert_eq!(audit::read(&self.store).await.expect("an audit").violations, Vec::<String>::new());
    }

    /// Handles events as the consumer does.
    pub(crate) async fn hear(&self, events: Vec<Received>) {
        self.store.write(move |conn| listing::events::handle(conn, &events)).await.expect("handled");
    }
}

/// Which listing was registered, now or by the first call.
pub(crate) fn id(answer: &Answer<Listing>) -> Id {
    match answer {
        Answer::New(listing) => listing.id,
        Answer::First(shown) => {
            let shown = pb::Listing::decode(shown.as_slice()).expect("a listing");
            id_of("listings", &shown.name).expect("a name")
        }
    }
}

fn new<T>(answer: Answer<T>) -> T {
    match answer {
        Answer::New(new) => new,
        Answer::First(_) => unreachable!("it has no request id"),
    }
}

pub(crate) fn draft(capacity: i32) -> Draft {
    draft_of(Kind::Room, capacity)
}

/// For 38,000 won, except a hospital, which is free by default.
pub(crate) fn draft_of(kind: Kind, capacity: i32) -> Draft {
    Draft {
        display_name: "Hanok".to_owned(),
        description: "By the river.".to_owned(),
        kind: Some(kind),
        region: "Jeju".to_owned(),
        company: "Hanok Stay".to_owned(),
        grade: "prime".to_owned(),
        max_persons: 4,
        language_code: "ko".to_owned(),
        price: Some(Ok(won(if kind == Kind::Hospital { 0 } else { 38_000 }))),
        default_capacity: capacity,
        time_zone: "Asia/Seoul".to_owned(),
        policy: ReservationPolicy::default(),
        dates: Vec::new(),
    }
}

pub(crate) fn won(amount: i64) -> Money {
    Money::from_minor(amount, Currency::KRW)
}

/// A request id never used before.
pub(crate) fn request() -> Request {
    Request { key: RequestKey::new("test", "test", &Id::generate().to_string()), fingerprint: [0; 32] }
}

/// The day that is the first of every test, some days ahead.
pub(crate) fn first_day() -> Day {
    Zone::named("UTC").expect("a zone").day_at(Micros::now()).plus(10)
}

/// Days from the first on: the nights of a stay, or a range of dates.
pub(crate) fn stay(offset: i32, days: i32) -> Days {
    let start = first_day().plus(offset);
    Days::of_range(start, start.plus(days), "dates").expect("a range")
}

pub(crate) fn hold(listing: Id, nights: Days, units: i32) -> HoldRequest {
    hold_slot(listing, Slot::Stay(nights), units)
}

pub(crate) fn hold_slot(listing: Id, slot: Slot, units: i32) -> HoldRequest {
    HoldRequest {
        reservation: Id::generate(),
        listing,
        customer: "chris".to_owned(),
        slot,
        units,
        persons: 1,
        expected_total: None,
    }
}

pub(crate) fn name_of(error: &Error) -> String {
    let text = format!("{error:?}");
    text.split(['(', ' ']).next().unwrap_or_default().to_owned()
}

/// An event about a reservation, as it arrives.
pub(crate) fn received<E: Event>(reservation: Id, make: impl FnOnce(Option<Reservation>) -> E) -> Received {
    let event = make(Some(Reservation { name: format!("reservations/{reservation}"), ..Default::default() }));
    Received {
        id: Id::generate(),
        kind: E::TYPE.to_owned(),
        source: "//holdfast/reservation".to_owned(),
        subject: mesh::event::subject(E::SUBJECT, event.key()),
        aggregate: event.key().to_owned(),
        version: 1,
        correlation: reservation.to_string(),
        causation: None,
        time: Micros::now(),
        traceparent: None,
        payload: event.encode_to_vec().into(),
        delivered: 1,
    }
}

/// A listing service on a free port.
pub(crate) struct Server {
    pub(crate) mesh: TestMesh,
    running: Running,
}

impl Server {
    pub(crate) async fn start(mesh: TestMesh) -> Self {
        let node = mesh.node();
        let running = Running::start(|listener, shutdown| {
            let config = Config {
                listing_listen: "127.0.0.1:0".parse().expect("an address"),
                listing_max_per_person: 10,
                listing_min_price: Some(won(3_800)),
                listing_review_after: ReviewAfter::Confirmed,
            };
            async move { listing::serve(&node, config, listener, shutdown).await }
        })
        .await;
        Self { mesh, running }
    }

    fn user(&self, subject: &str, role: Role) -> Channel {
        self.mesh.user(listing::NAME, self.running.address, subject, role)
    }

    pub(crate) fn listings(&self, subject: &str, role: Role) -> ListingServiceClient<Channel> {
        ListingServiceClient::new(self.user(subject, role))
    }

    pub(crate) fn reviews(&self, subject: &str, role: Role) -> ReviewServiceClient<Channel> {
        ReviewServiceClient::new(self.user(subject, role))
    }

    /// As the reservation service.
    pub(crate) fn holds(&self) -> HoldServiceClient<Channel> {
        self.holds_as("reservation")
    }

    pub(crate) fn holds_as(&self, service: &str) -> HoldServiceClient<Channel> {
        HoldServiceClient::new(self.mesh.service(listing::NAME, self.running.address, service))
    }

    pub(crate) fn holds_as_user(&self, subject: &str, role: Role) -> HoldServiceClient<Channel> {
        HoldServiceClient::new(self.user(subject, role))
    }

    /// A listing of `hana`.
    pub(crate) async fn listing(&self) -> pb::Listing {
        self.create(listing_message()).await
    }

    pub(crate) async fn create(&self, listing: pb::Listing) -> pb::Listing {
        let request = pb::CreateListingRequest { listing: Some(listing), request_id: Id::generate().to_string() };
        let answer = self.listings("hana", Role::Host).create_listing(request).await.expect("a valid listing");
        answer.into_inner().listing.expect("the listing")
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }
}

pub(crate) fn listing_message() -> pb::Listing {
    pb::Listing {
        display_name: "Hanok".to_owned(),
        kind: pb::listing::Kind::Room.into(),
        price: Some(money("KRW", 38_000)),
        default_capacity: 2,
        time_zone: "Asia/Seoul".to_owned(),
        max_persons: 4,
        ..Default::default()
    }
}

pub(crate) fn money(currency: &str, units: i64) -> google::Money {
    google::Money { currency_code: currency.to_owned(), units, nanos: 0 }
}

pub(crate) fn stay_message(offset: i32, nights: i32) -> pb::Stay {
    let start = first_day().plus(offset);
    pb::Stay { check_in_date: Some(start.into()), check_out_date: Some(start.plus(nights).into()) }
}

pub(crate) fn range_message(offset: i32, days: i32) -> Option<pb::DateRange> {
    let start = first_day().plus(offset);
    Some(pb::DateRange { start_date: Some(start.into()), end_date: Some(start.plus(days).into()) })
}

pub(crate) fn hold_message(listing: &str) -> pb::PlaceHoldRequest {
    pb::PlaceHoldRequest {
        reservation: format!("reservations/{}", Id::generate()),
        listing: listing.to_owned(),
        customer: "users/chris".to_owned(),
        slot: Some(pb::place_hold_request::Slot::Stay(stay_message(0, 2))),
        units: 1,
        persons: 1,
        expected_total: None,
    }
}
