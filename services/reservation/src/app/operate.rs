//! What operators do with sagas: look, have one taken up now, give one up.

use mesh::{
    store::{Id, Micros, StoreError},
    value::{Money, Page},
};

use super::{
    App,
    command::{Decision, decide_cancel},
};
use crate::{
    domain::Reservation,
    events,
    saga::may_have_taken,
    store::{
        self,
        sagas::{self, Abandoned, Saga, Standing},
    },
};

/// Why an operator's call does nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SagaError {
    /// The reservation has none, or there is no reservation.
    #[error("there is no such saga")]
    NotFound,
    /// It waits for somebody, not for something.
    #[error("the saga waits for somebody")]
    Waits,
    /// It goes forward, so there is no undoing to give up.
    #[error("the saga is not being undone")]
    NotUndoing,
    /// It has moved meanwhile.
    #[error("the saga has moved meanwhile")]
    Changed,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for SagaError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A saga and its reservation as they were seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The saga.
    pub(crate) saga: Saga,
    /// The reservation.
    pub(crate) reservation: Reservation,
}

/// What may have been taken and is not known to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outstanding {
    /// A place.
    pub(crate) hold: bool,
    /// Money.
    pub(crate) charge: bool,
    /// How much, if it is known.
    pub(crate) amount: Option<Money>,
}

impl Seen {
    /// What may be held and charged as it stands.
    pub(crate) fn outstanding(&self) -> Outstanding {
        let Self { saga, reservation } = self;
        let (hold, charge) = match &saga.failure {
            Some(failure) => may_have_taken(failure, saga.takeovers),
            None => (true, saga.payment_method.is_some() || reservation.payment.is_some()),
        };
        let total = reservation.deal.as_ref().map(|deal| deal.total);
        Outstanding { hold, charge, amount: total.or(saga.expected_total) }
    }
}

impl App {
    /// A page of sagas that stand so, one more than fits if there is another page.
    pub(crate) async fn sagas(&self, standings: Vec<Standing>, page: Page) -> Result<Vec<Seen>, SagaError> {
        self.store
            .read(move |conn| {
                let sagas = sagas::list(conn, &standings, page)?;
                let ids: Vec<Id> = sagas.iter().map(|saga| saga.reservation).collect();
                let mut reservations: std::collections::HashMap<Id, Reservation> =
                    store::find_all(conn, &ids)?.into_iter().map(|found| (found.id, found)).collect();
                let seen = |saga: Saga| Some(Seen { reservation: reservations.remove(&saga.reservation)?, saga });
                Ok(sagas.into_iter().filter_map(seen).collect())
            })
            .await
    }

    /// One saga.
    pub(crate) async fn saga(&self, id: Id) -> Result<Seen, SagaError> {
        let found = self.store.read(move |conn| Ok::<_, SagaError>((sagas::find(conn, id)?, store::find(conn, id)?)));
        match found.await? {
            (Some(saga), Some(reservation)) => Ok(Seen { saga, reservation }),
            _ => Err(SagaError::NotFound),
        }
    }

    /// Has a saga taken up at once. One that this process works on needs no help.
    pub(crate) async fn retry_saga(&self, id: Id) -> Result<Seen, SagaError> {
        let seen = self.saga(id).await?;
        if seen.saga.standing() == Standing::Waiting {
            // Its lease is the reservation's time limit.
            return Err(SagaError::Waits);
        }
        if self.driver.flight(id).is_some() {
            return Ok(seen);
        }
        let saga = seen.saga.clone();
        if self.store.write(move |conn| Ok::<_, SagaError>(sagas::end_lease(conn, &saga)?)).await? {
            // Whoever takes it up may have ended it already.
            let freed = Saga { lease_until: Micros(0), abandoned: None, ..seen.saga };
            return Ok(Seen { saga: freed, ..seen });
        }
        Err(SagaError::Changed)
    }

    /// Turns a saga round by cancelling its reservation, or stops its undoing if `give_up` says so.
    pub(crate) async fn abandon_saga(
        &self,
        id: Id,
        operator: &str,
        reason: &str,
        give_up: bool,
    ) -> Result<Seen, SagaError> {
        let seen = self.saga(id).await?;
        match (seen.saga.standing(), give_up) {
            (Standing::Abandoned, _) | (Standing::Undoing, false) => Ok(seen),
            (Standing::Waiting, _) => Err(SagaError::Waits),
            (Standing::Forward, true) => Err(SagaError::NotUndoing),
            (Standing::Forward, false) => self.turn_round(seen).await,
            (Standing::Undoing, true) => {
                let abandoned = Abandoned { at: Micros::now(), by: operator.to_owned(), reason: reason.to_owned() };
                let stopped = abandoned.clone();
                let stored = self.store.write(move |conn| Ok::<_, SagaError>(sagas::abandon(conn, id, &stopped)?));
                if !stored.await? {
                    return Err(SagaError::Changed);
                }
                Ok(Seen { saga: Saga { abandoned: Some(abandoned), ..seen.saga }, ..seen })
            }
        }
    }

    /// Cancels the reservation as its customer could, and has the saga undo what was done.
    async fn turn_round(&self, seen: Seen) -> Result<Seen, SagaError> {
        let Decision::Change(change, Some(how)) = decide_cancel(&seen.reservation, Some(&seen.saga), Micros::now())
        else {
            return Err(SagaError::Changed);
        };
        let is_driven = self.driver.flight(seen.reservation.id).is_some();
        let (saga, version, events) = (seen.saga, seen.reservation.version, events::of(&change));
        let id = saga.reservation;
        let turned = self.store.write(move |conn| {
            let stands = store::change(conn, version, &change.next, &events)? && sagas::overtake(conn, &saga, how)?;
            if !stands || (!is_driven && !sagas::end_lease(conn, &saga)?) {
                return Err(SagaError::Changed);
            }
            Ok((sagas::find(conn, id)?, change.next))
        });
        match turned.await? {
            (Some(saga), reservation) => Ok(Seen { saga, reservation }),
            (None, _) => Err(SagaError::Changed),
        }
    }
}
