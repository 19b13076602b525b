//! Rows and queries. A change of a reservation, its saga, its request's answer and its events are one transaction.

use diesel::prelude::{ExpressionMethods, Insertable, QueryDsl, QueryResult, Queryable};
use mesh::{
    event::NewEvent,
    outbox,
    requests::{self, Claim, RequestKey},
    statement,
    store::{Conn, Exec, Fetch, Id, Micros},
    value::{Currency, Day, Money, Page},
};

use crate::{
    NAME,
    domain::{Deal, Failure, Mileage, PaymentMethod, Reservation, State, Stay, Wish},
    schema::{reservations, sagas},
};
use reservations::dsl as r;
use sagas::dsl as s;

#[derive(Insertable, Queryable, Clone)]
#[diesel(table_name = reservations, treat_none_as_default_value = false)]
struct Row {
    id: Id,
    listing_id: Id,
    customer: String,
    host: Option<String>,
    listing_title: Option<String>,
    check_in: i32,
    check_out: i32,
    units: i32,
    persons: i32,
    state: String,
    total_minor: Option<i64>,
    currency: Option<String>,
    mileage: Option<i64>,
    payment_id: Option<Id>,
    version: i64,
    updated_at: Micros,
}

impl From<&Reservation> for Row {
    fn from(reservation: &Reservation) -> Self {
        let deal = reservation.deal.as_ref();
        Self {
            id: reservation.id,
            listing_id: reservation.listing,
            customer: reservation.customer.clone(),
            host: deal.map(|deal| deal.host.clone()),
            listing_title: deal.map(|deal| deal.listing_title.clone()),
            check_in: reservation.stay.check_in.number(),
            check_out: reservation.stay.check_out.number(),
            units: reservation.units,
            persons: reservation.persons,
            state: reservation.state.as_str().to_owned(),
            total_minor: deal.map(|deal| deal.total.minor()),
            currency: deal.map(|deal| deal.total.currency().code().to_owned()),
            mileage: deal.map(|deal| stored_mileage(deal.mileage)),
            payment_id: reservation.payment,
            version: reservation.version,
            updated_at: reservation.updated_at,
        }
    }
}

impl From<Row> for Reservation {
    /// # Panics
    /// When the row was written by something else: the tables' checks refuse what this cannot read.
    fn from(row: Row) -> Self {
        let deal = row.total_minor.zip(row.currency).map(|(minor, currency)| Deal {
            total: Money::from_minor(minor, Currency::from_code(&currency).expect("a stored currency is one")),
            host: row.host.unwrap_or_default(),
            listing_title: row.listing_title.unwrap_or_default(),
            mileage: mileage_from(row.mileage.unwrap_or_default()),
        });
        Self {
            id: row.id,
            listing: row.listing_id,
            customer: row.customer,
            stay: Stay { check_in: Day::from_number(row.check_in), check_out: Day::from_number(row.check_out) },
            units: row.units,
            persons: row.persons,
            state: State::from_stored(&row.state).expect("the table holds no other state"),
            deal,
            payment: row.payment_id,
            version: row.version,
            created_at: row.id.made_at(),
            updated_at: row.updated_at,
        }
    }
}

/// Points to earn; negative when strictly so, zero for none.
fn stored_mileage(mileage: Mileage) -> i64 {
    match mileage {
        Mileage::None => 0,
        Mileage::Graceful(points) => points,
        Mileage::Strict(points) => -points,
    }
}

fn mileage_from(stored: i64) -> Mileage {
    match stored {
        0 => Mileage::None,
        1.. => Mileage::Graceful(stored),
        _ => Mileage::Strict(-stored),
    }
}

/// A saga: what is needed to carry a reservation to its end, by whoever finds it.
#[derive(Clone, Debug)]
pub(crate) struct Saga {
    /// The reservation it works for.
    pub(crate) reservation: Id,
    /// The request that began it.
    pub(crate) request: RequestKey,
    /// How to pay.
    pub(crate) payment_method: PaymentMethod,
    /// The total the customer insists on.
    pub(crate) expected_total: Option<Money>,
    /// Why it is being undone; `None` while it goes forward.
    pub(crate) failure: Option<Failure>,
    /// How often it was taken over.
    pub(crate) attempts: i32,
    /// Nobody else works on it before this.
    pub(crate) lease_until: Micros,
    /// When it began.
    pub(crate) created_at: Micros,
}

impl Saga {
    /// A new one, going forward.
    #[must_use]
    pub(crate) fn begin(reservation: &Reservation, request: RequestKey, wish: &Wish, lease_until: Micros) -> Self {
        Self {
            reservation: reservation.id,
            request,
            payment_method: wish.payment_method.clone(),
            expected_total: wish.expected_total,
            failure: None,
            attempts: 0,
            lease_until,
            created_at: reservation.created_at,
        }
    }
}

#[derive(Insertable, Queryable)]
#[diesel(table_name = sagas, treat_none_as_default_value = false)]
struct SagaRow {
    reservation_id: Id,
    request_key: Vec<u8>,
    payment_method: String,
    expected_minor: Option<i64>,
    expected_currency: Option<String>,
    failure: Option<String>,
    attempts: i32,
    lease_until: Micros,
    created_at: Micros,
}

impl From<&Saga> for SagaRow {
    fn from(saga: &Saga) -> Self {
        Self {
            reservation_id: saga.reservation,
            request_key: saga.request.as_bytes().to_vec(),
            payment_method: saga.payment_method.0.clone(),
            expected_minor: saga.expected_total.map(Money::minor),
            expected_currency: saga.expected_total.map(|total| total.currency().code().to_owned()),
            failure: saga.failure.as_ref().map(Failure::to_stored),
            attempts: saga.attempts,
            lease_until: saga.lease_until,
            created_at: saga.created_at,
        }
    }
}

impl From<SagaRow> for Saga {
    fn from(row: SagaRow) -> Self {
        let expected_total = row.expected_minor.zip(row.expected_currency).map(|(minor, currency)| {
            Money::from_minor(minor, Currency::from_code(&currency).expect("a stored currency is one"))
        });
        Self {
            reservation: row.reservation_id,
            request: RequestKey::from_bytes(row.request_key.try_into().expect("a stored key has its length")),
            payment_method: PaymentMethod(row.payment_method),
            expected_total,
            failure: row.failure.map(|text| Failure::from_stored(&text).expect("a stored failure is one")),
            attempts: row.attempts,
            lease_until: row.lease_until,
            created_at: row.created_at,
        }
    }
}

/// Records the intent, if the request is new.
pub(crate) fn begin(
    conn: &mut Conn,
    fingerprint: [u8; 32],
    reservation: &Reservation,
    saga: &Saga,
) -> QueryResult<Claim> {
    let claim = requests::claim(conn, &saga.request, fingerprint, reservation.id, reservation.created_at)?;
    if claim == Claim::New {
        insert(conn, reservation, saga)?;
    }
    Ok(claim)
}

/// Records another attempt of a request whose first was undone; `false` when another call was faster.
pub(crate) fn begin_again(conn: &mut Conn, first: Id, reservation: &Reservation, saga: &Saga) -> QueryResult<bool> {
    let ours = requests::reassign(conn, &saga.request, first, reservation.id)?;
    if ours {
        insert(conn, reservation, saga)?;
    }
    Ok(ours)
}

fn insert(conn: &mut Conn, reservation: &Reservation, saga: &Saga) -> QueryResult<()> {
    diesel::insert_into(r::reservations).values(&Row::from(reservation)).exec(conn)?;
    diesel::insert_into(s::sagas).values(&SagaRow::from(saga)).exec(conn)?;
    Ok(())
}

/// Stores `next` where version `seen` still stands, with its events; `false` when somebody else was faster.
pub(crate) fn change(conn: &mut Conn, seen: i64, next: &Reservation, events: &[NewEvent]) -> QueryResult<bool> {
    let row = Row::from(next);
    let changed = statement!(
        "UPDATE reservations SET host = ?, listing_title = ?, state = ?, total_minor = ?, currency = ?, mileage = ?, \
         payment_id = ?, version = ?, updated_at = ? WHERE id = ? AND version = ?",
        row.host.as_deref(),
        row.listing_title.as_deref(),
        row.state.as_str(),
        row.total_minor,
        row.currency.as_deref(),
        row.mileage,
        row.payment_id,
        row.version,
        row.updated_at,
        row.id,
        seen
    )
    .exec(conn)?;
    if changed == 1 {
        outbox::push_all(conn, NAME, events)?;
    }
    Ok(changed == 1)
}

/// Ends a saga: `next` where `seen` stands, the answer repeats get (none: the request may be tried again), the events.
/// `false`, and nothing written, when the reservation has moved meanwhile.
pub(crate) fn end(
    conn: &mut Conn,
    request: &RequestKey,
    seen: i64,
    next: &Reservation,
    answer: Option<&[u8]>,
    events: &[NewEvent],
) -> QueryResult<bool> {
    if !change(conn, seen, next, events)? {
        return Ok(false);
    }
    diesel::delete(s::sagas.find(next.id)).exec(conn)?;
    if let Some(answer) = answer {
        requests::complete(conn, request, answer)?;
    }
    Ok(true)
}

/// Turns a saga round: from now on it is undone, whoever works on it.
pub(crate) fn turn(conn: &mut Conn, id: Id, failure: &Failure, lease_until: Micros) -> QueryResult<bool> {
    let failure = failure.to_stored();
    let turned = statement!(
        "UPDATE sagas SET failure = ?, lease_until = ? WHERE reservation_id = ?",
        failure.as_str(),
        lease_until,
        id
    )
    .exec(conn)?;
    Ok(turned == 1)
}

/// Leaves a saga to whoever comes first after `until`.
pub(crate) fn put_off(conn: &mut Conn, id: Id, until: Micros) -> QueryResult<()> {
    diesel::update(s::sagas.find(id)).set(s::lease_until.eq(until)).exec(conn).map(|_| ())
}

/// Sagas whose lease has run out, the longest waiting first.
pub(crate) fn due(conn: &mut Conn, now: Micros, limit: i64) -> QueryResult<Vec<Saga>> {
    let rows: Vec<SagaRow> = s::sagas.filter(s::lease_until.lt(now)).order(s::lease_until).limit(limit).all(conn)?;
    Ok(rows.into_iter().map(Saga::from).collect())
}

/// Takes a saga over; `false` when another worker was faster.
pub(crate) fn take_over(conn: &mut Conn, saga: &Saga, lease_until: Micros) -> QueryResult<bool> {
    let taken = statement!(
        "UPDATE sagas SET lease_until = ?, attempts = attempts + 1 WHERE reservation_id = ? AND lease_until = ?",
        lease_until,
        saga.reservation,
        saga.lease_until
    )
    .exec(conn)?;
    Ok(taken == 1)
}

/// Ends every lease: nobody but this process can have held one.
pub(crate) fn end_leases(conn: &mut Conn) -> QueryResult<usize> {
    diesel::update(s::sagas).set(s::lease_until.eq(Micros(0))).exec(conn)
}

/// The saga of a reservation, if it still runs.
pub(crate) fn saga(conn: &mut Conn, id: Id) -> QueryResult<Option<Saga>> {
    let row: Option<SagaRow> = s::sagas.find(id).one(conn)?;
    Ok(row.map(Saga::from))
}

/// A reservation.
pub(crate) fn find(conn: &mut Conn, id: Id) -> QueryResult<Option<Reservation>> {
    let row: Option<Row> = r::reservations.find(id).one(conn)?;
    Ok(row.map(Reservation::from))
}

/// Those of several ids that exist.
pub(crate) fn find_all(conn: &mut Conn, ids: &[Id]) -> QueryResult<Vec<Reservation>> {
    let rows: Vec<Row> = r::reservations.filter(r::id.eq_any(ids.to_vec())).all(conn)?;
    Ok(rows.into_iter().map(Reservation::from).collect())
}

/// Whose reservations to list.
#[derive(Clone, Debug)]
pub(crate) enum Whose {
    /// A customer's own.
    Customer(String),
    /// Those on a host's listings.
    Host(String),
    /// Everybody's.
    Everyone,
}

/// A page of reservations, newest first; refused requests are not among them.
pub(crate) fn list(conn: &mut Conn, whose: &Whose, page: Page) -> QueryResult<Vec<Reservation>> {
    let before = page.before().unwrap_or(Id::from_bytes([0xff; 16]));
    let shown = r::reservations.filter(r::id.lt(before)).filter(r::state.ne(State::Rejected.as_str()));
    let rows: Vec<Row> = match whose {
        Whose::Customer(subject) => {
            shown.filter(r::customer.eq(subject.as_str())).order(r::id.desc()).limit(page.limit()).all(conn)?
        }
        Whose::Host(subject) => {
            shown.filter(r::host.eq(Some(subject.as_str()))).order(r::id.desc()).limit(page.limit()).all(conn)?
        }
        Whose::Everyone => shown.order(r::id.desc()).limit(page.limit()).all(conn)?,
    };
    Ok(rows.into_iter().map(Reservation::from).collect())
}

/// What the audit compares with the other services.
pub(crate) fn all(conn: &mut Conn) -> QueryResult<Vec<Reservation>> {
    let rows: Vec<Row> = r::reservations.all(conn)?;
    Ok(rows.into_iter().map(Reservation::from).collect())
}

/// When each running saga began.
pub(crate) fn running(conn: &mut Conn) -> QueryResult<Vec<(Id, Micros)>> {
    s::sagas.select((s::reservation_id, s::created_at)).all(conn)
}
