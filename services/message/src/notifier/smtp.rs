//! Delivery by e-mail: each message is a mail of plain text, handed to a mail server by SMTP.
//!
//! `Message-ID` and `Date` follow from the message and are the same in every try, so that a repeat can be recognised. A reply of 5xx that
//! tells of the mail is final; 4xx, no connection, and whatever tells of this client is tried again later. Each mail has a connection of its
//! own: one that was given up half-way, shared, would answer the next mail with the reply meant for the last.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use mesh::value::user_of;
use secrecy::{ExposeSecret as _, SecretString};

use super::{DeliveryError, Notifier, Outcome};
use crate::domain::Message;

/// Mails at once.
const CONCURRENCY: usize = 8;
const BATCH: usize = 4 * CONCURRENCY;
/// Characters of a subject line at most.
const SUBJECT_CHARS: usize = 120;

/// How to reach the mail server, and who is who.
#[derive(Clone, Debug)]
pub struct SmtpSettings {
    /// Where, with name and password: `smtps://…`, or `smtp://…` with `?tls=required` for STARTTLS.
    pub url: SecretString,
    /// The sender.
    pub from: Mailbox,
    /// Users whose subject is no address have theirs in this domain.
    pub domain: Option<String>,
    /// For one mail, from connecting to the server's last reply.
    pub timeout: Duration,
}

/// Why there can be no such mail.
#[derive(Debug, thiserror::Error)]
pub enum SmtpError {
    /// The URL is none of a mail server, or there is no usable TLS.
    #[error(
        "expected smtps://user:password@host:port, or smtp:// with ?tls=required, ?tls=opportunistic or neither, and usable TLS"
    )]
    Url(#[source] smtp::Error),
    /// The domain is none.
    #[error("{0} is no domain of e-mail addresses")]
    Domain(String),
}

/// Sends messages as mails.
#[derive(Clone, Debug)]
pub struct SmtpNotifier {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    domain: Option<String>,
    timeout: Duration,
}

impl SmtpNotifier {
    /// Sets up the client; reaches nothing yet.
    ///
    /// # Errors
    /// A URL or a domain that is none, or no usable TLS.
    pub fn new(settings: SmtpSettings) -> Result<Self, SmtpError> {
        let SmtpSettings { url, from, domain, timeout } = settings;
        if let Some(domain) = domain.as_ref().filter(|domain| Address::new("user", domain).is_err()) {
            return Err(SmtpError::Domain(domain.clone()));
        }
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose_secret())
            .map_err(SmtpError::Url)?
            .timeout(Some(timeout))
            .build();
        Ok(Self { transport, from, domain, timeout })
    }

    async fn send(&self, message: &Message) -> Outcome {
        let to = user_of(&message.recipient).and_then(|subject| address_of(subject, self.domain.as_deref()));
        let mail = self.mail(message, to.ok_or(DeliveryError::NoAddress)?);
        // The client's own limit is for connecting only.
        match tokio::time::timeout(self.timeout, self.transport.send(mail)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failure(error)),
            Err(_) => Err(DeliveryError::TooLong),
        }
    }

    fn mail(&self, message: &Message, to: Address) -> lettre::Message {
        let since_epoch = Duration::from_micros(u64::try_from(message.created_at.0).unwrap_or(0));
        lettre::Message::builder()
            .message_id(Some(format!("<{}@{}>", message.id, self.from.email.domain())))
            .date(UNIX_EPOCH + since_epoch)
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject_line(&message.body))
            // RFC 3834: no out-of-office replies.
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
            .singlepart(SinglePart::plain(message.body.clone()))
            .expect("sender and recipient are set")
    }
}

/// The server's words are left out: they quote addresses, and errors are logged.
fn failure(error: smtp::Error) -> DeliveryError {
    match error.status() {
        Some(code) => DeliveryError::MailRefused(code.into()),
        None => DeliveryError::NoMailServer(Arc::new(error)),
    }
}

/// Where the user gets mail: a subject that is an address is used as it is, any other is a mailbox of `domain`. `None` if there is no such
/// address.
fn address_of(subject: &str, domain: Option<&str>) -> Option<Address> {
    if subject.contains(char::is_control) {
        return None;
    }
    // Whoever has an @ in the subject means an address; a mailbox of that odd name is nobody's.
    if subject.contains('@') {
        return Address::from_str(subject).ok();
    }
    let domain = domain?;
    Address::new(subject, domain).or_else(|_| Address::new(quoted(subject), domain)).ok()
}

/// As a quoted string of RFC 5321, which may hold what a bare mailbox may not.
fn quoted(mailbox: &str) -> String {
    format!("\"{}\"", mailbox.replace('\\', r"\\").replace('"', "\\\""))
}

/// The text's first sentence, so that the subject is in the text's language.
fn subject_line(body: &str) -> String {
    let line = body.lines().next().unwrap_or_default().replace(char::is_control, " ");
    let sentence = line.split_inclusive(". ").next().unwrap_or_default().trim();
    match sentence.char_indices().nth(SUBJECT_CHARS) {
        None => sentence.to_owned(),
        Some((end, _)) => format!("{}…", &sentence[..end]),
    }
}

impl Notifier for SmtpNotifier {
    fn batch_size(&self) -> usize {
        BATCH
    }

    fn time_limit(&self) -> Duration {
        let rounds = u32::try_from(BATCH.div_ceil(CONCURRENCY)).expect("a few");
        self.timeout * rounds
    }

    fn deliver<'a>(&'a self, batch: &'a [Message]) -> BoxFuture<'a, Vec<Outcome>> {
        let mails: Vec<_> = batch.iter().map(|message| self.send(message)).collect();
        stream::iter(mails).buffered(CONCURRENCY).collect().boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(subject: &str, domain: Option<&str>, expected: Option<&str>) {
        let address = address_of(subject, domain).map(|address| address.to_string());
        assert_eq!(address.as_deref(), expected, "{subject:?} {domain:?}");
    }

    #[test]
    fn a_subject_is_an_address_or_a_mailbox_of_the_domain() {
        let domain = Some("example.com");
        check("alice@example.org", domain, Some("alice@example.org"));
        check("alice@example.org", None, Some("alice@example.org"));
        check("alice", domain, Some("alice@example.com"));
        check("auth0|5f7c", domain, Some("auth0|5f7c@example.com"));
        check("alice smith", domain, Some("\"alice smith\"@example.com"));
        check("a\"b\\c", domain, Some("\"a\\\"b\\\\c\"@example.com"));
        check("김철수", domain, Some("김철수@example.com"));
        check("alice", None, None);
    }

    #[test]
    fn a_subject_that_cannot_be_an_address_is_none() {
        let long = "a".repeat(65);
        for subject in
            ["", "@", "alice@", "@example.org", "a@b@c", "a b@c", "a\r\nRCPT TO:<b@c>", "a\nb", "a\0b", &long]
        {
            check(subject, Some("example.com"), None);
        }
    }

    #[test]
    fn the_subject_line_is_the_first_sentence() {
        for (body, expected) in [
            ("Your stay is confirmed. You paid KRW 1.", "Your stay is confirmed."),
            ("예약이 확정되었습니다. 결제 금액은 1원입니다.", "예약이 확정되었습니다."),
            ("One line\nand another", "One line"),
            ("Hut\rBcc: eve@example.org", "Hut Bcc: eve@example.org"),
            ("", ""),
        ] {
            assert_eq!(subject_line(body), expected);
        }
        assert_eq!(subject_line(&"가".repeat(500)), format!("{}…", "가".repeat(SUBJECT_CHARS)));
    }

    #[tokio::test]
    async fn settings_that_cannot_work_are_refused_and_secrets_not_shown() {
        let settings = |url: &str, domain: &str| SmtpSettings {
            url: SecretString::from(url),
            from: "Holdfast <no-reply@example.com>".parse().expect("a mailbox"),
            domain: Some(domain.to_owned()),
            timeout: Duration::from_secs(1),
        };
        for url in ["", "example.com", "http://example.com", "smtp://example.com?tls=perhaps", "smtps://"] {
            assert!(matches!(SmtpNotifier::new(settings(url, "example.com")), Err(SmtpError::Url(_))), "{url}");
        }
        let domain = SmtpNotifier::new(settings("smtp://localhost", "no domain"));
        assert!(matches!(domain, Err(SmtpError::Domain(_))));
        let settings = settings("smtps://alice:hunter2@example.com?tls=required", "example.com");
        assert!(!format!("{settings:?}").contains("hunter2"));
        let notifier = SmtpNotifier::new(settings).expect("a notifier");
        assert!(!format!("{notifier:?}").contains("hunter2"));
    }
}
