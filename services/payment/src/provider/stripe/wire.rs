//! What goes over the wire: forms in, JSON out. Only the fields that are used.

use mesh::value::{Currency, Money};
use serde::Deserialize;

use crate::provider::Charge;

/// A PaymentIntent.
#[derive(Debug, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) amount: i64,
    #[serde(default)]
    last_payment_error: Option<Problem>,
}

impl Intent {
    /// Whether its state can no longer change.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.status.as_str(), "succeeded" | "canceled")
    }

    /// Why the last attempt to pay failed.
    pub(super) fn failure(&self) -> String {
        let problem = self.last_payment_error.as_ref();
        problem
            .and_then(|it| it.decline_code.clone().or_else(|| it.code.clone()))
            .unwrap_or_else(|| "card_declined".to_owned())
    }
}

/// A Refund.
#[derive(Debug, Deserialize)]
pub(super) struct Refund {
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) amount: i64,
}

impl Refund {
    /// `pending` is accepted: the money is on its way and Stripe sees to it.
    pub(super) fn is_accepted(&self) -> bool {
        matches!(self.status.as_str(), "succeeded" | "pending" | "requires_action")
    }
}

/// The refunds of an intent.
#[derive(Debug, Deserialize)]
pub(super) struct RefundList {
    pub(super) data: Vec<Refund>,
}

/// The answer to a search.
#[derive(Debug, Deserialize)]
pub(super) struct SearchAnswer {
    pub(super) data: Vec<Intent>,
}

/// The answer to a request that failed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorAnswer {
    pub(super) error: Problem,
}

/// What went wrong.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Problem {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) decline_code: Option<String>,
}

/// Creates and confirms an intent for a customer who is not present. `payment_method_types` allows cards only, so that no method asks to be
/// sent elsewhere.
pub(super) fn charge_form(charge: &Charge, amount: i64) -> Vec<(&'static str, String)> {
    vec![
        ("amount", amount.to_string()),
        ("currency", charge.amount.currency().code().to_ascii_lowercase()),
        ("payment_method", charge.method.token().to_owned()),
        ("payment_method_types[]", "card".to_owned()),
        ("confirm", "true".to_owned()),
        ("off_session", "true".to_owned()),
        ("metadata[payment]", charge.key.to_string()),
    ]
}

/// The amount as Stripe counts it, `None` if it cannot. It departs from ISO 4217 for a few currencies
/// (<https://docs.stripe.com/currencies#special-cases>).
pub(super) fn amount(money: Money) -> Option<i64> {
    let minor = money.minor();
    match money.currency().code() {
        "ISK" | "UGX" => minor.checked_mul(100),
        "MGA" => (minor % 100 == 0).then_some(minor / 100),
        "BHD" | "JOD" | "KWD" | "OMR" | "TND" => (minor % 10 == 0).then_some(minor),
        _ => Some(minor),
    }
}

/// The reverse of [`amount`].
pub(super) fn minor(amount: i64, currency: Currency) -> i64 {
    match currency.code() {
        "ISK" | "UGX" => amount / 100,
        "MGA" => amount.saturating_mul(100),
        _ => amount,
    }
}
