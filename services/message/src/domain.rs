//! Messages: what is told to whom, in which words, and how often delivery is tried.

use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use mesh::store::{Id, Micros};
use mesh::value::{Day, Money};

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
    /// Its id, which follows from the event and the recipient: the outside may use it to drop repeats.
    pub id: Id,
    /// The event it tells of.
    pub event: Id,
    /// To whom, `users/{user}`.
    pub recipient: String,
    /// About which reservation; the correlation id of all that belongs to it.
    pub reservation: Id,
    /// What it tells.
    pub topic: Topic,
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
}

impl Message {
    /// A message that waits for its first delivery.
    #[must_use]
    pub fn new(event: Id, recipient: String, reservation: Id, news: &News<'_>, at: Micros) -> Self {
        Self {
            id: message_id(event, &recipient),
            event,
            recipient,
            reservation,
            topic: news.topic(),
            body: news.text(),
            state: State::Pending,
            attempts: 0,
            created_at: at,
            sent_at: None,
        }
    }
}

/// The id of the message that tells `recipient` of `event`: the event's time, then a hash of both, in the form of a UUIDv7.
///
/// Following from its natural key, it makes a second message of one event impossible, and it stays the same should the rows ever be made
/// again from the stream, so that the outside still recognises a repeat.
#[must_use]
pub(crate) fn message_id(event: Id, recipient: &str) -> Id {
    let mut hash = Context::new(&SHA256);
    hash.update(event.as_bytes());
    hash.update(recipient.as_bytes());
    let digest = hash.finish();
    let mut bytes: [u8; 16] = *digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
    bytes[..6].copy_from_slice(&event.as_bytes()[..6]);
    // RFC 9562: version 7, variant 10.
    bytes[6] = 0x70 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    Id::from_bytes(bytes)
}

/// What happened, as far as a message needs to know.
#[derive(Clone, Debug)]
pub enum News<'a> {
    /// A reservation is confirmed.
    Confirmed(Booking<'a>),
    /// A reservation is cancelled.
    Cancelled(Booking<'a>),
    /// Miles were earned.
    Increased(Miles),
    /// Miles were taken back.
    Decreased(Miles),
}

/// A reservation in a message.
#[derive(Clone, Debug)]
pub struct Booking<'a> {
    /// The listing's title.
    pub title: &'a str,
    /// The first night.
    pub check_in: Day,
    /// The day of leaving.
    pub check_out: Day,
    /// How many people come.
    pub persons: i32,
    /// What it costs.
    pub total: Money,
}

/// A movement of miles in a message.
#[derive(Clone, Copy, Debug)]
pub struct Miles {
    /// How many, without sign.
    pub points: u64,
    /// The balance after it.
    pub balance: i64,
}

impl News<'_> {
    /// What kind of news it is.
    #[must_use]
    pub fn topic(&self) -> Topic {
        match self {
            Self::Confirmed(_) => Topic::ReservationConfirmed,
            Self::Cancelled(_) => Topic::ReservationCancelled,
            Self::Increased(_) => Topic::MileageIncreased,
            Self::Decreased(_) => Topic::MileageDecreased,
        }
    }

    /// The message's text, in English.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Confirmed(booking) => {
                let mut text = format!("{} is confirmed", booking.subject());
                let _ = match booking.total.is_zero() {
                    true => write!(text, ", free of charge."),
                    false => write!(text, ". You paid {}.", booking.total),
                };
                text
            }
            Self::Cancelled(booking) => {
                let mut text = format!("{} is cancelled.", booking.subject());
                if !booking.total.is_zero() {
                    let _ = write!(text, " {} is refunded.", booking.total);
                }
                text
            }
            Self::Increased(miles) => {
                format!("You earned {} for your reservation. Your balance is now {}.", miles.moved(), miles.left())
            }
            Self::Decreased(miles) => {
                format!(
                    "{} of your cancelled reservation went back. Your balance is now {}.",
                    miles.moved(),
                    miles.left()
                )
            }
        }
    }
}

impl Booking<'_> {
    fn subject(&self) -> String {
        let persons = if self.persons == 1 { "person" } else { "persons" };
        format!(
            "Your stay at {} from {} to {} for {} {persons}",
            self.title, self.check_in, self.check_out, self.persons
        )
    }
}

impl Miles {
    fn moved(self) -> String {
        let unit = if self.points == 1 { "mile" } else { "miles" };
        format!("{} {unit}", self.points)
    }

    fn left(self) -> String {
        let unit = if self.balance == 1 { "mile" } else { "miles" };
        format!("{} {unit}", self.balance)
    }
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
    use mesh::value::Currency;

    use super::*;

    const DAY: Day = Day::from_number(20_000);

    fn booking(title: &str, persons: i32, won: i64) -> Booking<'_> {
        Booking { title, check_in: DAY, check_out: DAY.plus(2), persons, total: Money::from_minor(won, Currency::KRW) }
    }

    fn check(news: &News<'_>, topic: Topic, text: &str) {
        assert_eq!((news.topic(), news.text().as_str()), (topic, text));
    }

    #[test]
    fn a_confirmation_names_the_stay_and_the_price() {
        let text =
            "Your stay at Sea View from 2024-10-04 to 2024-10-06 for 2 persons is confirmed. You paid KRW 120000.";
        check(&News::Confirmed(booking("Sea View", 2, 120_000)), Topic::ReservationConfirmed, text);
        let text = "Your stay at Hut from 2024-10-04 to 2024-10-06 for 1 person is confirmed, free of charge.";
        check(&News::Confirmed(booking("Hut", 1, 0)), Topic::ReservationConfirmed, text);
    }

    #[test]
    fn a_cancellation_names_the_refund_if_there_is_one() {
        let text =
            "Your stay at Sea View from 2024-10-04 to 2024-10-06 for 2 persons is cancelled. KRW 120000 is refunded.";
        check(&News::Cancelled(booking("Sea View", 2, 120_000)), Topic::ReservationCancelled, text);
        let text = "Your stay at Hut from 2024-10-04 to 2024-10-06 for 1 person is cancelled.";
        check(&News::Cancelled(booking("Hut", 1, 0)), Topic::ReservationCancelled, text);
    }

    #[test]
    fn earned_miles_come_with_the_balance() {
        let text = "You earned 1 mile for your reservation. Your balance is now 12 miles.";
        check(&News::Increased(Miles { points: 1, balance: 12 }), Topic::MileageIncreased, text);
    }

    #[test]
    fn miles_taken_back_come_with_the_balance() {
        let text = "30 miles of your cancelled reservation went back. Your balance is now 1 mile.";
        check(&News::Decreased(Miles { points: 30, balance: 1 }), Topic::MileageDecreased, text);
    }

    /// K10: the same event and recipient can only ever make one message.
    #[test]
    fn an_id_follows_from_event_and_recipient() {
        let (event, other) = (Id::generate(), Id::generate());
        assert_eq!(message_id(event, "users/alice"), message_id(event, "users/alice"));
        assert_ne!(message_id(event, "users/alice"), message_id(event, "users/bob"));
        assert_ne!(message_id(event, "users/alice"), message_id(other, "users/alice"));
        let text = message_id(event, "users/alice").to_string();
        assert_eq!((&text[..8], &text[14..15]), (&event.to_string()[..8], "7"));
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
