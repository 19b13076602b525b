//! Source C: a resort. Rooms are reserved for a date and paid later; a ticket fixes them.

use std::time::Duration;

use mesh::{store::DatabaseUrl, testing::eventually, value::Day};
use proto::{
    listing::v1::{Listing, hold::State as HoldState, listing::Kind},
    payment::v1::payment::State as PaymentState,
    reservation::v1::{
        CreateReservationRequest, PayReservationRequest, Reservation,
        reservation::{Slot, State},
    },
    view::v1::Trip,
    voucher::v1::voucher::State as VoucherState,
};
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};

use world::{
    PATIENCE, World,
    caller::{Caller, reason, request_id, stay, today, wish_on, won},
    offers,
};

use crate::outages::come_back;

/// What a room of the resort costs, in won.
const ROOM: i64 = 200_000;
/// Days until the guests arrive.
const AHEAD: i32 = 20;

/// What a paid reservation that is cancelled again has gone through, each fact told once; its first card was declined.
const PAID_AND_CANCELLED: [&str; 12] = [
    "HoldCommitted",
    "HoldPlaced",
    "HoldReleased",
    "PaymentApproved",
    "PaymentCancelled",
    "PaymentDeclined",
    "ReservationCancelRequested",
    "ReservationCancelled",
    "ReservationConfirmed",
    "ReservationRequested",
    "VoucherCancelled",
    "VoucherIssued",
];

fn day() -> Option<Day> {
    Some(today().plus(AHEAD))
}

/// So many rooms for three; nobody gives a payment method.
fn rooms(resort: &str, units: i32) -> CreateReservationRequest {
    let wish = wish_on(resort, AHEAD);
    let reservation = Reservation {
        units,
        persons: 3,
        note: "A cot, please.".to_owned(),
        ..wish.reservation.clone().expect("it is set")
    };
    CreateReservationRequest { reservation: Some(reservation), payment_method: String::new(), ..wish }
}

/// What my page says of the reservation, its place and its ticket.
fn shown(trip: &Trip) -> (State, HoldState, VoucherState) {
    let state = trip.reservation.as_ref().map(Reservation::state).unwrap_or_default();
    (state, trip.hold_state(), trip.voucher_state())
}

/// Pays with a deadline of the caller's own.
async fn pay_within(guest: &Caller, request: &PayReservationRequest, budget: Duration) -> Result<Reservation, Status> {
    let mut request = Request::new(request.clone());
    request.set_timeout(budget);
    let answer = guest.reservations.clone().pay_reservation(request).await?;
    Ok(answer.into_inner().reservation.expect("a reservation"))
}

fn payment_of(reservation: &Reservation, payment_method: &str) -> PayReservationRequest {
    PayReservationRequest {
        name: reservation.name.clone(),
        request_id: request_id(),
        etag: String::new(),
        payment_method: payment_method.to_owned(),
    }
}

/// C1–C6, C10–C15, C21, T13, T16, T44: reserved, paid, fixed by a ticket, cancelled; my page and the timeline tell each step. K26: no ticket
/// before it is paid. K27: cancelling cancels the ticket too. K28: one row on my page. K29: what is cancelled is kept.
#[tokio::test]
async fn rooms_are_reserved_paid_later_fixed_by_a_ticket_and_all_of_it_is_taken_back() {
    let world = World::start().await;
    let (host, gil, nadia) = (world.host(), world.customer("gil"), world.customer("nadia"));
    let resort = host.offer_listing(offers::resort(4)).await;
    let unpaid = nadia.reserve(&rooms(&resort, 1)).await.expect("a room");
    let reserved = gil.reserve(&rooms(&resort, 2)).await.expect("two rooms");
    assert_eq!((reserved.state(), &reserved.total), (State::AwaitingPayment, &Some(won(2 * ROOM))));
    assert_eq!((reserved.listing_kind(), reserved.listing_region.as_str()), (Kind::Resort, "Jeju"));
    assert_eq!((reserved.units, reserved.persons, reserved.note.as_str()), (2, 3, "A cot, please."));
    assert_eq!(reserved.slot, Some(Slot::Date(today().plus(AHEAD).into())));
    assert!(reserved.expire_time.is_some());
    let waiting = gil.payment(&reserved.payment).await;
    assert_eq!((waiting.state(), waiting.amount, waiting.attempt), (PaymentState::Waiting, Some(won(2 * ROOM)), 0));
    assert_eq!((waiting.reservation.as_str(), waiting.customer.as_str()), (reserved.name.as_str(), "users/gil"));
    assert_eq!(gil.free_on(&resort, day()).await, 1, "held from the reservation on");
    let awaiting = (State::AwaitingPayment, HoldState::Held, VoucherState::Unspecified);
    gil.until_trip(&reserved.name, |trip| shown(trip) == awaiting).await;

    let paid = pay(&gil, &nadia, &reserved).await;
    let ticket = fixed(&gil, &host, &paid).await;
    // Hers was requested before his in every stream: had she a ticket, it would be there too.
    assert!(nadia.my_vouchers().await.is_empty(), "nobody has paid for hers");
    let overview = host.until_listing(&resort, |view| view.latest_voucher_state() == VoucherState::Issued).await;
    assert_eq!((overview.latest_reservation.as_str(), overview.confirmed_count), (reserved.name.as_str(), 1));

    assert_eq!(gil.cancel(&paid.name).await.expect("accepted").state(), State::CancelRequested);
    let cancelled = gil.until(&paid.name, State::Cancelled).await;
    assert_eq!(gil.payment(&paid.payment).await.state(), PaymentState::Cancelled);
    let back = (State::Cancelled, HoldState::Released, VoucherState::Cancelled);
    let is_back = |trip: &Trip| shown(trip) == back && trip.payment_state() == PaymentState::Cancelled;
    assert_eq!(gil.until_trip(&paid.name, is_back).await.ticket_number, ticket);
    let vouchers: Vec<_> =
        gil.my_vouchers().await.iter().map(|voucher| (voucher.state(), voucher.ticket_number.clone())).collect();
    assert_eq!(vouchers, [(VoucherState::Cancelled, ticket)]);
    let mut happened = gil.until_happened(&paid.name, PAID_AND_CANCELLED.len()).await;
    happened.sort_unstable();
    assert_eq!(happened, PAID_AND_CANCELLED);
    gil.until_free(&resort, day(), 3).await;
    assert_eq!(gil.cancel(&paid.name).await.expect("as it is"), cancelled);
    assert_eq!((gil.my_reservations().await, gil.my_trips().await.len()), (vec![cancelled], 1));
    assert_eq!(nadia.reservation(&unpaid.name).await.expect("hers").state(), State::AwaitingPayment);
    assert!(gil.messages("").await.is_empty() && host.messages("").await.is_empty(), "my page tells it all");
    world.audit();
}

/// A declined card leaves it waiting, another one pays it, once.
async fn pay(gil: &Caller, stranger: &Caller, reserved: &Reservation) -> Reservation {
    let refused = stranger.pay(&reserved.name, "pm_card_visa").await.expect_err("not hers");
    assert_eq!(reason(&refused), "RESERVATION_NOT_FOUND");
    let refused = gil.pay(&reserved.name, "pm_card_chargeDeclinedInsufficientFunds").await.expect_err("declined");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "PAYMENT_DECLINED"));
    let declined = gil.payment(&reserved.payment).await;
    assert_eq!((declined.state(), declined.decline_code.as_str()), (PaymentState::Declined, "insufficient_funds"));
    assert_eq!(gil.reservation(&reserved.name).await.expect("his").state(), State::AwaitingPayment);

    let request = PayReservationRequest { etag: reserved.etag.clone(), ..payment_of(reserved, "pm_card_visa") };
    let budget = Duration::from_secs(5);
    let paid = pay_within(gil, &request, budget).await.expect("another card");
    assert_eq!(pay_within(gil, &request, budget).await.expect("a repeat"), paid);
    assert_eq!((paid.state(), &paid.payment), (State::Confirmed, &reserved.payment));
    let approved = gil.payment(&paid.payment).await;
    assert_eq!((approved.state(), approved.attempt), (PaymentState::Approved, 2));
    let again = gil.pay(&reserved.name, "pm_card_visa").await.expect_err("it is paid");
    assert_eq!(reason(&again), "RESERVATION_NOT_AWAITING_PAYMENT");
    assert_eq!(gil.my_payments().await.len(), 1);
    paid
}

/// Its ticket is issued, and its number shown; the number.
async fn fixed(guest: &Caller, host: &Caller, paid: &Reservation) -> String {
    let good = (State::Confirmed, HoldState::Committed, VoucherState::Issued);
    let is_good = |trip: &Trip| shown(trip) == good && trip.payment_state() == PaymentState::Approved;
    let trip = guest.until_trip(&paid.name, is_good).await;
    for either in [guest, host] {
        let vouchers = either.my_vouchers().await;
        let [voucher] = &vouchers[..] else { panic!("one ticket: {vouchers:?}") };
        assert_eq!((&voucher.name, &voucher.ticket_number), (&trip.voucher, &trip.ticket_number));
        assert_eq!((&voucher.reservation, &voucher.listing), (&paid.name, &paid.listing));
        assert_eq!((voucher.customer.as_str(), voucher.host.as_str()), ("users/gil", "users/hana"));
        assert_eq!((voucher.state(), voucher.listing_display_name.as_str()), (VoucherState::Issued, "Jeju Resort"));
    }
    let groups: Vec<_> = trip.ticket_number.split('-').map(str::len).collect();
    assert_eq!(groups, [4, 4, 4], "{}", trip.ticket_number);
    trip.ticket_number
}

/// C2, C7–C9, C19, C20, A62, T5, T38, T44: payment down, nothing is reserved, everything can be cancelled, and who pays is asked to come
/// back; the same request then pays, once. Voucher down, nobody waits for it.
#[tokio::test]
async fn without_payment_nothing_is_reserved_and_everything_can_be_cancelled() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let resort = host.offer_listing(offers::resort(9)).await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(guest.reserve(&rooms(&resort, 1)).await.expect("a room"));
    }
    let [unpaid, paid, late, unlucky] = &waiting[..] else { unreachable!("four") };
    guest.pay(&paid.name, "pm_card_visa").await.expect("paid");
    world.stop("payment").await;
    world.stop("voucher").await;

    let request = rooms(&resort, 5);
    come_back(&guest.reserve(&request).await.expect_err("payment is down"), "PAYMENT_UNAVAILABLE");
    guest.until_free(&resort, day(), 5).await;
    assert_eq!(made(&guest).await, 4, "nothing comes of it");
    for each in [unpaid, paid] {
        assert_eq!(guest.cancel(&each.name).await.expect("accepted").state(), State::CancelRequested);
    }
    let tomorrow = payment_of(late, "pm_card_visa");
    come_back(&pay_within(&guest, &tomorrow, Duration::from_secs(5)).await.expect_err("down"), "PAYMENT_UNAVAILABLE");
    assert_eq!(guest.reservation(&late.name).await.expect("his").state(), State::AwaitingPayment);

    world.begin("payment").await;
    let reserved = eventually(PATIENCE, || async { guest.reserve(&request).await.ok() }).await;
    assert_eq!(guest.payment(&reserved.payment).await.state(), PaymentState::Waiting);
    eventually(PATIENCE, || async { guest.my_reservations().await.len() == 5 }).await;
    for each in [unpaid, paid] {
        guest.until(&each.name, State::Cancelled).await;
        assert_eq!(guest.payment(&each.payment).await.state(), PaymentState::Cancelled);
    }
    let confirmed = eventually(PATIENCE, || async { guest.pay(&late.name, "pm_card_visa").await.ok() }).await;
    assert_eq!(confirmed.state(), State::Confirmed, "without a ticket yet");
    let answered = pay_within(&guest, &tomorrow, Duration::from_secs(5)).await;
    assert_eq!(reason(&answered.expect_err("it is paid")), "RESERVATION_NOT_AWAITING_PAYMENT");

    let slow = payment_of(unlucky, "pm_sim_slow");
    let refused = pay_within(&guest, &slow, Duration::from_millis(500)).await.expect_err("it takes 2 s");
    assert!(matches!(refused.code(), Code::DeadlineExceeded | Code::Unavailable), "{refused:?}");
    let mended = eventually(PATIENCE, || async { pay_within(&guest, &slow, Duration::from_secs(5)).await.ok() }).await;
    assert_eq!(mended.state(), State::Confirmed);
    let charged = guest.my_payments().await.into_iter().filter(|payment| payment.state() == PaymentState::Approved);
    assert_eq!(charged.count(), 2, "each once");

    world.begin("voucher").await;
    for each in [late, unlucky] {
        guest.until_trip(&each.name, |trip| trip.voucher_state() == VoucherState::Issued).await;
    }
    // The ticket of what was paid and cancelled meanwhile is void from the start, or never was.
    let issued = guest.my_vouchers().await.into_iter().filter(|voucher| voucher.state() == VoucherState::Issued);
    assert_eq!(issued.count(), 2);
    guest.until_free(&resort, day(), 2).await;
    world.audit();
}

/// C11, K31, T8, T13: no more rooms on a date than there are, however many ask at once, and no nonsense; other dates are not concerned.
/// T16, T22, T45: who does not pay in time loses the room, and a resort that is gone takes its tickets with it.
#[tokio::test]
async fn a_date_has_so_many_rooms_and_a_reservation_so_much_time() {
    let world = World::start().await;
    let (host, gil) = (world.host(), world.customer("gil"));
    let hurried = offers::with(offers::resort(1), |policy| {
        policy.payment_ttl = Some(prost_types::Duration { seconds: 2, nanos: 0 });
    });
    let hurried = host.offer_listing(hurried).await;
    let forgotten = gil.reserve(&rooms(&hurried, 1)).await.expect("a room");
    let resort = host.offer_listing(offers::resort(3)).await;

    let mut calls = JoinSet::new();
    for number in 0..24 {
        let (guest, request) = (world.customer(&format!("guest-{number}")), rooms(&resort, 1));
        calls.spawn(async move { (guest.reserve(&request).await, guest) });
    }
    let (won_by, lost_by): (Vec<_>, Vec<_>) =
        calls.join_all().await.into_iter().partition(|(answer, _)| answer.is_ok());
    assert_eq!(won_by.len(), 3);
    for (answer, guest) in lost_by {
        let refused = answer.expect_err("no room");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "NO_AVAILABILITY"));
        assert!(guest.my_reservations().await.is_empty() && guest.my_payments().await.is_empty());
    }
    refuses_nonsense(&host, &gil, &resort).await;

    gil.until(&forgotten.name, State::Expired).await;
    gil.until_free(&hurried, day(), 1).await;
    eventually(PATIENCE, || async { gil.payment(&forgotten.payment).await.state() == PaymentState::Cancelled }).await;
    assert_eq!(
        reason(&gil.pay(&forgotten.name, "pm_card_visa").await.expect_err("too late")),
        "RESERVATION_NOT_AWAITING_PAYMENT"
    );
    let lost = (State::Expired, HoldState::Released, VoucherState::Unspecified);
    gil.until_trip(&forgotten.name, |trip| shown(trip) == lost).await;

    let owners: Vec<_> = won_by.iter().filter_map(|(answer, guest)| Some((answer.as_ref().ok()?, guest))).collect();
    let [(first, payer), (second, waiter), ..] = owners[..] else { unreachable!("three") };
    payer.pay(&first.name, "pm_card_visa").await.expect("paid");
    payer.until_trip(&first.name, |trip| trip.voucher_state() == VoucherState::Issued).await;
    host.withdraw(&resort).await.expect("her own");
    for (reservation, guest, voucher) in
        [(first, payer, VoucherState::Cancelled), (second, waiter, VoucherState::Unspecified)]
    {
        let gone = (State::ForceCancelled, HoldState::Released, voucher);
        guest.until_trip(&reservation.name, |trip| shown(trip) == gone).await;
        eventually(PATIENCE, || async { guest.payment(&reservation.payment).await.state() == PaymentState::Cancelled })
            .await;
    }
    world.audit();
}

/// How many of the guest's reservations are more than an intent that is being undone.
async fn made(guest: &Caller) -> usize {
    guest.my_reservations().await.iter().filter(|reservation| reservation.state() != State::Requested).count()
}

async fn refuses_nonsense(host: &Caller, guest: &Caller, resort: &str) {
    let asking = |change: fn(&mut Reservation)| {
        let mut request = rooms(resort, 1);
        change(request.reservation.as_mut().expect("it is set"));
        request
    };
    for (request, expected) in [
        (asking(|wish| wish.persons = 5), "TOO_MANY_PERSONS"),
        (asking(|wish| wish.slot = None), "SLOT_MISMATCH"),
        (asking(|wish| wish.slot = Some(Slot::Stay(stay(AHEAD)))), "SLOT_MISMATCH"),
        (asking(|wish| wish.slot = Some(Slot::Date(today().plus(-2).into()))), "DATE_IN_PAST"),
    ] {
        assert_eq!(reason(&guest.reserve(&request).await.expect_err(expected)), expected);
    }
    let refused = guest.reserve(&rooms(resort, 0)).await.expect_err("no rooms are nothing");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let free = Listing { price: None, ..offers::resort(1) };
    let request = proto::listing::v1::CreateListingRequest { listing: Some(free), request_id: request_id() };
    let refused = host.listings.clone().create_listing(request).await.expect_err("it has no price");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(guest.free_on(resort, Some(today().plus(AHEAD + 1))).await, 3);
    assert!(guest.my_reservations().await.len() == 1, "nothing but what waits for its payment");
}

/// C18, D28, E23, A40, A46, A66: voucher, reservation and view each have chosen PostgreSQL, the others stay on SQLite; nobody notices. The
/// invariants across such a mixture are not audited: the audit reads one kind of database.
#[tokio::test]
async fn services_with_databases_of_different_kinds_work_together() {
    let DatabaseUrl::Postgres(url) = mesh::testing::postgres().url else { unreachable!("it is PostgreSQL") };
    let mut world = World::start_on(None, &[]).await;
    for service in ["voucher", "reservation", "view"] {
        world.stop(service).await;
        world.begin_with(service, &[("HOLDFAST_DATABASE_URL", &url)]).await;
    }
    let (host, guest) = (world.host(), world.customer("gil"));
    let resort = host.offer_listing(offers::resort(2)).await;
    let reserved = guest.reserve(&rooms(&resort, 2)).await.expect("two rooms");
    guest.pay(&reserved.name, "pm_card_visa").await.expect("paid");
    let good = (State::Confirmed, HoldState::Committed, VoucherState::Issued);
    guest.until_trip(&reserved.name, |trip| shown(trip) == good).await;
    guest.cancel(&reserved.name).await.expect("accepted");
    let back = (State::Cancelled, HoldState::Released, VoucherState::Cancelled);
    guest.until_trip(&reserved.name, |trip| shown(trip) == back).await;
    guest.until_free(&resort, day(), 2).await;
}
