//! Rows and statements. Each function is a part of one transaction; guards are in the statements, so that it does not matter who reads when.

use diesel::prelude::{
    BoolExpressionMethods, ExpressionMethods, Insertable, NullableExpressionMethods, QueryDsl, QueryResult, Queryable,
};
use mesh::statement;
use mesh::store::{Conn, Exec, Fetch, Id, Micros};
use mesh::value::{Currency, Money, Page};

use crate::domain::{LEASE, Mileage, Order, Payment, PaymentMethod, State};
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
    method: String,
    state: i16,
    mileage_points: i64,
    mileage: i16,
    provider_answer: Option<String>,
    refund_requested_by: Option<Id>,
    due_at: Option<Micros>,
    leased: bool,
    version: i64,
    created_at: Micros,
    updated_at: Micros,
}

/// The columns of [`Row`], in its order.
macro_rules! columns {
    () => {
        "id, reservation_id, customer, amount_minor, currency, method, state, mileage_points, mileage, provider_answer, \
         refund_requested_by, due_at, leased, version, created_at, updated_at"
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
            method: payment.method.token().to_owned(),
            state: state_number(payment.state),
            mileage_points: payment.mileage_points,
            mileage: mileage_number(payment.mileage),
            provider_answer: payment.provider_answer.clone(),
            refund_requested_by: payment.refund_requested_by,
            due_at: payment.due_at,
            leased: payment.leased,
            version: payment.version,
            created_at: payment.created_at,
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
            method: PaymentMethod::new(row.method),
            state: state_of(row.state),
            mileage_points: row.mileage_points,
            mileage: mileage_of(row.mileage),
            provider_answer: row.provider_answer,
            refund_requested_by: row.refund_requested_by,
            due_at: row.due_at,
            leased: row.leased,
            version: row.version,
            created_at: row.created_at,
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

/// What recording an intent came to.
pub(crate) enum Opened {
    /// It is recorded, and ours to drive.
    New(Payment),
    /// The reservation has a payment already.
    Found(Payment),
}

/// Records the intent, once for each reservation.
pub(crate) fn open(conn: &mut Conn, intent: Payment) -> QueryResult<Opened> {
    if insert(conn, &intent)? {
        return Ok(Opened::New(intent));
    }
    by_reservation(conn, intent.reservation)?.map(Opened::Found).ok_or(diesel::NotFound)
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

/// Takes over a waiting payment that nobody works on.
pub(crate) fn claim(conn: &mut Conn, id: Id, now: Micros) -> QueryResult<Option<Payment>> {
    let free = p::leased.eq(false).or(p::due_at.assume_not_null().le(now));
    let open = p::payments
        .filter(p::id.eq(id))
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

/// Ends the lease: the payment is looked at again at `next`, or earlier if somebody asks.
pub(crate) fn release(conn: &mut Conn, id: Id, next: Micros) -> QueryResult<usize> {
    let open = p::payments.filter(p::id.eq(id)).filter(p::due_at.is_not_null());
    diesel::update(open).set((p::due_at.eq(next), p::leased.eq(false))).exec(conn)
}

/// Stores the outcome of a charge, if it is still wanted: waiting, and no refund requested.
pub(crate) fn settle(conn: &mut Conn, settled: &Payment) -> QueryResult<bool> {
    let rows = statement!(
        "UPDATE payments SET state = ?, mileage = ?, provider_answer = ?, method = '', due_at = NULL, leased = FALSE, \
         version = ?, updated_at = ? WHERE id = ? AND state = ? AND refund_requested_by IS NULL",
        state_number(settled.state),
        mileage_number(settled.mileage),
        settled.provider_answer.as_deref(),
        settled.version,
        settled.updated_at,
        settled.id,
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

/// Marks the payment of a reservation for refund, or leaves a tombstone in its place.
///
/// The insert comes first: once it has failed there is a row, whatever else happens at the same time.
pub(crate) fn request_refund(
    conn: &mut Conn,
    reservation: Id,
    by: Id,
    tombstone: Id,
    due_at: Micros,
    now: Micros,
) -> QueryResult<Marked> {
    if insert_tombstone(conn, reservation, by, tombstone, now)? {
        return Ok(Marked::Tombstone);
    }
    if let Some(payment) = mark(conn, reservation, by, due_at, now)? {
        return Ok(Marked::Payment(Box::new(payment)));
    }
    match by_reservation(conn, reservation)?.ok_or(diesel::NotFound)? {
        payment if payment.amount.is_zero() => Ok(Marked::Tombstone),
        payment => Ok(Marked::Payment(Box::new(payment))),
    }
}

fn insert_tombstone(conn: &mut Conn, reservation: Id, by: Id, id: Id, now: Micros) -> QueryResult<bool> {
    let nothing = Order {
        reservation,
        customer: String::new(),
        amount: Money::from_minor(0, Currency::KRW),
        method: PaymentMethod::default(),
        mileage_points: 0,
        mileage: Mileage::None,
    };
    let tombstone = Payment { refund_requested_by: Some(by), ..Payment::intent(id, &nothing, now).cancelled(now) };
    insert(conn, &tombstone)
}

/// Marks a payment that has taken money or may yet do so; `None` if there is none, or it is marked already.
pub(crate) fn mark(
    conn: &mut Conn,
    reservation: Id,
    by: Id,
    due_at: Micros,
    now: Micros,
) -> QueryResult<Option<Payment>> {
    statement!(
        concat!(
            "UPDATE payments SET refund_requested_by = ?, due_at = ?, leased = ?, updated_at = ? \
             WHERE reservation_id = ? AND state IN (?, ?) AND refund_requested_by IS NULL RETURNING ",
            columns!()
        ),
        by,
        due_at,
        due_at > now,
        now,
        reservation,
        WAITING,
        APPROVED
    )
    .returning::<payments::SqlType>()
    .one(conn)
    .map(as_payment)
}

/// Marks a payment for refund by its own drive, which cannot finish it; only while it is waiting and nobody else did.
pub(crate) fn give_up(conn: &mut Conn, id: Id, now: Micros) -> QueryResult<Option<Payment>> {
    let open = p::payments.filter(p::id.eq(id)).filter(p::state.eq(WAITING)).filter(p::refund_requested_by.is_null());
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

/// Stores that the money is back. `None` if it was stored before.
pub(crate) fn cancel(conn: &mut Conn, id: Id, now: Micros) -> QueryResult<Option<Payment>> {
    statement!(
        concat!(
            "UPDATE payments SET state = ?, method = '', due_at = NULL, leased = FALSE, version = version + 1, updated_at = ? \
             WHERE id = ? AND state IN (?, ?) AND refund_requested_by IS NOT NULL RETURNING ",
            columns!()
        ),
        CANCELLED,
        now,
        id,
        WAITING,
        APPROVED
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
