//! Between the contract and the domain.

use std::time::Duration;

use mesh::{
    fault::Fault,
    store::Id,
    value::{Day, Money, etag, format_name, format_user, id_of, user_of},
};
use prost::Message;
use proto::{
    google,
    listing::v1::{self as listing, PlaceHoldResponse, ReservationPolicy, place_hold_request, reservation_policy},
    reservation::v1::{self as wire, CreateReservationRequest, reservation::Slot as WireSlot},
};

use crate::domain::{
    Approval, Deal, Described, Mileage, Payment, PaymentMethod, Policy, Refund, Reservation, Slot, State, Stay,
    StayError, Wish,
};

/// What a request asks for.
pub(super) fn wish(request: &CreateReservationRequest) -> Result<Wish, Fault> {
    let asked = request.reservation.as_ref().ok_or_else(|| missing("reservation"))?;
    let listing = id_of("listings", &asked.listing)
        .ok_or_else(|| Fault::invalid("reservation.listing", "NAME_MALFORMED", "must be listings/{listing}"))?;
    let expected_total = request
        .expected_total
        .as_ref()
        .map(|total| Money::try_from(total).and_then(Money::not_negative))
        .transpose()
        .map_err(|error| Fault::invalid("expected_total", error.reason(), error.to_string()))?;
    let method = &request.payment_method;
    Ok(Wish {
        listing,
        slot: slot(asked.slot.as_ref())?,
        units: asked.units,
        persons: asked.persons,
        note: asked.note.clone(),
        language: asked.language_code.clone(),
        payment_method: (!method.is_empty()).then(|| PaymentMethod(method.clone())),
        expected_total,
    })
}

fn slot(asked: Option<&WireSlot>) -> Result<Slot, Fault> {
    match asked {
        None => Ok(Slot::None),
        Some(WireSlot::Date(date)) => day(Some(date), "reservation.date").map(Slot::Date),
        Some(WireSlot::Stay(stay)) => {
            let check_in = day(stay.check_in_date.as_ref(), "reservation.stay.check_in_date")?;
            let check_out = day(stay.check_out_date.as_ref(), "reservation.stay.check_out_date")?;
            Stay::new(check_in, check_out).map(Slot::Stay).map_err(|error| {
                let reason = match error {
                    StayError::Empty => "STAY_EMPTY",
                    StayError::TooLong => "STAY_TOO_LONG",
                };
                Fault::invalid("reservation.stay.check_out_date", reason, error.to_string())
            })
        }
    }
}

fn day(date: Option<&google::r#type::Date>, field: &str) -> Result<Day, Fault> {
    let date = date.ok_or_else(|| missing(field))?;
    Day::try_from(date).map_err(|error| Fault::invalid(field, "DATE_INVALID", error.to_string()))
}

fn missing(field: &str) -> Fault {
    Fault::invalid(field, "REQUIRED", "must be set")
}

/// The id in a reservation's name.
pub(super) fn reservation_id(name: &str) -> Result<Id, Fault> {
    id_of("reservations", name)
        .ok_or_else(|| Fault::invalid("name", "NAME_MALFORMED", "must be reservations/{reservation}"))
}

/// A slot as listing wants it.
pub(crate) fn to_hold_slot(slot: Slot) -> Option<place_hold_request::Slot> {
    match slot {
        Slot::Stay(stay) => Some(place_hold_request::Slot::Stay(to_stay(stay))),
        Slot::Date(date) => Some(place_hold_request::Slot::Date(date.into())),
        Slot::None => None,
    }
}

fn to_slot(slot: Slot) -> Option<WireSlot> {
    match slot {
        Slot::Stay(stay) => Some(WireSlot::Stay(to_stay(stay))),
        Slot::Date(date) => Some(WireSlot::Date(date.into())),
        Slot::None => None,
    }
}

fn to_stay(stay: Stay) -> listing::Stay {
    listing::Stay { check_in_date: Some(stay.check_in.into()), check_out_date: Some(stay.check_out.into()) }
}

/// The deal in listing's answer; `None` when it names no price, or no policy that can be followed.
pub(crate) fn deal(placed: PlaceHoldResponse) -> Option<Deal> {
    let total = Money::try_from(placed.total.as_ref()?).ok()?;
    let encoded = placed.policy.as_ref()?.encode_to_vec();
    let policy = policy(&encoded)?;
    // What is never paid costs nothing; the tables insist on it.
    if policy.payment == Payment::None && !total.is_zero() {
        return None;
    }
    let described = Described {
        title: placed.listing_display_name,
        kind: placed.listing_kind,
        region: placed.listing_region,
        host_language: placed.host_language_code,
        policy: encoded,
    };
    Some(Deal { total, host: user_of(&placed.host)?.to_owned(), policy, described })
}

/// What reservation decides by, of a policy as the contract encodes it. What is left open has the default of a room; listing
/// leaves nothing open.
pub(crate) fn policy(encoded: &[u8]) -> Option<Policy> {
    use reservation_policy as from;
    let policy = ReservationPolicy::decode(encoded).ok()?;
    let default = Policy::default();
    Some(Policy {
        approval: match policy.approval() {
            from::Approval::Unspecified | from::Approval::None => Approval::None,
            from::Approval::BeforePayment => Approval::BeforePayment,
            from::Approval::AfterPayment => Approval::AfterPayment,
        },
        payment: match policy.payment() {
            from::Payment::Unspecified | from::Payment::AtBooking => Payment::AtBooking,
            from::Payment::None => Payment::None,
            from::Payment::OnApproval => Payment::OnApproval,
            from::Payment::Deferred => Payment::Deferred,
        },
        waits_for_payment: policy.payment_wait() == from::PaymentWait::Pending,
        mileage: match (policy.mileage(), policy.mileage_points) {
            (from::Mileage::Unspecified | from::Mileage::None, _) | (_, ..=0) => Mileage::None,
            (from::Mileage::EarnGraceful, points) => Mileage::Graceful(points),
            (from::Mileage::EarnStrict, points) => Mileage::Strict(points),
        },
        refund: match policy.cancel_refund() {
            from::CancelRefund::Unspecified | from::CancelRefund::Async => Refund::Async,
            from::CancelRefund::None => Refund::None,
            from::CancelRefund::Sync => Refund::Sync,
        },
        max_per_person: policy.max_per_person,
        approval_ttl: limit(policy.approval_ttl.as_ref()).unwrap_or(default.approval_ttl),
        payment_ttl: limit(policy.payment_ttl.as_ref()).unwrap_or(default.payment_ttl),
    })
}

fn limit(duration: Option<&prost_types::Duration>) -> Option<Duration> {
    duration.and_then(|duration| Duration::try_from(*duration).ok())
}

/// A reservation as the contract has it.
pub(crate) fn to_wire(reservation: &Reservation) -> wire::Reservation {
    let common = wire::Reservation {
        name: format_name("reservations", reservation.id),
        listing: format_name("listings", reservation.listing),
        slot: to_slot(reservation.slot),
        units: reservation.units,
        persons: reservation.persons,
        note: reservation.note.clone(),
        language_code: reservation.language.clone(),
        customer: format_user(&reservation.customer),
        state: to_state(reservation.state).into(),
        payment: reservation.payment.map(|id| format_name("payments", id)).unwrap_or_default(),
        approval_number: reservation.approval.map(approval_number).unwrap_or_default(),
        approve_time: reservation.approval.map(|approval| approval.made_at().into()),
        expire_time: reservation.expires_at.map(Into::into),
        reject_reason: reservation.reject_reason.clone(),
        create_time: Some(reservation.created_at.into()),
        update_time: Some(reservation.updated_at.into()),
        etag: etag(reservation.version),
        ..wire::Reservation::default()
    };
    let Some(deal) = &reservation.deal else { return common };
    wire::Reservation {
        host: format_user(&deal.host),
        total: Some(deal.total.into()),
        listing_display_name: deal.described.title.clone(),
        listing_kind: deal.described.kind,
        listing_region: deal.described.region.clone(),
        host_language_code: deal.described.host_language.clone(),
        policy: ReservationPolicy::decode(deal.described.policy.as_slice()).ok(),
        ..common
    }
}

fn to_state(state: State) -> wire::reservation::State {
    use wire::reservation::State as To;
    match state {
        State::Requested => To::Requested,
        State::AwaitingApproval => To::AwaitingApproval,
        State::AwaitingPayment => To::AwaitingPayment,
        State::Confirmed => To::Confirmed,
        State::CancelRequested => To::CancelRequested,
        State::Cancelled => To::Cancelled,
        State::Rejected => To::Rejected,
        State::ForceCancelled => To::ForceCancelled,
        State::Expired => To::Expired,
        State::Completed => To::Completed,
    }
}

/// The last 50 bits of an approval's id, the random ones, in Crockford's base 32: ten characters to read out over a phone.
fn approval_number(approval: Id) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let bits = u128::from_be_bytes(*approval.as_bytes());
    (0..10).rev().map(|place| char::from(DIGITS[(bits >> (5 * place)) as usize & 31])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_number_is_ten_digits_of_its_id() {
        let mut bytes = [0; 16];
        bytes[15] = 31;
        bytes[14] = 0b100;
        assert_eq!(approval_number(Id::from_bytes(bytes)), "000000010Z");
        assert_ne!(approval_number(Id::generate()), approval_number(Id::generate()));
    }

    #[test]
    fn a_policy_that_leaves_everything_open_is_a_rooms() {
        assert_eq!(policy(&[]), Some(Policy::default()));
        assert_eq!(policy(b"\xff"), None, "not a policy at all");
    }

    #[test]
    fn what_is_never_paid_and_has_a_price_is_no_deal() {
        let check = |units, payment: reservation_policy::Payment| {
            deal(PlaceHoldResponse {
                total: Some(google::r#type::Money { currency_code: "KRW".to_owned(), units, nanos: 0 }),
                policy: Some(ReservationPolicy { payment: payment.into(), ..ReservationPolicy::default() }),
                host: "users/hana".to_owned(),
                ..PlaceHoldResponse::default()
            })
            .is_some()
        };
        assert!(check(0, reservation_policy::Payment::None));
        assert!(check(5, reservation_policy::Payment::AtBooking));
        assert!(!check(5, reservation_policy::Payment::None));
        assert!(deal(PlaceHoldResponse::default()).is_none());
    }
}
