//! Listings: what a host offers, and what a change of it may be.

use mesh::store::{Id, Micros};
use mesh::value::{Day, Money, MoneyError, Zone};

use super::{STAY_NIGHTS_MAX, Violation};

/// Units of one reservation at most; the contract says so.
const UNITS_MAX: i64 = 1000;
/// No price is higher, in minor units: the total of the longest and largest reservation still fits.
const PRICE_MINOR_MAX: i64 = i64::MAX / (STAY_NIGHTS_MAX as i64 * UNITS_MAX);
/// Miles for a payment when the host names none.
const MILEAGE_POINTS_DEFAULT: i64 = 1;

/// What a listing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A place to stay, reserved by the night.
    Room,
}

/// Whether a listing takes reservations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingState {
    /// It does.
    Active,
    /// Its host deleted it.
    Deleted,
}

/// How a reservation earns miles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mileage {
    /// Not at all.
    None,
    /// With the payment, or as soon as mileage is back.
    EarnGraceful,
    /// With the payment, or there is no reservation.
    EarnStrict,
}

/// The deal a reservation is made under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How miles are earned.
    pub mileage: Mileage,
    /// Miles for one payment.
    pub mileage_points: i64,
}

impl Policy {
    /// The policy a host asks for, completed by the defaults of a room.
    #[must_use]
    pub fn complete(mileage: Option<Mileage>, mileage_points: i64) -> Self {
        let mileage_points = if mileage_points == 0 { MILEAGE_POINTS_DEFAULT } else { mileage_points };
        Self { mileage: mileage.unwrap_or(Mileage::EarnGraceful), mileage_points }
    }
}

/// Something that can be reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Its identifier.
    pub id: Id,
    /// The user who offers it.
    pub host: String,
    /// Its title.
    pub display_name: String,
    /// What guests read about it.
    pub description: String,
    /// What it is.
    pub kind: Kind,
    /// For one unit and night; zero is free of charge.
    pub price: Money,
    /// Units on a night for which nothing else is said.
    pub default_capacity: i32,
    /// The IANA zone it is in.
    pub time_zone: String,
    /// The deal.
    pub policy: Policy,
    /// Reviews it has.
    pub review_count: i32,
    /// Whether it takes reservations.
    pub state: ListingState,
    /// Counts its changes, from 1; reviews do not count as changes.
    pub version: i64,
    /// When it was registered.
    pub created_at: Micros,
    /// When it last changed.
    pub updated_at: Micros,
}

/// One night of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Night {
    /// The night.
    pub date: Day,
    /// Units held or booked.
    pub held: i32,
    /// Units offered.
    pub capacity: i32,
    /// Whether the host set this night's capacity, so that the default does not apply.
    pub pinned: bool,
}

impl Night {
    /// Units free.
    #[must_use]
    pub const fn available(&self) -> i32 {
        self.capacity - self.held
    }
}

/// What a host may write into a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The title.
    DisplayName,
    /// The text.
    Description,
    /// The price of a night.
    Price,
    /// Units on an ordinary night.
    DefaultCapacity,
    /// The zone.
    TimeZone,
    /// The deal.
    Policy,
}

impl Field {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::DisplayName, Self::Description, Self::Price, Self::DefaultCapacity, Self::TimeZone, Self::Policy];

    /// Its name in the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DisplayName => "display_name",
            Self::Description => "description",
            Self::Price => "price",
            Self::DefaultCapacity => "default_capacity",
            Self::TimeZone => "time_zone",
            Self::Policy => "policy",
        }
    }

    fn path(self) -> String {
        format!("listing.{}", self.name())
    }
}

/// A listing as a host sends it, unchecked.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The title.
    pub display_name: String,
    /// The text.
    pub description: String,
    /// What it is; `None` if the host did not say.
    pub kind: Option<Kind>,
    /// The price of a night; `None` if the host did not say.
    pub price: Option<Result<Money, MoneyError>>,
    /// Units on an ordinary night; 0 if the host did not say.
    pub default_capacity: i32,
    /// The zone's name.
    pub time_zone: String,
    /// The deal, complete.
    pub policy: Policy,
}

impl Draft {
    /// The listing this draft makes.
    ///
    /// # Errors
    /// Every field that is missing or cannot be.
    pub fn register(self, id: Id, host: &str, at: Micros) -> Result<Listing, Vec<Violation>> {
        let mut violations = self.violations(&Field::ALL);
        if self.kind.is_none() {
            violations.push(Violation::required("listing.kind"));
        }
        let (Some(kind), Some(Ok(price)), []) = (self.kind, self.price, violations.as_slice()) else {
            return Err(violations);
        };
        Ok(Listing {
            id,
            host: host.to_owned(),
            display_name: self.display_name,
            description: self.description,
            kind,
            price,
            default_capacity: self.default_capacity,
            time_zone: self.time_zone,
            policy: self.policy,
            review_count: 0,
            state: ListingState::Active,
            version: 1,
            created_at: at,
            updated_at: at,
        })
    }

    fn violations(&self, fields: &[Field]) -> Vec<Violation> {
        fields.iter().filter_map(|field| self.violation(*field)).collect()
    }

    fn violation(&self, field: Field) -> Option<Violation> {
        let wrong = |reason, description: String| Some(Violation::new(field.path(), reason, description));
        match field {
            Field::DisplayName if self.display_name.trim().is_empty() => Some(Violation::required(field.path())),
            Field::DefaultCapacity if self.default_capacity < 1 => Some(Violation::required(field.path())),
            Field::TimeZone if self.time_zone.is_empty() => Some(Violation::required(field.path())),
            Field::TimeZone if Zone::named(&self.time_zone).is_none() => {
                wrong("TIME_ZONE_UNKNOWN", "must be the name of an IANA time zone".to_owned())
            }
            Field::Price => match self.price.map(|price| price.and_then(Money::not_negative)) {
                None => Some(Violation::required(field.path())),
                Some(Err(error)) => wrong(error.reason(), error.to_string()),
                Some(Ok(price)) if price.minor() > PRICE_MINOR_MAX => {
                    let error = MoneyError::Overflow;
                    wrong(error.reason(), error.to_string())
                }
                Some(Ok(_)) => None,
            },
            Field::DisplayName | Field::Description | Field::DefaultCapacity | Field::TimeZone | Field::Policy => None,
        }
    }
}

impl Listing {
    /// This listing with `fields` as in `draft`; the same listing if that changes nothing.
    ///
    /// # Errors
    /// Every named field that is missing or cannot be.
    pub fn modify(&self, draft: &Draft, fields: &[Field], at: Micros) -> Result<Self, Vec<Violation>> {
        let violations = draft.violations(fields);
        if !violations.is_empty() {
            return Err(violations);
        }
        let mut changed = self.clone();
        for field in fields {
            match field {
                Field::DisplayName => changed.display_name.clone_from(&draft.display_name),
                Field::Description => changed.description.clone_from(&draft.description),
                Field::Price => {
                    changed.price = draft.price.and_then(Result::ok).expect("a price without a violation is one");
                }
                Field::DefaultCapacity => changed.default_capacity = draft.default_capacity,
                Field::TimeZone => changed.time_zone.clone_from(&draft.time_zone),
                Field::Policy => changed.policy = draft.policy,
            }
        }
        if changed != *self {
            changed.version += 1;
            changed.updated_at = at;
        }
        Ok(changed)
    }

    /// The day it is at the listing.
    ///
    /// # Panics
    /// When the stored zone has left the zone database, which never removes names.
    #[must_use]
    pub fn today(&self, now: Micros) -> Day {
        Zone::named(&self.time_zone).expect("a stored zone was checked").day_at(now)
    }

    /// Whether it takes reservations.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state == ListingState::Active
    }
}

#[cfg(test)]
mod tests {
    use mesh::value::Currency;

    use super::*;

    fn draft() -> Draft {
        Draft {
            display_name: "Hanok".to_owned(),
            description: String::new(),
            kind: Some(Kind::Room),
            price: Some(Ok(Money::from_minor(38_000, Currency::KRW))),
            default_capacity: 2,
            time_zone: "Asia/Seoul".to_owned(),
            policy: Policy::complete(None, 0),
        }
    }

    fn check(change: impl FnOnce(&mut Draft), expected: &[(&str, &str)]) {
        let mut draft = draft();
        change(&mut draft);
        let found = draft.register(Id::generate(), "hana", Micros(1)).map(|_| ()).err().unwrap_or_default();
        let found: Vec<_> = found.iter().map(|violation| (violation.field.as_str(), violation.reason)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_listing_needs_what_the_contract_requires() {
        check(|_| {}, &[]);
        check(|draft| draft.price = Some(Ok(Money::from_minor(0, Currency::KRW))), &[]);
        check(|draft| draft.display_name = "  ".to_owned(), &[("listing.display_name", "REQUIRED")]);
        check(|draft| draft.kind = None, &[("listing.kind", "REQUIRED")]);
        check(|draft| draft.price = None, &[("listing.price", "REQUIRED")]);
        check(
            |draft| draft.price = Some(Ok(Money::from_minor(-1, Currency::KRW))),
            &[("listing.price", "MONEY_NEGATIVE")],
        );
        check(|draft| draft.price = Some(Err(MoneyError::TooFine)), &[("listing.price", "MONEY_TOO_FINE")]);
        check(
            |draft| draft.price = Some(Ok(Money::from_minor(i64::MAX, Currency::KRW))),
            &[("listing.price", "MONEY_OVERFLOW")],
        );
        check(|draft| draft.default_capacity = 0, &[("listing.default_capacity", "REQUIRED")]);
        check(|draft| draft.time_zone = String::new(), &[("listing.time_zone", "REQUIRED")]);
        check(|draft| draft.time_zone = "Asia/Soul".to_owned(), &[("listing.time_zone", "TIME_ZONE_UNKNOWN")]);
        check(
            |draft| (draft.display_name, draft.price) = (String::new(), None),
            &[("listing.display_name", "REQUIRED"), ("listing.price", "REQUIRED")],
        );
    }

    #[test]
    fn the_policy_defaults_to_one_mile_earned_gracefully() {
        assert_eq!(Policy::complete(None, 0), Policy { mileage: Mileage::EarnGraceful, mileage_points: 1 });
        assert_eq!(Policy::complete(Some(Mileage::None), 5), Policy { mileage: Mileage::None, mileage_points: 5 });
    }

    #[test]
    fn a_change_touches_only_the_named_fields() {
        let before = draft().register(Id::generate(), "hana", Micros(1)).expect("valid");
        let mut other = draft();
        (other.display_name, other.default_capacity, other.price) = ("Villa".to_owned(), 9, None);
        let after = before.modify(&other, &[Field::DisplayName], Micros(2)).expect("valid");
        let expected =
            Listing { display_name: "Villa".to_owned(), version: 2, updated_at: Micros(2), ..before.clone() };
        assert_eq!(after, expected);
        let refused = before.modify(&other, &[Field::Price], Micros(2)).expect_err("no price");
        assert_eq!(refused[0].field, "listing.price");
    }

    #[test]
    fn a_change_that_changes_nothing_is_none() {
        let before = draft().register(Id::generate(), "hana", Micros(1)).expect("valid");
        assert_eq!(before.modify(&draft(), &Field::ALL, Micros(2)).expect("valid"), before);
    }
}
