//! A database, a server and callers for each test.

use std::ops::Deref;

use listing::app::{App, Request};
use listing::domain::{Draft, Error, HoldRequest, Kind, Listing, Policy, STAY_NIGHTS_MAX, Stay};
use listing::{Config, audit};
use mesh::client::Channel;
use mesh::event::Received;
use mesh::requests::RequestKey;
use mesh::store::{DatabaseUrl, Id, Micros, Store};
use mesh::testing::{Running, TestMesh};
use mesh::value::{Currency, Day, Money, Zone};
use proto::contract::{Event, Role};
use proto::google::r#type as google;
use proto::listing::v1 as pb;
use proto::listing::v1::hold_service_client::HoldServiceClient;
use proto::listing::v1::listing_service_client::ListingServiceClient;
use proto::listing::v1::review_service_client::ReviewServiceClient;
use proto::reservation::v1::Reservation;
use tempfile::TempDir;

/// Runs each story on SQLite and on PostgreSQL.
macro_rules! on_both {
    ($($story:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(crate::harness::Database::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(crate::harness::Database::postgres()).await;
            })*
        }
    };
}
pub(crate) use on_both;

/// The use cases over a database of the test's own.
pub(crate) struct Database {
    pub(crate) store: Store,
    pub(crate) app: App,
    _dir: Option<TempDir>,
}

impl Deref for Database {
    type Target = App;

    fn deref(&self) -> &App {
        &self.app
    }
}

impl Database {
    pub(crate) fn sqlite() -> Self {
        let (dir, url) = mesh::testing::database();
        Self::open(&url, Some(dir))
    }

    pub(crate) fn postgres() -> Self {
        Self::open(&mesh::testing::postgres().url, None)
    }

    fn open(url: &DatabaseUrl, dir: Option<TempDir>) -> Self {
        let store = Store::open(url, listing::NAME, listing::migrations()).expect("a fresh database");
        Self { app: App::new(store.clone()), store, _dir: dir }
    }

    /// A listing of `hana` for 38,000 won.
    pub(crate) async fn listing(&self, capacity: i32) -> Listing {
        self.app.create_listing("hana", draft(capacity), request()).await.expect("a valid listing")
    }

    /// Units held on each of a listing's first nights.
    pub(crate) async fn held(&self, listing: Id, nights: i32) -> Vec<i32> {
        let (_, nights) = self.app.query_availability(listing, stay(0, nights)).await.expect("a listing");
        nights.iter().map(|night| night.held).collect()
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

pub(crate) fn draft(capacity: i32) -> Draft {
    Draft {
        display_name: "Hanok".to_owned(),
        description: "By the river.".to_owned(),
        kind: Some(Kind::Room),
        price: Some(Ok(won(38_000))),
        default_capacity: capacity,
        time_zone: "Asia/Seoul".to_owned(),
        policy: Policy::complete(None, 0),
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

pub(crate) fn stay(offset: i32, nights: i32) -> Stay {
    let start = first_day().plus(offset);
    Stay::new(start, start.plus(nights), STAY_NIGHTS_MAX, "stay").expect("a stay")
}

pub(crate) fn hold(listing: Id, stay: Stay, units: i32) -> HoldRequest {
    HoldRequest {
        reservation: Id::generate(),
        listing,
        customer: "chris".to_owned(),
        stay,
        units,
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
            let config = Config { listing_listen: "127.0.0.1:0".parse().expect("an address") };
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
        let request =
            pb::CreateListingRequest { listing: Some(listing_message()), request_id: Id::generate().to_string() };
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

pub(crate) fn hold_message(listing: &str) -> pb::PlaceHoldRequest {
    pb::PlaceHoldRequest {
        reservation: format!("reservations/{}", Id::generate()),
        listing: listing.to_owned(),
        customer: "users/chris".to_owned(),
        stay: Some(stay_message(0, 2)),
        units: 1,
        expected_total: None,
    }
}
