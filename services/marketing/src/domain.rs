//! What marketing learns of, and when a listing is nearly full.
//!
//! Pure: no clock, no SQL, no protobuf.

use mesh::store::Id;
use mesh::value::Day;

/// What capacity is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// A date.
    Date(Day),
    /// A stock, whatever the date.
    Stock,
}

impl Slot {
    /// Whether more of it is of no use any more.
    pub(crate) fn is_past(self, today: Day) -> bool {
        matches!(self, Self::Date(day) if day < today)
    }
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Confirmed,
    Completed,
    Cancelled,
}

/// A reservation, as it was told with this version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Booking {
    pub(crate) reservation: Id,
    pub(crate) version: i64,
    pub(crate) host: String,
    /// `None` for nights, which are counted but never asked for.
    pub(crate) slot: Option<Slot>,
    pub(crate) units: i32,
    pub(crate) outcome: Outcome,
}

/// What an event says of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// A reservation.
    Booked(Booking),
    /// What it offers where nothing else is set, as of this version of it.
    Offered { host: String, capacity: i32, version: i64 },
    /// What it offers from one date to the day before another.
    Dated { from: Day, to: Day, capacity: i32, version: i64 },
}

/// A listing's demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    pub(crate) listing: Id,
    pub(crate) host: Option<String>,
    pub(crate) confirmed: i32,
    pub(crate) cancelled: i32,
    pub(crate) increments: i32,
}

/// Whether `percent` of the capacity or more is confirmed. What offers nothing is not full.
pub(crate) fn is_nearly_full(confirmed: i64, capacity: i32, percent: u8) -> bool {
    capacity > 0 && confirmed * 100 >= i64::from(capacity) * i64::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_full_begins_at_the_percentage() {
        let check = |confirmed, capacity, percent, expected| {
            assert_eq!(
                is_nearly_full(confirmed, capacity, percent),
                expected,
                "{confirmed} of {capacity}, {percent} %"
            );
        };
        check(7, 10, 80, false);
        check(8, 10, 80, true);
        check(11, 10, 80, true);
        check(0, 1, 1, false);
        check(0, 0, 80, false);
        check(2, 3, 67, false);
        check(3, 3, 100, true);
    }
}
