//! Ranges of nights.

use mesh::value::Day;

use super::Violation;

/// The longest stay, in nights.
pub const STAY_NIGHTS_MAX: i32 = 90;
/// The longest range of nights whose capacity is set or read at once.
pub const AVAILABILITY_NIGHTS_MAX: i32 = 366;

/// The nights from check-in to check-out, which is not a night of it. At least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    check_in: Day,
    check_out: Day,
}

impl Stay {
    /// The nights between two days, 1 to `max` of them. `field` is the path of the stay in the request.
    ///
    /// # Errors
    /// What is wrong with the check-out date.
    pub fn new(check_in: Day, check_out: Day, max: i32, field: &str) -> Result<Self, Violation> {
        let nights = check_in.until(check_out);
        let violation =
            |reason, description| Err(Violation::new(format!("{field}.check_out_date"), reason, description));
        if nights < 1 {
            return violation("DATE_ORDER", "must be after check_in_date".to_owned());
        }
        if nights > max {
            return violation("STAY_TOO_LONG", format!("must be at most {max} nights after check_in_date"));
        }
        Ok(Self { check_in, check_out })
    }

    /// From two days that were stored.
    pub(crate) const fn stored(check_in: Day, check_out: Day) -> Self {
        Self { check_in, check_out }
    }

    /// The first night.
    #[must_use]
    pub const fn check_in(&self) -> Day {
        self.check_in
    }

    /// The day of leaving.
    #[must_use]
    pub const fn check_out(&self) -> Day {
        self.check_out
    }

    /// How many nights.
    #[must_use]
    pub const fn length(&self) -> i32 {
        self.check_in.until(self.check_out)
    }

    /// The nights in date order.
    pub fn nights(&self) -> impl Iterator<Item = Day> + use<> {
        (self.check_in.number()..self.check_out.number()).map(Day::from_number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nights: i32, max: i32, expected: Result<i32, &str>) {
        let start = Day::from_number(20_000);
        let stay = Stay::new(start, start.plus(nights), max, "stay");
        if let Err(violation) = &stay {
            assert_eq!(violation.field, "stay.check_out_date");
        }
        assert_eq!(stay.map(|stay| stay.length()).map_err(|violation| violation.reason), expected, "{nights} of {max}");
    }

    #[test]
    fn a_stay_has_one_to_its_maximum_of_nights() {
        check(1, STAY_NIGHTS_MAX, Ok(1));
        check(90, STAY_NIGHTS_MAX, Ok(90));
        check(91, STAY_NIGHTS_MAX, Err("STAY_TOO_LONG"));
        check(0, STAY_NIGHTS_MAX, Err("DATE_ORDER"));
        check(-3, STAY_NIGHTS_MAX, Err("DATE_ORDER"));
        check(366, AVAILABILITY_NIGHTS_MAX, Ok(366));
        check(367, AVAILABILITY_NIGHTS_MAX, Err("STAY_TOO_LONG"));
    }

    #[test]
    fn the_day_of_leaving_is_not_a_night() {
        let start = Day::from_number(20_000);
        let stay = Stay::new(start, start.plus(2), STAY_NIGHTS_MAX, "stay").expect("a stay");
        assert_eq!(stay.nights().collect::<Vec<_>>(), [start, start.plus(1)]);
    }
}
