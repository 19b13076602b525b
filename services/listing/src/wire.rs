//! The domain in the words of the contract, for answers and for events.

use mesh::store::{Id, Micros};
use mesh::value::{Day, Money, etag, format_name, format_user};
use proto::google;
use proto::listing::v1 as pb;

use crate::domain::{
    Availability, Days, Hold, HoldState, Kind, Listing, ListingState, Platform, Review, STOCK_DAY, Slot,
};

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
    let state = match listing.state {
        ListingState::Active => pb::listing::State::Active,
        ListingState::Deleted => pb::listing::State::Deleted,
    };
    pb::Listing {
        name: listing_name(listing.id),
        host: format_user(&listing.host),
        display_name: listing.display_name.clone(),
        description: listing.description.clone(),
        kind: kind(listing.kind).into(),
        price: Some(money(listing.price)),
        default_capacity: listing.default_capacity,
        time_zone: listing.time_zone.clone(),
        policy: Some(listing.policy.message().clone()),
        review_count: listing.review_count,
        state: state.into(),
        create_time: Some(timestamp(listing.created_at)),
        update_time: Some(timestamp(listing.updated_at)),
        etag: etag(listing.version),
        region: listing.region.clone(),
        company: listing.company.clone(),
        grade: listing.grade.clone(),
        max_persons: listing.max_persons,
        language_code: listing.language_code.clone(),
        date_capacities: Vec::new(),
    }
}

/// A listing for its reader.
pub(crate) fn listing_under(platform: &Platform, listing: &Listing) -> pb::Listing {
    self::listing(&listing.under(platform))
}

pub(crate) fn kind(kind: Kind) -> pb::listing::Kind {
    match kind {
        Kind::Room => pb::listing::Kind::Room,
        Kind::Resort => pb::listing::Kind::Resort,
        Kind::Taxi => pb::listing::Kind::Taxi,
        Kind::Hospital => pb::listing::Kind::Hospital,
    }
}

pub(crate) fn hold(hold: &Hold) -> pb::Hold {
    let state = match hold.state {
        HoldState::Held => pb::hold::State::Held,
        HoldState::Committed => pb::hold::State::Committed,
        HoldState::Released => pb::hold::State::Released,
        HoldState::Completed => pb::hold::State::Completed,
    };
    let slot = match &hold.slot {
        Slot::Stay(nights) => Some(pb::hold::Slot::Stay(stay(nights))),
        Slot::Date(day) => Some(pb::hold::Slot::Date(date(*day))),
        Slot::Stock => None,
    };
    pb::Hold {
        reservation: reservation_name(hold.reservation),
        listing: listing_name(hold.listing),
        customer: format_user(&hold.customer),
        slot,
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

pub(crate) fn availability(availability: &Availability) -> pb::Availability {
    pb::Availability {
        date: (availability.day != STOCK_DAY).then(|| date(availability.day)),
        capacity: availability.capacity,
        held: availability.held,
        available: availability.available(),
    }
}

pub(crate) fn availabilities(availabilities: &[Availability]) -> pb::SetCapacityResponse {
    pb::SetCapacityResponse { availabilities: availabilities.iter().map(availability).collect() }
}

fn stay(nights: &Days) -> pb::Stay {
    pb::Stay { check_in_date: Some(date(nights.first())), check_out_date: Some(date(nights.end())) }
}

pub(crate) fn date_range(dates: &Days) -> pb::DateRange {
    pb::DateRange { start_date: Some(date(dates.first())), end_date: Some(date(dates.end())) }
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
