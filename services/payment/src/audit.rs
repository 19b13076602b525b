//! What an audit of the whole system reads here, and the rules that payments keep by themselves.

use diesel::prelude::ExpressionMethods;
use diesel::prelude::{QueryDsl, QueryResult};
use mesh::store::{Conn, Fetch, Id, Micros};

use crate::domain::{Mileage, State};
use crate::ledger;
pub use crate::ledger::Balance;
use crate::schema::payments::dsl as p;
use crate::store::{mileage_of, state_of};

/// A payment, plain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentRow {
    /// Its id.
    pub id: Id,
    /// What it pays for.
    pub reservation: Id,
    /// Who pays, the `sub` of their tokens.
    pub customer: String,
    /// How much, in minor units.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// Where it stands.
    pub state: State,
    /// Miles it earns.
    pub points: i64,
    /// Whether they are earned.
    pub accrual: Mileage,
    /// Whether a refund was requested; it is owed, or an attempt to be prevented, until it is CANCELLED.
    pub refund_requested: bool,
    /// The provider's reference or decline code.
    pub provider_answer: Option<String>,
    /// When it last changed.
    pub updated_at: Micros,
}

type Columns = (Id, Id, String, i64, String, i16, i64, i16, Option<Id>, Option<String>, Micros);

/// Every payment with an id after `after` (all zeros to begin), at most `limit`, in the order of their ids. Tombstones are none.
///
/// # Errors
/// Whatever the database refuses.
pub fn payments(conn: &mut Conn, after: Id, limit: i64) -> QueryResult<Vec<PaymentRow>> {
    let rows: Vec<Columns> = p::payments
        .filter(p::id.gt(after))
        .filter(p::amount_minor.gt(0))
        .order(p::id)
        .limit(limit)
        .select((
            p::id,
            p::reservation_id,
            p::customer,
            p::amount_minor,
            p::currency,
            p::state,
            p::mileage_points,
            p::mileage,
            p::refund_requested_by,
            p::provider_answer,
            p::updated_at,
        ))
        .all(conn)?;
    Ok(rows.into_iter().map(PaymentRow::from).collect())
}

/// Every payment beside its entries with an id after `after` (all zeros to begin), at most `limit`, in the order of their ids. Tombstones are
/// none.
///
/// # Errors
/// Whatever the database refuses.
pub fn balances(conn: &mut Conn, after: Id, limit: i64) -> QueryResult<Vec<Balance>> {
    ledger::balances(conn, after, Id::from_bytes([0xff; 16]), limit)
}

impl From<Columns> for PaymentRow {
    fn from(row: Columns) -> Self {
        let (
            id,
            reservation,
            customer,
            amount_minor,
            currency,
            state,
            points,
            mileage,
            refund,
            provider_answer,
            updated_at,
        ) = row;
        Self {
            id,
            reservation,
            customer,
            amount_minor,
            currency,
            state: state_of(state),
            points,
            accrual: mileage_of(mileage),
            refund_requested: refund.is_some(),
            provider_answer,
            updated_at,
        }
    }
}

/// Rules of the tables that a settled system keeps, broken: one sentence for each payment and rule. `settled_before`: what changed later may
/// still be on its way.
///
/// # Errors
/// Whatever the database refuses.
pub fn violations(conn: &mut Conn, settled_before: Micros) -> QueryResult<Vec<String>> {
    let old = p::payments.filter(p::updated_at.lt(settled_before));
    let unfinished: Vec<Id> = old.filter(p::due_at.is_not_null()).select(p::id).all(conn)?;
    let kept: Vec<Id> = old.filter(p::method.ne("")).filter(p::state.ne(1)).select(p::id).all(conn)?;
    let nameless: Vec<Id> = old.filter(p::state.eq(2)).filter(p::provider_answer.is_null()).select(p::id).all(conn)?;
    let miles: Vec<Id> = old.filter(p::state.eq(2)).filter(p::mileage.eq_any([1_i16, 2])).select(p::id).all(conn)?;
    let orphans = ledger::orphans(conn)?;
    let say = |ids: Vec<Id>, what: &'static str| ids.into_iter().map(move |id| format!("payment {id} {what}"));
    Ok(say(unfinished, "is neither settled nor refunded")
        .chain(say(kept, "is settled and still knows its payment method"))
        .chain(say(nameless, "is approved without a reference of the provider"))
        .chain(say(miles, "is approved with its miles undecided"))
        .chain(say(orphans, "has entries and does not exist"))
        .collect())
}
