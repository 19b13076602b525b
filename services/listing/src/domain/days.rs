//! Days: the nights of a stay, a date, the dates of a range, and the one that stands for none.

use mesh::value::Day;

use super::Violation;

/// The longest stay, in nights.
pub const STAY_NIGHTS_MAX: i32 = 90;
/// The longest range of dates whose capacity is set or read at once.
pub const RANGE_DAYS_MAX: i32 = 366;
/// Where a stock is counted, whatever the date: the day before the first that [`Day`] takes from a caller.
pub const STOCK_DAY: Day = Day::from_number(-1);

/// Consecutive days, at least one: from a first to the day after a last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    first: Day,
    end: Day,
}

impl Days {
    /// The nights from check-in to check-out, which is not a night of it. `field` is the path of the stay in the request.
    ///
    /// # Errors
    /// What is wrong with the check-out date.
    pub fn of_stay(check_in: Day, check_out: Day, field: &str) -> Result<Self, Violation> {
        Self::between(check_in, check_out, STAY_NIGHTS_MAX, "STAY_TOO_LONG", format!("{field}.check_out_date"))
    }

    /// The dates of a range. `field` is its path in the request.
    ///
    /// # Errors
    /// What is wrong with the end date.
    pub fn of_range(start: Day, end: Day, field: &str) -> Result<Self, Violation> {
        Self::between(start, end, RANGE_DAYS_MAX, "RANGE_TOO_LONG", format!("{field}.end_date"))
    }

    fn between(first: Day, end: Day, max: i32, too_long: &'static str, field: String) -> Result<Self, Violation> {
        match first.until(end) {
            ..1 => Err(Violation::new(field, "DATE_ORDER", "must be after the first date")),
            days if days > max => {
                Err(Violation::new(field, too_long, format!("must be at most {max} days after the first date")))
            }
            _ => Ok(Self { first, end }),
        }
    }

    /// A single day.
    #[must_use]
    pub const fn one(day: Day) -> Self {
        Self { first: day, end: day.plus(1) }
    }

    /// From two days that were stored.
    pub(crate) const fn stored(first: Day, end: Day) -> Self {
        Self { first, end }
    }

    /// The first of them.
    #[must_use]
    pub const fn first(&self) -> Day {
        self.first
    }

    /// The day after the last.
    #[must_use]
    pub const fn end(&self) -> Day {
        self.end
    }

    /// How many they are.
    #[must_use]
    pub const fn length(&self) -> i32 {
        self.first.until(self.end)
    }

    /// Each of them, in date order.
    pub fn iter(&self) -> impl Iterator<Item = Day> + use<> {
        (self.first.number()..self.end.number()).map(Day::from_number)
    }
}

/// When a reservation takes its places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// On each night of a stay.
    Stay(Days),
    /// On a date.
    Date(Day),
    /// As long as it lasts, whatever the date.
    Stock,
}

impl Slot {
    /// The days under which its places are counted: a date like a night, a stock under [`STOCK_DAY`].
    #[must_use]
    pub const fn days(&self) -> Days {
        match self {
            Self::Stay(nights) => *nights,
            Self::Date(date) => Days::one(*date),
            Self::Stock => Days::one(STOCK_DAY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Day = Day::from_number(20_000);

    fn check(made: Result<Days, Violation>, field: &str, expected: Result<i32, &str>) {
        if let Err(violation) = &made {
            assert_eq!(violation.field, field);
        }
        assert_eq!(made.map(|days| days.length()).map_err(|violation| violation.reason), expected);
    }

    #[test]
    fn a_stay_has_one_to_ninety_nights() {
        for (nights, expected) in
            [(1, Ok(1)), (90, Ok(90)), (91, Err("STAY_TOO_LONG")), (0, Err("DATE_ORDER")), (-3, Err("DATE_ORDER"))]
        {
            check(Days::of_stay(FIRST, FIRST.plus(nights), "stay"), "stay.check_out_date", expected);
        }
    }

    #[test]
    fn a_range_has_a_year_at_most() {
        for (days, expected) in [(366, Ok(366)), (367, Err("RANGE_TOO_LONG")), (0, Err("DATE_ORDER"))] {
            check(Days::of_range(FIRST, FIRST.plus(days), "dates"), "dates.end_date", expected);
        }
    }

    #[test]
    fn the_day_of_leaving_is_not_a_night() {
        let nights = Days::of_stay(FIRST, FIRST.plus(2), "stay").expect("a stay");
        assert_eq!(Slot::Stay(nights).days().iter().collect::<Vec<_>>(), [FIRST, FIRST.plus(1)]);
        assert_eq!(Slot::Date(FIRST).days().iter().collect::<Vec<_>>(), [FIRST]);
    }

    #[test]
    fn no_caller_can_name_the_day_of_a_stock() {
        let wire = proto::google::r#type::Date::from(STOCK_DAY);
        assert!(Day::try_from(&wire).is_err(), "{wire:?}");
        assert_eq!(Slot::Stock.days().iter().collect::<Vec<_>>(), [STOCK_DAY]);
    }
}
