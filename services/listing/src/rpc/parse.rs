//! Requests in the words of the domain. What a single field may be was checked when the request was decoded.

use mesh::store::Id;
use mesh::value::{Day, DayError, Money, id_of, user_of};
use proto::google;
use proto::listing::v1 as pb;

use crate::app::ReviewKey;
use crate::domain::{Days, Draft, Error, Kind, Slot, Violation};
use crate::wire::{LISTINGS, RESERVATIONS, REVIEWS};

pub(super) fn listing_id(field: &str, name: &str) -> Result<Id, Error> {
    id_of(LISTINGS, name).ok_or_else(|| no_name(field, "listings/{listing}"))
}

pub(super) fn reservation_id(field: &str, name: &str) -> Result<Id, Error> {
    id_of(RESERVATIONS, name).ok_or_else(|| no_name(field, "reservations/{reservation}"))
}

pub(super) fn customer(name: &str) -> Result<String, Error> {
    user_of(name).map(str::to_owned).ok_or_else(|| no_name("customer", "users/{user}"))
}

pub(super) fn review_key(field: &str, name: &str) -> Result<ReviewKey, Error> {
    let key = || {
        let (parent, id) = name.split_once(&format!("/{REVIEWS}/"))?;
        Some(ReviewKey { listing: id_of(LISTINGS, parent)?, id: id.parse().ok()? })
    };
    key().ok_or_else(|| no_name(field, "listings/{listing}/reviews/{review}"))
}

fn no_name(field: &str, pattern: &str) -> Error {
    Error::Invalid(vec![Violation::new(field, "RESOURCE_NAME", format!("must be {pattern}"))])
}

/// When places are wanted.
pub(super) fn slot(slot: Option<&pb::place_hold_request::Slot>) -> Result<Slot, Error> {
    use pb::place_hold_request::Slot as Wire;
    let slot = match slot {
        None => return Ok(Slot::Stock),
        Some(Wire::Stay(stay)) => {
            let (check_in, check_out) = (stay.check_in_date.as_ref(), stay.check_out_date.as_ref());
            days([("stay.check_in_date", check_in), ("stay.check_out_date", check_out)])
                .and_then(|[check_in, check_out]| {
                    Days::of_stay(check_in, check_out, "stay").map_err(|wrong| vec![wrong])
                })
                .map(Slot::Stay)
        }
        Some(Wire::Date(date)) => days([("date", Some(date))]).map(|[date]| Slot::Date(date)),
    };
    slot.map_err(Error::Invalid)
}

pub(super) fn dates(dates: Option<&pb::DateRange>) -> Result<Option<Days>, Error> {
    let Some(dates) = dates else { return Ok(None) };
    days([("dates.start_date", dates.start_date.as_ref()), ("dates.end_date", dates.end_date.as_ref())])
        .and_then(|[start, end]| Days::of_range(start, end, "dates").map_err(|wrong| vec![wrong]))
        .map(Some)
        .map_err(Error::Invalid)
}

/// Each of some dates, or all that is wrong with them.
fn days<const N: usize>(dates: [(&str, Option<&google::r#type::Date>); N]) -> Result<[Day; N], Vec<Violation>> {
    let mut violations = Vec::new();
    let days = dates.map(|(field, date)| match date.map(Day::try_from) {
        Some(Ok(day)) => Some(day),
        Some(Err(error)) => {
            violations.push(Violation::new(field, "DATE_INVALID", error.to_string()));
            None
        }
        None => {
            violations.push(Violation::required(field));
            None
        }
    });
    if violations.is_empty() { Ok(days.map(|day| day.expect("none was wrong"))) } else { Err(violations) }
}

pub(super) fn expected_total(total: Option<&google::r#type::Money>) -> Result<Option<Money>, Error> {
    total
        .map(Money::try_from)
        .transpose()
        .map_err(|error| Error::Invalid(vec![Violation::new("expected_total", error.reason(), error.to_string())]))
}

pub(super) fn draft(listing: pb::Listing) -> Draft {
    let kind = match listing.kind() {
        pb::listing::Kind::Room => Some(Kind::Room),
        pb::listing::Kind::Resort => Some(Kind::Resort),
        pb::listing::Kind::Taxi => Some(Kind::Taxi),
        pb::listing::Kind::Hospital => Some(Kind::Hospital),
        pb::listing::Kind::Unspecified => None,
    };
    let date = |dated: &pb::DateCapacity| dated.date.as_ref().map_or(Err(DayError), Day::try_from);
    Draft {
        kind,
        price: listing.price.as_ref().map(Money::try_from),
        dates: listing.date_capacities.iter().map(|dated| (date(dated), dated.capacity)).collect(),
        display_name: listing.display_name,
        description: listing.description,
        region: listing.region,
        company: listing.company,
        grade: listing.grade,
        max_persons: listing.max_persons,
        language_code: listing.language_code,
        default_capacity: listing.default_capacity,
        time_zone: listing.time_zone,
        policy: listing.policy.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_is_named_below_its_listing() {
        let (listing, id) = (Id::generate(), Id::generate());
        let key = review_key("name", &format!("listings/{listing}/reviews/{id}")).expect("a name");
        assert_eq!((key.listing, key.id), (listing, id));
        for name in [format!("listings/{listing}"), format!("reviews/{id}"), format!("listings/{listing}/reviews/x")] {
            assert!(matches!(review_key("name", &name), Err(Error::Invalid(_))), "{name}");
        }
    }

    #[test]
    fn every_wrong_date_is_named() {
        let date = |month| Some(google::r#type::Date { year: 2030, month, day: 31 });
        let check = |check_in, check_out, expected: &[&str]| {
            let stay = pb::Stay { check_in_date: date(check_in), check_out_date: date(check_out) };
            let wire = pb::place_hold_request::Slot::Stay(stay);
            let Err(Error::Invalid(found)) = slot(Some(&wire)) else { panic!("accepted") };
            assert_eq!(found.iter().map(|violation| violation.field.as_str()).collect::<Vec<_>>(), expected);
        };
        check(2, 4, &["stay.check_in_date", "stay.check_out_date"]);
        check(1, 4, &["stay.check_out_date"]);
        check(3, 1, &["stay.check_out_date"]);
    }
}
