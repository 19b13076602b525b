//! Messages: what is told to whom, by which channel, and how often delivery is tried. The words are the [templates](crate::templates)'.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use clap::ValueEnum;
use mesh::store::{Id, Micros};

/// What a message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A reservation is confirmed.
    ReservationConfirmed,
    /// A reservation is cancelled.
    ReservationCancelled,
    /// Miles were earned.
    MileageIncreased,
    /// Miles were taken back.
    MileageDecreased,
    /// A reservation was requested.
    ReservationRequested,
    /// A reservation was approved by its host.
    ReservationApproved,
    /// A reservation was rejected.
    ReservationRejected,
    /// A reservation was cancelled because its listing was deleted.
    ReservationForceCancelled,
    /// A reservation was not approved or not paid in time.
    ReservationExpired,
    /// A reservation is completed.
    ReservationCompleted,
}

/// How somebody is told. Each channel is delivered by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// A message.
    Message,
    /// A short text.
    Sms,
    /// An alarm.
    Alarm,
}

/// What a message is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Language {
    /// English.
    #[value(name = "en")]
    English,
    /// Korean.
    #[value(name = "ko")]
    Korean,
}

impl Language {
    /// The language with this code, `en` or `ko`.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        [Self::English, Self::Korean].into_iter().find(|language| language.code() == code)
    }

    /// Its code of two letters.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Korean => "ko",
        }
    }
}

/// Whether a message was delivered. PENDING ends as SENT or FAILED and stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits for delivery.
    Pending,
    /// Delivered.
    Sent,
    /// Given up after the last try.
    Failed,
}

/// One message to one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id, which follows from the event, the recipient and the channel: the outside may use it to drop repeats.
    pub id: Id,
    /// The event it tells of.
    pub event: Id,
    /// To whom, `users/{user}`.
    pub recipient: String,
    /// About which reservation; the correlation id of all that belongs to it.
    pub reservation: Id,
    /// What it tells.
    pub topic: Topic,
    /// How it is told.
    pub channel: Channel,
    /// What its text is written in.
    pub language: Language,
    /// Its text.
    pub body: String,
    /// Whether it was delivered.
    pub state: State,
    /// How often delivery was begun.
    pub attempts: i32,
    /// When it was written.
    pub created_at: Micros,
    /// When it was delivered.
    pub sent_at: Option<Micros>,
    /// The trace of the event, which what becomes of the message belongs to.
    pub traceparent: Option<String>,
}

/// The id of the message that tells `recipient` of `event` by `channel`: the event's time, then a hash of all, in the form of a UUIDv7.
///
/// Following from its natural key, it makes a second message of one event impossible, and it stays the same should the rows ever be made
/// again from the stream, so that the outside still recognises a repeat.
#[must_use]
pub(crate) fn message_id(event: Id, recipient: &str, channel: Channel) -> Id {
    let mut hash = Context::new(&SHA256);
    hash.update(event.as_bytes());
    hash.update(recipient.as_bytes());
    // No recipient holds a zero. Messages proper were there before there were channels, and their ids stay.
    match channel {
        Channel::Message => {}
        Channel::Sms => hash.update(b"\0sms"),
        Channel::Alarm => hash.update(b"\0alarm"),
    }
    let digest = hash.finish();
    let mut bytes: [u8; 16] = *digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
    bytes[..6].copy_from_slice(&event.as_bytes()[..6]);
    // RFC 9562: version 7, variant 10.
    bytes[6] = 0x70 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    Id::from_bytes(bytes)
}

/// How often and how far apart delivery is tried.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Tries in all; at least one.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
}

/// What follows a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again then.
    Retry(Micros),
    /// That was the last try.
    GiveUp,
}

impl RetryPolicy {
    /// Decides after the `attempts`-th try failed at `at`. `jitter`, from 0 to 1, spreads the waits over their upper half, so that messages
    /// which failed together do not come back together.
    #[must_use]
    pub fn after_failure(&self, attempts: i32, at: Micros, jitter: f64) -> Next {
        let made = u32::try_from(attempts).unwrap_or(0).max(1);
        if made >= self.attempts {
            return Next::GiveUp;
        }
        let doubled = self.base.saturating_mul(2_u32.saturating_pow(made - 1)).min(self.max);
        Next::Retry(at.plus(doubled.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K10: the same event, recipient and channel can only ever make one message.
    #[test]
    fn an_id_follows_from_event_recipient_and_channel() {
        let (event, other) = (Id::generate(), Id::generate());
        let id = message_id(event, "users/alice", Channel::Message);
        assert_eq!(message_id(event, "users/alice", Channel::Message), id);
        assert_ne!(message_id(event, "users/bob", Channel::Message), id);
        assert_ne!(message_id(other, "users/alice", Channel::Message), id);
        let short = [Channel::Sms, Channel::Alarm].map(|channel| message_id(event, "users/alice", channel));
        assert!(short[0] != id && short[1] != id && short[0] != short[1]);
        let text = id.to_string();
        assert_eq!((&text[..8], &text[14..15]), (&event.to_string()[..8], "7"));
    }

    /// What the outside has seen it must recognise: this id was made before there were channels.
    #[test]
    fn ids_of_messages_proper_stay_what_they_were() {
        let event: Id = "0192e4a5-7b3c-7def-8123-456789abcdef".parse().expect("an id");
        assert_eq!(
            message_id(event, "users/alice", Channel::Message).to_string(),
            "0192e4a5-7b3c-708d-9c11-9f5c25ee0ccc"
        );
    }

    #[test]
    fn a_language_is_known_by_its_code() {
        for (code, language) in
            [("en", Some(Language::English)), ("ko", Some(Language::Korean)), ("", None), ("de", None)]
        {
            assert_eq!(Language::from_code(code), language);
        }
    }

    #[test]
    fn waits_double_up_to_a_limit_and_end_with_the_last_try() {
        let policy = RetryPolicy { attempts: 5, base: Duration::from_secs(1), max: Duration::from_secs(3) };
        let check = |attempts, jitter, expected: Option<u64>| {
            let expected = expected.map_or(Next::GiveUp, |ms| Next::Retry(Micros(0).plus(Duration::from_millis(ms))));
            assert_eq!(policy.after_failure(attempts, Micros(0), jitter), expected, "{attempts} {jitter}");
        };
        check(1, 1.0, Some(1000));
        check(1, 0.0, Some(500));
        check(2, 1.0, Some(2000));
        check(3, 1.0, Some(3000));
        check(4, 0.5, Some(2250));
        check(5, 0.5, None);
        check(i32::MAX, 0.5, None);
    }
}
