//! When.

use mesh::value::Day;

/// A stay is at most so many nights.
pub const NIGHTS_MAX: i32 = 90;

/// When a reservation is for; which of them a listing offers is listing's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nights.
    Stay(Stay),
    /// A date.
    Date(Day),
    /// No date at all: units of a stock.
    None,
}

impl Slot {
    /// The first day, if it has one.
    #[must_use]
    pub const fn check_in(self) -> Option<Day> {
        match self {
            Self::Stay(stay) => Some(stay.check_in),
            Self::Date(date) => Some(date),
            Self::None => None,
        }
    }

    /// The day of leaving, if it is a stay.
    #[must_use]
    pub const fn check_out(self) -> Option<Day> {
        match self {
            Self::Stay(stay) => Some(stay.check_out),
            Self::Date(_) | Self::None => None,
        }
    }

    /// The slot with these days, as stored.
    #[must_use]
    pub const fn from_days(check_in: Option<Day>, check_out: Option<Day>) -> Self {
        match (check_in, check_out) {
            (Some(check_in), Some(check_out)) => Self::Stay(Stay { check_in, check_out }),
            (Some(date), None) => Self::Date(date),
            (None, _) => Self::None,
        }
    }
}

/// The nights from check-in to the day of check-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The first night.
    pub check_in: Day,
    /// The day of leaving.
    pub check_out: Day,
}

impl Stay {
    /// A stay of 1 to [`NIGHTS_MAX`] nights.
    ///
    /// # Errors
    /// [`StayError`] otherwise.
    pub fn new(check_in: Day, check_out: Day) -> Result<Self, StayError> {
        match check_in.until(check_out) {
            ..=0 => Err(StayError::Empty),
            1..=NIGHTS_MAX => Ok(Self { check_in, check_out }),
            _ => Err(StayError::TooLong),
        }
    }
}

/// Why two days make no stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StayError {
    /// Check-out is not after check-in.
    #[error("must be after the check-in date")]
    Empty,
    /// More than [`NIGHTS_MAX`] nights.
    #[error("must be at most 90 nights after the check-in date")]
    TooLong,
}
