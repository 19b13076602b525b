//! Between messages and domain types.

use mesh::fault::{Fault, reason};
use mesh::store::Id;
use mesh::value::{Money, format_name, format_user, id_of, user_of};
use proto::google::r#type::Money as WireMoney;
use proto::payment::v1::payment::State as WireState;
use proto::payment::v1::{
    ChargePaymentRequest, MileageAccrual, MileageMode, Payment as WirePayment, RegisterPaymentRequest,
};

use crate::app::name;
use crate::domain::{Mileage, Order, Payment, PaymentMethod, Registration, State};

/// The payment as callers and consumers see it.
pub(crate) fn payment(payment: &Payment) -> WirePayment {
    WirePayment {
        name: name(payment.id),
        reservation: format_name("reservations", payment.reservation),
        customer: format_user(&payment.customer),
        amount: Some(payment.amount.into()),
        state: state(payment.state).into(),
        provider_reference: payment.reference().unwrap_or_default().to_owned(),
        decline_code: payment.decline_code().unwrap_or_default().to_owned(),
        mileage_points: payment.mileage_points,
        mileage_accrual: accrual(payment.mileage).into(),
        create_time: Some(payment.created_at().into()),
        update_time: Some(payment.updated_at.into()),
        attempt: payment.attempt,
    }
}

pub(crate) const fn state(state: State) -> WireState {
    match state {
        State::Waiting => WireState::Waiting,
        State::Approved => WireState::Approved,
        State::Declined => WireState::Declined,
        State::Cancelled => WireState::Cancelled,
    }
}

pub(crate) const fn accrual(mileage: Mileage) -> MileageAccrual {
    match mileage {
        Mileage::Earned => MileageAccrual::Done,
        Mileage::Pending => MileageAccrual::Pending,
        Mileage::None | Mileage::Graceful | Mileage::Strict => MileageAccrual::Unspecified,
    }
}

/// What a request asks to record.
pub(super) fn registration(request: RegisterPaymentRequest) -> Result<Registration, Fault> {
    Ok(Registration {
        reservation: reservation(&request.reservation)?,
        customer: customer(&request.customer)?,
        amount: amount(request.amount)?,
    })
}

/// What a request asks to charge.
pub(super) fn order(request: ChargePaymentRequest) -> Result<Order, Fault> {
    let mileage = match MileageMode::try_from(request.mileage_mode) {
        Ok(MileageMode::Graceful) if request.mileage_points > 0 => Mileage::Graceful,
        Ok(MileageMode::Strict) if request.mileage_points > 0 => Mileage::Strict,
        _ => Mileage::None,
    };
    Ok(Order {
        reservation: reservation(&request.reservation)?,
        customer: customer(&request.customer)?,
        amount: amount(request.amount)?,
        attempt: request.attempt.max(1),
        method: PaymentMethod::new(request.payment_method),
        mileage_points: if mileage == Mileage::None { 0 } else { request.mileage_points },
        mileage,
    })
}

fn amount(amount: Option<WireMoney>) -> Result<Money, Fault> {
    let amount = Money::try_from(&amount.unwrap_or_default())
        .map_err(|error| Fault::invalid("amount", error.reason(), error.to_string()))?;
    if amount.minor() <= 0 {
        return Err(Fault::invalid("amount", reason::INVALID_FIELD, "must be more than zero"));
    }
    Ok(amount)
}

fn customer(name: &str) -> Result<String, Fault> {
    user_of(name)
        .map(str::to_owned)
        .ok_or_else(|| Fault::invalid("customer", reason::INVALID_FIELD, "must be users/{user}"))
}

/// The id in a reservation's name.
pub(super) fn reservation(name: &str) -> Result<Id, Fault> {
    id_of("reservations", name)
        .ok_or_else(|| Fault::invalid("reservation", reason::INVALID_FIELD, "must be reservations/{reservation}"))
}
