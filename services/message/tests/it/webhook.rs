//! Delivery by webhook: signed, tried again, and given up.

use std::net::SocketAddr;
use std::time::Duration;

use mesh::store::Micros;
use mesh::testing::{Program, TestMesh, free_port};
use message::NotifierKind;
use message::notifier::{DeliveryError, Notifier, WebhookNotifier, WebhookSettings};
use proto::contract::Event;
use proto::message::v1::{MessageFailed, message as contract};
use tokio::net::TcpListener;

use crate::harness::{Harness, sample};
use crate::hook::{Hook, Posted};
use crate::news::Booking;
use crate::python;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

async fn harness(url: &str, configure: impl FnOnce(&mut message::Config)) -> Harness {
    let url = url.parse().expect("a URL");
    Harness::start_with(TestMesh::start().await, |config| {
        config.message_notifier = NotifierKind::Webhook;
        config.message_webhook_url = Some(url);
        config.message_webhook_secret = Some(SECRET.into());
        configure(config);
    })
    .await
}

fn url(server: &Program) -> String {
    format!("http://{}/hook", server.address)
}

fn notifier(address: SocketAddr, secrets: &str, timeout: Duration) -> WebhookNotifier {
    let url = format!("http://{address}/hook").parse().expect("a URL");
    let secrets = secrets.parse().expect("secrets");
    WebhookNotifier::new(WebhookSettings { url, secrets, timeout, allow_private: true }).expect("a notifier")
}

async fn deliver_one(notifier: &impl Notifier) -> Result<(), DeliveryError> {
    notifier.deliver(&[sample("바다 전망")]).await.remove(0)
}

/// A15: a webhook that fails is tried again with the same id, signed anew at each try's time, until it takes the message.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_tried_until_it_takes_the_message() {
    let hook = Hook::start(&[500, 302], 204).await;
    // Tries lie more than a second apart, so that their times differ.
    let mut harness = harness(&hook.url(), |config| {
        config.message_backoff_ms = 2_200;
        config.message_backoff_max_ms = 2_200;
    })
    .await;
    let booking = Booking::of("users/alice");
    let event = booking.made().remove(0);
    let before = Micros::now().0 / 1_000_000;
    harness.publisher.publish(vec![event]).await;
    let messages = harness.settled(contract::State::Sent, 1).await;
    let after = Micros::now().0 / 1_000_000;
    assert_eq!(messages[0].attempts, 3);
    let posted = hook.posted();
    assert_eq!(posted.len(), 3);
    for post in &posted {
        assert_eq!(messages[0].name, format!("messages/{}", post.id));
        assert_eq!(post.content_type, "application/cloudevents+json");
        let expected = [
            ("specversion", "1.0"),
            ("id", &post.id),
            ("source", "//holdfast/message"),
            ("subject", &messages[0].name),
        ];
        let event = post.event();
        for (attribute, value) in expected {
            assert_eq!(event[attribute], value);
        }
        assert_eq!(event["correlationid"], booking.reservation.to_string());
        assert_eq!(event["data"]["recipient"], "users/alice");
        assert_eq!(event["data"]["body"], messages[0].body);
    }
    let times: Vec<i64> = posted.iter().map(|post| post.timestamp.parse().expect("seconds")).collect();
    assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
    assert!(before <= times[0] && times[2] <= after, "{before} {times:?} {after}");
    harness.message.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_given_up_after_the_last_try() {
    let hook = Hook::start(&[], 503).await;
    let mut harness = harness(&hook.url(), |_| {}).await;
    let published = harness.published().await;
    harness.publisher.publish(Booking::of("users/alice").made()).await;
    let messages = harness.settled(contract::State::Failed, 2).await;
    assert!(messages.iter().all(|message| message.attempts == 3 && message.send_time.is_none()));
    let events = published.wait_for(2).await;
    assert!(events.iter().all(|event| event.kind == MessageFailed::TYPE));
    assert_eq!(hook.posted().len(), 6);
    harness.message.stop().await;
}

/// 410 of Standard Webhooks: nobody wants it, so it is not offered again.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_gone_is_not_tried_again() {
    let hook = Hook::start(&[], 410).await;
    let mut harness = harness(&hook.url(), |_| {}).await;
    let published = harness.published().await;
    harness.publisher.publish(Booking::of("users/alice").made()).await;
    let messages = harness.settled(contract::State::Failed, 2).await;
    assert!(messages.iter().all(|message| message.attempts == 1));
    assert!(published.wait_for(2).await.iter().all(|event| event.kind == MessageFailed::TYPE));
    assert_eq!(hook.posted().len(), 2);
    harness.message.stop().await;
}

/// The reference library takes every delivery, also with either secret while they change.
#[tokio::test(flavor = "multi_thread")]
async fn an_independent_receiver_accepts_what_is_signed() {
    let server = python::webhook(SECRET, 0).await;
    let mut harness = harness(&url(&server), |_| {}).await;
    harness.publisher.publish(Booking::of("users/alice").made()).await;
    let messages = harness.settled(contract::State::Sent, 2).await;
    assert!(messages.iter().all(|message| message.attempts == 1));
    harness.message.stop().await;

    let next = python::webhook(OTHER_SECRET, 0).await;
    let rotating = format!("{OTHER_SECRET} {SECRET}");
    for receiver in [&server, &next] {
        deliver_one(&notifier(receiver.address, &rotating, Duration::from_secs(5))).await.expect("accepted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_independent_receiver_refuses_another_secret() {
    let server = python::webhook(OTHER_SECRET, 0).await;
    let mut harness = harness(&url(&server), |_| {}).await;
    harness.publisher.publish(Booking::of("users/alice").made()).await;
    let messages = harness.settled(contract::State::Failed, 2).await;
    assert!(messages.iter().all(|message| message.attempts == 3));
    harness.message.stop().await;
}

/// What was caught on its way is of no use: not later, and not altered.
#[tokio::test(flavor = "multi_thread")]
async fn an_independent_receiver_refuses_what_is_replayed_or_altered() {
    let hook = Hook::start(&[], 204).await;
    deliver_one(&notifier(hook.address, SECRET, Duration::from_secs(5))).await.expect("accepted");
    let caught = hook.posted().remove(0);
    let [now, late] = [python::webhook(SECRET, 0).await, python::webhook(SECRET, 6).await];

    let later: i64 = caught.timestamp.parse::<i64>().expect("seconds") + 1;
    let body = String::from_utf8(caught.body.to_vec()).expect("text").replace("users/alice", "users/mallory");
    assert_ne!(body.as_bytes(), caught.body);
    let no_match = "No matching signature found";
    for (server, posted, expected) in [
        (&now, caught.clone(), (204, "")),
        (&late, caught.clone(), (401, "Message timestamp too old")),
        (&now, Posted { body: body.into(), ..caught.clone() }, (401, no_match)),
        (&now, Posted { id: "other".to_owned(), ..caught.clone() }, (401, no_match)),
        (&now, Posted { timestamp: later.to_string(), ..caught.clone() }, (401, no_match)),
        (&now, Posted { signature: String::new(), ..caught.clone() }, (401, "Missing required headers")),
    ] {
        let (status, reason) = post(server, posted.clone()).await;
        assert_eq!((status, reason.as_str()), expected, "{posted:?}");
    }
}

async fn post(server: &Program, posted: Posted) -> (u16, String) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build().expect("a client");
    let request = client
        .post(url(server))
        .header("webhook-id", posted.id)
        .header("webhook-timestamp", posted.timestamp)
        .header("webhook-signature", posted.signature)
        .body(posted.body);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

/// A name is judged by where it leads: nothing reaches the inside.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_inside_gets_nothing() {
    let hook = Hook::start(&[], 204).await;
    let url = format!("http://localhost:{}/hook", hook.address.port());
    let mut harness = harness(&url, |config| config.message_webhook_allow_private = false).await;
    harness.publisher.publish(Booking::of("users/alice").made()).await;
    let messages = harness.settled(contract::State::Failed, 2).await;
    assert!(messages.iter().all(|message| message.attempts == 3));
    assert!(hook.posted().is_empty());
    harness.message.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed() {
    let inside = Hook::start(&[], 204).await;
    for status in [301, 302, 303, 307, 308] {
        let hook = Hook::redirecting(status, inside.url()).await;
        let outcome = deliver_one(&notifier(hook.address, SECRET, Duration::from_secs(5))).await;
        assert!(matches!(outcome, Err(DeliveryError::Refused(code)) if code == status), "{status} {outcome:?}");
        assert_eq!(hook.posted().len(), 1);
    }
    assert!(inside.posted().is_empty());
}

/// Neither a receiver that says nothing nor one that is not there holds delivery up.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_without_an_answer_ends_in_time() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let absent = SocketAddr::from(([127, 0, 0, 1], free_port()));
    for address in [silent.local_addr().expect("bound"), absent] {
        let notifier = notifier(address, SECRET, Duration::from_millis(200));
        let outcome = tokio::time::timeout(notifier.time_limit() * 10, deliver_one(&notifier)).await.expect("in time");
        let error = outcome.expect_err("no answer");
        assert!(matches!(error, DeliveryError::NoAnswer(_)) && !error.is_permanent(), "{error:?}");
    }
}
