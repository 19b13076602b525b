//! Between messages and domain types.

use mesh::fault::{Fault, reason};
use mesh::store::{Id, Micros};
use mesh::value::{format_name, format_user, id_of, user_of};
use proto::mileage::v1::mileage_entry::Kind as WireKind;
use proto::mileage::v1::{AccrueMileageRequest, MileageAccount, MileageEntry};

use crate::domain::{Accrual, Entry, Kind};

/// The entry as callers and consumers see it.
pub(crate) fn entry(entry: &Entry) -> MileageEntry {
    let kind = match entry.kind {
        Kind::Accrual => WireKind::Accrual,
        Kind::Reversal => WireKind::Reversal,
    };
    MileageEntry {
        name: format_name(&format!("users/{}/mileageEntries", entry.customer), entry.id),
        kind: kind.into(),
        points: entry.points,
        balance: entry.balance,
        payment: format_name("payments", entry.payment),
        reservation: format_name("reservations", entry.reservation),
        create_time: Some(entry.created_at.into()),
    }
}

/// A customer's account as callers see it.
pub(super) fn account(customer: &str, balance: i64, changed: Option<Micros>) -> MileageAccount {
    MileageAccount {
        name: format!("{}/mileageAccount", format_user(customer)),
        balance,
        update_time: changed.map(Into::into),
    }
}

/// What a request asks to earn.
pub(super) fn accrual(request: &AccrueMileageRequest) -> Result<Accrual, Fault> {
    let reservation = id_of("reservations", &request.reservation);
    let customer = user_of(&request.customer);
    Ok(Accrual {
        payment: payment(&request.payment)?,
        reservation: reservation.ok_or_else(|| {
            Fault::invalid("reservation", reason::INVALID_FIELD, "must be reservations/{reservation}")
        })?,
        customer: customer
            .ok_or_else(|| Fault::invalid("customer", reason::INVALID_FIELD, "must be users/{user}"))?
            .to_owned(),
        points: request.points,
    })
}

/// The id in a payment's name.
pub(super) fn payment(name: &str) -> Result<Id, Fault> {
    id_of("payments", name)
        .ok_or_else(|| Fault::invalid("payment", reason::INVALID_FIELD, "must be payments/{payment}"))
}
