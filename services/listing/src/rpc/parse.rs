//! Requests in the words of the domain. What a single field may be was checked when the request was decoded.

use mesh::store::Id;
use mesh::value::{Day, Money, id_of, user_of};
use proto::google;
use proto::listing::v1 as pb;

use crate::app::ReviewKey;
use crate::domain::{Draft, Error, Kind, Mileage, Policy, Stay, Violation};
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

/// A range of 1 to `max` nights. Both days are there: the contract requires them.
pub(super) fn stay(field: &str, stay: Option<&pb::Stay>, max: i32) -> Result<Stay, Error> {
    let mut violations = Vec::new();
    let mut day = |name: &str, date: Option<&google::r#type::Date>| {
        let path = format!("{field}.{name}");
        match date.map(Day::try_from) {
            Some(Ok(day)) => Some(day),
            Some(Err(error)) => {
                violations.push(Violation::new(path, "DATE_INVALID", error.to_string()));
                None
            }
            None => {
                violations.push(Violation::required(path));
                None
            }
        }
    };
    let check_in = day("check_in_date", stay.and_then(|stay| stay.check_in_date.as_ref()));
    let check_out = day("check_out_date", stay.and_then(|stay| stay.check_out_date.as_ref()));
    let (Some(check_in), Some(check_out)) = (check_in, check_out) else { return Err(Error::Invalid(violations)) };
    Stay::new(check_in, check_out, max, field).map_err(|violation| Error::Invalid(vec![violation]))
}

pub(super) fn expected_total(total: Option<&google::r#type::Money>) -> Result<Option<Money>, Error> {
    total
        .map(Money::try_from)
        .transpose()
        .map_err(|error| Error::Invalid(vec![Violation::new("expected_total", error.reason(), error.to_string())]))
}

pub(super) fn draft(listing: &pb::Listing) -> Draft {
    let kind = match listing.kind() {
        pb::listing::Kind::Room => Some(Kind::Room),
        pb::listing::Kind::Unspecified => None,
    };
    Draft {
        display_name: listing.display_name.clone(),
        description: listing.description.clone(),
        kind,
        price: listing.price.as_ref().map(Money::try_from),
        default_capacity: listing.default_capacity,
        time_zone: listing.time_zone.clone(),
        policy: policy(listing.policy.unwrap_or_default()),
    }
}

fn policy(policy: pb::ReservationPolicy) -> Policy {
    let mileage = match policy.mileage() {
        pb::reservation_policy::Mileage::Unspecified => None,
        pb::reservation_policy::Mileage::None => Some(Mileage::None),
        pb::reservation_policy::Mileage::EarnGraceful => Some(Mileage::EarnGraceful),
        pb::reservation_policy::Mileage::EarnStrict => Some(Mileage::EarnStrict),
    };
    Policy::complete(mileage, policy.mileage_points)
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
            let wire = pb::Stay { check_in_date: date(check_in), check_out_date: date(check_out) };
            let Err(Error::Invalid(found)) = stay("stay", Some(&wire), 90) else { panic!("accepted") };
            assert_eq!(found.iter().map(|violation| violation.field.as_str()).collect::<Vec<_>>(), expected);
        };
        check(2, 4, &["stay.check_in_date", "stay.check_out_date"]);
        check(1, 4, &["stay.check_out_date"]);
        check(3, 1, &["stay.check_out_date"]);
    }
}
