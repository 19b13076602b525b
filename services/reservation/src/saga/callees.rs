//! The calls a saga makes, each idempotent by the reservation's id, and what their refusals mean.

use mesh::{
    client::Channel,
    crash_point, deadline,
    fault::Fault,
    safety,
    store::Id,
    value::{format_name, format_user, id_of},
};
use proto::{
    listing::v1::{PlaceHoldRequest, ReleaseHoldRequest, hold_service_client::HoldServiceClient},
    payment::v1::{
        ChargePaymentRequest, MileageMode, Payment, RefundPaymentRequest, RegisterPaymentRequest,
        charge_service_client::ChargeServiceClient, payment::State as PaymentState,
    },
};
use tonic::{Code, Status};

use crate::{
    domain::{Deal, Failure, Mileage, Refusal, Reservation, Trouble},
    rpc::convert,
    store::sagas::Saga,
};

/// Listing and payment.
pub(crate) struct Callees {
    holds: HoldServiceClient<Channel>,
    charges: ChargeServiceClient<Channel>,
}

impl Callees {
    pub(crate) fn new(listing: Channel, payment: Channel) -> Self {
        Self { holds: HoldServiceClient::new(listing), charges: ChargeServiceClient::new(payment) }
    }

    /// Takes the place.
    pub(super) async fn place(&self, reservation: &Reservation, saga: &Saga) -> Result<Deal, Failure> {
        let request = place_request(reservation, saga);
        let placed = self.holds.clone().place_hold(request).await.map_err(|status| place_failure(&status))?;
        convert::deal(placed.into_inner()).ok_or_else(|| {
            tracing::error!(reservation = %reservation.id, "listing answered a hold under no deal");
            Failure::ComeBack(Trouble::ListingUnavailable)
        })
    }

    /// The deal the place is held under, by placing it once more; `None` when it is not held and cannot be.
    pub(super) async fn deal(&self, reservation: &Reservation, saga: &Saga) -> Result<Option<Deal>, Fault> {
        let placed = self.holds.clone().place_hold(place_request(reservation, saga)).await;
        match placed.map_err(|status| Fault::from_status(&status)) {
            Ok(placed) => Ok(convert::deal(placed.into_inner())),
            Err(fault) if is_outage(fault.code()) => Err(fault),
            Err(_) => Ok(None),
        }
    }

    /// Tells payment of what will be paid.
    pub(super) async fn register(&self, reservation: &Reservation) -> Result<Id, Failure> {
        let request = RegisterPaymentRequest {
            reservation: format_name("reservations", reservation.id),
            customer: format_user(&reservation.customer),
            amount: Some(reservation.agreed().total.into()),
        };
        crash_point!("reservation.register.calling");
        let registered = self.charges.clone().register_payment(request).await;
        crash_point!("reservation.register.answered");
        let registered = registered.map_err(|status| charge_failure(&Fault::from_status(&status)))?;
        payment_id(registered.into_inner().payment)
    }

    /// Charges with the saga's method, as its last attempt.
    pub(super) async fn charge(&self, reservation: &Reservation, saga: &Saga) -> Result<Id, Failure> {
        let deal = reservation.agreed();
        let (mileage_mode, mileage_points) = match deal.policy.mileage {
            Mileage::None => (MileageMode::Unspecified, 0),
            Mileage::Graceful(points) => (MileageMode::Graceful, points),
            Mileage::Strict(points) => (MileageMode::Strict, points),
        };
        let request = ChargePaymentRequest {
            reservation: format_name("reservations", reservation.id),
            customer: format_user(&reservation.customer),
            amount: Some(deal.total.into()),
            payment_method: saga.payment_method.clone().map(|method| method.0).unwrap_or_default(),
            mileage_points,
            mileage_mode: mileage_mode.into(),
            attempt: saga.charge_attempt,
        };
        loop {
            crash_point!("reservation.charge.calling");
            let charged = self.charges.clone().charge_payment(request.clone()).await;
            crash_point!("reservation.charge.answered");
            let status = match charged {
                Ok(charged) => return payment_id(charged.into_inner().payment),
                Err(status) => status,
            };
            // An earlier attempt, or another driver of this saga, has the charge under way: its outcome will be ours.
            let fault = Fault::from_status(&status);
            match fault.retry_delay().filter(|_| fault.reason() == "PAYMENT_IN_PROGRESS") {
                Some(delay) if deadline::remaining().is_none_or(|left| left > delay) => tokio::time::sleep(delay).await,
                _ => return Err(charge_failure(&fault)),
            }
        }
    }

    /// Gives the place back.
    pub(super) async fn release(&self, reservation: Id) -> Result<(), Fault> {
        if safety::is_off("release of the place") {
            return Ok(());
        }
        let request = ReleaseHoldRequest { reservation: format_name("reservations", reservation) };
        crash_point!("reservation.release.calling");
        let released = self.holds.clone().release_hold(request).await;
        crash_point!("reservation.release.answered");
        released.map(|_| ()).map_err(|status| Fault::from_status(&status))
    }

    /// Gives the money back, or sees to it that none is taken.
    pub(crate) async fn refund(&self, reservation: Id) -> Result<Refunded, Fault> {
        if safety::is_off("refund of the payment") {
            return Ok(Refunded { is_back: true, taken: None });
        }
        let request = RefundPaymentRequest { reservation: format_name("reservations", reservation) };
        crash_point!("reservation.refund.calling");
        let refunded = self.charges.clone().refund_payment(request).await;
        crash_point!("reservation.refund.answered");
        let payment = refunded.map_err(|status| Fault::from_status(&status))?.into_inner().payment;
        let is_back = payment.as_ref().is_none_or(|payment| payment.state() == PaymentState::Cancelled);
        // The provider's name for it comes with its answer, and a refusal has a code.
        let taken = payment.filter(|payment| !payment.provider_reference.is_empty() && payment.decline_code.is_empty());
        Ok(Refunded { is_back, taken: taken.and_then(|payment| id_of("payments", &payment.name)) })
    }
}

/// What a refund has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refunded {
    /// Whether the money is back, or never was taken.
    pub(crate) is_back: bool,
    /// The payment, if it was taken.
    pub(crate) taken: Option<Id>,
}

fn place_request(reservation: &Reservation, saga: &Saga) -> PlaceHoldRequest {
    PlaceHoldRequest {
        reservation: format_name("reservations", reservation.id),
        listing: format_name("listings", reservation.listing),
        customer: format_user(&reservation.customer),
        slot: convert::to_hold_slot(reservation.slot),
        units: reservation.units,
        persons: reservation.persons,
        expected_total: saga.expected_total.map(Into::into),
    }
}

fn payment_id(payment: Option<Payment>) -> Result<Id, Failure> {
    let payment = payment.unwrap_or_default();
    id_of("payments", &payment.name).ok_or(Failure::ComeBack(Trouble::PaymentUnavailable))
}

fn place_failure(status: &Status) -> Failure {
    let fault = Fault::from_status(status);
    match fault.reason() {
        "LISTING_NOT_FOUND" => Failure::Refused(Refusal::ListingNotFound),
        "LISTING_DELETED" => Failure::Refused(Refusal::ListingDeleted),
        "NO_AVAILABILITY" => Failure::Refused(Refusal::NoAvailability),
        "PRICE_CHANGED" => Failure::Refused(Refusal::PriceChanged),
        "DATE_IN_PAST" => Failure::Refused(Refusal::DateInPast),
        "CURRENCY_MISMATCH" => Failure::Refused(Refusal::CurrencyMismatch),
        "SLOT_MISMATCH" => Failure::Refused(Refusal::SlotMismatch),
        "TOO_MANY_PERSONS" => Failure::Refused(Refusal::TooManyPersons),
        _ => Failure::ComeBack(trouble(&fault, Trouble::ListingUnavailable)),
    }
}

fn charge_failure(fault: &Fault) -> Failure {
    match fault.reason() {
        "PAYMENT_DECLINED" => {
            let code = fault.metadata("decline_code").unwrap_or("generic_decline").to_owned();
            Failure::Refused(Refusal::PaymentDeclined(code))
        }
        "PAYMENT_METHOD_UNKNOWN" => Failure::Refused(Refusal::PaymentMethodUnknown),
        // Payment undoes itself for good when the policy insists on miles and there are none; nothing else undoes it while its
        // reservation stands. Where that has moved, its saga will find it so.
        "MILEAGE_UNAVAILABLE" | "PAYMENT_CANCELLED" => Failure::ComeBack(Trouble::MileageUnavailable),
        _ => Failure::ComeBack(trouble(fault, Trouble::PaymentUnavailable)),
    }
}

fn trouble(fault: &Fault, otherwise: Trouble) -> Trouble {
    match fault.code() {
        Code::DeadlineExceeded => Trouble::OutOfTime,
        code if is_outage(code) => otherwise,
        // Neither a refusal of the contract nor an outage: somebody's bug. Come back when it is mended.
        code => {
            tracing::error!(
                ?code,
                reason = fault.reason(),
                message = fault.message(),
                "an answer outside the contract"
            );
            otherwise
        }
    }
}

/// Whether a later call may be answered otherwise.
fn is_outage(code: Code) -> bool {
    matches!(code, Code::DeadlineExceeded | Code::Unavailable | Code::Aborted | Code::ResourceExhausted)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_callee_answer_is_a_refusal_only_when_the_contract_says_so() {
        let check = |fault: Fault, expected| assert_eq!(place_failure(&fault.into()), expected);
        let sold_out = Fault::precondition("NO_AVAILABILITY", "AVAILABILITY", "listings/x", "sold out");
        check(sold_out, Failure::Refused(Refusal::NoAvailability));
        let down = Fault::unavailable("CONNECTION_FAILED", "down", Duration::from_secs(1));
        check(down, Failure::ComeBack(Trouble::ListingUnavailable));
        check(Fault::deadline_exceeded("late"), Failure::ComeBack(Trouble::OutOfTime));
        let released = Fault::precondition("HOLD_RELEASED", "STATE", "reservations/x", "given back");
        check(released, Failure::ComeBack(Trouble::ListingUnavailable));
    }
}
