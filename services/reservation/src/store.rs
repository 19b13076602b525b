//! Rows and queries. A change of a reservation, its saga, its request's answer and its events are one transaction.

pub(crate) mod closures;
pub(crate) mod sagas;

use diesel::{
    prelude::{BoolExpressionMethods, ExpressionMethods, Insertable, QueryDsl, QueryResult, Queryable},
    sql_types::BigInt,
};
use mesh::{
    event::NewEvent,
    outbox,
    requests::{self, Claim, RequestKey},
    safety, statement,
    store::{Conn, Exec, Fetch, Id, Micros},
    value::{Currency, Day, Money, Page},
};
use prost::Message;

use crate::{
    NAME,
    domain::{Deal, Described, Reservation, Slot, State},
    rpc::convert,
    schema::reservations::{self, dsl as r},
};
use sagas::Saga;

/// Columns are what is searched, guarded or counted; the rest is in `details`.
#[derive(Insertable, Queryable, Clone)]
#[diesel(table_name = reservations, treat_none_as_default_value = false)]
struct Row {
    id: Id,
    listing_id: Id,
    customer: String,
    host: Option<String>,
    check_in: Option<i32>,
    check_out: Option<i32>,
    units: i32,
    state: String,
    total_minor: Option<i64>,
    currency: Option<String>,
    payment_id: Option<Id>,
    approval_id: Option<Id>,
    expires_at: Option<Micros>,
    version: i64,
    updated_at: Micros,
    details: Vec<u8>,
}

/// What nobody searches for. The migration 0002 writes it too, byte by byte.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(int32, tag = "1")]
    persons: i32,
    #[prost(string, tag = "2")]
    note: String,
    #[prost(string, tag = "3")]
    language: String,
    #[prost(string, tag = "4")]
    title: String,
    #[prost(int32, tag = "5")]
    kind: i32,
    #[prost(string, tag = "6")]
    region: String,
    #[prost(string, tag = "7")]
    host_language: String,
    /// The contract's `ReservationPolicy`.
    #[prost(bytes = "vec", tag = "8")]
    policy: Vec<u8>,
    #[prost(string, tag = "9")]
    reject_reason: String,
}

impl From<&Reservation> for Row {
    fn from(reservation: &Reservation) -> Self {
        let deal = reservation.deal.as_ref();
        let described = deal.map(|deal| deal.described.clone()).unwrap_or_default();
        let details = Details {
            persons: reservation.persons,
            note: reservation.note.clone(),
            language: reservation.language.clone(),
            title: described.title,
            kind: described.kind,
            region: described.region,
            host_language: described.host_language,
            policy: described.policy,
            reject_reason: reservation.reject_reason.clone(),
        };
        Self {
            id: reservation.id,
            listing_id: reservation.listing,
            customer: reservation.customer.clone(),
            host: deal.map(|deal| deal.host.clone()),
            check_in: reservation.slot.check_in().map(Day::number),
            check_out: reservation.slot.check_out().map(Day::number),
            units: reservation.units,
            state: reservation.state.as_str().to_owned(),
            total_minor: deal.map(|deal| deal.total.minor()),
            currency: deal.map(|deal| deal.total.currency().code().to_owned()),
            payment_id: reservation.payment,
            approval_id: reservation.approval,
            expires_at: reservation.expires_at,
            version: reservation.version,
            updated_at: reservation.updated_at,
            details: details.encode_to_vec(),
        }
    }
}

impl From<Row> for Reservation {
    /// # Panics
    /// When the row was written by something else: the tables' checks refuse what this cannot read.
    fn from(row: Row) -> Self {
        let details = Details::decode(row.details.as_slice()).expect("stored details are ours");
        let deal = row.total_minor.zip(row.currency).map(|(minor, currency)| Deal {
            total: Money::from_minor(minor, Currency::from_code(&currency).expect("a stored currency is one")),
            host: row.host.unwrap_or_default(),
            policy: convert::policy(&details.policy).expect("a stored policy is one"),
            described: Described {
                title: details.title,
                kind: details.kind,
                region: details.region,
                host_language: details.host_language,
                policy: details.policy,
            },
        });
        Self {
            id: row.id,
            listing: row.listing_id,
            customer: row.customer,
            slot: Slot::from_days(row.check_in.map(Day::from_number), row.check_out.map(Day::from_number)),
            units: row.units,
            persons: details.persons,
            note: details.note,
            language: details.language,
            state: State::from_stored(&row.state).expect("the table holds no other state"),
            deal,
            payment: row.payment_id,
            approval: row.approval_id,
            expires_at: row.expires_at,
            reject_reason: details.reject_reason,
            version: row.version,
            created_at: row.id.made_at(),
            updated_at: row.updated_at,
        }
    }
}

/// Records the intent, if the request is new.
pub(crate) fn begin(
    conn: &mut Conn,
    request: &RequestKey,
    fingerprint: [u8; 32],
    reservation: &Reservation,
    saga: &Saga,
) -> QueryResult<Claim> {
    let claim = requests::claim(conn, request, fingerprint, reservation.id, reservation.created_at)?;
    if claim == Claim::New {
        insert(conn, reservation, saga)?;
    }
    Ok(claim)
}

/// Records another attempt of a request whose first was undone; `false` when another call was faster.
pub(crate) fn begin_again(
    conn: &mut Conn,
    request: &RequestKey,
    first: Id,
    reservation: &Reservation,
    saga: &Saga,
) -> QueryResult<bool> {
    let ours = requests::reassign(conn, request, first, reservation.id)?;
    if ours {
        insert(conn, reservation, saga)?;
    }
    Ok(ours)
}

fn insert(conn: &mut Conn, reservation: &Reservation, saga: &Saga) -> QueryResult<()> {
    diesel::insert_into(r::reservations).values(&Row::from(reservation)).exec(conn)?;
    sagas::insert(conn, saga)
}

/// Stores `next` where version `seen` still stands, with its events; `false` when somebody else was faster.
pub(crate) fn change(conn: &mut Conn, seen: i64, next: &Reservation, events: &[NewEvent]) -> QueryResult<bool> {
    let seen =
        if safety::is_off("version guard") { find(conn, next.id)?.map_or(seen, |now| now.version) } else { seen };
    let row = Row::from(next);
    let changed = statement!(
        "UPDATE reservations SET host = ?, state = ?, total_minor = ?, currency = ?, payment_id = ?, approval_id = ?, \
         expires_at = ?, version = ?, updated_at = ?, details = ? WHERE id = ? AND version = ?",
        row.host.as_deref(),
        row.state.as_str(),
        row.total_minor,
        row.currency.as_deref(),
        row.payment_id,
        row.approval_id,
        row.expires_at,
        row.version,
        row.updated_at,
        row.details.as_slice(),
        row.id,
        seen
    )
    .exec(conn)?;
    if changed == 1 {
        outbox::push_all(conn, NAME, events)?;
    }
    Ok(changed == 1)
}

/// Ends a step of a saga: `next` where `seen` stands with its events, what the saga waits for now (`None`: it has ended), the
/// answer repeats of its request get. `false`, to be rolled back, when the reservation has moved meanwhile, or the saga has
/// passed to another driver.
pub(crate) fn settle(
    conn: &mut Conn,
    saga: &Saga,
    seen: i64,
    next: &Reservation,
    events: &[NewEvent],
    waits: Option<&Saga>,
    answer: Option<(&RequestKey, &[u8])>,
) -> QueryResult<bool> {
    if !sagas::end(conn, saga)? || !change(conn, seen, next, events)? {
        return Ok(false);
    }
    if let Some(saga) = waits {
        sagas::insert(conn, saga)?;
    }
    if let Some((request, answer)) = answer {
        requests::complete(conn, request, answer)?;
    }
    Ok(true)
}

/// Ends a saga whose work is undone: the reservation's last change with its events, if there is one, where `seen` stands, and
/// the answer repeats of its request get. Whoever ended the saga before has done all of it.
///
/// # Errors
/// `RollbackTransaction` when the reservation has moved meanwhile.
pub(crate) fn end_undone(
    conn: &mut Conn,
    saga: &Saga,
    seen: i64,
    last: Option<(&Reservation, Vec<NewEvent>)>,
    answer: Option<(&RequestKey, &[u8])>,
) -> QueryResult<()> {
    if !sagas::end_seen(conn, saga)? {
        return Ok(());
    }
    if let Some((next, events)) = last
        && !change(conn, seen, next, &events)?
    {
        return Err(diesel::result::Error::RollbackTransaction);
    }
    match answer {
        Some((request, answer)) => requests::complete(conn, request, answer),
        None => Ok(()),
    }
}

/// How many open reservations one customer may have; 0 for any number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of one listing.
    pub(crate) of_listing: i64,
    /// Over all listings.
    pub(crate) of_all: i64,
}

impl Limits {
    /// Whether there is any.
    pub(crate) const fn apply(self) -> bool {
        self.of_listing > 0 || self.of_all > 0
    }
}

/// Writes the deal of a REQUESTED reservation into its row, from where it counts, and counts: `Some(false)` when its
/// customer now has too many (to be rolled back), `None` when it has moved meanwhile.
///
/// One customer's reservations are counted one at a time: SQLite has one writer, on PostgreSQL there is a lock for it.
pub(crate) fn admit(conn: &mut Conn, held: &Reservation, limits: Limits) -> QueryResult<Option<bool>> {
    if let Conn::Postgres(_) = conn {
        statement!("SELECT pg_advisory_xact_lock(hashtextextended(?, 4202))", held.customer.as_str()).exec(conn)?;
    }
    if !change(conn, held.version, held, &[])? {
        return Ok(None);
    }
    let customer = held.customer.as_str();
    if limits.of_listing > 0 {
        let count: Option<i64> = statement!(
            "SELECT COUNT(*) FROM reservations WHERE listing_id = ? AND customer = ? AND host IS NOT NULL \
             AND state IN ('REQUESTED', 'AWAITING_APPROVAL', 'AWAITING_PAYMENT', 'CONFIRMED')",
            held.listing,
            customer
        )
        .returning::<BigInt>()
        .one(conn)?;
        if count.unwrap_or_default() > limits.of_listing {
            return Ok(Some(false));
        }
    }
    if limits.of_all > 0 {
        let count: Option<i64> = statement!(
            "SELECT COUNT(*) FROM reservations WHERE customer = ? AND host IS NOT NULL \
             AND state IN ('REQUESTED', 'AWAITING_APPROVAL', 'AWAITING_PAYMENT', 'CONFIRMED')",
            customer
        )
        .returning::<BigInt>()
        .one(conn)?;
        if count.unwrap_or_default() > limits.of_all {
            return Ok(Some(false));
        }
    }
    Ok(Some(true))
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

/// A page of reservations, newest first; refused requests, which are REJECTED without a deal, are not among them.
pub(crate) fn list(conn: &mut Conn, whose: &Whose, page: Page) -> QueryResult<Vec<Reservation>> {
    let before = page.before().unwrap_or(Id::from_bytes([0xff; 16]));
    let shown = r::state.ne(State::Rejected.as_str()).or(r::host.is_not_null());
    let shown = r::reservations.filter(r::id.lt(before)).filter(shown);
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

#[cfg(test)]
mod tests;
