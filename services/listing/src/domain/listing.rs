//! Listings: what a host offers, and what a change of it may be.

use mesh::store::{Id, Micros};
use mesh::value::{Day, DayError, Money, MoneyError, Zone};
use proto::listing::v1::ReservationPolicy;

use super::policy::{self, Platform};
use super::{Capacity, Days, Error, Policy, STAY_NIGHTS_MAX, STOCK_DAY, Slot, Violation};

/// Units of one reservation at most; the contract says so.
const UNITS_MAX: i64 = 1000;
/// No price is higher, in minor units: the total of the longest and largest reservation still fits.
const PRICE_MINOR_MAX: i64 = i64::MAX / (STAY_NIGHTS_MAX as i64 * UNITS_MAX);

/// What a listing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A place to stay.
    Room,
    /// Rooms of a resort.
    Resort,
    /// Taxis of a class.
    Taxi,
    /// Screening places of a hospital.
    Hospital,
}

/// Whether a listing takes reservations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingState {
    /// It does.
    Active,
    /// Its host deleted it.
    Deleted,
}

/// Something that can be reserved.
#[derive(Clone, Debug, PartialEq)]
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
    /// Where it is.
    pub region: String,
    /// Who runs it.
    pub company: String,
    /// Its class within its kind.
    pub grade: String,
    /// How many people one unit takes; 0 is no limit.
    pub max_persons: i32,
    /// The language its host is written to; empty is the platform's.
    pub language_code: String,
    /// For one unit, and one night where the capacity is nightly; zero is free of charge.
    pub price: Money,
    /// Units on a date for which nothing else is said, or in all.
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

/// A listing with the capacities that its first dates begin with.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// The listing.
    pub listing: Listing,
    /// Units on dates that differ from the default, in date order.
    pub dates: Vec<(Day, i32)>,
}

/// What is offered and taken on a day: a night, a date, or the [`STOCK_DAY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Availability {
    /// The day.
    pub day: Day,
    /// Units held or booked.
    pub held: i32,
    /// Units offered.
    pub capacity: i32,
    /// Whether the host set the capacity of this day, so that the default does not apply.
    pub pinned: bool,
}

impl Availability {
    /// Units free.
    #[must_use]
    pub const fn available(&self) -> i32 {
        self.capacity - self.held
    }
}

macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident = $name:literal,)+) => {
        /// What a host may write into a listing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field {
            $($(#[$doc])* $field,)+
        }

        impl Field {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$field),+];
            /// The name of every one, in the same order.
            pub const NAMES: &[&str] = &[$($name),+];

            const fn path(self) -> &'static str {
                match self {
                    $(Self::$field => concat!("listing.", $name),)+
                }
            }
        }
    };
}

fields! {
    /// The title.
    DisplayName = "display_name",
    /// The text.
    Description = "description",
    /// The price.
    Price = "price",
    /// Units where nothing else is said.
    DefaultCapacity = "default_capacity",
    /// The zone.
    TimeZone = "time_zone",
    /// The deal.
    Policy = "policy",
    /// Where it is.
    Region = "region",
    /// Who runs it.
    Company = "company",
    /// Its class.
    Grade = "grade",
    /// People in one unit.
    MaxPersons = "max_persons",
    /// The host's language.
    LanguageCode = "language_code",
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
    /// Where it is.
    pub region: String,
    /// Who runs it.
    pub company: String,
    /// Its class.
    pub grade: String,
    /// People in one unit.
    pub max_persons: i32,
    /// The host's language.
    pub language_code: String,
    /// The price; `None` if the host did not say.
    pub price: Option<Result<Money, MoneyError>>,
    /// Units where nothing else is said; 0 if the host did not say.
    pub default_capacity: i32,
    /// The zone's name.
    pub time_zone: String,
    /// The deal, as far as the host asks for one.
    pub policy: ReservationPolicy,
    /// Units on dates that differ from the default; only a registration takes them.
    pub dates: Vec<(Result<Day, DayError>, i32)>,
}

impl Draft {
    /// The listing this draft makes.
    ///
    /// # Errors
    /// Every field that is missing or cannot be.
    pub fn register(self, id: Id, host: &str, at: Micros) -> Result<Registration, Vec<Violation>> {
        let policy = self.kind.map(|kind| Policy::complete(kind, self.policy.clone()));
        let capacity = policy.as_ref().map_or(Capacity::Unspecified, Policy::capacity);
        let mut violations = self.violations(Field::ALL, capacity);
        if self.kind.is_none() {
            violations.push(Violation::required("listing.kind"));
        }
        let dates = self.dates(capacity, at, &mut violations);
        let (Some(kind), Some(policy), Some(Ok(price)), []) = (self.kind, policy, self.price, violations.as_slice())
        else {
            return Err(violations);
        };
        let listing = Listing {
            id,
            host: host.to_owned(),
            display_name: self.display_name,
            description: self.description,
            kind,
            region: self.region,
            company: self.company,
            grade: self.grade,
            max_persons: self.max_persons,
            language_code: self.language_code,
            price,
            default_capacity: self.default_capacity,
            time_zone: self.time_zone,
            policy,
            review_count: 0,
            state: ListingState::Active,
            version: 1,
            created_at: at,
            updated_at: at,
        };
        Ok(Registration { listing: listing.coherent()?, dates })
    }

    fn violations(&self, fields: &[Field], capacity: Capacity) -> Vec<Violation> {
        let mut found: Vec<_> = fields.iter().filter_map(|field| self.violation(*field, capacity)).collect();
        if fields.contains(&Field::Policy) {
            found.extend(policy::violations(&self.policy));
        }
        found
    }

    fn violation(&self, field: Field, capacity: Capacity) -> Option<Violation> {
        let wrong = |reason, description: String| Some(Violation::new(field.path(), reason, description));
        let least_capacity = i32::from(capacity != Capacity::Dated);
        match field {
            Field::DisplayName if self.display_name.trim().is_empty() => Some(Violation::required(field.path())),
            Field::DefaultCapacity if self.default_capacity < least_capacity => Some(Violation::required(field.path())),
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
            _ => None,
        }
    }

    /// The capacities of its own dates, in date order.
    fn dates(&self, capacity: Capacity, at: Micros, violations: &mut Vec<Violation>) -> Vec<(Day, i32)> {
        if capacity == Capacity::Stock && !self.dates.is_empty() {
            let why = "must be absent where the capacity is STOCK";
            violations.push(Violation::new("listing.date_capacities", "SLOT_MISMATCH", why));
        }
        let today = Zone::named(&self.time_zone).map(|zone| zone.day_at(at));
        let mut dates = std::collections::BTreeMap::new();
        for (index, (day, units)) in self.dates.iter().enumerate() {
            let mut wrong = |reason, description: &str| {
                violations.push(Violation::new(
                    format!("listing.date_capacities[{index}].date"),
                    reason,
                    description.to_owned(),
                ));
            };
            match day {
                Err(error) => wrong("DATE_INVALID", &error.to_string()),
                Ok(day) if today.is_some_and(|today| *day < today) => {
                    wrong("DATE_IN_PAST", "must not be in the past where the listing is");
                }
                Ok(day) => {
                    if dates.insert(*day, *units).is_some() {
                        wrong("DATE_REPEATED", "must not be there twice");
                    }
                }
            }
        }
        dates.into_iter().collect()
    }
}

impl Listing {
    /// This listing with `fields` as in `draft`; the same listing if that changes nothing.
    ///
    /// # Errors
    /// Every named field that is missing or cannot be, then what does not go together.
    pub fn modify(
        &self,
        draft: &Draft,
        fields: &[Field],
        platform: &Platform,
        at: Micros,
    ) -> Result<Self, Vec<Violation>> {
        let capacity = self.policy.capacity();
        let mut violations = draft.violations(fields, capacity);
        let asked = draft.policy.capacity();
        if fields.contains(&Field::Policy) && asked != Capacity::Unspecified && asked != capacity {
            let why = "cannot change once the listing is registered";
            violations.push(Violation::new("listing.policy.capacity", "IMMUTABLE", why));
        }
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
                Field::Policy => {
                    changed.policy = self.policy.replaced(self.kind, &draft.policy, platform, self.price);
                }
                Field::Region => changed.region.clone_from(&draft.region),
                Field::Company => changed.company.clone_from(&draft.company),
                Field::Grade => changed.grade.clone_from(&draft.grade),
                Field::MaxPersons => changed.max_persons = draft.max_persons,
                Field::LanguageCode => changed.language_code.clone_from(&draft.language_code),
            }
        }
        if changed != *self {
            changed.version += 1;
            changed.updated_at = at;
        }
        changed.coherent()
    }

    fn coherent(self) -> Result<Self, Vec<Violation>> {
        let found = self.policy.contradictions(self.price);
        if found.is_empty() { Ok(self) } else { Err(found) }
    }

    /// As its readers see it: with what the platform decides where the host has left it open.
    #[must_use]
    pub fn under(&self, platform: &Platform) -> Self {
        Self { policy: self.policy.under(platform, self.price), ..self.clone() }
    }

    /// The day it is at the listing.
    ///
    /// # Panics
    /// When the stored zone has left the zone database, which never removes names.
    #[must_use]
    pub fn today(&self, now: Micros) -> Day {
        Zone::named(&self.time_zone).expect("a stored zone was checked").day_at(now)
    }

    /// The first day that can still be reserved.
    #[must_use]
    pub fn first_open(&self, now: Micros) -> Day {
        if self.policy.capacity() == Capacity::Stock { STOCK_DAY } else { self.today(now) }
    }

    /// Whether it takes reservations.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state == ListingState::Active
    }

    /// Refuses a slot of another kind than the listing counts.
    ///
    /// # Errors
    /// [`Error::SlotMismatch`].
    pub fn check_slot(&self, slot: &Slot) -> Result<(), Error> {
        let mismatch = |field, expected| Err(Error::SlotMismatch { field, expected });
        match (self.policy.capacity(), slot) {
            (Capacity::Nightly, Slot::Stay(_)) | (Capacity::Dated, Slot::Date(_)) | (Capacity::Stock, Slot::Stock) => {
                Ok(())
            }
            (Capacity::Dated, _) => mismatch("date", "a date"),
            (Capacity::Stock, Slot::Stay(_)) => mismatch("stay", "neither a stay nor a date"),
            (Capacity::Stock, _) => mismatch("date", "neither a stay nor a date"),
            (Capacity::Nightly | Capacity::Unspecified, _) => mismatch("stay", "a stay"),
        }
    }

    /// The days that a caller speaks of who names these dates, or none for a stock.
    ///
    /// # Errors
    /// Dates for a stock, and none for anything else.
    pub fn days(&self, dates: Option<Days>) -> Result<Days, Error> {
        match (self.policy.capacity(), dates) {
            (Capacity::Stock, None) => Ok(Days::one(STOCK_DAY)),
            (Capacity::Stock, Some(_)) => {
                let why = "must be absent where the capacity is STOCK";
                Err(Error::Invalid(vec![Violation::new("dates", "SLOT_MISMATCH", why)]))
            }
            (_, Some(dates)) => Ok(dates),
            (_, None) => Err(Error::Invalid(vec![Violation::required("dates")])),
        }
    }

    /// What is offered and taken on each of some days, of which those are recorded that anybody has touched.
    #[must_use]
    pub fn availabilities(&self, days: &Days, recorded: Vec<Availability>) -> Vec<Availability> {
        let mut recorded = recorded.into_iter().peekable();
        let untouched = |day| Availability { day, held: 0, capacity: self.default_capacity, pinned: false };
        days.iter().map(|day| recorded.next_if(|found| found.day == day).unwrap_or_else(|| untouched(day))).collect()
    }
}

#[cfg(test)]
mod tests;
