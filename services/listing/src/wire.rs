//! The domain in the words of the contract, for answers and for events.

use mesh::store::{Id, Micros};
use mesh::value::{Day, Money, etag, format_name, format_user};
use proto::google;
use proto::listing::v1 as pb;

use crate::domain::{Hold, HoldState, Kind, Listing, ListingState, Mileage, Night, Policy, Review, Stay};

pub(crate) const LISTINGS: &str = "listings";
pub(crate) const RESERVATIONS: &str = "reservations";
pub(crate) const REVIEWS: &str = "reviews";

pub(crate) fn listing_name(id: Id) -> String {
    format_name(LISTINGS, id)
}

pub(crate) fn reservation_name(id: Id) -> String {
    format_name(RESERVATIONS, id)
}

pub(crate) fn review_name(listing: Id, id: Id) -> String {
    format!("{LISTINGS}/{listing}/{REVIEWS}/{id}")
}

pub(crate) fn listing(listing: &Listing) -> pb::Listing {
    let kind = match listing.kind {
        Kind::Room => pb::listing::Kind::Room,
    };
    let state = match listing.state {
        ListingState::Active => pb::listing::State::Active,
        ListingState::Deleted => pb::listing::State::Deleted,
    };
    pb::Listing {
        name: listing_name(listing.id),
        host: format_user(&listing.host),
        display_name: listing.display_name.clone(),
        description: listing.description.clone(),
        kind: kind.into(),
        price: Some(money(listing.price)),
        default_capacity: listing.default_capacity,
        time_zone: listing.time_zone.clone(),
        policy: Some(policy(listing.policy)),
        review_count: listing.review_count,
        state: state.into(),
        create_time: Some(timestamp(listing.created_at)),
        update_time: Some(timestamp(listing.updated_at)),
        etag: etag(listing.version),
    }
}

pub(crate) fn policy(policy: Policy) -> pb::ReservationPolicy {
    let mileage = match policy.mileage {
        Mileage::None => pb::reservation_policy::Mileage::None,
        Mileage::EarnGraceful => pb::reservation_policy::Mileage::EarnGraceful,
        Mileage::EarnStrict => pb::reservation_policy::Mileage::EarnStrict,
    };
    pb::ReservationPolicy { mileage: mileage.into(), mileage_points: policy.mileage_points }
}

pub(crate) fn hold(hold: &Hold) -> pb::Hold {
    let state = match hold.state {
        HoldState::Held => pb::hold::State::Held,
        HoldState::Committed => pb::hold::State::Committed,
        HoldState::Released => pb::hold::State::Released,
    };
    pb::Hold {
        reservation: reservation_name(hold.reservation),
        listing: listing_name(hold.listing),
        customer: format_user(&hold.customer),
        stay: Some(stay(&hold.stay)),
        units: hold.units,
        state: state.into(),
    }
}

pub(crate) fn review(review: &Review) -> pb::Review {
    pb::Review {
        name: review_name(review.listing, review.id),
        author: format_user(&review.author),
        content: review.content.clone(),
        create_time: Some(timestamp(review.created_at)),
        update_time: Some(timestamp(review.updated_at)),
    }
}

pub(crate) fn night(night: &Night) -> pb::NightAvailability {
    pb::NightAvailability {
        date: Some(date(night.date)),
        capacity: night.capacity,
        held: night.held,
        available: night.available(),
    }
}

pub(crate) fn stay(stay: &Stay) -> pb::Stay {
    pb::Stay { check_in_date: Some(date(stay.check_in())), check_out_date: Some(date(stay.check_out())) }
}

pub(crate) fn money(money: Money) -> google::r#type::Money {
    money.into()
}

fn date(day: Day) -> google::r#type::Date {
    day.into()
}

fn timestamp(at: Micros) -> prost_types::Timestamp {
    at.into()
}
