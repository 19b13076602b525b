//! Who is told of what, how, and in which language.

use std::collections::BTreeMap;

use mesh::consumer::{self, ConsumerSpec, HandlerError, Repeats};
use mesh::event::{NewEvent, Received, filter};
use mesh::store::{Conn, Store};
use mesh::testing::{TestMesh, eventually};
use message::{Language, NotifierKind};
use proto::contract::Event;
use proto::google::r#type::Date;
use proto::listing::v1::listing::Kind;
use proto::listing::v1::notification::{Audience, Channel, Transition};
use proto::listing::v1::reservation_policy::{Approval, Payment, PaymentWait};
use proto::listing::v1::{Notification, ReservationPolicy};
use proto::message::v1::message::{State as Sent, Topic};
use proto::message::v1::{Message, MessageFailed, MessageSent};
use proto::mileage::v1::mileage_entry::Kind as MileageKind;
use proto::mileage::v1::{MileageDecreased, MileageIncreased};
use proto::reservation::v1::reservation::{Slot, State};
use proto::reservation::v1::{
    Reservation, ReservationApproved, ReservationCancelRequested, ReservationCancelled, ReservationCompleted,
    ReservationConfirmed, ReservationExpired, ReservationForceCancelled, ReservationPaid, ReservationRejected,
    ReservationRequested,
};
use tokio_util::sync::CancellationToken;

use crate::harness::{Harness, SOON, lines, serve};
use crate::hook::Hook;
use crate::news::Booking;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A reservation of `kind`, told as `notifications` say.
fn told(booking: &Booking, state: State, kind: Kind, notifications: Vec<Notification>) -> Reservation {
    let policy = ReservationPolicy { notifications, ..ReservationPolicy::default() };
    Reservation { listing_kind: kind.into(), policy: Some(policy), ..booking.told(state) }
}

fn tell(transition: Transition, channel: Channel, audience: Audience) -> Notification {
    Notification { transition: transition.into(), channel: channel.into(), audience: audience.into() }
}

/// Every event a reservation may have, those that nobody is told of among them.
fn all_events(booking: &Booking, of: impl Fn(State) -> Reservation) -> Vec<NewEvent> {
    let of = |state| Some(of(state));
    vec![
        booking.event(&ReservationRequested { reservation: of(State::AwaitingApproval) }, 1),
        booking.event(&ReservationPaid { reservation: of(State::AwaitingApproval) }, 2),
        booking.event(&ReservationApproved { reservation: of(State::Confirmed) }, 3),
        booking.event(&ReservationConfirmed { reservation: of(State::Confirmed) }, 4),
        booking.event(&ReservationCancelRequested { reservation: of(State::CancelRequested) }, 5),
        booking.event(&ReservationCancelled { reservation: of(State::Cancelled) }, 6),
        booking.event(&ReservationRejected { reservation: of(State::Rejected) }, 7),
        booking.event(&ReservationForceCancelled { reservation: of(State::ForceCancelled) }, 8),
        booking.event(&ReservationExpired { reservation: of(State::Expired) }, 9),
        booking.event(&ReservationCompleted { reservation: of(State::Completed) }, 10),
    ]
}

fn taxi(booking: &Booking, state: State) -> Reservation {
    let all = tell(Transition::Unspecified, Channel::Sms, Audience::Unspecified);
    let mut told = told(booking, state, Kind::Taxi, vec![all]);
    let policy = told.policy.as_mut().expect("just set");
    policy.set_approval(Approval::AfterPayment);
    policy.set_payment(Payment::AtBooking);
    policy.set_payment_wait(PaymentWait::Strict);
    Reservation { slot: None, persons: 1, listing_display_name: "Black Van".to_owned(), ..told }
}

fn body_of(messages: &[Message], topic: Topic) -> &str {
    let found: Vec<_> = messages.iter().filter(|message| message.topic() == topic).collect();
    assert_eq!(found.len(), 1, "{topic:?}: {found:?}");
    &found[0].body
}

/// D10, D18, K38: every change of a taxi is told by SMS, also what happened while messages were down (T33, D30), each once.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_a_taxi_is_told_by_sms() {
    let mut harness = Harness::start().await;
    let booking = Booking::of("users/alice");
    let events = all_events(&booking, |state| taxi(&booking, state));
    harness.publisher.publish(events[..3].to_vec()).await;
    harness.settled(Sent::Sent, 2).await;
    harness.message.stop().await;
    harness.publisher.publish(events[3..].to_vec()).await;
    harness.message = serve(harness.mesh.node(), harness.config.clone()).await;

    let messages = harness.settled(Sent::Sent, 8).await;
    assert!(messages.iter().all(|one| one.channel() == Channel::Sms && one.recipient == "users/alice"));
    for (topic, expected) in [
        (Topic::ReservationRequested, "is requested and awaits approval. You paid KRW 120,000."),
        (Topic::ReservationApproved, "is approved."),
        (Topic::ReservationRejected, "is not approved. KRW 120,000 is refunded."),
        (Topic::ReservationConfirmed, "is confirmed. You paid KRW 120,000."),
        (Topic::ReservationCancelled, "is cancelled. KRW 120,000 is refunded."),
        (Topic::ReservationForceCancelled, "is cancelled: it is no longer offered. KRW 120,000 is refunded."),
        (Topic::ReservationExpired, "has expired: not approved in time. KRW 120,000 is refunded."),
        (Topic::ReservationCompleted, "is completed. Thank you."),
    ] {
        assert_eq!(body_of(&messages, topic), format!("Your ride with Black Van {expected}"));
    }
    let lines = harness.lines();
    assert_eq!(lines.len(), 8);
    assert!(lines.iter().all(|line| line["channel"] == "CHANNEL_SMS" && line["languageCode"] == "en"));
    harness.message.stop().await;
}

/// B6: host and customer, each in their own language; what is asked for twice is told once.
#[tokio::test(flavor = "multi_thread")]
async fn host_and_customer_are_told_in_their_languages() {
    let mut harness = Harness::start().await;
    let booking = Booking::of("users/alice");
    let notifications = vec![
        tell(Transition::Requested, Channel::Message, Audience::Host),
        tell(Transition::Requested, Channel::Message, Audience::Customer),
        tell(Transition::Unspecified, Channel::Unspecified, Audience::Unspecified),
        tell(Transition::Requested, Channel::Alarm, Audience::Host),
        tell(Transition::Confirmed, Channel::Sms, Audience::Host),
    ];
    let reservation = Reservation {
        language_code: "en".to_owned(),
        host_language_code: "ko".to_owned(),
        ..told(&booking, State::AwaitingApproval, Kind::Room, notifications)
    };
    harness.publisher.publish(vec![booking.event(&ReservationRequested { reservation: Some(reservation) }, 1)]).await;

    let messages = harness.settled(Sent::Sent, 3).await;
    let texts: BTreeMap<_, _> = messages
        .iter()
        .map(|one| ((one.recipient.as_str(), one.channel()), (one.language_code.as_str(), one.body.as_str())))
        .collect();
    let expected = [
        (
            ("users/alice", Channel::Message),
            (
                "en",
                "Your stay at Sea View from 4 October 2024 to 6 October 2024 for 2 persons is requested and awaits approval.",
            ),
        ),
        (
            ("users/henry", Channel::Message),
            (
                "ko",
                "[Sea View] 2024년 10월 4일~2024년 10월 6일 숙박 예약(2명)이 접수되었습니다. 승인 또는 거절해 주시기 바랍니다.",
            ),
        ),
        (
            ("users/henry", Channel::Alarm),
            (
                "ko",
                "Hello [Sea View] 2024년 10월 4일~2024년 10월 6일 숙박 예약이 접수되었습니다. 승인 또는 거절해 주시기 바랍니다.",
            ),
        ),
    ];
    assert_eq!(texts, expected.into());
    harness.message.stop().await;
}

/// A customer who chose no language is written to in the listing's, and where it has none in the platform's.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_choice_the_listing_s_language_holds_and_then_the_platform_s() {
    let mut harness =
        Harness::start_with(TestMesh::start().await, |config| config.message_language = Language::Korean).await;
    let [silent, english] = ["users/alice", "users/bob"].map(Booking::of);
    let platform = silent.told(State::Confirmed);
    let listing = Reservation { host_language_code: "en".to_owned(), ..english.told(State::Confirmed) };
    let events = vec![
        silent.event(&ReservationConfirmed { reservation: Some(platform) }, 2),
        english.event(&ReservationConfirmed { reservation: Some(listing) }, 2),
    ];
    harness.publisher.publish(events).await;
    let messages = harness.settled(Sent::Sent, 2).await;
    let languages: BTreeMap<_, _> =
        messages.iter().map(|one| (one.recipient.as_str(), one.language_code.as_str())).collect();
    assert_eq!(languages, [("users/alice", "ko"), ("users/bob", "en")].into());
    harness.message.stop().await;
}

/// E31: an alarm begins with the listing's prefix, or else with the platform's.
#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_begins_with_its_prefix() {
    let mut harness = Harness::start().await;
    let [own, platform] = ["users/alice", "users/bob"].map(Booking::of);
    let screening = |booking: &Booking, prefix: &str| {
        let all = tell(Transition::Unspecified, Channel::Alarm, Audience::Customer);
        let mut told = told(booking, State::Confirmed, Kind::Hospital, vec![all]);
        let policy = told.policy.as_mut().expect("just set");
        policy.alarm_prefix = prefix.to_owned();
        policy.set_payment(Payment::None);
        let date = Date { year: 2024, month: 10, day: 4 };
        booking
            .event(&ReservationConfirmed { reservation: Some(Reservation { slot: Some(Slot::Date(date)), ..told }) }, 2)
    };
    harness.publisher.publish(vec![screening(&own, "Clinic calling:"), screening(&platform, "")]).await;
    let messages = harness.settled(Sent::Sent, 2).await;
    let texts: BTreeMap<_, _> = messages.iter().map(|one| (one.recipient.as_str(), one.body.as_str())).collect();
    let expected = [
        ("users/alice", "Clinic calling: Your screening at Sea View (4 Oct 2024) is confirmed."),
        ("users/bob", "Hello Your screening at Sea View (4 Oct 2024) is confirmed."),
    ];
    assert_eq!(texts, expected.into());
    assert!(messages.iter().all(|one| one.channel() == Channel::Alarm));
    harness.message.stop().await;
}

/// A policy that names nobody is of a resort, or of a room from before policies could: its customers are told how it ends.
#[tokio::test(flavor = "multi_thread")]
async fn without_notifications_only_customers_of_rooms_are_told() {
    let mut harness = Harness::start().await;
    let [resort, room, old] = ["users/alice", "users/bob", "users/carol"].map(Booking::of);
    let mut events = all_events(&resort, |state| told(&resort, state, Kind::Resort, Vec::new()));
    events.extend(all_events(&room, |state| told(&room, state, Kind::Room, Vec::new())));
    events.extend(all_events(&old, |state| Reservation { policy: None, ..old.told(state) }));
    harness.publisher.publish(events).await;

    let messages = harness.settled(Sent::Sent, 10).await;
    for customer in ["users/bob", "users/carol"] {
        let own: Vec<_> = messages.iter().filter(|one| one.recipient == customer).cloned().collect();
        assert!(own.iter().all(|one| one.channel() == Channel::Message));
        for topic in [
            Topic::ReservationConfirmed,
            Topic::ReservationCancelled,
            Topic::ReservationRejected,
            Topic::ReservationExpired,
            Topic::ReservationForceCancelled,
        ] {
            body_of(&own, topic);
        }
    }
    harness.message.stop().await;
}

/// A4, A6: an event of miles has no language; it is told in the one that the customer chose last.
#[tokio::test(flavor = "multi_thread")]
async fn miles_are_told_in_the_language_chosen_last() {
    let mut harness = Harness::start().await;
    let booking = Booking::of("users/alice");
    let confirmed = Reservation { language_code: "ko".to_owned(), ..booking.told(State::Confirmed) };
    harness.publisher.publish(vec![booking.event(&ReservationConfirmed { reservation: Some(confirmed) }, 2)]).await;
    harness.settled(Sent::Sent, 1).await;
    let increased = MileageIncreased { mileage_entry: Some(booking.miles(MileageKind::Accrual, 30)) };
    harness.publisher.publish(vec![booking.event(&increased, 1)]).await;
    let messages = harness.settled(Sent::Sent, 2).await;
    assert_eq!(
        body_of(&messages, Topic::MileageIncreased),
        "예약으로 30마일이 적립되었습니다. 현재 잔액은 30마일입니다."
    );

    let cancelled = Reservation { language_code: "en".to_owned(), ..booking.told(State::Cancelled) };
    harness.publisher.publish(vec![booking.event(&ReservationCancelled { reservation: Some(cancelled) }, 4)]).await;
    harness.settled(Sent::Sent, 3).await;
    let decreased = MileageDecreased { mileage_entry: Some(booking.miles(MileageKind::Reversal, -30)) };
    harness.publisher.publish(vec![booking.event(&decreased, 1)]).await;
    let messages = harness.settled(Sent::Sent, 4).await;
    assert_eq!(
        body_of(&messages, Topic::MileageDecreased),
        "30 miles of your cancelled reservation went back. Your balance is now 0 miles."
    );
    harness.message.stop().await;
}

/// Neither channel waits for the other's outside, and each goes where it belongs.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_down_holds_up_no_other() {
    let hook = Hook::start(&[], 503).await;
    let url = hook.url().parse().expect("a URL");
    let mut harness = Harness::start_with(TestMesh::start().await, |config| {
        config.message_sms_notifier = Some(NotifierKind::Webhook);
        config.message_webhook_url = Some(url);
        config.message_webhook_secret = Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
        // Long enough that the SMS are still being tried when the messages are checked.
        config.message_backoff_ms = 600_000;
        config.message_backoff_max_ms = 600_000;
    })
    .await;
    let ride = Booking::of("users/alice");
    let confirmed = ReservationConfirmed { reservation: Some(taxi(&ride, State::Confirmed)) };
    harness.publisher.publish(vec![ride.event(&confirmed, 2)]).await;
    eventually(SOON, || async { hook.posted().len() == 1 }).await;
    harness.publisher.publish(Booking::of("users/bob").made()).await;
    let messages = harness.settled(Sent::Sent, 2).await;
    assert!(messages.iter().all(|one| one.channel() == Channel::Message && one.recipient == "users/bob"));
    assert_eq!(lines(&harness.config.message_file).len(), 2);
    let waiting = harness.settled(Sent::Pending, 1).await;
    assert_eq!((waiting[0].channel(), waiting[0].attempts), (Channel::Sms, 1));
    assert_eq!(hook.posted()[0].event()["data"]["channel"], "CHANNEL_SMS");
    harness.message.stop().await;
}

/// A30, T34: what becomes of a message belongs to the trace of what it tells, delivered or given up.
#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_a_message_belongs_to_its_cause() {
    let hook = Hook::start(&[204], 410).await;
    let url = hook.url().parse().expect("a URL");
    let mut harness = Harness::start_with(TestMesh::start().await, |config| {
        config.message_notifier = NotifierKind::Webhook;
        config.message_webhook_url = Some(url);
        config.message_webhook_secret = Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
    })
    .await;
    let published = harness.published().await;
    let booking = Booking::of("users/alice");
    let mut causes = Vec::new();
    for (told, expected) in [(booking.made(), MessageSent::TYPE), (booking.cancelled(), MessageFailed::TYPE)] {
        let cause = NewEvent { traceparent: Some(TRACE.to_owned()), ..told.into_iter().next().expect("an event") };
        causes.push(cause.id);
        harness.publisher.publish(vec![cause]).await;
        let events = published.wait_for(causes.len()).await;
        let event = events.last().expect("an event");
        assert_eq!((event.kind.as_str(), event.causation), (expected, causes.last().copied()));
        assert_eq!(event.traceparent.as_deref(), Some(TRACE));
        assert_eq!(event.correlation, booking.reservation.to_string());
    }
    harness.message.stop().await;
}

/// An upgrade keeps the durable consumer: it goes on where it was, and from then on hears of what the version before did not ask for. What is
/// published before that passes it by, so this service is upgraded before reservation.
#[tokio::test(flavor = "multi_thread")]
async fn the_consumer_of_the_version_before_goes_on() {
    let mut mesh = TestMesh::start().await;
    let (_dir, url) = mesh::testing::database();
    let store = Store::open(&url, "before", message::MIGRATIONS).expect("a fresh database");
    let spec = ConsumerSpec {
        stream: "RESERVATION",
        durable: "message-on-reservation",
        subjects: vec![filter::<ReservationConfirmed>(), filter::<ReservationCancelled>()],
        batch: 256,
        repeats: Repeats::Harmless,
    };
    let (heard, before) = tokio::sync::watch::channel(0);
    let handler = move |_: &mut Conn, batch: &[Received]| -> Result<(), HandlerError> {
        heard.send_modify(|count| *count += batch.len());
        Ok(())
    };
    let shutdown = CancellationToken::new();
    let old = mesh::deadline::spawn(consumer::run(spec, mesh.broker().bus().await, store, handler, shutdown.clone()));
    let mut publisher = mesh.publisher().await;
    let [first, second, taxi_ride] = ["users/alice", "users/bob", "users/carol"].map(Booking::of);
    publisher.publish(vec![first.made().remove(0)]).await;
    eventually(SOON, || async { *before.borrow() == 1 }).await;
    shutdown.cancel();
    old.await.expect("it ends");
    publisher.publish(vec![second.made().remove(0)]).await;

    let harness = Harness::start_with(mesh, |_| {}).await;
    assert_eq!(harness.settled(Sent::Sent, 1).await[0].recipient, "users/bob");
    publisher.publish(all_events(&taxi_ride, |state| taxi(&taxi_ride, state))).await;
    harness.settled(Sent::Sent, 9).await;
    harness.message.stop().await;
}
