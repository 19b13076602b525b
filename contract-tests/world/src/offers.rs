//! What hosts offer in these tests: one listing of each business, under the policy its source system has.

use proto::listing::v1::{
    Listing, Notification, ReservationPolicy,
    listing::Kind,
    notification::{Audience, Channel, Transition},
    reservation_policy::{Approval, Capacity, Payment},
};

use crate::caller::won;

/// What a room costs per night, in won.
pub const PRICE: i64 = 120_000;
/// What a taxi costs at least, in won (D37).
pub const MINIMUM_FARE: i64 = 3_800;

fn offer(kind: Kind, title: &str, price: i64, units: i32) -> Listing {
    Listing {
        display_name: title.to_owned(),
        kind: kind.into(),
        price: Some(won(price)),
        default_capacity: units,
        time_zone: "Asia/Seoul".to_owned(),
        ..Listing::default()
    }
}

/// A: paid at once, earns a mile.
pub fn room(units: i32) -> Listing {
    offer(Kind::Room, "Room with a view", PRICE, units)
}

/// A and B without dates (T12): a room that is taken or not.
pub fn room_without_dates() -> Listing {
    let policy = ReservationPolicy { capacity: Capacity::Stock.into(), ..ReservationPolicy::default() };
    Listing { policy: Some(policy), ..room(1) }
}

/// B: its host approves before it is paid, and is told of each request.
pub fn room_by_approval(units: i32) -> Listing {
    let tell = |transition: Transition, audience: Audience| Notification {
        transition: transition.into(),
        channel: Channel::Message.into(),
        audience: audience.into(),
    };
    let policy = ReservationPolicy {
        approval: Approval::BeforePayment.into(),
        payment: Payment::OnApproval.into(),
        mileage: proto::listing::v1::reservation_policy::Mileage::None.into(),
        notifications: vec![
            tell(Transition::Requested, Audience::Host),
            tell(Transition::Confirmed, Audience::Customer),
            tell(Transition::Rejected, Audience::Customer),
            tell(Transition::Cancelled, Audience::Customer),
            tell(Transition::Expired, Audience::Customer),
        ],
        max_per_person: 10,
        ..ReservationPolicy::default()
    };
    Listing { policy: Some(policy), ..room(units) }
}

/// C: rooms of a resort on a date; paid later, then a voucher.
pub fn resort(rooms: i32) -> Listing {
    Listing { region: "Jeju".to_owned(), max_persons: 4, ..offer(Kind::Resort, "Jeju Resort", 200_000, rooms) }
}

/// D: taxis of a class; paid, then assigned by the company.
pub fn taxi(cars: i32, fare: i64) -> Listing {
    let policy = ReservationPolicy { min_price: Some(won(MINIMUM_FARE)), ..ReservationPolicy::default() };
    Listing {
        company: "Seoul Call".to_owned(),
        grade: "prime".to_owned(),
        policy: Some(policy),
        ..offer(Kind::Taxi, "Prime taxi", fare, cars)
    }
}

/// E: screening places of a hospital on a date, free of charge here.
pub fn hospital(places: i32) -> Listing {
    offer(Kind::Hospital, "Hangang Hospital", 0, places)
}

/// The same deal under a changed policy.
pub fn with(listing: Listing, change: impl FnOnce(&mut ReservationPolicy)) -> Listing {
    let mut policy = listing.policy.clone().unwrap_or_default();
    change(&mut policy);
    Listing { policy: Some(policy), ..listing }
}
