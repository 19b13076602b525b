//! The rows of sagas: what is needed to carry a reservation on, by whoever finds it.

use diesel::{
    prelude::{BoolExpressionMethods, ExpressionMethods, Insertable, IntoSql, QueryDsl, QueryResult, Queryable},
    sql_types::Bool,
};
use mesh::{
    requests::RequestKey,
    statement,
    store::{Conn, Exec, Fetch, Id, Micros},
    value::{Currency, Money, Page},
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
    /// What the last try of this step came to.
    pub(crate) last_error: Option<String>,
    /// An operator has stopped it, although not all is undone.
    pub(crate) abandoned: Option<Abandoned>,
}

/// Who stopped a saga, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Abandoned {
    /// When.
    pub(crate) at: Micros,
    /// The operator's subject.
    pub(crate) by: String,
    /// In their words.
    pub(crate) reason: String,
}

/// Where a saga stands, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Goes forward.
    Forward,
    /// Waits for somebody.
    Waiting,
    /// Is being undone.
    Undoing,
    /// Was stopped before all was undone.
    Abandoned,
}

impl Standing {
    /// Every standing.
    pub(crate) const ALL: [Self; 4] = [Self::Forward, Self::Waiting, Self::Undoing, Self::Abandoned];
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
            last_error: None,
            abandoned: None,
        }
    }

    /// At another step.
    #[must_use]
    pub(crate) fn at(&self, step: Step, request: Option<RequestKey>, lease_until: Micros, now: Micros) -> Self {
        Self { step, request, takeovers: 0, lease_until, began_at: now, last_error: None, ..self.clone() }
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

    /// Where it stands.
    #[must_use]
    pub(crate) fn standing(&self) -> Standing {
        match (&self.abandoned, &self.failure, self.step) {
            (Some(_), ..) => Standing::Abandoned,
            (None, Some(_), _) => Standing::Undoing,
            (None, None, Step::Wait) => Standing::Waiting,
            (None, None, _) => Standing::Forward,
        }
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
    last_error: Option<String>,
    abandoned_at: Option<Micros>,
    abandoned_by: Option<String>,
    abandon_reason: Option<String>,
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
            last_error: saga.last_error.clone(),
            abandoned_at: saga.abandoned.as_ref().map(|abandoned| abandoned.at),
            abandoned_by: saga.abandoned.as_ref().map(|abandoned| abandoned.by.clone()),
            abandon_reason: saga.abandoned.as_ref().map(|abandoned| abandoned.reason.clone()),
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
            last_error: row.last_error,
            abandoned: row.abandoned_at.map(|at| Abandoned {
                at,
                by: row.abandoned_by.unwrap_or_default(),
                reason: row.abandon_reason.unwrap_or_default(),
            }),
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
         lease_until = ?, began_at = ?, last_error = NULL WHERE reservation_id = ? AND step = ? AND began_at = ? \
         AND takeovers = ? AND failure IS NULL",
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

/// Leaves a saga to whoever comes first after `until`; `error` is what this try came to.
pub(crate) fn put_off(conn: &mut Conn, id: Id, until: Micros, error: &str) -> QueryResult<()> {
    let told = (s::lease_until.eq(until), s::last_error.eq(Some(error)));
    diesel::update(s::sagas.find(id)).set(told).exec(conn).map(|_| ())
}

/// Leaves a saga, an abandoned one too, to whoever comes first; `false` when its lease is not the one that was seen.
pub(crate) fn end_lease(conn: &mut Conn, seen: &Saga) -> QueryResult<bool> {
    let row = s::sagas.find(seen.reservation).filter(s::lease_until.eq(seen.lease_until));
    let free = (
        s::lease_until.eq(Micros(0)),
        s::abandoned_at.eq(None::<Micros>),
        s::abandoned_by.eq(None::<&str>),
        s::abandon_reason.eq(None::<&str>),
    );
    Ok(diesel::update(row).set(free).exec(conn)? == 1)
}

/// Stops a saga that is being undone; `false` when it is not, or not any more.
pub(crate) fn abandon(conn: &mut Conn, id: Id, abandoned: &Abandoned) -> QueryResult<bool> {
    let row = s::sagas.find(id).filter(s::failure.is_not_null()).filter(s::abandoned_at.is_null());
    let stopped = (
        s::abandoned_at.eq(Some(abandoned.at)),
        s::abandoned_by.eq(Some(abandoned.by.as_str())),
        s::abandon_reason.eq(Some(abandoned.reason.as_str())),
    );
    Ok(diesel::update(row).set(stopped).exec(conn)? == 1)
}

/// Sagas whose lease has run out, the longest waiting first.
pub(crate) fn due(conn: &mut Conn, now: Micros, limit: i64) -> QueryResult<Vec<Saga>> {
    let due = s::sagas.filter(s::lease_until.lt(now)).filter(s::abandoned_at.is_null());
    let rows: Vec<SagaRow> = due.order(s::lease_until).limit(limit).all(conn)?;
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

/// A page of the sagas that stand so, the oldest reservation first.
pub(crate) fn list(conn: &mut Conn, standings: &[Standing], page: Page) -> QueryResult<Vec<Saga>> {
    let after = page.after().unwrap_or(Id::from_bytes([0; 16]));
    let is = |standing| standings.contains(&standing).into_sql::<Bool>();
    let (undone, stopped, waits) =
        (s::failure.is_not_null(), s::abandoned_at.is_not_null(), s::step.eq(Step::Wait.as_str()));
    let forward = s::failure.is_null().and(s::step.ne(Step::Wait.as_str())).and(is(Standing::Forward));
    let waiting = s::failure.is_null().and(waits).and(is(Standing::Waiting));
    let undoing = undone.and(s::abandoned_at.is_null()).and(is(Standing::Undoing));
    let abandoned = stopped.and(is(Standing::Abandoned));
    let wanted = s::sagas.filter(s::reservation_id.gt(after)).filter(forward.or(waiting).or(undoing).or(abandoned));
    let rows: Vec<SagaRow> = wanted.order(s::reservation_id).limit(page.limit()).all(conn)?;
    Ok(rows.into_iter().map(Saga::from).collect())
}

/// Every saga.
pub(crate) fn all(conn: &mut Conn) -> QueryResult<Vec<Saga>> {
    let rows: Vec<SagaRow> = s::sagas.all(conn)?;
    Ok(rows.into_iter().map(Saga::from).collect())
}
