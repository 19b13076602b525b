//! The port to the outside: how messages leave the system.
//!
//! Delivery is at least once. A message may reach the outside again when this process dies, or the database fails, after the delivery and
//! before it was recorded. Each delivery therefore carries the message's id, which never changes, for the outside to drop repeats by.

mod address;
mod file;
mod webhook;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use file::FileNotifier;
use serde::Serialize;
pub use webhook::{InvalidWebhookUrl, WebhookError, WebhookNotifier, WebhookSettings, WebhookUrl};

use crate::domain::Message;

/// What became of one message.
pub type Outcome = Result<(), DeliveryError>;

/// Delivers messages.
pub trait Notifier: Send + Sync + 'static {
    /// How many messages it takes at once; at least one.
    fn batch_size(&self) -> usize;

    /// The longest that [`Notifier::deliver`] takes. A message is not given to another deliverer before.
    fn time_limit(&self) -> Duration;

    /// Delivers at most [`Notifier::batch_size`] messages and tells of each, in the same order, whether the outside has it.
    ///
    /// # Cancel safety
    /// A dropped call may have delivered any of them.
    fn deliver(&self, batch: &[Message]) -> impl Future<Output = Vec<Outcome>> + Send;
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
    /// Not done in time.
    #[error("the delivery took too long")]
    TooLong,
}

/// A message as the outside gets it, in both adapters.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    name: String,
    recipient: &'a str,
    reservation: String,
    topic: &'static str,
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
            body: &message.body,
            create_time: message.created_at.to_string(),
        }
    }
}
