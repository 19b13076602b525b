//! What the rows say, for comparison with the other services, and whether they contradict themselves.

use diesel::QueryResult;
use mesh::store::{Conn, Id};

use crate::domain::{Channel, Message, State, Topic, message_id};
use crate::store;

/// A message, as far as an audit compares it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The event it tells of.
    pub event: Id,
    /// To whom, `users/{user}`.
    pub recipient: String,
    /// How.
    pub channel: Channel,
    /// What it tells.
    pub topic: Topic,
    /// About which reservation.
    pub reservation: Id,
    /// Whether it was delivered.
    pub state: State,
}

/// The whole service in rows.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every message, oldest first.
    pub messages: Vec<Entry>,
    /// Rules of this service that its rows break; empty when all is well.
    pub violations: Vec<String>,
}

/// Reads everything. Takes memory and time in proportion to the rows.
///
/// # Errors
/// Whatever the database refuses.
pub fn read(conn: &mut Conn) -> QueryResult<Report> {
    let mut report = Report::default();
    for message in store::all(conn)? {
        report.violations.extend(violations(&message));
        report.messages.push(Entry {
            event: message.event,
            recipient: message.recipient,
            channel: message.channel,
            topic: message.topic,
            reservation: message.reservation,
            state: message.state,
        });
    }
    Ok(report)
}

fn violations(message: &Message) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |holds: bool, rule: &str| {
        if !holds {
            found.push(format!("message {}: {rule}", message.id));
        }
    };
    check(
        message.id == message_id(message.event, &message.recipient, message.channel),
        "the id does not follow from event, recipient and channel",
    );
    check(
        (message.state == State::Sent) == message.sent_at.is_some(),
        "sent without a time, or a time without being sent",
    );
    check(message.state == State::Pending || message.attempts > 0, "settled without a try");
    check(!message.body.is_empty(), "the text is empty");
    found
}
