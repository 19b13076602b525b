//! The words of messages, in every language: for each change and audience, in full or in short.
//!
//! A text is complete or does not compile: each language matches every case. What a reservation lacks (a price, a day, a title) its text leaves out.

mod english;
mod korean;

use mesh::value::{Day, Money};
use proto::google::r#type::Date;

use crate::domain::{Channel, Language};
use crate::news::{Audience, Booking, Change, Miles};

/// Characters of a title in a short text, so that the text keeps to 140.
const SHORT_TITLE: usize = 26;

/// How much there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    /// Whole sentences, with everything that is known.
    Full,
    /// What fits a short text: aimed at 90 characters, at most 140.
    Short,
}

/// What `audience` reads of a change, by `channel`. An alarm begins with `alarm_prefix`.
pub(crate) fn of_reservation(
    language: Language,
    channel: Channel,
    audience: Audience,
    booking: &Booking<'_>,
    change: Change<'_>,
    alarm_prefix: &str,
) -> String {
    let text = |length| match language {
        Language::English => english::of_reservation(length, audience, booking, change),
        Language::Korean => korean::of_reservation(length, audience, booking, change),
    };
    match channel {
        Channel::Message => text(Length::Full),
        Channel::Sms => text(Length::Short),
        Channel::Alarm => format!("{alarm_prefix} {}", text(Length::Short)).trim_start().to_owned(),
    }
}

/// What a customer reads of a movement of miles.
pub(crate) fn of_miles(language: Language, miles: Miles) -> String {
    match language {
        Language::English => english::of_miles(miles),
        Language::Korean => korean::of_miles(miles),
    }
}

impl Length {
    /// The title, shortened if need be. A reservation that ended before it had its place has none, nor is known what it is of.
    fn title(self, title: &str) -> Option<String> {
        match title.char_indices().nth(SHORT_TITLE) {
            Some(_) if self == Self::Short => {
                let kept: String = title.chars().take(SHORT_TITLE - 1).collect();
                Some(format!("{}…", kept.trim_end()))
            }
            _ => Some(title.to_owned()).filter(|title| !title.is_empty()),
        }
    }

    /// The host's words for a rejection, if they gave any and there is room.
    fn reason(self, words: &str) -> Option<&str> {
        Some(words).filter(|words| self == Self::Full && !words.is_empty())
    }
}

/// A day's year, unless it is `year`.
fn other_year(date: Date, year: i32) -> Option<i32> {
    (date.year != year).then_some(date.year)
}

/// An amount's currency and its number, with a comma after each thousand.
fn grouped(money: Money) -> (&'static str, String) {
    let text = money.to_string();
    let number = text.split_once(' ').map_or(text.as_str(), |(_, number)| number);
    let (whole, fraction) = number.find('.').map_or((number, ""), |point| number.split_at(point));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    (money.currency().code(), format!("{sign}{}{fraction}", groups.join(",")))
}

fn date(day: Day) -> Date {
    day.into()
}

#[cfg(test)]
mod tests;
