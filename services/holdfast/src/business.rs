//! The five businesses that share the mesh: what each offers, when it can be had, how it is reserved.
//!
//! What `up` seeds, what a demo tells of and what the load generator asks for differ in numbers only.

use clap::ValueEnum;
use mesh::store::Micros;
use mesh::value::{Day, Zone};
use proto::google::r#type::Money;
use proto::listing::v1::reservation_policy::{Approval, Mileage, Payment};
use proto::listing::v1::{DateRange, Listing, ReservationPolicy, Stay, listing::Kind};
use proto::reservation::v1::reservation::Slot;
use proto::reservation::v1::{CreateReservationRequest, Reservation};
use uuid::Uuid;

/// A card that the payment simulator accepts.
pub const GOOD_CARD: &str = "pm_card_visa";
/// A card that it declines.
pub const BAD_CARD: &str = "pm_card_chargeDeclinedInsufficientFunds";

/// A business: a kind of listing and the policy it is reserved under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Business {
    /// a room by the night, paid at once, earning miles
    Airbnb,
    /// a room by the night, paid when its host approves
    Approval,
    /// a resort for a date, paid later, fixed by a voucher
    Resort,
    /// a taxi, paid at once, then assigned by its company
    Taxi,
    /// a screening on a date, free of charge
    Screening,
}

impl Business {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Airbnb, Self::Approval, Self::Resort, Self::Taxi, Self::Screening];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Airbnb => "airbnb",
            Self::Approval => "approval",
            Self::Resort => "resort",
            Self::Taxi => "taxi",
            Self::Screening => "screening",
        }
    }

    /// What its host offers, so many units of it. Title, price and place are for the caller to change.
    #[must_use]
    pub fn listing(self, capacity: i32) -> Listing {
        let (kind, title, price) = match self {
            Self::Airbnb => (Kind::Room, "Hanok with a garden", won(120_000)),
            Self::Approval => (Kind::Room, "Room at Minji's", won(80_000)),
            Self::Resort => (Kind::Resort, "Jeju Resort", won(200_000)),
            Self::Taxi => (Kind::Taxi, "Prime taxi", won(3_000)),
            Self::Screening => (Kind::Hospital, "Hangang Hospital", won(0)),
        };
        let (region, company, grade) = match self {
            Self::Airbnb | Self::Approval | Self::Screening => ("Seoul", "", ""),
            Self::Resort => ("Jeju", "", ""),
            Self::Taxi => ("Seoul", "Seoul Call", "prime"),
        };
        Listing {
            display_name: title.to_owned(),
            kind: kind.into(),
            price: Some(price),
            default_capacity: capacity,
            time_zone: "Asia/Seoul".to_owned(),
            policy: Some(self.policy()),
            region: region.to_owned(),
            company: company.to_owned(),
            grade: grade.to_owned(),
            ..Listing::default()
        }
    }

    /// Only what is not the default of the kind.
    fn policy(self) -> ReservationPolicy {
        match self {
            Self::Approval => ReservationPolicy {
                approval: Approval::BeforePayment.into(),
                payment: Payment::OnApproval.into(),
                mileage: Mileage::None.into(),
                ..ReservationPolicy::default()
            },
            Self::Taxi => ReservationPolicy { min_price: Some(won(3_800)), ..ReservationPolicy::default() },
            Self::Airbnb | Self::Resort | Self::Screening => ReservationPolicy::default(),
        }
    }

    /// A slot that begins on this day: so many nights, a date, or none at all.
    #[must_use]
    pub fn slot(self, first: Day, nights: i32) -> Option<Slot> {
        match self {
            Self::Airbnb | Self::Approval => Some(Slot::Stay(Stay {
                check_in_date: Some(first.into()),
                check_out_date: Some(first.plus(nights).into()),
            })),
            Self::Resort | Self::Screening => Some(Slot::Date(first.into())),
            Self::Taxi => None,
        }
    }

    /// Whether the customer says how to pay when reserving.
    const fn takes_payment_method(self) -> bool {
        matches!(self, Self::Airbnb | Self::Approval | Self::Taxi)
    }

    /// One unit for two people.
    #[must_use]
    pub fn request(self, listing: String, slot: Option<Slot>, request_id: Uuid) -> CreateReservationRequest {
        CreateReservationRequest {
            reservation: Some(Reservation { listing, slot, units: 1, persons: 2, ..Reservation::default() }),
            payment_method: if self.takes_payment_method() { GOOD_CARD.to_owned() } else { String::new() },
            request_id: request_id.to_string(),
            expected_total: None,
        }
    }
}

/// The dates of a slot, as availability is asked for.
pub(crate) fn dates(slot: Option<&Slot>) -> Option<DateRange> {
    slot.map(|slot| match slot {
        Slot::Stay(stay) => DateRange { start_date: stay.check_in_date, end_date: stay.check_out_date },
        Slot::Date(date) => {
            let next = Day::try_from(date).map(|day| day.plus(1).into());
            DateRange { start_date: Some(*date), end_date: next.ok() }
        }
    })
}

/// So many days from now: further than a day ahead it is past today in every zone.
#[must_use]
pub fn days_ahead(days: i32) -> Day {
    Zone::named("Etc/UTC").expect("the zone database has UTC").day_at(Micros::now()).plus(days)
}

/// So many won, which have no minor unit.
pub(crate) fn won(units: i64) -> Money {
    Money { currency_code: "KRW".to_owned(), units, nanos: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn availability_is_asked_for_the_days_of_the_slot() {
        let first = Day::from_number(20_000);
        let range = |end: i32| DateRange { start_date: Some(first.into()), end_date: Some(first.plus(end).into()) };
        for (business, expected) in [
            (Business::Airbnb, Some(range(3))),
            (Business::Approval, Some(range(3))),
            (Business::Resort, Some(range(1))),
            (Business::Taxi, None),
            (Business::Screening, Some(range(1))),
        ] {
            assert_eq!(dates(business.slot(first, 3).as_ref()), expected, "{}", business.name());
        }
    }

    /// Listing refuses a price where nothing is ever paid, and reservation misses a card where something is paid at once.
    #[test]
    fn what_is_free_is_reserved_without_a_card() {
        for business in Business::ALL {
            let price = business.listing(1).price.unwrap_or_default();
            let request = business.request("listings/x".to_owned(), None, Uuid::nil());
            assert!(price.units > 0 || request.payment_method.is_empty(), "{}", business.name());
        }
    }
}
