//! The rows of sagas: what is needed to carry a reservation on, by whoever finds it.

use diesel::prelude::{ExpressionMethods, Insertable, QueryDsl, QueryResult, Queryable};
use mesh::{
    requests::RequestKey,
    statement,
    store::{Conn, Exec, Fetch, Id, Micros},
    value::{Currency, Money},
};

use crate::{
    domain::{Failure, PaymentMethod, Refusal, Reservation, Wish},
    schema::sagas::{self, dsl as s},
};

/// What a saga is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Holds, charges or registers, for the customer who reserves.
    Book,
    /// Waits for somebody; when its lease ends, the reservation expires.
    Wait,
    /// Charges or registers, for the host who approves.
    Approve,
    /// Charges, for the customer who pays.
    Pay,
    /// Charges again and again, for nobody who still waits.
    Retry,
}

impl Step {
    const ALL: [Self; 5] = [Self::Book, Self::Wait, Self::Approve, Self::Pay, Self::Retry];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Book => "BOOK",
            Self::Wait => "WAIT",
            Self::Approve => "APPROVE",
            Self::Pay => "PAY",
            Self::Retry => "RETRY",
        }
    }

    fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == text)
    }
}

/// A saga. It lives as long as its reservation is on its way to somewhere or waits for somebody.
#[derive(Clone, Debug)]
pub(crate) struct Saga {
    /// The reservation it works for.
    pub(crate) reservation: Id,
    /// What it is at.
    pub(crate) step: Step,
    /// The request that is answered by this step.
    pub(crate) request: Option<RequestKey>,
    /// How to pay; kept while a charge may be needed, or its outcome is not known.
    pub(crate) payment_method: Option<PaymentMethod>,
    /// The last attempt to charge; 0 before the first.
    pub(crate) charge_attempt: i32,
    /// The total the customer insists on.
    pub(crate) expected_total: Option<Money>,
    /// Why it is being undone; `None` while it goes forward.
    pub(crate) failure: Option<Failure>,
    /// How often this step was taken over.
    pub(crate) takeovers: i32,
    /// Nobody else works on it before this.
    pub(crate) lease_until: Micros,
    /// When this step began.
    pub(crate) began_at: Micros,
}

impl Saga {
    /// A new one, at its first step.
    #[must_use]
    pub(crate) fn begin(reservation: &Reservation, request: RequestKey, wish: &Wish, lease_until: Micros) -> Self {
        Self {
            reservation: reservation.id,
            step: Step::Book,
            request: Some(request),
            payment_method: wish.payment_method.clone(),
            charge_attempt: 0,
            expected_total: wish.expected_total,
            failure: None,
            takeovers: 0,
            lease_until,
            began_at: reservation.created_at,
        }
    }

    /// At another step.
    #[must_use]
    pub(crate) fn at(&self, step: Step, request: Option<RequestKey>, lease_until: Micros, now: Micros) -> Self {
        Self { step, request, takeovers: 0, lease_until, began_at: now, ..self.clone() }
    }

    /// About to charge with this method: the last attempt again if its outcome is not known, another one otherwise.
    #[must_use]
    pub(crate) fn charging(self, method: Option<PaymentMethod>) -> Self {
        let again = self.is_open() && self.payment_method == method;
        let charge_attempt = if again { self.charge_attempt } else { (self.charge_attempt + 1).min(ATTEMPTS_MAX) };
        Self { charge_attempt, payment_method: method, ..self }
    }

    /// Whether somebody works on it, not only waits.
    #[must_use]
    pub(crate) fn works(&self) -> bool {
        self.step != Step::Wait || self.failure.is_some()
    }

    /// Whether a charge was begun whose outcome is not known.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        self.charge_attempt > 0 && self.payment_method.is_some()
    }

    /// Since when it is late, from then on: a step since it began, a wait since its end.
    #[must_use]
    pub(crate) fn due(&self, expires_at: Option<Micros>) -> Micros {
        match self.step {
            Step::Wait | Step::Retry if self.failure.is_none() => expires_at.unwrap_or(self.began_at),
            _ => self.began_at,
        }
    }
}

/// As the contract limits it.
const ATTEMPTS_MAX: i32 = 1_000;

#[derive(Insertable, Queryable)]
#[diesel(table_name = sagas, treat_none_as_default_value = false)]
struct SagaRow {
    reservation_id: Id,
    step: String,
    request_key: Option<Vec<u8>>,
    payment_method: Option<String>,
    charge_attempt: i32,
    expected_minor: Option<i64>,
    expected_currency: Option<String>,
    failure: Option<String>,
    takeovers: i32,
    lease_until: Micros,
    began_at: Micros,
}

impl From<&Saga> for SagaRow {
    fn from(saga: &Saga) -> Self {
        Self {
            reservation_id: saga.reservation,
            step: saga.step.as_str().to_owned(),
            request_key: saga.request.map(|key| key.as_bytes().to_vec()),
            payment_method: saga.payment_method.clone().map(|method| method.0),
            charge_attempt: saga.charge_attempt,
            expected_minor: saga.expected_total.map(Money::minor),
            expected_currency: saga.expected_total.map(|total| total.currency().code().to_owned()),
            failure: saga.failure.as_ref().map(Failure::to_stored),
            takeovers: saga.takeovers,
            lease_until: saga.lease_until,
            began_at: saga.began_at,
        }
    }
}

impl From<SagaRow> for Saga {
    fn from(row: SagaRow) -> Self {
        let expected_total = row.expected_minor.zip(row.expected_currency).map(|(minor, currency)| {
            Money::from_minor(minor, Currency::from_code(&currency).expect("a stored currency is one"))
        });
        let key = |bytes: Vec<u8>| RequestKey::from_bytes(bytes.try_into().expect("a stored key has its length"));
        Self {
            reservation: row.reservation_id,
            step: Step::from_stored(&row.step).expect("the table holds no other step"),
            request: row.request_key.map(key),
            payment_method: row.payment_method.map(PaymentMethod),
            charge_attempt: row.charge_attempt,
            expected_total,
            failure: row.failure.map(|text| Failure::from_stored(&text).expect("a stored failure is one")),
            takeovers: row.takeovers,
            lease_until: row.lease_until,
            began_at: row.began_at,
        }
    }
}

pub(super) fn insert(conn: &mut Conn, saga: &Saga) -> QueryResult<()> {
    diesel::insert_into(s::sagas).values(&SagaRow::from(saga)).exec(conn).map(|_| ())
}

/// Ends a saga that goes forward; `false` when it is not its driver's any more.
pub(super) fn end(conn: &mut Conn, seen: &Saga) -> QueryResult<bool> {
    let row = s::sagas.find(seen.reservation).filter(s::failure.is_null());
    let row = row.filter(s::step.eq(seen.step.as_str())).filter(s::began_at.eq(seen.began_at));
    Ok(diesel::delete(row.filter(s::takeovers.eq(seen.takeovers))).exec(conn)? == 1)
}

/// Removes a saga; `false` when it is not at the step that was seen.
pub(super) fn end_seen(conn: &mut Conn, seen: &Saga) -> QueryResult<bool> {
    let row = s::sagas.find(seen.reservation);
    let row = row.filter(s::step.eq(seen.step.as_str())).filter(s::began_at.eq(seen.began_at));
    Ok(diesel::delete(row).exec(conn)? == 1)
}

/// The saga goes to another step, if it is still at the one that was seen, going forward, and nobody has taken it over.
pub(crate) fn replace(conn: &mut Conn, seen: &Saga, next: &Saga) -> QueryResult<bool> {
    let row = SagaRow::from(next);
    let replaced = statement!(
        "UPDATE sagas SET step = ?, request_key = ?, payment_method = ?, charge_attempt = ?, takeovers = ?, \
         lease_until = ?, began_at = ? WHERE reservation_id = ? AND step = ? AND began_at = ? AND takeovers = ? \
         AND failure IS NULL",
        row.step.as_str(),
        row.request_key.as_deref(),
        row.payment_method.as_deref(),
        row.charge_attempt,
        row.takeovers,
        row.lease_until,
        row.began_at,
        row.reservation_id,
        seen.step.as_str(),
        seen.began_at,
        seen.takeovers
    )
    .exec(conn)?;
    Ok(replaced == 1)
}

/// What becomes of a saga whose reservation is moved by somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overtaken {
    /// It is over: it only waited.
    Ends,
    /// It undoes what was done, as soon as somebody works on it.
    Undoes,
}

/// Tells a saga that its reservation moves; `false` when it is not at the step that was seen, going forward.
pub(crate) fn overtake(conn: &mut Conn, seen: &Saga, how: Overtaken) -> QueryResult<bool> {
    let row = s::sagas
        .find(seen.reservation)
        .filter(s::step.eq(seen.step.as_str()))
        .filter(s::began_at.eq(seen.began_at))
        .filter(s::failure.is_null());
    let failure = Some(Failure::Refused(Refusal::Cancelled).to_stored());
    let told = match how {
        Overtaken::Ends => diesel::delete(row).exec(conn)?,
        // The lease of one that waits is its time limit: nobody works on it, so whoever comes first may.
        Overtaken::Undoes if !seen.works() => {
            diesel::update(row).set((s::failure.eq(failure), s::lease_until.eq(Micros(0)))).exec(conn)?
        }
        Overtaken::Undoes => diesel::update(row).set(s::failure.eq(failure)).exec(conn)?,
    };
    Ok(told == 1)
}

/// Turns a saga round: from now on it is undone, whoever works on it. Answers why: it may have been turned already. `None` when
/// it is not its driver's any more: one that wakes up late must not undo what another has carried to its end.
pub(crate) fn turn(
    conn: &mut Conn,
    seen: &Saga,
    failure: &Failure,
    lease_until: Micros,
) -> QueryResult<Option<Failure>> {
    let stored = failure.to_stored();
    let turned = statement!(
        "UPDATE sagas SET failure = ?, lease_until = ? WHERE reservation_id = ? AND step = ? AND began_at = ? \
         AND takeovers = ? AND failure IS NULL",
        stored.as_str(),
        lease_until,
        seen.reservation,
        seen.step.as_str(),
        seen.began_at,
        seen.takeovers
    )
    .exec(conn)?;
    if turned == 1 {
        return Ok(Some(failure.clone()));
    }
    let is_ours = |now: &Saga| (now.step, now.began_at, now.takeovers) == (seen.step, seen.began_at, seen.takeovers);
    Ok(find(conn, seen.reservation)?.filter(is_ours).and_then(|now| now.failure))
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
        "UPDATE sagas SET lease_until = ?, takeovers = takeovers + 1 WHERE reservation_id = ? AND lease_until = ?",
        lease_until,
        saga.reservation,
        saga.lease_until
    )
    .exec(conn)?;
    Ok(taken == 1)
}

/// Ends every lease that is not a time limit: nobody but this process can have held one.
pub(crate) fn end_leases(conn: &mut Conn) -> QueryResult<usize> {
    let worked_on = s::sagas.filter(s::step.ne(Step::Wait.as_str()));
    diesel::update(worked_on).set(s::lease_until.eq(Micros(0))).exec(conn)
}

/// The saga of a reservation, if it has one.
pub(crate) fn find(conn: &mut Conn, id: Id) -> QueryResult<Option<Saga>> {
    let row: Option<SagaRow> = s::sagas.find(id).one(conn)?;
    Ok(row.map(Saga::from))
}

/// Those of several reservations that have one.
pub(crate) fn find_all(conn: &mut Conn, ids: &[Id]) -> QueryResult<Vec<Saga>> {
    let rows: Vec<SagaRow> = s::sagas.filter(s::reservation_id.eq_any(ids.to_vec())).all(conn)?;
    Ok(rows.into_iter().map(Saga::from).collect())
}

/// Every saga.
pub(crate) fn all(conn: &mut Conn) -> QueryResult<Vec<Saga>> {
    let rows: Vec<SagaRow> = s::sagas.all(conn)?;
    Ok(rows.into_iter().map(Saga::from).collect())
}
