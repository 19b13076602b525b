//! Rows and statements. Each function is a part of one transaction; guards are in the statements, so that it does not matter who reads when.

use diesel::prelude::{
    BoolExpressionMethods, ExpressionMethods, Insertable, NullableExpressionMethods, QueryDsl, QueryResult, Queryable,
};
use mesh::statement;
use mesh::store::{Conn, Exec, Fetch, Id, Micros};
use mesh::value::{Currency, Money, Page};

use crate::domain::{LEASE, Mileage, Order, Payment, PaymentMethod, Registration, State};
use crate::schema::payments::{self, dsl as p};

const WAITING: i16 = 1;
const APPROVED: i16 = 2;
const DECLINED: i16 = 3;
const CANCELLED: i16 = 4;

#[derive(Insertable, Queryable)]
#[diesel(table_name = payments, treat_none_as_default_value = false)]
struct Row {
    id: Id,
    reservation_id: Id,
    customer: String,
    amount_minor: i64,
    currency: String,
    attempt: i32,
    method: String,
    state: i16,
    mileage_points: i64,
    mileage: i16,
    provider_answer: Option<String>,
    refund_requested_by: Option<Id>,
    due_at: Option<Micros>,
    leased: bool,
    version: i64,
    updated_at: Micros,
}

/// The columns of [`Row`], in its order.
macro_rules! columns {
    () => {
        "id, reservation_id, customer, amount_minor, currency, attempt, method, state, mileage_points, mileage, provider_answer, \
         refund_requested_by, due_at, leased, version, updated_at"
    };
}

impl From<&Payment> for Row {
    fn from(payment: &Payment) -> Self {
        Self {
            id: payment.id,
            reservation_id: payment.reservation,
            customer: payment.customer.clone(),
            amount_minor: payment.amount.minor(),
            currency: payment.amount.currency().code().to_owned(),
            attempt: payment.attempt,
            method: payment.method.token().to_owned(),
            state: state_number(payment.state),
            mileage_points: payment.mileage_points,
            mileage: mileage_number(payment.mileage),
            provider_answer: payment.provider_answer.clone(),
            refund_requested_by: payment.refund_requested_by,
            due_at: payment.due_at,
            leased: payment.leased,
            version: payment.version,
            updated_at: payment.updated_at,
        }
    }
}

impl From<Row> for Payment {
    fn from(row: Row) -> Self {
        // A tombstone has no currency; nobody is shown its amount.
        let currency = Currency::from_code(&row.currency).unwrap_or(Currency::KRW);
        Self {
            id: row.id,
            reservation: row.reservation_id,
            customer: row.customer,
            amount: Money::from_minor(row.amount_minor, currency),
            attempt: row.attempt,
            method: PaymentMethod::new(row.method),
            state: state_of(row.state),
            mileage_points: row.mileage_points,
            mileage: mileage_of(row.mileage),
            provider_answer: row.provider_answer,
            refund_requested_by: row.refund_requested_by,
            due_at: row.due_at,
            leased: row.leased,
            version: row.version,
            updated_at: row.updated_at,
        }
    }
}

const fn state_number(state: State) -> i16 {
    match state {
        State::Waiting => WAITING,
        State::Approved => APPROVED,
        State::Declined => DECLINED,
        State::Cancelled => CANCELLED,
    }
}

pub(crate) const fn state_of(number: i16) -> State {
    match number {
        WAITING => State::Waiting,
        APPROVED => State::Approved,
        DECLINED => State::Declined,
        // The table's CHECK admits no other.
        _ => State::Cancelled,
    }
}

const fn mileage_number(mileage: Mileage) -> i16 {
    match mileage {
        Mileage::None => 0,
        Mileage::Graceful => 1,
        Mileage::Strict => 2,
        Mileage::Earned => 3,
        Mileage::Pending => 4,
    }
}

pub(crate) const fn mileage_of(number: i16) -> Mileage {
    match number {
        1 => Mileage::Graceful,
        2 => Mileage::Strict,
        3 => Mileage::Earned,
        4 => Mileage::Pending,
        _ => Mileage::None,
    }
}

/// What recording a payment, or an attempt, came to.
pub(crate) enum Opened {
    /// It is recorded; an attempt is ours to drive.
    New(Payment),
    /// The reservation has a payment already, as it is now.
    Found(Payment),
}

/// Records a payment, once for each reservation.
pub(crate) fn open(conn: &mut Conn, payment: Payment) -> QueryResult<Opened> {
    if insert(conn, &payment)? {
        return Ok(Opened::New(payment));
    }
    by_reservation(conn, payment.reservation)?.map(Opened::Found).ok_or(diesel::NotFound)
}

fn insert(conn: &mut Conn, payment: &Payment) -> QueryResult<bool> {
    diesel::insert_into(p::payments)
        .values(Row::from(payment))
        .on_conflict_do_nothing()
        .exec(conn)
        .map(|rows| rows == 1)
}

/// The payment of a reservation, or the tombstone.
pub(crate) fn by_reservation(conn: &mut Conn, reservation: Id) -> QueryResult<Option<Payment>> {
    p::payments.filter(p::reservation_id.eq(reservation)).one(conn).map(as_payment)
}

/// A payment; never a tombstone.
pub(crate) fn find(conn: &mut Conn, id: Id) -> QueryResult<Option<Payment>> {
    p::payments.filter(p::id.eq(id)).filter(p::amount_minor.gt(0)).one(conn).map(as_payment)
}

fn as_payment(row: Option<Row>) -> Option<Payment> {
    row.map(Payment::from)
}

/// A page of a customer's payments, or of everybody's.
pub(crate) fn list(conn: &mut Conn, customer: Option<&str>, page: &Page) -> QueryResult<Vec<Payment>> {
    let before = page.before().unwrap_or(Id::from_bytes([0xff; 16]));
    let rows =
        p::payments.filter(p::id.lt(before)).filter(p::amount_minor.gt(0)).order(p::id.desc()).limit(page.limit());
    let rows: Vec<Row> = match customer {
        Some(customer) => rows.filter(p::customer.eq(customer)).all(conn)?,
        None => rows.all(conn)?,
    };
    Ok(rows.into_iter().map(Payment::from).collect())
}

/// Begins an attempt later than any before, where the last one was declined or none was made yet. `None`: somebody else was faster.
pub(crate) fn begin(conn: &mut Conn, id: Id, order: &Order, now: Micros) -> QueryResult<Option<Payment>> {
    let free = p::state.eq(DECLINED).or(p::state.eq(WAITING).and(p::attempt.eq(0)));
    let open = p::payments
        .filter(p::id.eq(id))
        .filter(p::attempt.lt(order.attempt))
        .filter(p::refund_requested_by.is_null())
        .filter(free);
    diesel::update(open)
        .set((
            p::attempt.eq(order.attempt),
            p::method.eq(order.method.token()),
            p::state.eq(WAITING),
            p::mileage_points.eq(order.mileage_points),
            p::mileage.eq(mileage_number(order.mileage)),
            p::provider_answer.eq(None::<String>),
            p::due_at.eq(now.plus(LEASE)),
            p::leased.eq(true),
            p::updated_at.eq(now),
        ))
        .returning(payments::all_columns)
        .one(conn)
        .map(as_payment)
}

/// Takes over an attempt that nobody works on.
pub(crate) fn claim(conn: &mut Conn, id: Id, attempt: i32, now: Micros) -> QueryResult<Option<Payment>> {
    let free = p::leased.eq(false).or(p::due_at.assume_not_null().le(now));
    let open = p::payments
        .filter(p::id.eq(id))
        .filter(p::attempt.eq(attempt))
        .filter(p::state.eq(WAITING))
        .filter(p::refund_requested_by.is_null())
        .filter(free);
    diesel::update(open)
        .set((p::due_at.eq(now.plus(LEASE)), p::leased.eq(true)))
        .returning(payments::all_columns)
        .one(conn)
        .map(as_payment)
}

/// Whoever comes first: the ids of due payments and when the next one is.
pub(crate) fn due(conn: &mut Conn, limit: i64) -> QueryResult<Vec<(Id, Micros)>> {
    let rows = p::payments.filter(p::due_at.is_not_null()).order(p::due_at).limit(limit);
    rows.select((p::id, p::due_at.assume_not_null())).all(conn)
}

/// Takes over a payment that is due, to charge or to refund it.
pub(crate) fn claim_due(conn: &mut Conn, id: Id, now: Micros) -> QueryResult<Option<Payment>> {
    let due = p::payments.filter(p::id.eq(id)).filter(p::due_at.le(now));
    diesel::update(due)
        .set((p::due_at.eq(now.plus(LEASE)), p::leased.eq(true)))
        .returning(payments::all_columns)
        .one(conn)
        .map(as_payment)
}

/// Ends the lease of an attempt: the payment is looked at again at `next`, or earlier if somebody asks.
pub(crate) fn release(conn: &mut Conn, id: Id, attempt: i32, next: Micros) -> QueryResult<usize> {
    let open = p::payments.filter(p::id.eq(id)).filter(p::attempt.eq(attempt)).filter(p::due_at.is_not_null());
    diesel::update(open).set((p::due_at.eq(next), p::leased.eq(false))).exec(conn)
}

/// Stores the outcome of an attempt, if it is still wanted: waiting, and no refund requested.
pub(crate) fn settle(conn: &mut Conn, settled: &Payment) -> QueryResult<bool> {
    let rows = statement!(
        "UPDATE payments SET state = ?, mileage = ?, provider_answer = ?, method = '', due_at = NULL, leased = FALSE, \
         version = ?, updated_at = ? WHERE id = ? AND attempt = ? AND state = ? AND refund_requested_by IS NULL",
        state_number(settled.state),
        mileage_number(settled.mileage),
        settled.provider_answer.as_deref(),
        settled.version,
        settled.updated_at,
        settled.id,
        settled.attempt,
        WAITING
    )
    .exec(conn)?;
    Ok(rows == 1)
}

/// What asking for a refund found.
#[derive(Clone, Debug)]
pub(crate) enum Marked {
    /// No payment; from now on there never will be one.
    Tombstone,
    /// The payment as it is now; [`Payment::owes_refund`] says whether there is something to do.
    Payment(Box<Payment>),
}

/// Who wants what back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refund {
    /// Whose payment.
    pub(crate) reservation: Id,
    /// The event that asks, or the reservation.
    pub(crate) by: Id,
    /// An approved payment is kept; only what is not paid yet never will be.
    pub(crate) keeps_approved: bool,
    /// When somebody has to see to it; later than `now`: the end of the asker's lease.
    pub(crate) due_at: Micros,
    /// When it is asked for.
    pub(crate) now: Micros,
}

/// Marks the payment of a reservation for refund, or leaves a tombstone in its place.
///
/// The insert comes first: once it has failed there is a row, whatever else happens at the same time.
pub(crate) fn request_refund(conn: &mut Conn, refund: Refund, tombstone: Id) -> QueryResult<Marked> {
    if insert_tombstone(conn, refund, tombstone)? {
        return Ok(Marked::Tombstone);
    }
    if let Some(payment) = mark(conn, refund)? {
        return Ok(Marked::Payment(Box::new(payment)));
    }
    match by_reservation(conn, refund.reservation)?.ok_or(diesel::NotFound)? {
        payment if payment.amount.is_zero() => Ok(Marked::Tombstone),
        payment => Ok(Marked::Payment(Box::new(payment))),
    }
}

fn insert_tombstone(conn: &mut Conn, Refund { reservation, by, now, .. }: Refund, id: Id) -> QueryResult<bool> {
    let nothing = Registration { reservation, customer: String::new(), amount: Money::from_minor(0, Currency::KRW) };
    let tombstone = Payment { refund_requested_by: Some(by), ..Payment::registered(id, nothing, now).cancelled(now) };
    insert(conn, &tombstone)
}

/// Marks a payment that has taken money or may yet do so; `None` if it is marked already, or kept.
fn mark(conn: &mut Conn, refund: Refund) -> QueryResult<Option<Payment>> {
    let Refund { reservation, by, keeps_approved, due_at, now } = refund;
    statement!(
        concat!(
            "UPDATE payments SET refund_requested_by = ?, due_at = ?, leased = ?, updated_at = ? \
             WHERE reservation_id = ? AND state NOT IN (?, ?) AND refund_requested_by IS NULL RETURNING ",
            columns!()
        ),
        by,
        due_at,
        due_at > now,
        now,
        reservation,
        CANCELLED,
        if keeps_approved { APPROVED } else { CANCELLED }
    )
    .returning::<payments::SqlType>()
    .one(conn)
    .map(as_payment)
}

/// Marks a payment for refund by the drive of its attempt, which cannot finish it; only while it is waiting and nobody else did.
pub(crate) fn give_up(conn: &mut Conn, id: Id, attempt: i32, now: Micros) -> QueryResult<Option<Payment>> {
    let open = p::payments
        .filter(p::id.eq(id))
        .filter(p::attempt.eq(attempt))
        .filter(p::state.eq(WAITING))
        .filter(p::refund_requested_by.is_null());
    diesel::update(open)
        .set((
            p::refund_requested_by.eq(p::reservation_id.nullable()),
            p::due_at.eq(now.plus(LEASE)),
            p::leased.eq(true),
            p::updated_at.eq(now),
        ))
        .returning(payments::all_columns)
        .one(conn)
        .map(as_payment)
}

/// Stores that the money is back, or none was taken. `None` if it was stored before.
pub(crate) fn cancel(conn: &mut Conn, id: Id, now: Micros) -> QueryResult<Option<Payment>> {
    statement!(
        concat!(
            "UPDATE payments SET state = ?, method = '', provider_answer = CASE WHEN state = ? THEN provider_answer END, \
             due_at = NULL, leased = FALSE, version = version + 1, updated_at = ? \
             WHERE id = ? AND state <> ? AND refund_requested_by IS NOT NULL RETURNING ",
            columns!()
        ),
        CANCELLED,
        APPROVED,
        now,
        id,
        CANCELLED
    )
    .returning::<payments::SqlType>()
    .one(conn)
    .map(as_payment)
}

/// Makes everything that is leased due: for a process that starts and knows that no other has the database.
pub(crate) fn end_leases(conn: &mut Conn, now: Micros) -> QueryResult<usize> {
    let leased = p::payments.filter(p::due_at.is_not_null()).filter(p::leased.eq(true));
    diesel::update(leased).set((p::due_at.eq(now), p::leased.eq(false))).exec(conn)
}
