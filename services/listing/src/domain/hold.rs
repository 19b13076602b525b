//! Holds: the places of a reservation and the deal they were taken under.

use mesh::store::{Id, Micros};
use mesh::value::{Money, MoneyError};

use super::{Error, Listing, Night, Policy, Stay, Violation};

/// Whether the places are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// Taken, the reservation is not confirmed yet.
    Held,
    /// Taken, the reservation is confirmed.
    Committed,
    /// Given back.
    Released,
}

/// The places of one reservation, and the quote it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The reservation; a reservation has one hold.
    pub reservation: Id,
    /// The listing.
    pub listing: Id,
    /// Who reserved.
    pub customer: String,
    /// The nights.
    pub stay: Stay,
    /// Units on each night.
    pub units: i32,
    /// Whether they are taken.
    pub state: HoldState,
    /// Counts its changes, from 1.
    pub version: i64,
    /// What it costs.
    pub total: Money,
    /// The listing's policy at that moment.
    pub policy: Policy,
    /// The listing's host.
    pub host: String,
    /// The listing's title at that moment.
    pub display_name: String,
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
    /// The nights.
    pub stay: Stay,
    /// Units on each night, 1 to 1,000.
    pub units: i32,
    /// Refuse if the total is another.
    pub expected_total: Option<Money>,
}

/// A listing as it was read, and what was known then of the wanted nights.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The listing.
    pub listing: Listing,
    /// Those of the nights that have a record.
    pub nights: Vec<Night>,
}

impl Offer {
    /// The hold that the listing grants as far as what was read tells. Whether there is room is decided again, for good, where it is stored.
    ///
    /// # Errors
    /// [`Error::ListingDeleted`], [`Error::DateInPast`], [`Error::CurrencyMismatch`], [`Error::PriceChanged`], [`Error::NoAvailability`].
    pub fn grant(&self, request: HoldRequest, now: Micros) -> Result<Hold, Error> {
        let listing = &self.listing;
        if !listing.is_active() {
            return Err(Error::ListingDeleted(listing.id));
        }
        if request.stay.check_in() < listing.today(now) {
            return Err(Error::DateInPast);
        }
        let total = quote(listing.price, &request.stay, request.units)
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
            stay: request.stay,
            units: request.units,
            state: HoldState::Held,
            version: 1,
            total,
            policy: listing.policy,
            host: listing.host.clone(),
            display_name: listing.display_name.clone(),
            created_at: now,
        })
    }

    fn is_sold_out(&self, request: &HoldRequest) -> bool {
        let untouched = self.nights.len() < usize::try_from(request.stay.length()).unwrap_or(usize::MAX);
        (untouched && request.units > self.listing.default_capacity)
            || self.nights.iter().any(|night| night.available() < request.units)
    }
}

/// price × nights × units.
///
/// # Errors
/// [`MoneyError::Overflow`].
pub fn quote(price: Money, stay: &Stay, units: i32) -> Result<Money, MoneyError> {
    price.times(i64::from(stay.length()))?.times(i64::from(units))
}

#[cfg(test)]
mod tests {
    use mesh::value::{Currency, Day};

    use super::*;
    use crate::domain::{Kind, ListingState, STAY_NIGHTS_MAX};

    const NOW: Micros = Micros(20_000 * 86_400_000_000 + 1);

    fn offer() -> Offer {
        let listing = Listing {
            id: Id::generate(),
            host: "hana".to_owned(),
            display_name: "Hanok".to_owned(),
            description: String::new(),
            kind: Kind::Room,
            price: Money::from_minor(38_000, Currency::KRW),
            default_capacity: 2,
            time_zone: "UTC".to_owned(),
            policy: Policy::complete(None, 0),
            review_count: 0,
            state: ListingState::Active,
            version: 1,
            created_at: NOW,
            updated_at: NOW,
        };
        Offer { listing, nights: Vec::new() }
    }

    fn request(offer: &Offer) -> HoldRequest {
        let today = Day::from_number(20_000);
        HoldRequest {
            reservation: Id::generate(),
            listing: offer.listing.id,
            customer: "chris".to_owned(),
            stay: Stay::new(today, today.plus(3), STAY_NIGHTS_MAX, "stay").expect("a stay"),
            units: 2,
            expected_total: None,
        }
    }

    fn check(change: impl FnOnce(&mut Offer, &mut HoldRequest), expected: Result<i64, &str>) {
        let mut offer = offer();
        let mut request = request(&offer);
        change(&mut offer, &mut request);
        let granted = offer.grant(request, NOW).map(|hold| hold.total.minor()).map_err(|error| format!("{error:?}"));
        match (&granted, expected) {
            (Ok(total), Ok(expected)) => assert_eq!(*total, expected),
            (Err(error), Err(expected)) => assert!(error.starts_with(expected), "{error}"),
            _ => panic!("{granted:?}, expected {expected:?}"),
        }
    }

    fn night(offset: i32, held: i32, capacity: i32) -> Night {
        Night { date: Day::from_number(20_000 + offset), held, capacity, pinned: false }
    }

    #[test]
    fn the_total_is_price_by_nights_by_units() {
        check(|_, _| {}, Ok(228_000));
        check(|offer, _| offer.listing.price = Money::from_minor(0, Currency::KRW), Ok(0));
        check(|_, request| request.expected_total = Some(Money::from_minor(228_000, Currency::KRW)), Ok(228_000));
    }

    #[test]
    fn a_hold_is_refused_for_one_reason() {
        let euro = Currency::from_code("EUR").expect("a currency");
        check(|offer, _| offer.listing.state = ListingState::Deleted, Err("ListingDeleted"));
        check(|_, request| request.expected_total = Some(Money::from_minor(1, Currency::KRW)), Err("PriceChanged"));
        check(|_, request| request.expected_total = Some(Money::from_minor(228_000, euro)), Err("CurrencyMismatch"));
        check(|offer, _| offer.listing.price = Money::from_minor(i64::MAX, Currency::KRW), Err("Invalid"));
        check(|_, request| request.units = 3, Err("NoAvailability"));
        check(|offer, _| offer.nights = vec![night(1, 1, 2)], Err("NoAvailability"));
        check(|offer, _| offer.nights = vec![night(1, 0, 0)], Err("NoAvailability"));
    }

    #[test]
    fn more_units_than_the_default_fit_where_every_night_offers_them() {
        let wide = |offer: &mut Offer| offer.nights = (0..3).map(|offset| night(offset, 0, 5)).collect();
        check(|offer, request| (wide(offer), request.units = 5).1, Ok(570_000));
        check(|offer, request| (wide(offer), offer.nights.truncate(2), request.units = 5).2, Err("NoAvailability"));
    }

    #[test]
    fn the_past_begins_with_yesterday_at_the_listing() {
        check(|offer, _| offer.listing.time_zone = "Pacific/Honolulu".to_owned(), Ok(228_000));
        // It is the 20,000th day in UTC, and 14 hours later on Kiritimati still the same day.
        check(|offer, _| offer.listing.time_zone = "Pacific/Kiritimati".to_owned(), Ok(228_000));
        let yesterday = |request: &mut HoldRequest| {
            let day = Day::from_number(19_999);
            request.stay = Stay::new(day, day.plus(3), STAY_NIGHTS_MAX, "stay").expect("a stay");
        };
        check(|_, request| yesterday(request), Err("DateInPast"));
        check(
            |offer, request| (yesterday(request), offer.listing.time_zone = "Pacific/Honolulu".to_owned()).1,
            Ok(228_000),
        );
    }
}
