//! What the operator's audit compares with the other services. Reads only.

use std::collections::HashMap;

use mesh::{
    store::{Id, Micros, Store, StoreError},
    value::{format_name, format_user},
};

use crate::{
    domain::{Reservation, State},
    store::{self, sagas},
};

/// Everything reservation knows.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Every reservation, the refused ones too.
    pub reservations: Vec<Reservation>,
    /// Sagas, and since when each is due: one that works since it began, one that waits since its time limit, which may be to
    /// come.
    pub sagas: Vec<(Id, Micros)>,
    /// Sagas that an operator has stopped although not all is undone: whose they are, who did and why.
    pub abandoned: Vec<(Id, String)>,
}

/// Reads it.
///
/// # Errors
/// When the database cannot be read.
pub async fn read(db: &Store) -> Result<Audit, StoreError> {
    db.read(|conn| {
        let sagas = sagas::all(conn)?;
        let reservations = store::all(conn)?;
        let limits: HashMap<Id, Micros> =
            reservations.iter().filter_map(|found| Some((found.id, found.expires_at?))).collect();
        let stopped = |saga: &sagas::Saga| {
            let stopped = saga.abandoned.as_ref()?;
            Some((saga.reservation, format!("by {} at {}: {}", format_user(&stopped.by), stopped.at, stopped.reason)))
        };
        let abandoned = sagas.iter().filter_map(stopped).collect();
        let sagas = sagas
            .into_iter()
            .map(|saga| (saga.reservation, saga.due(limits.get(&saga.reservation).copied())))
            .collect();
        Ok(Audit { reservations, sagas, abandoned })
    })
    .await
}

/// What breaks reservation's own rules: nobody waits longer than its limit (`overdue_before` is now, less some grace), what
/// waits has a saga to end the wait, what has ended has none, and no saga was stopped half way.
#[must_use]
pub fn violations(audit: &Audit, overdue_before: Micros) -> Vec<String> {
    let sagas: HashMap<Id, Micros> = audit.sagas.iter().copied().collect();
    let wrong = |reservation: &Reservation| {
        let has_saga = sagas.contains_key(&reservation.id);
        match reservation.state {
            State::AwaitingApproval | State::AwaitingPayment
                if reservation.expires_at.is_none_or(|until| until < overdue_before) =>
            {
                Some("waits beyond its limit")
            }
            State::AwaitingApproval | State::AwaitingPayment if !has_saga => Some("waits and nothing will end it"),
            State::Requested if !has_saga => Some("and nothing carries it on"),
            // One that was ended while its saga worked keeps it until all is undone.
            state if has_saga && state.is_final() && reservation.updated_at < overdue_before => Some("and has a saga"),
            State::Confirmed if has_saga => Some("and has a saga"),
            _ => None,
        }
    };
    let named = |reservation: &Reservation| {
        let wrong = wrong(reservation)?;
        Some(format!("{} is {}, {wrong}", format_name("reservations", reservation.id), reservation.state.as_str()))
    };
    let stopped = |(id, who): &(Id, String)| format!("{} was abandoned {who}", format_name("sagas", *id));
    audit.reservations.iter().filter_map(named).chain(audit.abandoned.iter().map(stopped)).collect()
}
