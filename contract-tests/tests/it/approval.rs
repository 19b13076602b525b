//! Source B: lodging with its host's approval. The host approves before anything is paid, the room is held from the request on.

use std::time::Duration;

use mesh::{testing::eventually, value::Day};
use proto::{
    contract::Role,
    listing::v1::{Listing, ReservationPolicy, Stay, hold::State as HoldState, reservation_policy::Capacity},
    message::v1::message::Topic,
    payment::v1::payment::State as PaymentState,
    reservation::v1::{
        ApproveReservationRequest, CreateReservationRequest, Reservation,
        reservation::{Slot, State},
    },
    view::v1::{Trip, WatchTripRequest},
};
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use world::{
    PATIENCE, World,
    caller::{Caller, reason, request_id, topics, trip_name, wish, wish_now, won},
    offers::{self, PRICE},
};

/// The same deal under a changed policy.
fn with(listing: Listing, change: impl FnOnce(&mut ReservationPolicy)) -> Listing {
    let mut policy = listing.policy.clone().unwrap_or_default();
    change(&mut policy);
    Listing { policy: Some(policy), ..listing }
}

fn without_dates() -> Listing {
    with(offers::room_by_approval(1), |policy| policy.capacity = Capacity::Stock.into())
}

/// The day whose free units tell whether the place is taken; none where there are no dates.
fn day_of(request: &CreateReservationRequest) -> Option<Day> {
    match request.reservation.as_ref()?.slot.as_ref()? {
        Slot::Stay(Stay { check_in_date, .. }) => Day::try_from(check_in_date.as_ref()?).ok(),
        Slot::Date(date) => Day::try_from(date).ok(),
    }
}

/// What my page says of the reservation, its place and its payment.
fn shown(trip: &Trip) -> (State, HoldState, PaymentState) {
    let state = trip.reservation.as_ref().map(Reservation::state).unwrap_or_default();
    (state, trip.hold_state(), trip.payment_state())
}

async fn reserve_with(guest: &Caller, listing: &str, payment_method: &str) -> Reservation {
    let request = CreateReservationRequest { payment_method: payment_method.to_owned(), ..wish(listing) };
    guest.reserve(&request).await.expect("a room to ask for")
}

/// B1–B5, B7–B9, B18, T7, T12: requested, approved, paid, confirmed, cancelled; by the night and without dates. K22: nothing ends at
/// "accepted". K24: others' reservations stay as they are. K25: nobody pays before the host has approved.
#[tokio::test]
async fn a_request_is_approved_paid_confirmed_told_and_shown_then_cancelled_and_all_of_it_taken_back() {
    let world = World::start().await;
    let (host, bystander) = (world.host(), world.customer("nadia"));
    let elsewhere = host.offer_listing(offers::room_by_approval(1)).await;
    let waiting = bystander.reserve(&wish(&elsewhere)).await.expect("a room to ask for");
    let untouched = bystander.until_trip(&waiting.name, |trip| trip.hold_state() == HoldState::Held).await;

    let by_night = host.offer_listing(offers::room_by_approval(1)).await;
    let dateless = host.offer_listing(without_dates()).await;
    story(&world, &wish(&by_night), 2 * PRICE).await;
    story(&world, &wish_now(&dateless), PRICE).await;

    let still = bystander.trip(&waiting.name).await.expect("hers");
    assert_eq!((shown(&still), &still.reservation), (shown(&untouched), &untouched.reservation));
    world.audit();
}

async fn story(world: &World, request: &CreateReservationRequest, price: i64) {
    let (host, guest) = (world.host(), world.customer("gil"));
    let (listing, day) = (request.reservation.as_ref().expect("set").listing.clone(), day_of(request));
    let asked = guest.reserve(request).await.expect("a room to ask for");
    assert_eq!((asked.state(), &asked.total), (State::AwaitingApproval, &Some(won(price))));
    assert!(asked.payment.is_empty() && asked.approval_number.is_empty() && asked.expire_time.is_some());
    assert_eq!(guest.free_on(&listing, day).await, 0, "held from the request on");
    let to_host = host.until_told(&asked.name, 1).await;
    assert_eq!(topics(&to_host), [Topic::ReservationRequested]);
    assert!(guest.messages(&asked.name).await.is_empty(), "the guest knows");
    let awaiting = (State::AwaitingApproval, HoldState::Held, PaymentState::Unspecified);
    for either in [&host, &guest] {
        either.until_trip(&asked.name, |trip| shown(trip) == awaiting).await;
    }
    let overview = host.until_listing(&listing, |view| view.latest_reservation == asked.name).await;
    assert_eq!((overview.latest_reservation_state(), overview.confirmed_count), (State::AwaitingApproval, 0));
    let payments_before = guest.my_payments().await.len();
    let watchers = [watch(&host, &asked.name, State::Cancelled), watch(&guest, &asked.name, State::Cancelled)];

    only_its_host_approves(world, &asked.name).await;
    assert_eq!(guest.my_payments().await.len(), payments_before, "nobody has paid yet");
    let approve =
        ApproveReservationRequest { name: asked.name.clone(), request_id: request_id(), etag: asked.etag.clone() };
    let confirmed = answer(&host, &approve).await.expect("approved");
    assert_eq!(answer(&host, &approve).await.expect("a repeat"), confirmed);
    assert_eq!(confirmed.state(), State::Confirmed);
    assert!(
        !confirmed.approval_number.is_empty() && confirmed.approve_time.is_some() && confirmed.expire_time.is_none()
    );
    let again = host.approve(&asked.name).await.expect_err("it is");
    assert_eq!(
        (again.code(), reason(&again).as_str()),
        (Code::FailedPrecondition, "RESERVATION_NOT_AWAITING_APPROVAL")
    );
    let payment = guest.payment(&confirmed.payment).await;
    assert_eq!((payment.state(), payment.amount), (PaymentState::Approved, Some(won(price))));
    assert_eq!(topics(&guest.until_told(&asked.name, 1).await), [Topic::ReservationConfirmed]);
    let taken = (State::Confirmed, HoldState::Committed, PaymentState::Approved);
    for either in [&host, &guest] {
        let trip = either.until_trip(&asked.name, |trip| shown(trip) == taken).await;
        let told = trip.reservation.expect("told");
        assert_eq!((told.slot, told.persons), (asked.slot, 2), "dates and heads");
    }
    let saga = [
        "HoldPlaced",
        "ReservationRequested",
        "PaymentApproved",
        "ReservationApproved",
        "ReservationConfirmed",
        "HoldCommitted",
    ];
    assert_eq!(events(&guest, &asked.name, saga.len() + 2).await, saga, "the room is taken last");

    assert_eq!(guest.cancel(&asked.name).await.expect("accepted").state(), State::CancelRequested);
    guest.until(&asked.name, State::Cancelled).await;
    let back = (State::Cancelled, HoldState::Released, PaymentState::Cancelled);
    for either in [&host, &guest] {
        either.until_trip(&asked.name, |trip| shown(trip) == back).await;
    }
    let told = guest.until_told(&asked.name, 2).await;
    assert_eq!(topics(&told), [Topic::ReservationConfirmed, Topic::ReservationCancelled]);
    let taken_back = ["ReservationCancelRequested", "PaymentCancelled", "ReservationCancelled", "HoldReleased"];
    let all = events(&guest, &asked.name, saga.len() + taken_back.len() + 3).await;
    assert_eq!(all, [&saga[..], &taken_back[..]].concat());
    assert_eq!((guest.free_on(&listing, day).await, guest.miles().await), (1, 0));
    for watcher in watchers {
        let seen = watcher.await.expect("no panic");
        let order = [State::AwaitingApproval, State::Confirmed, State::CancelRequested, State::Cancelled];
        assert_eq!((seen.first(), seen.last()), (order.first(), order.last()));
        assert!(seen.iter().is_sorted_by_key(|state| order.iter().position(|known| known == state)), "{seen:?}");
    }
}

async fn answer(host: &Caller, request: &ApproveReservationRequest) -> Result<Reservation, Status> {
    let answer = host.reservations.clone().approve_reservation(request.clone()).await?;
    Ok(answer.into_inner().reservation.expect("a reservation"))
}

async fn only_its_host_approves(world: &World, name: &str) {
    let refused = world.customer("gil").approve(name).await.expect_err("a guest");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_ALLOWED"));
    let other = world.caller("harry", Role::Host);
    assert_eq!(reason(&other.approve(name).await.expect_err("another's room")), "RESERVATION_NOT_FOUND");
    assert_eq!(reason(&other.reject(name, "mine").await.expect_err("another's room")), "RESERVATION_NOT_FOUND");
    assert_eq!(reason(&other.trip(name).await.expect_err("another's room")), "TRIP_NOT_FOUND");
}

/// What happened besides messages, once so much has happened with them.
async fn events(caller: &Caller, name: &str, count: usize) -> Vec<String> {
    let mut events = caller.until_happened(name, count).await;
    assert_eq!(events.len(), count, "{events:?}");
    events.retain(|event| event != "MessageSent");
    events
}

/// The states that a watcher of the page sees, until this one.
fn watch(caller: &Caller, name: &str, last: State) -> tokio::task::JoinHandle<Vec<State>> {
    let mut views = caller.views.clone();
    let mut request = Request::new(WatchTripRequest { name: trip_name(name) });
    request.set_timeout(2 * PATIENCE);
    mesh::deadline::spawn(async move {
        let mut stream = views.watch_trip(request).await.expect("shown").into_inner();
        let mut seen: Vec<State> = Vec::new();
        while seen.last() != Some(&last) {
            let trip = stream.message().await.expect("still watching").and_then(|told| told.trip).expect("a trip");
            let state = shown(&trip).0;
            if seen.last() != Some(&state) {
                seen.push(state);
            }
        }
        seen
    })
}

/// B6, B8, B9, K6, T7, T45: a request that comes to nothing is told, its room is free again, and nobody has paid.
#[tokio::test]
async fn a_rejected_withdrawn_declined_or_forgotten_request_gives_the_room_back_unpaid() {
    let world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let hurried = with(offers::room_by_approval(1), |policy| {
        policy.approval_ttl = Some(prost_types::Duration { seconds: 2, nanos: 0 });
    });
    let hurried = host.offer_listing(hurried).await;
    let forgotten = reserve_with(&guest, &hurried, "pm_card_visa").await;
    let listing = host.offer_listing(offers::room_by_approval(1)).await;
    let day = day_of(&wish(&listing));

    let rejected = reserve_with(&guest, &listing, "pm_card_visa").await;
    let answer = host.reject(&rejected.name, "We are renovating.").await.expect("her room");
    assert_eq!((answer.state(), answer.reject_reason.as_str()), (State::Rejected, "We are renovating."));
    assert_eq!(reason(&host.approve(&rejected.name).await.expect_err("over")), "RESERVATION_NOT_AWAITING_APPROVAL");
    assert_eq!(reason(&guest.cancel(&rejected.name).await.expect_err("over")), "RESERVATION_NOT_CANCELLABLE");
    guest.until_free(&listing, day, 1).await;

    let withdrawn = reserve_with(&guest, &listing, "pm_card_visa").await;
    assert_eq!(guest.cancel(&withdrawn.name).await.expect("accepted").state(), State::Cancelled);
    assert_eq!(reason(&host.approve(&withdrawn.name).await.expect_err("over")), "RESERVATION_NOT_AWAITING_APPROVAL");
    guest.until_free(&listing, day, 1).await;

    let poor = reserve_with(&guest, &listing, "pm_card_chargeDeclinedInsufficientFunds").await;
    let refused = host.approve(&poor.name).await.expect_err("declined");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "PAYMENT_DECLINED"));
    let ended = guest.reservation(&poor.name).await.expect("it stays");
    assert_eq!((ended.state(), ended.reject_reason.as_str()), (State::Rejected, "PAYMENT_DECLINED"));
    guest.until_free(&listing, day, 1).await;

    guest.until(&forgotten.name, State::Expired).await;
    guest.until_free(&hurried, day, 1).await;
    let late = host.approve(&forgotten.name).await.expect_err("over");
    assert_eq!((late.code(), reason(&late).as_str()), (Code::FailedPrecondition, "RESERVATION_NOT_AWAITING_APPROVAL"));

    let ends = [
        (&rejected, &["ReservationRejected"][..], Topic::ReservationRejected),
        (&withdrawn, &["ReservationCancelRequested", "ReservationCancelled"][..], Topic::ReservationCancelled),
        (&poor, &["PaymentDeclined", "ReservationRejected", "PaymentCancelled"][..], Topic::ReservationRejected),
        (&forgotten, &["ReservationExpired"][..], Topic::ReservationExpired),
    ];
    for (reservation, end, topic) in ends {
        let told = guest.until_told(&reservation.name, 1).await;
        assert_eq!(topics(&told), [topic], "{end:?}");
        host.until_trip(&reservation.name, |trip| trip.hold_state() == HoldState::Released).await;
        let mut expected = [&["HoldPlaced", "ReservationRequested", "HoldReleased"][..], end].concat();
        let mut happened = events(&guest, &reservation.name, expected.len() + 2).await;
        // Payment and listing hear of the end at the same time.
        expected.sort_unstable();
        happened.sort_unstable();
        assert_eq!(happened, expected);
    }
    assert!(guest.my_payments().await.iter().all(|payment| payment.state() != PaymentState::Approved));
    let next = reserve_with(&world.customer("nadia"), &listing, "pm_card_visa").await;
    assert_eq!(host.approve(&next.name).await.expect("her room").state(), State::Confirmed);
    world.audit();
}

/// B11, T38, K8: payment down, a room can be asked for but not confirmed; back, the same approval succeeds. B12, A62: message down, nobody
/// notices; back, each message comes once. Killed during the charge, the approval is carried on and charged once.
#[tokio::test]
async fn without_payment_nothing_is_approved_and_with_it_the_same_approval_succeeds() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer_listing(offers::room_by_approval(3)).await;
    world.stop("message").await;
    world.stop("payment").await;
    let asked = reserve_with(&guest, &listing, "pm_card_visa").await;
    let unwanted = reserve_with(&guest, &listing, "pm_card_visa").await;
    let request = ApproveReservationRequest { name: asked.name.clone(), request_id: request_id(), etag: String::new() };
    let down = answer(&host, &request).await.expect_err("payment is down");
    assert_eq!((down.code(), reason(&down).as_str()), (Code::Unavailable, "PAYMENT_UNAVAILABLE"));
    assert!(down.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()), "come back: {down:?}");
    assert_eq!(guest.reservation(&asked.name).await.expect("his").state(), State::AwaitingApproval);
    assert_eq!(host.reject(&unwanted.name, "").await.expect("needs no payment").state(), State::Rejected);
    world.begin("payment").await;
    let confirmed = eventually(PATIENCE, || async { answer(&host, &request).await.ok() }).await;
    assert_eq!(confirmed.state(), State::Confirmed);
    assert_eq!(guest.payment(&confirmed.payment).await.state(), PaymentState::Approved);

    let slow = reserve_with(&guest, &listing, "pm_sim_slow").await;
    let approving = {
        let (host, name) = (host.clone(), slow.name.clone());
        mesh::deadline::spawn(async move { host.approve(&name).await })
    };
    eventually(PATIENCE, || async { guest.my_payments().await.iter().any(|payment| payment.reservation == slow.name) })
        .await;
    world.kill("reservation");
    assert!(approving.await.expect("no panic").is_err(), "its host cannot know");
    world.begin("reservation").await;
    guest.until(&slow.name, State::Confirmed).await;
    let charged = guest.my_payments().await.into_iter().filter(|payment| payment.reservation == slow.name).count();
    assert_eq!(charged, 1);

    world.begin("message").await;
    let confirmed_only = [Topic::ReservationConfirmed];
    for (reservation, told) in
        [(&asked, confirmed_only), (&unwanted, [Topic::ReservationRejected]), (&slow, confirmed_only)]
    {
        assert_eq!(topics(&guest.until_told(&reservation.name, 1).await), told);
        assert_eq!(topics(&host.until_told(&reservation.name, 1).await), [Topic::ReservationRequested]);
    }
    guest.until_free(&listing, day_of(&wish(&listing)), 1).await;
    world.audit();
}

/// B4, B6, K5, K6, T7, T42: of those who ask for one room at once, one waits for its host. In the source both could be approved, and
/// who came too late had a reservation that never moved. B25, T8: nobody has more open reservations than the host, the platform for a
/// listing, or the platform over all listings allows; a changed setting counts for whoever comes after.
#[tokio::test]
async fn one_room_waits_for_one_guest_and_no_guest_has_more_than_allowed() {
    let limits = [("HOLDFAST_LISTING_MAX_PER_PERSON", "3"), ("HOLDFAST_RESERVATION_MAX_PER_PERSON", "13")];
    let mut world = World::start_with(&limits).await;
    let host = world.host();
    let one = host.offer_listing(offers::room_by_approval(1)).await;
    let guests: Vec<_> = (0..24).map(|number| world.customer(&format!("guest-{number}"))).collect();
    let answers = at_once(guests.iter().map(|guest| (guest.clone(), wish(&one)))).await;
    let waiting: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    assert_eq!(waiting.len(), 1);
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!((refused.code(), reason(refused).as_str()), (Code::FailedPrecondition, "NO_AVAILABILITY"));
    }
    for guest in &guests {
        let mine = usize::from(waiting[0].customer == format!("users/{}", guest.subject));
        assert_eq!((guest.my_reservations().await.len(), guest.my_payments().await.len()), (mine, 0));
    }
    host.until_told(&waiting[0].name, 1).await;
    host.until_trip(&waiting[0].name, |trip| trip.hold_state() == HoldState::Held).await;
    assert_eq!((host.my_reservations().await.len(), host.messages("").await.len()), (1, 1));

    let guest = world.customer("gil");
    let hers = host.offer_listing(offers::room_by_approval(100)).await;
    let open = host.offer_listing(with(offers::room_by_approval(100), |policy| policy.max_per_person = 0)).await;
    let mut kept = Vec::new();
    for (listing, allowed) in [(&hers, 10), (&open, 3)] {
        let answers = at_once((0..20).map(|_| (guest.clone(), wish(listing)))).await;
        let (reserved, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(reserved.len(), allowed, "of {listing}");
        for refused in refused.into_iter().filter_map(Result::err) {
            assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "PERSON_LIMIT_REACHED"));
        }
        let free = 100 - i32::try_from(allowed).expect("few");
        guest.until_free(listing, day_of(&wish(listing)), free).await;
        kept.extend(reserved.into_iter().filter_map(Result::ok));
    }
    assert_eq!(guest.my_reservations().await.len(), 13);
    let third = host.offer(5).await;
    let refused = guest.reserve(&wish(&third)).await.expect_err("thirteen are enough");
    assert_eq!(reason(&refused), "PERSON_LIMIT_REACHED");
    assert!(guest.my_payments().await.is_empty(), "refused before anything is paid");
    world.customer("nadia").reserve(&wish(&hers)).await.expect("others have their own ten");
    host.reject(&kept[0].name, "Full of gil.").await.expect("her room");
    guest.reserve(&wish(&hers)).await.expect("nine are open");

    world.stop("listing").await;
    world.begin_with("listing", &[("HOLDFAST_LISTING_MAX_PER_PERSON", "4")]).await;
    let late = world.customer("late");
    let answers = at_once((0..8).map(|_| (late.clone(), wish(&open)))).await;
    let limits: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().ok()?.policy.as_ref())
        .map(|policy| policy.max_per_person)
        .collect();
    assert_eq!(limits, [4; 4], "whoever comes later, by what is set now");
    world.audit();
}

/// Asks for all of it at the same time.
async fn at_once(
    requests: impl Iterator<Item = (Caller, CreateReservationRequest)>,
) -> Vec<Result<Reservation, Status>> {
    let mut calls = JoinSet::new();
    for (guest, request) in requests {
        calls.spawn(async move { guest.reserve_within(&request, Duration::from_secs(20)).await });
    }
    calls.join_all().await
}

/// B8, K20, T22: a deleted room ends what waits for its host as well as what is paid. B10, T14, T19: a stay that is over is completed by
/// its host, and its guest may speak of it. K49: nobody writes a state, a price or a customer into a reservation.
#[tokio::test]
async fn a_stay_ends_by_its_host_whether_completed_or_because_the_room_is_gone() {
    let world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer_listing(offers::room_by_approval(4)).await;
    let day = day_of(&wish(&listing));
    let forged = Reservation {
        state: State::Confirmed.into(),
        total: Some(won(1)),
        customer: "users/nadia".to_owned(),
        host: "users/harry".to_owned(),
        payment: format!("payments/{}", request_id()),
        approval_number: "FORGED".to_owned(),
        ..wish(&listing).reservation.expect("set")
    };
    let request = CreateReservationRequest { reservation: Some(forged), ..wish(&listing) };
    let over = guest.reserve(&request).await.expect("a room to ask for");
    assert_eq!((over.state(), &over.total), (State::AwaitingApproval, &Some(won(2 * PRICE))));
    assert_eq!((over.customer.as_str(), over.host.as_str()), ("users/gil", "users/hana"));
    assert!(over.payment.is_empty() && over.approval_number.is_empty());

    assert_eq!(reason(&host.complete(&over.name).await.expect_err("not yet")), "RESERVATION_NOT_CONFIRMED");
    assert_eq!(reason(&guest.review(&listing, "Nice").await.expect_err("not yet")), "REVIEW_NOT_ALLOWED");
    host.approve(&over.name).await.expect("her room");
    for _ in 0..2 {
        assert_eq!(host.complete(&over.name).await.expect("over, and again").state(), State::Completed);
    }
    guest.until_free(&listing, day, 4).await;
    let paid = (State::Completed, HoldState::Completed, PaymentState::Approved);
    guest.until_trip(&over.name, |trip| shown(trip) == paid).await;
    assert_eq!(reason(&guest.cancel(&over.name).await.expect_err("over")), "RESERVATION_NOT_CANCELLABLE");
    guest.review(&listing, "Nice").await.expect("has been there");

    let waiting = reserve_with(&guest, &listing, "pm_card_visa").await;
    let stays = reserve_with(&guest, &listing, "pm_card_visa").await;
    let confirmed = host.approve(&stays.name).await.expect("her room");
    host.withdraw(&listing).await.expect("her own");
    for ended in [&waiting, &stays] {
        guest.until(&ended.name, State::ForceCancelled).await;
        host.until_trip(&ended.name, |trip| trip.hold_state() == HoldState::Released).await;
        assert_eq!(reason(&host.approve(&ended.name).await.expect_err("over")), "RESERVATION_NOT_AWAITING_APPROVAL");
    }
    eventually(PATIENCE, || async { guest.payment(&confirmed.payment).await.state() == PaymentState::Cancelled }).await;
    let payments = guest.my_payments().await;
    assert!(payments.iter().all(|payment| payment.reservation != waiting.name), "who never paid has no payment");
    assert_eq!(guest.reservation(&over.name).await.expect("his").state(), State::Completed, "what is over stays");
    assert_eq!(reason(&guest.reserve(&wish(&listing)).await.expect_err("gone")), "LISTING_DELETED");
    world.audit();
}
