//! Source E: health screening. A hospital's places on a date are reserved free of charge, confirmed at once, and told by alarm.

use mesh::{
    client::{self, Credentials},
    identity::{Issuer, KeyDirectory},
    testing::{eventually, free_port},
    value::Day,
};
use proto::{
    contract::Role,
    listing::v1::{DateCapacity, Listing, hold::State as HoldState, notification::Channel},
    marketing::v1::{ListListingDemandsRequest, ListingDemand, marketing_service_client::MarketingServiceClient},
    message::v1::message::Topic,
    reservation::v1::{
        CreateReservationRequest, Reservation,
        reservation::{Slot, State},
    },
    view::v1::Trip,
};
use tokio::task::JoinSet;
use tonic::Code;

use world::{
    PATIENCE, Process, World,
    caller::{Caller, reason, request_id, stay, today, topics, wish_on, won},
    offers,
};

use crate::outages::come_back;

/// Days until the screening.
const AHEAD: i32 = 10;

fn day(ahead: i32) -> Option<Day> {
    Some(today().plus(ahead))
}

/// A hospital that only takes people on these dates, so many days from now.
fn hospital_on(dates: &[(i32, i32)]) -> Listing {
    let places = |&(ahead, capacity)| DateCapacity { date: Some(today().plus(ahead).into()), capacity };
    Listing { date_capacities: dates.iter().map(places).collect(), ..offers::hospital(0) }
}

/// A place, so many days from now; nobody gives a payment method.
fn screening(hospital: &str, ahead: i32) -> CreateReservationRequest {
    CreateReservationRequest { payment_method: String::new(), ..wish_on(hospital, ahead) }
}

/// What my page says of the screening and its place.
fn shown(trip: &Trip) -> (State, HoldState) {
    (trip.reservation.as_ref().map(Reservation::state).unwrap_or_default(), trip.hold_state())
}

/// What patients are told of, by alarm; each begins with the prefix.
async fn alarms(patient: &Caller, name: &str, prefix: &str, count: usize) -> Vec<Topic> {
    let told = patient.until_told(name, count).await;
    for alarm in &told {
        assert_eq!(alarm.channel(), Channel::Alarm);
        assert!(alarm.body.starts_with(prefix) && alarm.body.contains("Hangang Hospital"), "{}", alarm.body);
    }
    topics(&told)
}

/// E1–E8, E12–E14, E17, E19–E21, T6: a place is taken and the screening confirmed with the request, cancelled with the cancellation, its
/// history kept. K43: places are never fewer than none. K44: a hospital and its date have to exist. K45: changing a hospital takes no
/// place. K46, K47: cancelling again gives nothing more. E31: the prefix of alarms is configured, by the platform or the hospital.
#[tokio::test]
async fn a_screening_is_confirmed_at_once_and_gives_its_place_back_once() {
    let mut world = World::start_with(&[("HOLDFAST_MESSAGE_ALARM_PREFIX", "Seoul Health:")]).await;
    let (host, patient) = (world.host(), world.customer("gil"));
    let hospital = host.offer_listing(hospital_on(&[(AHEAD, 2), (AHEAD + 1, 1)])).await;
    assert_eq!(patient.free_on(&hospital, day(AHEAD)).await, 2);
    let booked = patient.reserve(&screening(&hospital, AHEAD)).await.expect("a place");
    assert_eq!((booked.state(), &booked.total), (State::Confirmed, &Some(won(0))));
    assert_eq!(booked.slot, Some(Slot::Date(today().plus(AHEAD).into())));
    assert!(booked.payment.is_empty() && booked.approval_number.is_empty() && booked.expire_time.is_none());
    assert_eq!(patient.free_on(&hospital, day(AHEAD)).await, 1, "with the request");
    for either in [&patient, &host] {
        either.until_trip(&booked.name, |trip| shown(trip) == (State::Confirmed, HoldState::Committed)).await;
    }
    let requested = [Topic::ReservationConfirmed, Topic::ReservationRequested];
    assert_eq!(alarms(&patient, &booked.name, "Seoul Health: ", 2).await, requested);

    let named = Listing { name: hospital.clone(), description: "Bring your papers.".to_owned(), ..Listing::default() };
    for _ in 0..3 {
        host.modify(named.clone(), &["description"]).await.expect("her own");
    }
    assert_eq!(patient.free_on(&hospital, day(AHEAD)).await, 1, "editing takes no place");
    refuses_nonsense(&patient, &hospital).await;
    everybody_asks(&world, &hospital).await;

    let fewer = host.set_capacity(&hospital, day(AHEAD), 1).await.expect_err("two are taken");
    assert_eq!(reason(&fewer), "CAPACITY_BELOW_HOLDS");
    let cancelled = patient.cancel(&booked.name).await.expect("accepted");
    assert_eq!(cancelled.state(), State::Cancelled, "nothing is to be refunded");
    for _ in 0..3 {
        assert_eq!(patient.cancel(&booked.name).await.expect("as it is"), cancelled);
    }
    patient.until_trip(&booked.name, |trip| shown(trip) == (State::Cancelled, HoldState::Released)).await;
    host.set_capacity(&hospital, day(AHEAD), 5).await.expect("more places");
    assert_eq!(patient.free_on(&hospital, day(AHEAD)).await, 4, "one of two came back, once, and three were added");
    let all = [
        "HoldCommitted",
        "HoldPlaced",
        "HoldReleased",
        "MessageSent",
        "MessageSent",
        "MessageSent",
        "ReservationCancelRequested",
        "ReservationCancelled",
        "ReservationConfirmed",
        "ReservationRequested",
    ];
    let mut happened = patient.until_happened(&booked.name, all.len()).await;
    happened.sort_unstable();
    assert_eq!(happened, all);
    assert!(patient.my_payments().await.is_empty());
    assert_eq!((patient.my_trips().await.len(), world.customer("nadia").my_trips().await.len()), (1, 0));

    prefixes(&mut world, &host, &patient).await;
    world.audit();
}

async fn refuses_nonsense(patient: &Caller, hospital: &str) {
    let unknown = format!("listings/{}", request_id());
    let by_night = wish_on(hospital, AHEAD);
    let nights = Reservation { slot: Some(Slot::Stay(stay(AHEAD))), ..by_night.reservation.clone().expect("set") };
    for (request, code, expected) in [
        (screening(&unknown, AHEAD), Code::NotFound, "LISTING_NOT_FOUND"),
        (screening(hospital, AHEAD + 2), Code::FailedPrecondition, "NO_AVAILABILITY"),
        (screening(hospital, -2), Code::InvalidArgument, "DATE_IN_PAST"),
        (CreateReservationRequest { reservation: Some(nights), ..by_night }, Code::InvalidArgument, "SLOT_MISMATCH"),
    ] {
        let refused = patient.reserve(&request).await.expect_err(expected);
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, expected));
    }
    assert_eq!(patient.my_reservations().await.len(), 1, "nothing stays of it");
}

/// Two dates with one place left on each.
async fn everybody_asks(world: &World, hospital: &str) {
    let mut calls = JoinSet::new();
    for number in 0..24 {
        let patient = world.customer(&format!("patient-{number}"));
        let request = screening(hospital, AHEAD + number % 2);
        calls.spawn(async move { patient.reserve(&request).await });
    }
    let (won, lost): (Vec<_>, Vec<_>) = calls.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 2);
    assert!(lost.into_iter().filter_map(Result::err).all(|refused| reason(&refused) == "NO_AVAILABILITY"));
    for ahead in [AHEAD, AHEAD + 1] {
        assert_eq!(world.host().free_on(hospital, day(ahead)).await, 0);
    }
}

async fn prefixes(world: &mut World, host: &Caller, patient: &Caller) {
    world.stop("message").await;
    world.begin_with("message", &[("HOLDFAST_MESSAGE_ALARM_PREFIX", "City Health:")]).await;
    let plain = host.offer_listing(offers::hospital(1)).await;
    let own = offers::with(offers::hospital(1), |policy| policy.alarm_prefix = "Hangang says:".to_owned());
    let own = host.offer_listing(own).await;
    for (hospital, prefix) in [(&plain, "City Health: "), (&own, "Hangang says: ")] {
        let booked = patient.reserve(&screening(hospital, AHEAD)).await.expect("a place");
        alarms(patient, &booked.name, prefix, 2).await;
    }
}

/// E9–E11, K20, T22: a deleted hospital takes its screenings with it, and their records turn. T40: what a patient has cancelled stays so.
#[tokio::test]
async fn a_deleted_hospital_ends_its_screenings_and_nobody_elses() {
    let mut world = World::start().await;
    let (host, patient) = (world.host(), world.customer("gil"));
    let (hospital, other) =
        (host.offer_listing(offers::hospital(40)).await, host.offer_listing(offers::hospital(1)).await);
    let mut booked = Vec::new();
    for number in 0..30 {
        booked.push(patient.reserve(&screening(&hospital, AHEAD + number % 3)).await.expect("a place"));
    }
    let elsewhere = patient.reserve(&screening(&other, AHEAD)).await.expect("a place");
    let cancelled = booked.pop().expect("thirty");
    assert_eq!(patient.cancel(&cancelled.name).await.expect("accepted").state(), State::Cancelled);
    // Nobody has to be there for it but those who decide.
    for service in ["payment", "mileage", "voucher", "view"] {
        world.stop(service).await;
    }
    host.withdraw(&hospital).await.expect("her own");
    let refused = patient.reserve(&screening(&hospital, AHEAD)).await.expect_err("gone");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "LISTING_DELETED"));
    for screening in &booked {
        patient.until(&screening.name, State::ForceCancelled).await;
    }
    for service in ["payment", "mileage", "voucher", "view"] {
        world.begin(service).await;
    }
    for screening in &booked {
        patient.until_trip(&screening.name, |trip| shown(trip) == (State::ForceCancelled, HoldState::Released)).await;
    }
    let told = alarms(&patient, &booked[0].name, "Hello ", 3).await;
    let expected = [Topic::ReservationConfirmed, Topic::ReservationRequested, Topic::ReservationForceCancelled];
    assert_eq!(told, expected);
    patient.until_trip(&cancelled.name, |trip| shown(trip) == (State::Cancelled, HoldState::Released)).await;
    assert_eq!(patient.reservation(&cancelled.name).await.expect("his").state(), State::Cancelled);
    assert_eq!(patient.reservation(&elsewhere.name).await.expect("his").state(), State::Confirmed);
    assert_eq!(reason(&patient.cancel(&booked[0].name).await.expect_err("it is over")), "RESERVATION_NOT_CANCELLABLE");
    host.until_listing(&hospital, |view| view.confirmed_count == 0).await;
    host.until_listing(&other, |view| view.confirmed_count == 1).await;
    world.audit();
}

/// E15, E24–E26, A50, A62, T6: hospital down, no screening; history, messages and everything about money down, requests and cancellations go
/// on, and what was down catches up. K11, K12: requested and cancelled while they were down, a screening ends cancelled everywhere, and its
/// place comes back once.
#[tokio::test]
async fn the_history_catches_up_and_ends_as_the_screening_did() {
    let mut world = World::start().await;
    let (host, patient) = (world.host(), world.customer("gil"));
    let hospital = host.offer_listing(offers::hospital(3)).await;
    let before = patient.reserve(&screening(&hospital, AHEAD)).await.expect("a place");
    patient.until_trip(&before.name, |trip| shown(trip) == (State::Confirmed, HoldState::Committed)).await;

    world.stop("listing").await;
    let request = screening(&hospital, AHEAD);
    come_back(&patient.reserve(&request).await.expect_err("the hospital is down"), "LISTING_UNAVAILABLE");
    world.begin("listing").await;
    eventually(PATIENCE, || async { patient.reserve(&request).await.ok() }).await;

    for service in ["view", "message", "payment", "mileage", "voucher"] {
        world.stop(service).await;
    }
    let requested = patient.reserve(&screening(&hospital, AHEAD)).await.expect("a place");
    assert_eq!(requested.state(), State::Confirmed);
    world.stop("listing").await;
    for each in [&requested, &before] {
        assert_eq!(patient.cancel(&each.name).await.expect("accepted").state(), State::Cancelled);
    }
    for service in ["view", "message"] {
        world.begin(service).await;
    }
    // The history knows of the cancellation, the hospital does not yet.
    for each in [&requested, &before] {
        patient.until_trip(&each.name, |trip| shown(trip).0 == State::Cancelled).await;
    }
    world.begin("listing").await;
    for each in [&requested, &before] {
        patient.until_trip(&each.name, |trip| shown(trip) == (State::Cancelled, HoldState::Released)).await;
        let topics = alarms(&patient, &each.name, "Hello ", 3).await;
        assert_eq!(
            topics,
            [Topic::ReservationConfirmed, Topic::ReservationCancelled, Topic::ReservationRequested],
            "each once"
        );
        assert_eq!(patient.reservation(&each.name).await.expect("his").state(), State::Cancelled);
    }
    patient.until_free(&hospital, day(AHEAD), 2).await;
    host.until_listing(&hospital, |view| view.confirmed_count == 1).await;
    for service in ["payment", "mileage", "voucher"] {
        world.begin(service).await;
    }
    assert_eq!(patient.my_trips().await.len(), 3);
    world.audit();
    assert_eq!(patient.free_on(&hospital, day(AHEAD)).await, 2, "and not more");
}

/// E33, A40, A51, T32: another organisation joins when all of it has happened already, learns the past from the events, asks busy
/// hospitals for more places, and touches nobody's data. It is killed, and asks nobody twice.
#[tokio::test]
async fn marketing_joins_late_learns_the_past_and_asks_busy_hospitals_for_more() {
    let world = World::start().await;
    let (host, patient) = (world.host(), world.customer("gil"));
    let (busy, quiet) = (host.offer_listing(offers::hospital(5)).await, host.offer_listing(offers::hospital(5)).await);
    let mut booked = Vec::new();
    for _ in 0..4 {
        booked.push(patient.reserve(&screening(&busy, AHEAD)).await.expect("a place"));
    }
    let calm = patient.reserve(&screening(&quiet, AHEAD)).await.expect("a place");
    let off = patient.reserve(&screening(&quiet, AHEAD)).await.expect("a place");
    patient.cancel(&off.name).await.expect("accepted");

    let marketing = Marketing::join(&world);
    let demand = marketing.until(&host_token(&world), &busy, |demand| demand.increment_request_count == 1).await;
    assert_eq!((demand.confirmed_count, demand.cancelled_count, demand.host.as_str()), (4, 0, "users/hana"));
    let calm_demand = marketing.until(&host_token(&world), &quiet, |demand| demand.cancelled_count == 1).await;
    assert_eq!((calm_demand.confirmed_count, calm_demand.increment_request_count), (1, 0));
    let stranger = world.token("harry", Role::Host);
    assert!(marketing.demands(&stranger).await.expect("up").is_empty(), "others' hospitals are not theirs");

    // The host offers more, that fills as well: asked again, once. A marketing that was killed meanwhile asks nobody twice.
    host.set_capacity(&busy, day(AHEAD), 10).await.expect("more places");
    for _ in 0..3 {
        booked.push(patient.reserve(&screening(&busy, AHEAD)).await.expect("a place"));
    }
    marketing.until(&host_token(&world), &busy, |demand| demand.confirmed_count == 7).await;
    let marketing = marketing.killed(&world);
    booked.push(patient.reserve(&screening(&busy, AHEAD)).await.expect("nobody needs marketing"));
    let demand = marketing.until(&host_token(&world), &busy, |demand| demand.increment_request_count == 2).await;
    assert_eq!(demand.confirmed_count, 8);

    assert_eq!(patient.free_on(&busy, day(AHEAD)).await, 2, "it orders nothing");
    assert_eq!(patient.reservation(&calm.name).await.expect("his").state(), State::Confirmed);
    world.audit();
}

fn host_token(world: &World) -> String {
    world.token("hana", Role::Host)
}

/// A service that is no part of the mesh.
struct Marketing {
    process: Process,
    port: u16,
}

impl Marketing {
    /// Starts with a key of its own.
    fn join(world: &World) -> Self {
        let own = tempfile::tempdir().expect("a folder");
        Issuer::create(own.path(), &["marketing"]).expect("a fresh key");
        let [from, to] =
            [own.path().to_owned(), world.keys()].map(|folder| KeyDirectory::new(folder).service_key("marketing"));
        std::fs::copy(from, to).expect("its key");
        let port = free_port();
        Self { process: Self::spawn(world, port), port }
    }

    fn spawn(world: &World, port: u16) -> Process {
        let parent = std::process::id().to_string();
        let mut command = world.command(&["serve", "marketing", "--parent", &parent]);
        Process::spawn(command.env("HOLDFAST_MARKETING_LISTEN", format!("127.0.0.1:{port}")))
    }

    /// Killed and started again.
    fn killed(self, world: &World) -> Self {
        self.process.kill();
        Self { process: Self::spawn(world, self.port), port: self.port }
    }

    /// What the holder of the token sees; `None` while it is down.
    async fn demands(&self, token: &str) -> Option<Vec<ListingDemand>> {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], self.port));
        let channel = client::connect("marketing", &address.into(), Credentials::token(token));
        let request = ListListingDemandsRequest::default();
        let answer = MarketingServiceClient::new(channel).list_listing_demands(request).await.ok()?;
        Some(answer.into_inner().listing_demands)
    }

    /// Waits until it knows this of a listing.
    async fn until(&self, token: &str, listing: &str, wanted: impl Fn(&ListingDemand) -> bool) -> ListingDemand {
        let wanted = &wanted;
        eventually(PATIENCE, || async move {
            self.demands(token).await?.into_iter().find(|demand| demand.listing == listing && wanted(demand))
        })
        .await
    }
}
