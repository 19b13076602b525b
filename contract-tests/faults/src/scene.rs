//! The people of a trial: what they ask for, what they are told, and whether it stays true.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use mesh::deadline::{self, Deadline};
use mesh::fault::Fault;
use proto::listing::v1::hold::State as HoldState;
use proto::listing::v1::{CreateListingRequest, Listing};
use proto::payment::v1::payment::State as PaymentState;
use proto::reservation::v1::reservation::State;
use proto::reservation::v1::{
    ApproveReservationRequest, CancelReservationRequest, CompleteReservationRequest, CreateReservationRequest,
    ListReservationsRequest, PayReservationRequest, RejectReservationRequest, Reservation,
};
use proto::view::v1::Trip;
use proto::voucher::v1::voucher::State as VoucherState;
use tokio::sync::Notify;
use tonic::{Code, Status};
use world::caller::{Caller, reason, request_id};

/// Nothing here takes so long, on a busy machine either, unless it is lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);
const PAUSE: Duration = Duration::from_millis(20);
/// A caller is not asked to stay away longer than this.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What somebody asks for, under one request id however often it is asked.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Reserve(Box<CreateReservationRequest>),
    Cancel(CancelReservationRequest),
    Pay(PayReservationRequest),
    Approve(ApproveReservationRequest),
    Reject(RejectReservationRequest),
    Complete(CompleteReservationRequest),
}

/// What somebody is told for good.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Done(Box<Reservation>),
    /// For this reason.
    Refused(String),
}

/// A host and a guest.
pub(crate) struct Scene {
    callers: RwLock<(Caller, Caller)>,
    /// What they were told, in this order.
    log: Mutex<Vec<(Command, Answer)>>,
    /// The reservations the guest should have.
    made: Mutex<BTreeSet<String>>,
    /// Asks for the service that is away to come back.
    pub(crate) relief: Notify,
}

/// How a reservation ends, as its guest's page shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct End {
    pub(crate) state: State,
    pub(crate) hold: HoldState,
    pub(crate) payment: PaymentState,
    pub(crate) voucher: VoucherState,
    pub(crate) miles: i64,
    pub(crate) messages: i32,
}

impl End {
    pub(crate) fn new(state: State, hold: HoldState, payment: PaymentState, messages: i32) -> Self {
        let voucher = VoucherState::Unspecified;
        Self { state, hold, payment, voucher, miles: 0, messages }
    }

    fn shown(trip: &Trip) -> Self {
        Self {
            state: trip.reservation.as_ref().map(Reservation::state).unwrap_or_default(),
            hold: trip.hold_state(),
            payment: trip.payment_state(),
            voucher: trip.voucher_state(),
            miles: trip.mileage_points,
            messages: trip.message_count,
        }
    }
}

impl Scene {
    pub(crate) fn new(host: Caller, guest: Caller) -> Self {
        let callers = RwLock::new((host, guest));
        Self { callers, log: Mutex::default(), made: Mutex::default(), relief: Notify::new() }
    }

    /// From now on they call where the services are now.
    pub(crate) fn meet(&self, host: Caller, guest: Caller) {
        *self.callers.write().unwrap_or_else(PoisonError::into_inner) = (host, guest);
    }

    pub(crate) fn host(&self) -> Caller {
        self.callers.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    pub(crate) fn guest(&self) -> Caller {
        self.callers.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Asks until there is an answer, as a caller should: again after what says "later", with the same request id.
    pub(crate) async fn ask(&self, command: Command) -> Result<Answer> {
        let answer = self.answer(&command).await?;
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push((command, answer.clone()));
        Ok(answer)
    }

    async fn answer(&self, command: &Command) -> Result<Answer> {
        let told = insist(async || self.send(command).await).await.with_context(|| format!("asked {command:?}"))?;
        Ok(match told {
            Ok(reservation) => Answer::Done(Box::new(reservation)),
            Err(status) => Answer::Refused(reason(&status)),
        })
    }

    async fn send(&self, command: &Command) -> Result<Reservation, Status> {
        let (mut guest, mut host) = (self.guest().reservations, self.host().reservations);
        let reservation = match command.clone() {
            Command::Reserve(request) => guest.create_reservation(*request).await?.into_inner().reservation,
            Command::Cancel(request) => guest.cancel_reservation(request).await?.into_inner().reservation,
            Command::Pay(request) => guest.pay_reservation(request).await?.into_inner().reservation,
            Command::Approve(request) => host.approve_reservation(request).await?.into_inner().reservation,
            Command::Reject(request) => host.reject_reservation(request).await?.into_inner().reservation,
            Command::Complete(request) => host.complete_reservation(request).await?.into_inner().reservation,
        };
        reservation.ok_or_else(|| Status::data_loss("an answer without its reservation"))
    }

    /// Asks once and leaves after so long; what comes of it is not known.
    pub(crate) async fn ask_in_haste(&self, command: &Command, budget: Duration) {
        let asked = deadline::scope(Deadline::after(budget), self.send(command));
        let _ = tokio::time::timeout(budget, asked).await;
    }

    /// Asks for what has to succeed.
    pub(crate) async fn done(&self, command: Command) -> Result<Reservation> {
        match self.ask(command.clone()).await? {
            Answer::Done(reservation) => Ok(*reservation),
            Answer::Refused(reason) => bail!("refused for {reason}: {command:?}"),
        }
    }

    /// Asks for what has to be refused for this reason.
    pub(crate) async fn refused(&self, command: Command, reason: &str) -> Result<()> {
        let answer = self.ask(command.clone()).await?;
        ensure!(answer == Answer::Refused(reason.to_owned()), "not refused for {reason} but {answer:?}: {command:?}");
        Ok(())
    }

    /// Offers something; its name.
    pub(crate) async fn offer(&self, listing: Listing) -> Result<String> {
        let request = CreateListingRequest { listing: Some(listing), request_id: request_id() };
        let offered = insist(async || self.host().listings.create_listing(request.clone()).await).await??;
        Ok(offered.into_inner().listing.unwrap_or_default().name)
    }

    /// Waits until the guest's page shows that a reservation has ended so.
    pub(crate) async fn ends(&self, reservation: &Reservation, end: End) -> Result<()> {
        let shown = async || self.guest().trip(&reservation.name).await.map(|trip| End::shown(&trip));
        eventually(end, shown).await.with_context(|| format!("the page of {}", reservation.name))
    }

    /// All of the guest's.
    pub(crate) async fn reservations(&self) -> Result<Vec<Reservation>, Status> {
        let request = ListReservationsRequest { page_size: 500, page_token: String::new() };
        Ok(self.guest().reservations.list_reservations(request).await?.into_inner().reservations)
    }

    /// Waits until a reservation of the guest's is in this state.
    pub(crate) async fn until(&self, name: &str, state: State) -> Result<()> {
        let found = async || self.guest().reservation(name).await.map(|found| found.state());
        eventually(state, found).await.with_context(|| format!("the state of {name}"))
    }

    /// Whether each answer is still true: repeated, it is the same; what was told of is there, no older than it was told.
    /// And the guest has these reservations, those of earlier journeys, and no other.
    pub(crate) async fn stays_true(&self, reservations: &[&Reservation]) -> Result<()> {
        let log = std::mem::take(&mut *self.log.lock().unwrap_or_else(PoisonError::into_inner));
        for (command, told) in log {
            let again = self.answer(&command).await?;
            ensure!(again == told, "told {told:?} first and {again:?} later: {command:?}");
            if let Answer::Done(told) = told {
                let now = insist(async || self.guest().reservation(&told.name).await).await??;
                ensure!(version(&now) >= version(&told), "told {told:?}, and it is {now:?}");
            }
        }
        let made: BTreeSet<_> = {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            made.extend(reservations.iter().map(|reservation| reservation.name.clone()));
            made.clone()
        };
        // What was refused is listed until it is undone.
        let found = async || Ok(self.reservations().await?.into_iter().map(|found| found.name).collect());
        eventually(made, found).await.context("what the guest has")
    }
}

/// Calls until there is an answer or a refusal, as a caller should: again after what says "later".
pub(crate) async fn insist<T>(call: impl AsyncFn() -> Result<T, Status>) -> Result<Result<T, Status>> {
    let began = Instant::now();
    loop {
        let status = match call().await {
            Ok(answer) => return Ok(Ok(answer)),
            Err(status) => status,
        };
        let pause = match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted => Fault::from_status(&status).retry_delay(),
            Code::FailedPrecondition | Code::NotFound => return Ok(Err(status)),
            _ => bail!("told neither an answer nor to come back: {status:?}"),
        };
        ensure!(began.elapsed() < PATIENCE, "never answered, at last told {status:?}");
        tokio::time::sleep(pause.unwrap_or(PAUSE).clamp(PAUSE, LONGEST_PAUSE)).await;
    }
}

/// Reads until what is read is as expected, whatever fails meanwhile.
async fn eventually<T: PartialEq + fmt::Debug>(expected: T, read: impl AsyncFn() -> Result<T, Status>) -> Result<()> {
    let began = Instant::now();
    let mut pause = PAUSE;
    loop {
        let found = read().await;
        if found.as_ref().is_ok_and(|found| *found == expected) {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "never is {expected:?}, at last {found:?}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn version(reservation: &Reservation) -> u64 {
    reservation.etag.trim_matches('"').parse().unwrap_or_default()
}

pub(crate) fn cancel(reservation: &Reservation) -> Command {
    let (name, etag) = (reservation.name.clone(), String::new());
    Command::Cancel(CancelReservationRequest { name, request_id: request_id(), etag })
}

pub(crate) fn approve(reservation: &Reservation) -> Command {
    let (name, etag) = (reservation.name.clone(), String::new());
    Command::Approve(ApproveReservationRequest { name, request_id: request_id(), etag })
}

pub(crate) fn reject(reservation: &Reservation) -> Command {
    let (name, etag, reason) = (reservation.name.clone(), String::new(), "Under repair".to_owned());
    Command::Reject(RejectReservationRequest { name, request_id: request_id(), etag, reason })
}

pub(crate) fn complete(reservation: &Reservation) -> Command {
    let (name, etag) = (reservation.name.clone(), String::new());
    Command::Complete(CompleteReservationRequest { name, request_id: request_id(), etag })
}

pub(crate) fn pay(reservation: &Reservation, payment_method: &str) -> Command {
    let (name, etag, payment_method) = (reservation.name.clone(), String::new(), payment_method.to_owned());
    Command::Pay(PayReservationRequest { name, request_id: request_id(), etag, payment_method })
}
