//! The use cases: reserve, cancel, read. Load, decide, commit.

use std::{sync::Arc, time::Duration};

use mesh::{
    deadline::{self, Deadline},
    requests::{self, Claim, RequestKey},
    store::{Id, Micros, Store, StoreError},
    value::{Page, check_etag},
};
use prost::Message;
use proto::reservation::v1::{self as wire, CreateReservationResponse};
use tokio::{sync::watch, time::timeout_at};

use crate::{
    domain::{Cancellation, Failure, NotCancellable, Reservation, Trouble, Wish},
    events, rpc,
    saga::{Driver, Outcome, Progress},
    store::{self, Saga, Whose},
};

/// When no deadline comes with a call: it always does through the server.
const DEFAULT_BUDGET: Duration = Duration::from_secs(5);
/// The answer leaves this long before the caller stops waiting.
const ANSWER_MARGIN: Duration = Duration::from_millis(3);
/// How often a repeat looks for the outcome of a first call that another process drives.
const POLL: Duration = Duration::from_millis(25);
/// A change that loses so many races in a row gives up.
const RACES_MAX: usize = 8;

/// What keeps a use case from its answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Refused, or to be repeated later.
    #[error("the request failed: {}", .0.reason())]
    Failed(Failure),
    /// There is none, or it is not the caller's to see.
    #[error("there is no such reservation")]
    NotFound,
    /// It was refused; there is nothing to cancel.
    #[error(transparent)]
    NotCancellable(#[from] NotCancellable),
    /// The request id was used with another request.
    #[error("the request id was used with another request")]
    RequestIdReused,
    /// The first call with this request id is still under way.
    #[error("the first call with this request id is still under way")]
    InProgress,
    /// Somebody else changed it, again and again or since the etag was read.
    #[error("it was changed at the same time")]
    Conflict,
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

/// The stored answer to a `CreateReservation`: what every repeat gets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Reserved(Box<CreateReservationResponse>),
    Failed(Failure),
}

impl Answer {
    pub(crate) fn of(reservation: &Reservation) -> Self {
        Self::Reserved(Box::new(CreateReservationResponse { reservation: Some(rpc::to_wire(reservation)) }))
    }

    /// One byte for the kind, then the message or the failure's stored form.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Reserved(response) => {
                let mut bytes = Vec::with_capacity(1 + response.encoded_len());
                bytes.push(0);
                response.encode(&mut bytes).expect("a Vec takes any message");
                bytes
            }
            Self::Failed(failure) => [&[1], failure.to_stored().as_bytes()].concat(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match kind {
            0 => CreateReservationResponse::decode(rest).ok().map(|response| Self::Reserved(Box::new(response))),
            1 => Failure::from_stored(std::str::from_utf8(rest).ok()?).map(Self::Failed),
            _ => None,
        }
    }

    fn into_result(self) -> Result<CreateReservationResponse, Error> {
        match self {
            Self::Reserved(response) => Ok(*response),
            Self::Failed(failure) => Err(Error::Failed(failure)),
        }
    }
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
    ) -> Result<CreateReservationResponse, Error> {
        let deadline = deadline::current().unwrap_or_else(|| Deadline::after(DEFAULT_BUDGET));
        let (reservation, saga) = intent(request.key, customer, &wish, deadline);
        let (first, first_saga) = (reservation.clone(), saga.clone());
        let claim = self
            .store
            .write(move |conn| Ok::<_, Error>(store::begin(conn, request.fingerprint, &first, &first_saga)?))
            .await?;
        match claim {
            Claim::New => self.await_outcome(self.driver.start(reservation, saga, deadline), deadline).await,
            Claim::Reused => Err(Error::RequestIdReused),
            Claim::Repeat { answer: Some(answer), .. } => decoded(&answer),
            Claim::Repeat { answer: None, resource } => {
                self.repeat(request, resource, reservation, saga, deadline).await
            }
        }
    }

    /// The first call with this request id has no stored answer: it is under way, or was undone and may be tried again.
    async fn repeat(
        &self,
        request: Request,
        mut first: Id,
        reservation: Reservation,
        saga: Saga,
        deadline: Deadline,
    ) -> Result<CreateReservationResponse, Error> {
        loop {
            if let Some(flight) = self.driver.flight(first) {
                return self.await_outcome(flight, deadline).await;
            }
            let found = self.store.read(move |conn| {
                let claim = requests::find(conn, &request.key, request.fingerprint)?;
                Ok::<_, Error>((claim, store::saga(conn, first)?))
            });
            match found.await? {
                (Some(Claim::Repeat { answer: Some(answer), .. }), _) => return decoded(&answer),
                // Another call has begun again meanwhile.
                (Some(Claim::Repeat { resource, .. }), _) if resource != first => first = resource,
                (_, Some(Saga { failure: Some(failure), .. })) => return Err(Error::Failed(failure)),
                (_, Some(_)) => {
                    if deadline.remaining() <= POLL + ANSWER_MARGIN {
                        return Err(Error::InProgress);
                    }
                    tokio::time::sleep(POLL).await;
                }
                (_, None) => {
                    let (again, again_saga) = (reservation.clone(), saga.clone());
                    let ours = self
                        .store
                        .write(move |conn| Ok::<_, Error>(store::begin_again(conn, first, &again, &again_saga)?))
                        .await?;
                    if ours {
                        return self.await_outcome(self.driver.start(reservation, saga, deadline), deadline).await;
                    }
                }
            }
        }
    }

    async fn await_outcome(
        &self,
        mut flight: watch::Receiver<Progress>,
        deadline: Deadline,
    ) -> Result<CreateReservationResponse, Error> {
        let limit = deadline.at().checked_sub(ANSWER_MARGIN).unwrap_or(deadline.at());
        // In time or not: what is known now is the answer.
        let _ = timeout_at(limit, flight.wait_for(|progress| matches!(progress, Progress::Ended(_)))).await;
        let progress = flight.borrow().clone();
        match progress {
            Progress::Ended(Outcome::Confirmed(reservation)) => Answer::of(&reservation).into_result(),
            Progress::Ended(Outcome::Failed(failure)) | Progress::Turned(failure) => Err(Error::Failed(failure)),
            Progress::Ended(Outcome::Unknown) => Err(Error::Store(StoreError::Closed)),
            Progress::Running => Err(Error::Failed(Failure::ComeBack(Trouble::OutOfTime))),
        }
    }

    /// Cancels the customer's own reservation. Answers the reservation as it then is; a repeat, as it then was.
    ///
    /// # Cancel safety
    /// Dropping it leaves all or nothing.
    pub(crate) async fn cancel(
        &self,
        request: Request,
        customer: &str,
        id: Id,
        etag: &str,
    ) -> Result<wire::Reservation, Error> {
        for _ in 0..RACES_MAX {
            let seen = self.find(id, |reservation| reservation.customer == customer).await?;
            let now = Micros::now();
            let cancellation = seen.cancel(now)?;
            let current = cancellation == Cancellation::Already || check_etag(etag, seen.version).is_ok();
            let version = seen.version;
            let (next, events) = match cancellation {
                Cancellation::Already => (None, Vec::new()),
                Cancellation::Unwind(next) => (Some(next), Vec::new()),
                Cancellation::Refund(next) => {
                    let events = vec![events::cancel_requested(&next)];
                    (Some(next), events)
                }
                Cancellation::Free { requested, cancelled } => {
                    let events = vec![events::cancel_requested(&requested), events::cancelled(&cancelled)];
                    (Some(cancelled), events)
                }
            };
            let result = rpc::to_wire(next.as_ref().unwrap_or(&seen));
            let answer = result.encode_to_vec();
            let done = self.store.write(move |conn| {
                match requests::claim(conn, &request.key, request.fingerprint, id, now)? {
                    Claim::Reused => return Err(Error::RequestIdReused),
                    Claim::Repeat { answer: Some(answer), .. } => return Ok(Some(answer)),
                    Claim::Repeat { answer: None, .. } | Claim::New => {}
                }
                // A repeat was recognised above: only a first call can come with an old etag.
                if !current {
                    return Err(Error::Conflict);
                }
                if let Some(next) = next
                    && !store::change(conn, version, &next, &events)?
                {
                    // Undo the claim as well: the next round makes it again.
                    return Err(Error::Conflict);
                }
                requests::complete(conn, &request.key, &answer)?;
                Ok(None)
            });
            match done.await {
                Ok(None) => return Ok(result),
                Ok(Some(first)) => {
                    return Ok(wire::Reservation::decode(first.as_slice()).expect("stored answers are ours"));
                }
                Err(Error::Conflict) if current => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Conflict)
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

fn intent(request: RequestKey, customer: String, wish: &Wish, deadline: Deadline) -> (Reservation, Saga) {
    let now = Micros::now();
    let reservation = Reservation::request(Id::generate(), customer, wish, now);
    let saga = Saga::begin(&reservation, request, wish, Driver::lease(deadline, now));
    (reservation, saga)
}

fn decoded(answer: &[u8]) -> Result<CreateReservationResponse, Error> {
    Answer::decode(answer).expect("stored answers are ours").into_result()
}
