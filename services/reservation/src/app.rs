//! The use cases. Load, decide, commit; what needs a call to another service is given to a saga.

mod answer;
mod command;
mod operate;

use std::{sync::Arc, time::Duration};

use mesh::{
    crash_point,
    deadline::{self, Deadline},
    requests::{self, Claim, RequestKey},
    store::{Id, Micros, Store, StoreError},
    value::Page,
};
use proto::reservation::v1 as wire;
use tokio::{sync::watch, time::timeout_at};

pub(crate) use self::{
    answer::Answer,
    command::{Command, Verb},
    operate::{SagaError, Seen as SeenSaga},
};
use crate::{
    domain::{Failure, Reservation, Trouble, Wish},
    saga::{Driver, Outcome, Progress},
    store::{
        self, Whose,
        sagas::{self, Saga},
    },
};

/// When no deadline comes with a call: it always does through the server.
const DEFAULT_BUDGET: Duration = Duration::from_secs(5);
/// The answer leaves a little before the caller stops waiting: a twentieth of the time that is left, between these two.
const ANSWER_MARGIN: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(50));
/// How often a repeat looks for the outcome of a first call that another process drives.
const POLL: Duration = Duration::from_millis(25);

/// What keeps a use case from its answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Refused, or to be repeated later.
    #[error("the request failed: {}", .0.reason())]
    Failed(Failure),
    /// There is none, or it is not the caller's.
    #[error("there is no such reservation")]
    NotFound,
    /// The request id was used with another request.
    #[error("the request id was used with another request")]
    RequestIdReused,
    /// The first call with this request id, or another request that charges, is still under way.
    #[error("a call for the same reservation is still under way")]
    InProgress,
    /// Somebody else changed it, again and again or since the etag was read.
    #[error("it was changed at the same time")]
    Conflict,
    /// More sagas are under way than this process drives at once; nothing was begun.
    #[error("too many sagas are under way")]
    Overloaded,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A caller's request: which one it is, and what it says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Who, which method, which request id.
    pub(crate) key: RequestKey,
    /// The hash of all else in it.
    pub(crate) fingerprint: [u8; 32],
}

/// The use cases.
#[derive(Clone)]
pub(crate) struct App {
    store: Store,
    driver: Arc<Driver>,
}

impl App {
    pub(crate) fn new(store: Store, driver: Arc<Driver>) -> Self {
        Self { store, driver }
    }

    /// Reserves, or gives the answer of the first call with this request id.
    ///
    /// # Cancel safety
    /// Dropping it leaves a saga that ends by itself.
    pub(crate) async fn create(
        &self,
        request: Request,
        customer: String,
        wish: Wish,
    ) -> Result<wire::Reservation, Error> {
        self.has_room()?;
        let deadline = deadline::current().unwrap_or_else(|| Deadline::after(DEFAULT_BUDGET));
        let (reservation, saga) = intent(request.key, customer, &wish, deadline);
        let (first, first_saga) = (reservation.clone(), saga.clone());
        let Request { key, fingerprint } = request;
        let claim = self
            .store
            .write(move |conn| {
                let claim = store::begin(conn, &key, fingerprint, &first, &first_saga)?;
                crash_point!("reservation.intent.uncommitted");
                Ok::<_, Error>(claim)
            })
            .await?;
        crash_point!("reservation.intent.committed");
        match claim {
            Claim::New => self.await_outcome(self.driver.start(reservation, saga, deadline), deadline).await,
            Claim::Reused => Err(Error::RequestIdReused),
            Claim::Repeat { answer: Some(answer), .. } => Answer::decode(&answer).into_result(),
            Claim::Repeat { answer: None, resource } => {
                self.repeat(request, resource, reservation, saga, deadline).await
            }
        }
    }

    /// Before a saga is stored that this process would have to drive: it goes on when its caller leaves, and gives up its place at the server.
    fn has_room(&self) -> Result<(), Error> {
        if self.driver.is_full() { Err(Error::Overloaded) } else { Ok(()) }
    }

    /// The first call with this request id has no stored answer: it is under way, or was undone and may be tried again.
    async fn repeat(
        &self,
        request: Request,
        mut first: Id,
        reservation: Reservation,
        saga: Saga,
        deadline: Deadline,
    ) -> Result<wire::Reservation, Error> {
        let Request { key, fingerprint } = request;
        loop {
            if let Some(flight) = self.driver.flight(first) {
                return self.await_outcome(flight, deadline).await;
            }
            let found = self.store.read(move |conn| {
                let claim = requests::find(conn, &key, fingerprint)?;
                Ok::<_, Error>((claim, sagas::find(conn, first)?))
            });
            match found.await? {
                (Some(Claim::Repeat { answer: Some(answer), .. }), _) => return Answer::decode(&answer).into_result(),
                // Another call has begun again meanwhile.
                (Some(Claim::Repeat { resource, .. }), _) if resource != first => first = resource,
                (_, Some(Saga { failure: Some(failure), .. })) => return Err(Error::Failed(failure)),
                (_, Some(_)) => self.poll(deadline).await?,
                (_, None) => {
                    let (again, again_saga) = (reservation.clone(), saga.clone());
                    let ours = self
                        .store
                        .write(move |conn| Ok::<_, Error>(store::begin_again(conn, &key, first, &again, &again_saga)?))
                        .await?;
                    if ours {
                        crash_point!("reservation.intent.again.committed");
                        return self.await_outcome(self.driver.start(reservation, saga, deadline), deadline).await;
                    }
                }
            }
        }
    }

    /// Waits until it is worth looking again.
    async fn poll(&self, deadline: Deadline) -> Result<(), Error> {
        if deadline.remaining() <= POLL + answer_margin(deadline) {
            return Err(Error::InProgress);
        }
        tokio::time::sleep(POLL).await;
        Ok(())
    }

    async fn await_outcome(
        &self,
        mut flight: watch::Receiver<Progress>,
        deadline: Deadline,
    ) -> Result<wire::Reservation, Error> {
        let limit = deadline.at().checked_sub(answer_margin(deadline)).unwrap_or(deadline.at());
        // In time or not: what is known now is the answer.
        let _ = timeout_at(limit, flight.wait_for(|progress| matches!(progress, Progress::Ended(_)))).await;
        let progress = flight.borrow().clone();
        match progress {
            Progress::Ended(Outcome::Settled(reservation)) => Answer::of(&reservation).into_result(),
            Progress::Ended(Outcome::Failed(failure)) | Progress::Turned(failure) => Err(Error::Failed(failure)),
            Progress::Ended(Outcome::Unknown) => Err(Error::Store(StoreError::Closed)),
            Progress::Running => Err(Error::Failed(Failure::ComeBack(Trouble::OutOfTime))),
        }
    }

    /// A reservation the caller may see.
    pub(crate) async fn find(&self, id: Id, may_see: impl Fn(&Reservation) -> bool) -> Result<Reservation, Error> {
        let found = self.store.read(move |conn| Ok::<_, Error>(store::find(conn, id)?)).await?;
        found.filter(may_see).ok_or(Error::NotFound)
    }

    /// A page of reservations, one more than fits if there is another page.
    pub(crate) async fn list(&self, whose: Whose, page: Page) -> Result<Vec<Reservation>, Error> {
        self.store.read(move |conn| Ok::<_, Error>(store::list(conn, &whose, page)?)).await
    }
}

fn answer_margin(deadline: Deadline) -> Duration {
    (deadline.remaining() / 20).clamp(ANSWER_MARGIN.0, ANSWER_MARGIN.1)
}

fn intent(request: RequestKey, customer: String, wish: &Wish, deadline: Deadline) -> (Reservation, Saga) {
    let now = Micros::now();
    let reservation = Reservation::request(Id::generate(), customer, wish, now);
    let saga = Saga::begin(&reservation, request, wish, Driver::lease(deadline, now));
    (reservation, saga)
}
