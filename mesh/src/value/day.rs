//! A calendar day, as a number, and the zone that says which day it is.

use std::fmt;

use jiff::{Timestamp, civil, tz::TimeZone};
use proto::google;

use crate::store::Micros;

/// A day of the proleptic Gregorian calendar: days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

/// The year, month and day name no day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the date is not a day of the calendar")]
pub struct DayError;

impl Day {
    /// From days since 1970-01-01, as stored.
    #[must_use]
    pub const fn from_number(number: i32) -> Self {
        Self(number)
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Days from `self` to `other`; negative when `other` is earlier.
    #[must_use]
    pub const fn until(self, other: Self) -> i32 {
        other.0 - self.0
    }

    /// So many days later.
    #[must_use]
    pub const fn plus(self, days: i32) -> Self {
        Self(self.0 + days)
    }

    fn date(self) -> civil::Date {
        EPOCH.saturating_add(jiff::Span::new().days(self.0))
    }

    fn of(date: civil::Date) -> Self {
        Self((date - EPOCH).get_days())
    }
}

const EPOCH: civil::Date = civil::date(1970, 1, 1);

impl TryFrom<&google::r#type::Date> for Day {
    type Error = DayError;

    fn try_from(wire: &google::r#type::Date) -> Result<Self, DayError> {
        let year = i16::try_from(wire.year).map_err(|_| DayError)?;
        let month = i8::try_from(wire.month).map_err(|_| DayError)?;
        let day = i8::try_from(wire.day).map_err(|_| DayError)?;
        // Years a booking can be in; what lies outside is a slip of the keyboard.
        if !(1970..=9998).contains(&year) {
            return Err(DayError);
        }
        civil::Date::new(year, month, day).map(Self::of).map_err(|_| DayError)
    }
}

impl From<Day> for google::r#type::Date {
    fn from(day: Day) -> Self {
        let date = day.date();
        Self { year: i32::from(date.year()), month: i32::from(date.month()), day: i32::from(date.day()) }
    }
}

/// ISO 8601, e.g. `2026-12-24`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.date().fmt(f)
    }
}

/// An IANA time zone.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of this name, e.g. `Asia/Seoul`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    /// The day it is there at an instant.
    #[must_use]
    pub fn day_at(&self, at: Micros) -> Day {
        let instant = Timestamp::from_microsecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH);
        Day::of(self.0.to_datetime(instant).date())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(year: i32, month: i32, day: i32) -> Result<Day, DayError> {
        Day::try_from(&google::r#type::Date { year, month, day })
    }

    #[test]
    fn only_days_of_the_calendar_are_days() {
        assert!(day(2028, 2, 29).is_ok());
        for (y, m, d) in [(2026, 2, 29), (2026, 13, 1), (2026, 0, 1), (2026, 1, 0), (0, 1, 1), (99_999, 1, 1)] {
            assert_eq!(day(y, m, d), Err(DayError), "{y}-{m}-{d}");
        }
    }

    #[test]
    fn a_day_survives_the_way_through_its_number() {
        for number in [0, 1, 59, 20_000, 36_524] {
            let wire = google::r#type::Date::from(Day::from_number(number));
            assert_eq!(Day::try_from(&wire), Ok(Day::from_number(number)));
        }
        assert_eq!(Day::from_number(0).to_string(), "1970-01-01");
    }

    #[test]
    fn today_depends_on_the_zone() {
        // 2026-12-24T16:00:00Z is already Christmas in Seoul.
        let at = Micros(1_798_128_000_000_000);
        assert_eq!(Zone::named("Asia/Seoul").expect("a zone").day_at(at).to_string(), "2026-12-25");
        assert_eq!(Zone::named("America/New_York").expect("a zone").day_at(at).to_string(), "2026-12-24");
        assert!(Zone::named("Middle/Earth").is_none());
    }
}
