//! Holds: the places of a reservation and the deal they were taken under.

use mesh::store::{Id, Micros};
use mesh::value::{Money, MoneyError};

use super::{Availability, Error, Kind, Listing, Platform, Policy, Slot, Violation};

/// Whether the places are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// Taken, the reservation is not confirmed yet.
    Held,
    /// Taken, the reservation is confirmed.
    Committed,
    /// Given back, the reservation came to nothing.
    Released,
    /// Given back, the reservation is completed.
    Completed,
}

impl HoldState {
    /// Whether the places are taken.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Held | Self::Committed)
    }
}

/// The places of one reservation, and the quote it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    /// The reservation; a reservation has one hold.
    pub reservation: Id,
    /// The listing.
    pub listing: Id,
    /// Who reserved.
    pub customer: String,
    /// When.
    pub slot: Slot,
    /// Units, on each night of a stay.
    pub units: i32,
    /// Whether they are taken.
    pub state: HoldState,
    /// Counts its changes, from 1.
    pub version: i64,
    /// What it costs.
    pub total: Money,
    /// The listing's policy at that moment, with the platform's word where its host has left it open.
    pub policy: Policy,
    /// The listing's host.
    pub host: String,
    /// The listing's title at that moment.
    pub display_name: String,
    /// What the listing is.
    pub kind: Kind,
    /// Where the listing was.
    pub region: String,
    /// The language its host was written to; empty is the platform's.
    pub host_language_code: String,
    /// When it was placed.
    pub created_at: Micros,
}

/// What a reservation asks for.
#[derive(Clone, Debug)]
pub struct HoldRequest {
    /// The reservation.
    pub reservation: Id,
    /// The listing.
    pub listing: Id,
    /// Who reserves.
    pub customer: String,
    /// When.
    pub slot: Slot,
    /// Units, on each night of a stay, 1 to 1,000.
    pub units: i32,
    /// How many people will come, 1 to 10,000.
    pub persons: i32,
    /// Refuse if the total is another.
    pub expected_total: Option<Money>,
}

/// A listing as it was read, and what was known then of the wanted days.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The listing.
    pub listing: Listing,
    /// Those of the days that have a record.
    pub days: Vec<Availability>,
}

impl Offer {
    /// The hold that the listing grants as far as what was read tells. Whether there is room is decided again, for good, where it is stored.
    ///
    /// # Errors
    /// [`Error::ListingDeleted`], [`Error::SlotMismatch`], [`Error::DateInPast`], [`Error::TooManyPersons`], [`Error::CurrencyMismatch`],
    /// [`Error::PriceChanged`], [`Error::NoAvailability`].
    pub fn grant(&self, request: HoldRequest, platform: &Platform, now: Micros) -> Result<Hold, Error> {
        let listing = &self.listing;
        if !listing.is_active() {
            return Err(Error::ListingDeleted(listing.id));
        }
        listing.check_slot(&request.slot)?;
        if request.slot.days().first() < listing.first_open(now) {
            return Err(Error::DateInPast(if matches!(request.slot, Slot::Stay(_)) {
                "stay.check_in_date"
            } else {
                "date"
            }));
        }
        let most = i64::from(listing.max_persons) * i64::from(request.units);
        if listing.max_persons > 0 && i64::from(request.persons) > most {
            return Err(Error::TooManyPersons { listing: listing.id, most });
        }
        let policy = listing.policy.under(platform, listing.price);
        let total = quote(listing.price, policy.min_price(), &request.slot, request.units)
            .map_err(|error| Error::Invalid(vec![Violation::new("units", error.reason(), error.to_string())]))?;
        if let Some(expected) = request.expected_total {
            if expected.currency() != total.currency() {
                return Err(Error::CurrencyMismatch { currency: total.currency().code() });
            }
            if expected != total {
                return Err(Error::PriceChanged { listing: listing.id, total });
            }
        }
        if self.is_sold_out(&request) {
            return Err(Error::NoAvailability(listing.id));
        }
        Ok(Hold {
            reservation: request.reservation,
            listing: listing.id,
            customer: request.customer,
            slot: request.slot,
            units: request.units,
            state: HoldState::Held,
            version: 1,
            total,
            policy,
            host: listing.host.clone(),
            display_name: listing.display_name.clone(),
            kind: listing.kind,
            region: listing.region.clone(),
            host_language_code: listing.language_code.clone(),
            created_at: now,
        })
    }

    fn is_sold_out(&self, request: &HoldRequest) -> bool {
        let untouched = self.days.len() < usize::try_from(request.slot.days().length()).unwrap_or(usize::MAX);
        (untouched && request.units > self.listing.default_capacity)
            || self.days.iter().any(|day| day.available() < request.units)
    }
}

/// price × nights × units, and where no nights are counted price × units; not less than the minimum, unless it is free of charge.
///
/// # Errors
/// [`MoneyError::Overflow`].
pub fn quote(price: Money, minimum: Option<Money>, slot: &Slot, units: i32) -> Result<Money, MoneyError> {
    let nights = if let Slot::Stay(nights) = slot { nights.length() } else { 1 };
    let total = price.times(i64::from(nights))?.times(i64::from(units))?;
    Ok(minimum.filter(|minimum| !price.is_zero() && minimum.minor() > total.minor()).unwrap_or(total))
}

#[cfg(test)]
mod tests {
    use mesh::value::{Currency, Day};
    use proto::listing::v1::ReservationPolicy;

    use super::*;
    use crate::domain::{Days, ListingState};

    const NOW: Micros = Micros(20_000 * 86_400_000_000 + 1);
    const TODAY: Day = Day::from_number(20_000);

    fn offer(kind: Kind) -> Offer {
        let listing = Listing {
            id: Id::generate(),
            host: "hana".to_owned(),
            display_name: "Hanok".to_owned(),
            description: String::new(),
            kind,
            region: "Jeju".to_owned(),
            company: String::new(),
            grade: String::new(),
            max_persons: 0,
            language_code: "ko".to_owned(),
            price: won(38_000),
            default_capacity: 2,
            time_zone: "UTC".to_owned(),
            policy: Policy::complete(kind, ReservationPolicy::default()),
            review_count: 0,
            state: ListingState::Active,
            version: 1,
            created_at: NOW,
            updated_at: NOW,
        };
        Offer { listing, days: Vec::new() }
    }

    fn won(amount: i64) -> Money {
        Money::from_minor(amount, Currency::KRW)
    }

    fn stay(first: Day) -> Slot {
        Slot::Stay(Days::of_stay(first, first.plus(3), "stay").expect("a stay"))
    }

    fn request(offer: &Offer, slot: Slot) -> HoldRequest {
        HoldRequest {
            reservation: Id::generate(),
            listing: offer.listing.id,
            customer: "chris".to_owned(),
            slot,
            units: 2,
            persons: 1,
            expected_total: None,
        }
    }

    #[track_caller]
    fn check_on(
        kind: Kind,
        slot: Slot,
        change: impl FnOnce(&mut Offer, &mut HoldRequest),
        expected: Result<i64, &str>,
    ) {
        let mut offer = offer(kind);
        let mut request = request(&offer, slot);
        change(&mut offer, &mut request);
        let granted = offer.grant(request, &Platform::default(), NOW);
        let granted = granted.map(|hold| hold.total.minor()).map_err(|error| format!("{error:?}"));
        match (&granted, expected) {
            (Ok(total), Ok(expected)) => assert_eq!(*total, expected),
            (Err(error), Err(expected)) => assert!(error.starts_with(expected), "{error}"),
            _ => panic!("{granted:?}, expected {expected:?}"),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Offer, &mut HoldRequest), expected: Result<i64, &str>) {
        check_on(Kind::Room, stay(TODAY), change, expected);
    }

    fn night(offset: i32, held: i32, capacity: i32) -> Availability {
        Availability { day: TODAY.plus(offset), held, capacity, pinned: false }
    }

    #[test]
    fn the_total_is_price_by_nights_by_units() {
        check(|_, _| {}, Ok(228_000));
        check(|offer, _| offer.listing.price = won(0), Ok(0));
        check(|_, request| request.expected_total = Some(won(228_000)), Ok(228_000));
        check_on(Kind::Resort, Slot::Date(TODAY), |_, _| {}, Ok(76_000));
        check_on(Kind::Taxi, Slot::Stock, |_, _| {}, Ok(76_000));
    }

    /// D37.
    #[test]
    fn a_minimum_raises_what_is_not_free() {
        let minimum = |price, minimum| {
            quote(won(price), Some(won(minimum)), &Slot::Stock, 2).map(Money::minor).expect("no overflow")
        };
        assert_eq!([minimum(1_000, 3_800), minimum(1_900, 3_800), minimum(5_000, 3_800)], [3_800, 3_800, 10_000]);
        assert_eq!(minimum(0, 3_800), 0);
        let platform = Platform { min_price: Some(won(300_000)), max_per_person: 3, ..Platform::default() };
        let offer = offer(Kind::Room);
        let hold = offer.grant(request(&offer, stay(TODAY)), &platform, NOW).expect("granted");
        assert_eq!((hold.total, hold.policy.message().max_per_person), (won(300_000), 3));
    }

    #[test]
    fn a_hold_is_refused_for_one_reason() {
        let euro = Currency::from_code("EUR").expect("a currency");
        check(|offer, _| offer.listing.state = ListingState::Deleted, Err("ListingDeleted"));
        check(|_, request| request.expected_total = Some(won(1)), Err("PriceChanged"));
        check(|_, request| request.expected_total = Some(Money::from_minor(228_000, euro)), Err("CurrencyMismatch"));
        check(|offer, _| offer.listing.price = won(i64::MAX), Err("Invalid"));
        check(|_, request| request.units = 3, Err("NoAvailability"));
        check(|offer, _| offer.days = vec![night(1, 1, 2)], Err("NoAvailability"));
        check(|offer, _| offer.days = vec![night(1, 0, 0)], Err("NoAvailability"));
    }

    #[test]
    fn each_capacity_takes_its_own_slot() {
        let slots = [stay(TODAY), Slot::Date(TODAY), Slot::Stock];
        for (kind, own) in [(Kind::Room, 0), (Kind::Resort, 1), (Kind::Taxi, 2), (Kind::Hospital, 1)] {
            for (index, slot) in slots.into_iter().enumerate() {
                let nothing = |offer: &mut Offer, _: &mut HoldRequest| offer.listing.price = won(0);
                check_on(kind, slot, nothing, if index == own { Ok(0) } else { Err("SlotMismatch") });
            }
        }
    }

    #[test]
    fn units_take_so_many_people() {
        let people = |max_persons, persons| {
            move |offer: &mut Offer, request: &mut HoldRequest| {
                (offer.listing.max_persons, request.persons) = (max_persons, persons);
            }
        };
        check(people(2, 4), Ok(228_000));
        check(people(2, 5), Err("TooManyPersons"));
        check(people(0, 10_000), Ok(228_000));
    }

    #[test]
    fn more_units_than_the_default_fit_where_every_night_offers_them() {
        let wide = |offer: &mut Offer| offer.days = (0..3).map(|offset| night(offset, 0, 5)).collect();
        check(|offer, request| (wide(offer), request.units = 5).1, Ok(570_000));
        check(|offer, request| (wide(offer), offer.days.truncate(2), request.units = 5).2, Err("NoAvailability"));
    }

    #[test]
    fn the_past_begins_with_yesterday_at_the_listing() {
        let in_zone = |zone: &'static str| {
            move |offer: &mut Offer, _: &mut HoldRequest| offer.listing.time_zone = zone.to_owned()
        };
        let yesterday = TODAY.plus(-1);
        check(in_zone("Pacific/Honolulu"), Ok(228_000));
        // It is the 20,000th day in UTC, and 14 hours later on Kiritimati still the same day.
        check(in_zone("Pacific/Kiritimati"), Ok(228_000));
        check_on(Kind::Room, stay(yesterday), |_, _| {}, Err("DateInPast(\"stay.check_in_date\")"));
        check_on(Kind::Room, stay(yesterday), in_zone("Pacific/Honolulu"), Ok(228_000));
        check_on(Kind::Resort, Slot::Date(yesterday), |_, _| {}, Err("DateInPast(\"date\")"));
    }
}
