//! The port to the outside: how messages leave the system.
//!
//! Delivery is at least once. A message may reach the outside again when this process dies, or the database fails, after the delivery and
//! before it was recorded. Each delivery therefore carries the message's id, which never changes, for the outside to drop repeats by.

mod address;
mod file;
mod signature;
mod smtp;
mod webhook;

use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use file::FileNotifier;
use futures_util::future::BoxFuture;
use serde::Serialize;
pub use signature::{InvalidWebhookSecret, WebhookSecrets};
pub use smtp::{SmtpError, SmtpNotifier, SmtpSettings};
pub use webhook::{InvalidWebhookUrl, WebhookError, WebhookNotifier, WebhookSettings, WebhookUrl};

use crate::domain::Message;

/// What became of one message.
pub type Outcome = Result<(), DeliveryError>;

/// Delivers messages.
pub trait Notifier: Send + Sync {
    /// How many messages it takes at once; at least one.
    fn batch_size(&self) -> usize;

    /// The longest that [`Notifier::deliver`] takes. A message is not given to another deliverer before.
    fn time_limit(&self) -> Duration;

    /// Delivers at most [`Notifier::batch_size`] messages and tells of each, in the same order, whether the outside has it.
    ///
    /// # Cancel safety
    /// A dropped call may have delivered any of them.
    fn deliver<'a>(&'a self, batch: &'a [Message]) -> BoxFuture<'a, Vec<Outcome>>;
}

/// A notifier for each channel; channels may share one. Each is worked by itself, so that none waits for another's outside.
#[derive(Clone)]
pub struct Notifiers {
    /// Of messages proper.
    pub message: Arc<dyn Notifier>,
    /// Of SMS.
    pub sms: Arc<dyn Notifier>,
    /// Of alarms.
    pub alarm: Arc<dyn Notifier>,
}

/// The outside does not have the message, or did not say so.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The file cannot be written.
    #[error("the file of messages cannot be written")]
    File(#[source] Arc<io::Error>),
    /// There was no answer.
    #[error("the webhook gave no answer")]
    NoAnswer(#[source] Arc<reqwest::Error>),
    /// The answer was not one of success.
    #[error("the webhook answered {0}")]
    Refused(u16),
    /// The recipient's subject is no e-mail address and cannot become one.
    #[error("the recipient has no e-mail address")]
    NoAddress,
    /// No mail server that talks to us.
    #[error("the mail server cannot be used")]
    NoMailServer(#[source] Arc<lettre::transport::smtp::Error>),
    /// The mail server's reply was not one of success.
    #[error("the mail server answered {0}")]
    MailRefused(u16),
    /// Not done in time.
    #[error("the delivery took too long")]
    TooLong,
}

impl DeliveryError {
    /// Whether every further try would end the same way.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::File(_) | Self::NoAnswer(_) | Self::NoMailServer(_) | Self::TooLong => false,
            Self::NoAddress => true,
            // Gone. Any other answer may be a receiver that is being set up, or changes its secret.
            Self::Refused(code) => *code == 410,
            // Host accepts no mail (RFC 7504), and authentication or TLS (RFC 3207, RFC 4954): of the settings, not of the mail.
            Self::MailRefused(521 | 530 | 534 | 535 | 538) => false,
            Self::MailRefused(code) => (500..600).contains(code),
        }
    }
}

/// A message as the outside gets it, in a file and by webhook.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    name: String,
    recipient: &'a str,
    reservation: String,
    topic: &'static str,
    channel: &'static str,
    language_code: &'static str,
    body: &'a str,
    create_time: String,
}

impl<'a> Content<'a> {
    fn of(message: &'a Message) -> Self {
        Self {
            name: crate::rpc::name(message.id),
            recipient: &message.recipient,
            reservation: mesh::value::format_name("reservations", message.reservation),
            topic: crate::rpc::topic(message.topic).as_str_name(),
            channel: crate::rpc::channel(message.channel).as_str_name(),
            language_code: message.language.code(),
            body: &message.body,
            create_time: message.created_at.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DeliveryError::{self, MailRefused, NoAddress, Refused, TooLong};

    fn check(error: &DeliveryError, permanent: bool) {
        assert_eq!(error.is_permanent(), permanent, "{error}");
    }

    #[test]
    fn only_what_no_further_try_can_mend_is_permanent() {
        for error in [NoAddress, Refused(410), MailRefused(550), MailRefused(552), MailRefused(554)] {
            check(&error, true);
        }
        for code in [301, 400, 401, 404, 429, 500, 503] {
            check(&Refused(code), false);
        }
        for code in [421, 450, 451, 521, 530, 534, 535, 538] {
            check(&MailRefused(code), false);
        }
        check(&TooLong, false);
        check(&DeliveryError::File(std::sync::Arc::new(std::io::Error::other("full"))), false);
    }
}
