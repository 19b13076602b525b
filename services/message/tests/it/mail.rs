//! Delivery by mail, to a server that is not ours.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mesh::testing::{Program, TestMesh, free_port};
use message::NotifierKind;
use message::notifier::{DeliveryError, Notifier, SmtpNotifier, SmtpSettings};
use proto::contract::Event;
use proto::message::v1::{Message, MessageFailed, message as contract};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::harness::{Harness, lines, sample};
use crate::news::Booking;
use crate::python;

const FROM: &str = "Holdfast <no-reply@holdfast.example>";

/// A mail server and what it took.
struct Post {
    server: Program,
    file: PathBuf,
    _folder: TempDir,
}

impl Post {
    async fn start(replies: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mails.jsonl");
        Self { server: python::smtp(&file, replies).await, file, _folder: folder }
    }

    fn mails(&self) -> Vec<serde_json::Value> {
        lines(&self.file)
    }

    fn url(&self) -> String {
        format!("smtp://{}", self.server.address)
    }
}

/// A service that mails, with users in a domain.
async fn harness(url: &str) -> Harness {
    Harness::start_with(TestMesh::start().await, |config| {
        config.message_notifier = NotifierKind::Smtp;
        config.message_smtp_url = Some(url.into());
        config.message_smtp_from = Some(FROM.parse().expect("a mailbox"));
        config.message_smtp_domain = Some("example.com".to_owned());
    })
    .await
}

/// Tells of one confirmed reservation.
async fn told(harness: &mut Harness, customer: &'static str, ends: contract::State) -> Message {
    harness.publisher.publish(vec![Booking::of(customer).made().remove(0)]).await;
    harness.settled(ends, 1).await.remove(0)
}

fn notifier(url: &str, timeout: Duration) -> SmtpNotifier {
    let from = FROM.parse().expect("a mailbox");
    let domain = Some("example.com".to_owned());
    SmtpNotifier::new(SmtpSettings { url: url.into(), from, domain, timeout }).expect("a notifier")
}

async fn deliver(url: &str, message: message::Message) -> Result<(), DeliveryError> {
    notifier(url, Duration::from_secs(5)).deliver(&[message]).await.remove(0)
}

fn message_id(message: &Message) -> String {
    format!("<{}@holdfast.example>", message.name.strip_prefix("messages/").expect("a name"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_gets_a_mail() {
    let post = Post::start(&[]).await;
    let mut harness = harness(&post.url()).await;
    let message = told(&mut harness, "users/alice", contract::State::Sent).await;
    let mails = post.mails();
    let [mail] = &mails[..] else { panic!("one mail: {mails:?}") };
    assert_eq!((&mail["from"], &mail["to"][0]), (&"no-reply@holdfast.example".into(), &"alice@example.com".into()));
    let headers = &mail["headers"];
    assert_eq!((&headers["from"], &headers["to"]), (&FROM.into(), &"alice@example.com".into()));
    assert_eq!(headers["message-id"], message_id(&message));
    assert_eq!(headers["auto-submitted"], "auto-generated");
    assert_eq!(headers["subject"], message.body.split_inclusive('.').next().expect("a sentence"));
    assert_eq!(mail["seconds"], message.create_time.expect("a time").seconds);
    assert_eq!((&mail["content_type"], &mail["charset"]), (&"text/plain".into(), &"utf-8".into()));
    assert_eq!(mail["body"].as_str().expect("text").trim_end(), message.body);
    harness.message.stop().await;
}

/// Text, and addresses, of every script; what looks like a header in a text stays text.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_read_as_it_was_written() {
    let post = Post::start(&[]).await;
    let long = format!("{}.\n줄 바꿈", "바다가 보이는 방 예약이 확정되었습니다".repeat(40));
    let bodies = [
        "바다 전망 예약이 확정되었습니다. 결제 금액은 120000원입니다.",
        "Hut\r\nBcc: eve@example.org\r\n\r\n.\r\nMAIL FROM:<eve@example.org>",
        ".leading dot\n..two",
        &long,
    ];
    for body in bodies {
        deliver(&post.url(), sample(body)).await.expect("accepted");
    }
    let korean = message::Message { recipient: "users/김철수".to_owned(), ..sample("안녕하세요.") };
    deliver(&post.url(), korean).await.expect("accepted");

    let mails = post.mails();
    for (mail, body) in mails.iter().zip(bodies) {
        let read = mail["body"].as_str().expect("text").replace("\r\n", "\n");
        assert_eq!(read.trim_end(), body.replace("\r\n", "\n"));
        assert_eq!(
            (mail["to"].as_array().expect("a list").len(), &mail["headers"]["bcc"]),
            (1, &serde_json::Value::Null)
        );
    }
    assert_eq!(mails[0]["headers"]["subject"], "바다 전망 예약이 확정되었습니다.");
    assert_eq!((mails.len(), &mails[4]["to"][0]), (5, &"김철수@example.com".into()));
}

/// A15: 4xx is tried again, at either command, and the mail that comes is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_put_off_comes_later() {
    let post = Post::start(&["RCPT:451 try again", "DATA:451 try again"]).await;
    let mut harness = harness(&post.url()).await;
    let message = told(&mut harness, "users/alice@example.org", contract::State::Sent).await;
    assert_eq!(message.attempts, 3);
    let mails = post.mails();
    assert_eq!((mails.len(), &mails[0]["to"][0]), (1, &"alice@example.org".into()));
    assert_eq!(mails[0]["headers"]["message-id"], message_id(&message));
    harness.message.stop().await;
}

/// A repeat, after a reply that was lost, can be told from a new mail.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_mail_has_the_same_id_and_date() {
    let post = Post::start(&[]).await;
    let message = sample("Hut is confirmed.");
    for _ in 0..2 {
        deliver(&post.url(), message.clone()).await.expect("accepted");
    }
    let mails = post.mails();
    assert_eq!((mails.len(), &mails[0]), (2, &mails[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_refused_for_good_is_given_up_at_once() {
    for reply in ["RCPT:550 no such user alice@example.com", "DATA:554 not wanted"] {
        let post = Post::start(&[reply]).await;
        let mut harness = harness(&post.url()).await;
        let published = harness.published().await;
        let message = told(&mut harness, "users/alice", contract::State::Failed).await;
        assert_eq!(message.attempts, 1, "{reply}");
        assert_eq!(published.wait_for(1).await[0].kind, MessageFailed::TYPE);
        assert!(post.mails().is_empty());
        harness.message.stop().await;
    }
}

/// Errors are logged: the server's words may name the recipient.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_does_not_name_the_recipient() {
    let post = Post::start(&["RCPT:550 no such user alice@example.com"]).await;
    let error = deliver(&post.url(), sample("text")).await.expect_err("refused");
    assert_eq!(mesh::fault::Chain(&error).to_string(), "the mail server answered 550");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_an_address_is_given_up_at_once() {
    let post = Post::start(&[]).await;
    let mut harness = harness(&post.url()).await;
    let published = harness.published().await;
    let message = told(&mut harness, "users/alice@", contract::State::Failed).await;
    assert_eq!(message.attempts, 1);
    assert_eq!(published.wait_for(1).await[0].kind, MessageFailed::TYPE);
    assert!(post.mails().is_empty());
    harness.message.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_mail_server_is_tried_until_the_last_try() {
    let absent = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut harness = harness(&format!("smtp://{absent}")).await;
    let message = told(&mut harness, "users/alice", contract::State::Failed).await;
    assert_eq!(message.attempts, 3);
    harness.message.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_mail_server_ends_in_time() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("smtp://{}", silent.local_addr().expect("bound"));
    let notifier = notifier(&url, Duration::from_millis(200));
    let batch: Vec<_> = (0..notifier.batch_size()).map(|_| sample("text")).collect();
    let outcomes = tokio::time::timeout(notifier.time_limit() * 10, notifier.deliver(&batch)).await.expect("in time");
    assert_eq!(outcomes.len(), batch.len());
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(DeliveryError::TooLong))), "{outcomes:?}");
}

/// A wrong password is of the settings: no message is given up for it at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_used_and_its_refusal_blames_no_message() {
    let post = Post::start(&["--login=holdfast:p@ss word"]).await;
    let url = |password: &str| format!("smtp://holdfast:{password}@{}", post.server.address);
    deliver(&url("p%40ss%20word"), sample("text")).await.expect("accepted");
    for (url, code) in [(url("wrong"), 535), (post.url(), 530)] {
        let error = deliver(&url, sample("text")).await.expect_err("refused");
        assert!(matches!(error, DeliveryError::MailRefused(given) if given == code), "{error:?}");
        assert!(!error.is_permanent());
    }
    assert_eq!(post.mails().len(), 1);
}

/// Neither mail nor password goes over a line that ought to be encrypted and is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_gets_nothing_when_tls_is_required() {
    let post = Post::start(&[]).await;
    let address = post.server.address;
    for url in [format!("smtp://a:b@{address}?tls=required"), format!("smtps://a:b@{address}")] {
        let error = deliver(&url, sample("text")).await.expect_err("refused");
        assert!(matches!(error, DeliveryError::NoMailServer(_) | DeliveryError::TooLong), "{error:?}");
    }
    assert!(post.mails().is_empty());
    deliver(&format!("smtp://{address}?tls=opportunistic"), sample("text")).await.expect("accepted");
    assert_eq!(post.mails().len(), 1);
}
