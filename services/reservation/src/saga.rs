//! The saga: carries a reservation forward to CONFIRMED, or undoes all it did.
//!
//! The intent is durable before anybody is called, every call is idempotent by the reservation's id, and one code drives a
//! saga whether its caller still waits, has gone, or died with the process: [`Driver::start`] runs it as a task of its own,
//! and [`Driver::recover`] takes over sagas whose lease ran out.
//!
//! | step | forward | undone by |
//! |---|---|---|
//! | hold | `listing.PlaceHold` | `listing.ReleaseHold` |
//! | charge | `payment.ChargePayment` | `payment.RefundPayment`, also when it is not known whether it was charged |
//! | confirm | one commit: reservation, answer, events | nothing: it is the end |
//!
//! Once a saga has turned round it never goes forward again, and its caller is told so only after that is durable.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mesh::{
    client::Channel,
    deadline::{self, Deadline},
    fault::Fault,
    store::{Id, Micros, Store, StoreError},
    value::{Money, format_name, format_user},
};
use proto::{
    listing::v1::{PlaceHoldRequest, ReleaseHoldRequest, hold_service_client::HoldServiceClient},
    payment::v1::{
        ChargePaymentRequest, MileageMode, RefundPaymentRequest, charge_service_client::ChargeServiceClient,
    },
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Status};

use crate::{
    app::Answer,
    domain::{Deal, Failure, Mileage, Refusal, Reservation, State, Trouble},
    events, rpc,
    store::{self, Saga},
};

/// A taken-over saga has this long to go forward: nobody waits for it any more.
const RECOVERY_BUDGET: Duration = Duration::from_secs(5);
/// Undoing has this long before it is left for later.
const UNDO_BUDGET: Duration = Duration::from_secs(5);
/// A lease outlives the work under it by this much.
const LEASE_MARGIN: Duration = Duration::from_secs(2);
/// How often a process looks for sagas without a driver, and how many it takes at a time.
const RECOVERY_PERIOD: Duration = Duration::from_millis(500);
const RECOVERY_BATCH: i64 = 64;
/// Pause before an undoing is tried again: doubled each time, up to the second figure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// How far a saga is.
#[derive(Clone, Debug)]
pub(crate) enum Progress {
    /// Goes forward.
    Running,
    /// Has turned round for this reason; not all is undone yet.
    Turned(Failure),
    /// Has ended, or is left to whoever recovers it.
    Ended(Outcome),
}

/// How a saga ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// Held, paid and confirmed.
    Confirmed(Arc<Reservation>),
    /// Undone, or being undone, for this reason.
    Failed(Failure),
    /// The database did not say whether it stored the end; recovery will look.
    Unknown,
}

/// Why a saga stopped going forward.
enum Stop {
    /// It has to be undone.
    Failure(Failure),
    /// The database failed: what is stored decides, later.
    Store(StoreError),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Failure(Failure::ComeBack(trouble))
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        match error {
            // Rolled back for lack of time: nothing was stored, so it can be undone.
            StoreError::Deadline => Trouble::OutOfTime.into(),
            other => Self::Store(other),
        }
    }
}

/// Drives sagas.
pub(crate) struct Driver {
    store: Store,
    holds: HoldServiceClient<Channel>,
    charges: ChargeServiceClient<Channel>,
    flights: Mutex<HashMap<Id, watch::Receiver<Progress>>>,
    tasks: TaskTracker,
}

impl Driver {
    pub(crate) fn new(store: Store, listing: Channel, payment: Channel) -> Self {
        Self {
            store,
            holds: HoldServiceClient::new(listing),
            charges: ChargeServiceClient::new(payment),
            flights: Mutex::new(HashMap::new()),
            tasks: TaskTracker::new(),
        }
    }

    /// The lease of a saga that goes forward until `deadline`.
    pub(crate) fn lease(deadline: Deadline, now: Micros) -> Micros {
        now.plus(deadline.remaining() + UNDO_BUDGET + LEASE_MARGIN)
    }

    /// Drives a saga in a task of its own, which ends whether or not anybody watches.
    pub(crate) fn start(
        self: &Arc<Self>,
        reservation: Reservation,
        saga: Saga,
        deadline: Deadline,
    ) -> watch::Receiver<Progress> {
        let (progress, watcher) = watch::channel(Progress::Running);
        self.flights().insert(reservation.id, watcher.clone());
        let driver = Arc::clone(self);
        let task = self.tasks.track_future(async move {
            let id = reservation.id;
            let outcome = driver.drive(reservation, saga, deadline, &progress).await;
            progress.send_replace(Progress::Ended(outcome));
            driver.flights().remove(&id);
        });
        drop(deadline::spawn(deadline::scope(deadline, task)));
        watcher
    }

    /// The progress of a saga that this process drives.
    pub(crate) fn flight(&self, id: Id) -> Option<watch::Receiver<Progress>> {
        self.flights().get(&id).cloned()
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, HashMap<Id, watch::Receiver<Progress>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over sagas whose lease ran out, until `shutdown`; then waits for those under way.
    pub(crate) async fn recover(self: Arc<Self>, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(RECOVERY_PERIOD)).await.is_some() {
            if let Err(error) = self.recover_some().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot look for sagas to recover");
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn recover_some(self: &Arc<Self>) -> Result<(), StoreError> {
        let now = Micros::now();
        let due = self.store.read(move |conn| Ok::<_, StoreError>(store::due(conn, now, RECOVERY_BATCH)?)).await?;
        for saga in due {
            let deadline = Deadline::after(RECOVERY_BUDGET);
            let lease = Self::lease(deadline, now);
            let seen = saga.clone();
            let taken = self
                .store
                .write(move |conn| {
                    let ours = store::take_over(conn, &seen, lease)?;
                    Ok::<_, StoreError>(if ours { store::find(conn, seen.reservation)? } else { None })
                })
                .await?;
            if let Some(reservation) = taken {
                tracing::info!(reservation = %reservation.id, attempt = saga.attempts + 1, "taking over a saga");
                let saga = Saga { attempts: saga.attempts + 1, lease_until: lease, ..saga };
                drop(self.start(reservation, saga, deadline));
            }
        }
        Ok(())
    }

    async fn drive(
        &self,
        reservation: Reservation,
        saga: Saga,
        deadline: Deadline,
        progress: &watch::Sender<Progress>,
    ) -> Outcome {
        let failure = match saga.failure.clone() {
            Some(failure) => failure,
            None => match deadline::scope(deadline, self.forward(&reservation, &saga)).await {
                Ok(confirmed) => return Outcome::Confirmed(Arc::new(confirmed)),
                Err(Stop::Failure(failure)) => failure,
                Err(Stop::Store(error)) => return unknown(&saga, &error),
            },
        };
        deadline::detach(UNDO_BUDGET, self.backward(&saga, failure, progress)).await
    }

    /// Hold, charge, confirm.
    async fn forward(&self, reservation: &Reservation, saga: &Saga) -> Result<Reservation, Stop> {
        if reservation.state != State::Requested {
            return Err(Failure::Refused(Refusal::Cancelled).into());
        }
        let deal = self.place(reservation, saga).await?;
        let payment = if deal.total.is_zero() { None } else { Some(self.charge(reservation, saga, &deal).await?) };

        let confirmed = reservation.confirm(deal, payment, Micros::now());
        let events = events::confirmed(reservation, &confirmed);
        let answer = Answer::of(&confirmed).encode();
        let (request, seen, next) = (saga.request, reservation.version, confirmed.clone());
        let ended = self
            .store
            .write(move |conn| Ok::<_, StoreError>(store::end(conn, &request, seen, &next, Some(&answer), &events)?))
            .await?;
        // The only move it can have made meanwhile is its customer's cancellation.
        if ended { Ok(confirmed) } else { Err(Failure::Refused(Refusal::Cancelled).into()) }
    }

    async fn place(&self, reservation: &Reservation, saga: &Saga) -> Result<Deal, Stop> {
        let request = PlaceHoldRequest {
            reservation: format_name("reservations", reservation.id),
            listing: format_name("listings", reservation.listing),
            customer: format_user(&reservation.customer),
            stay: Some(rpc::stay(reservation.stay)),
            units: reservation.units,
            expected_total: saga.expected_total.map(Into::into),
        };
        let placed = self.holds.clone().place_hold(request).await.map_err(|status| place_failure(&status))?;
        rpc::deal(placed.into_inner()).ok_or_else(|| {
            tracing::error!(reservation = %reservation.id, "listing answered a hold without a price");
            Trouble::ListingUnavailable.into()
        })
    }

    async fn charge(&self, reservation: &Reservation, saga: &Saga, deal: &Deal) -> Result<Id, Stop> {
        let (mileage_mode, mileage_points) = match deal.mileage {
            Mileage::None => (MileageMode::Unspecified, 0),
            Mileage::Graceful(points) => (MileageMode::Graceful, points),
            Mileage::Strict(points) => (MileageMode::Strict, points),
        };
        let request = ChargePaymentRequest {
            reservation: format_name("reservations", reservation.id),
            customer: format_user(&reservation.customer),
            amount: Some(Money::into(deal.total)),
            payment_method: saga.payment_method.0.clone(),
            mileage_points,
            mileage_mode: mileage_mode.into(),
        };
        loop {
            let status = match self.charges.clone().charge_payment(request.clone()).await {
                Ok(charged) => {
                    let payment = charged.into_inner().payment.unwrap_or_default();
                    return mesh::value::id_of("payments", &payment.name)
                        .ok_or_else(|| Trouble::PaymentUnavailable.into());
                }
                Err(status) => status,
            };
            // Another driver of this saga has the charge under way: its outcome will be ours.
            let fault = Fault::from_status(&status);
            match fault.retry_delay().filter(|_| fault.reason() == "PAYMENT_IN_PROGRESS") {
                Some(delay) if deadline::remaining().is_none_or(|left| left > delay) => tokio::time::sleep(delay).await,
                _ => return Err(charge_failure(&fault).into()),
            }
        }
    }

    /// Makes the turn durable, undoes, ends.
    async fn backward(&self, saga: &Saga, failure: Failure, progress: &watch::Sender<Progress>) -> Outcome {
        let id = saga.reservation;
        if saga.failure.is_none() {
            let (turned, lease) = (failure.clone(), Micros::now().plus(UNDO_BUDGET + LEASE_MARGIN));
            let stored =
                self.store.write(move |conn| Ok::<_, StoreError>(store::turn(conn, id, &turned, lease)?)).await;
            if let Err(error) = stored {
                return unknown(saga, &error);
            }
        }
        progress.send_replace(Progress::Turned(failure.clone()));

        let undone = match self.undo(saga, &failure).await {
            Ok(()) => self.end_undone(saga, &failure).await.map_err(|error| Fault::internal(&error)),
            Err(fault) => Err(fault),
        };
        if let Err(fault) = undone {
            let pause = BACKOFF.0.saturating_mul(1 << saga.attempts.clamp(0, 10)).min(BACKOFF.1);
            tracing::warn!(reservation = %id, reason = fault.reason(), "undoing a reservation has to wait");
            let until = Micros::now().plus(pause);
            // If this fails too, the lease runs out by itself.
            let _ = self.store.write(move |conn| Ok::<_, StoreError>(store::put_off(conn, id, until)?)).await;
        }
        Outcome::Failed(failure)
    }

    /// Gives back whatever may have been taken.
    async fn undo(&self, saga: &Saga, failure: &Failure) -> Result<(), Fault> {
        let (held, charged) = may_have_taken(failure, saga.attempts);
        let reservation = format_name("reservations", saga.reservation);
        let release = async {
            let request = ReleaseHoldRequest { reservation: reservation.clone() };
            if held { self.holds.clone().release_hold(request).await.map(|_| ()) } else { Ok(()) }
        };
        let refund = async {
            let request = RefundPaymentRequest { reservation: reservation.clone() };
            if charged { self.charges.clone().refund_payment(request).await.map(|_| ()) } else { Ok(()) }
        };
        // Both, whatever becomes of the other: a place must not stay taken because payment is down.
        let (released, refunded) = tokio::join!(release, refund);
        released.and(refunded).map_err(|status| Fault::from_status(&status))
    }

    async fn end_undone(&self, saga: &Saga, failure: &Failure) -> Result<(), StoreError> {
        let id = saga.reservation;
        let answer = matches!(failure, Failure::Refused(_)).then(|| Answer::Failed(failure.clone()).encode());
        loop {
            let Some(seen) = self.store.read(move |conn| Ok::<_, StoreError>(store::find(conn, id)?)).await? else {
                return Ok(());
            };
            let now = Micros::now();
            let (next, events) = match seen.state {
                State::Requested => (seen.moved(State::Rejected, now), Vec::new()),
                State::CancelRequested => {
                    let cancelled = seen.moved(State::Cancelled, now);
                    let events = vec![events::cancel_requested(&seen), events::cancelled(&cancelled)];
                    (cancelled, events)
                }
                State::Confirmed | State::Cancelled | State::Rejected => return Ok(()),
            };
            let (request, version, answer) = (saga.request, seen.version, answer.clone());
            let ended = self
                .store
                .write(move |conn| {
                    Ok::<_, StoreError>(store::end(conn, &request, version, &next, answer.as_deref(), &events)?)
                })
                .await?;
            if ended {
                return Ok(());
            }
        }
    }
}

fn unknown(saga: &Saga, error: &StoreError) -> Outcome {
    let error = error as &dyn std::error::Error;
    tracing::warn!(reservation = %saga.reservation, error, "the database failed in a saga; it will be recovered");
    Outcome::Unknown
}

/// Whether a place, and whether money, may have been taken when it failed so. A saga that was taken over may have got
/// further the first time than it did now.
fn may_have_taken(failure: &Failure, attempts: i32) -> (bool, bool) {
    match failure {
        Failure::Refused(Refusal::PaymentDeclined(_) | Refusal::PaymentMethodUnknown) => (true, false),
        Failure::Refused(Refusal::Cancelled) => (true, true),
        Failure::Refused(_) => (false, false),
        Failure::ComeBack(Trouble::ListingUnavailable) => (true, attempts > 0),
        Failure::ComeBack(_) => (true, true),
    }
}

fn place_failure(status: &Status) -> Failure {
    let fault = Fault::from_status(status);
    match fault.reason() {
        "LISTING_NOT_FOUND" => Failure::Refused(Refusal::ListingNotFound),
        "LISTING_DELETED" => Failure::Refused(Refusal::ListingDeleted),
        "NO_AVAILABILITY" => Failure::Refused(Refusal::NoAvailability),
        "PRICE_CHANGED" => Failure::Refused(Refusal::PriceChanged),
        "DATE_IN_PAST" => Failure::Refused(Refusal::DateInPast),
        "CURRENCY_MISMATCH" => Failure::Refused(Refusal::CurrencyMismatch),
        _ => Failure::ComeBack(trouble(&fault, Trouble::ListingUnavailable)),
    }
}

fn charge_failure(fault: &Fault) -> Failure {
    match fault.reason() {
        "PAYMENT_DECLINED" => {
            let code = fault.metadata("decline_code").unwrap_or("generic_decline").to_owned();
            Failure::Refused(Refusal::PaymentDeclined(code))
        }
        "PAYMENT_METHOD_UNKNOWN" => Failure::Refused(Refusal::PaymentMethodUnknown),
        "MILEAGE_UNAVAILABLE" => Failure::ComeBack(Trouble::MileageUnavailable),
        _ => Failure::ComeBack(trouble(fault, Trouble::PaymentUnavailable)),
    }
}

fn trouble(fault: &Fault, otherwise: Trouble) -> Trouble {
    match fault.code() {
        Code::DeadlineExceeded => Trouble::OutOfTime,
        Code::Unavailable | Code::Aborted | Code::ResourceExhausted => otherwise,
        // Neither a refusal of the contract nor an outage: somebody's bug. Come back when it is mended.
        code => {
            tracing::error!(
                ?code,
                reason = fault.reason(),
                message = fault.message(),
                "an answer outside the contract"
            );
            otherwise
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_taken_is_given_back() {
        let check =
            |failure, attempts, expected| assert_eq!(may_have_taken(&failure, attempts), expected, "{failure:?}");
        check(Failure::Refused(Refusal::NoAvailability), 0, (false, false));
        check(Failure::Refused(Refusal::PaymentDeclined(String::new())), 0, (true, false));
        check(Failure::Refused(Refusal::Cancelled), 0, (true, true));
        check(Failure::ComeBack(Trouble::ListingUnavailable), 0, (true, false));
        check(Failure::ComeBack(Trouble::ListingUnavailable), 1, (true, true));
        check(Failure::ComeBack(Trouble::OutOfTime), 0, (true, true));
    }

    #[test]
    fn a_callee_answer_is_a_refusal_only_when_the_contract_says_so() {
        let check = |fault: Fault, expected| assert_eq!(place_failure(&fault.into()), expected);
        let sold_out = Fault::precondition("NO_AVAILABILITY", "AVAILABILITY", "listings/x", "sold out");
        check(sold_out, Failure::Refused(Refusal::NoAvailability));
        let down = Fault::unavailable("CONNECTION_FAILED", "down", Duration::from_secs(1));
        check(down, Failure::ComeBack(Trouble::ListingUnavailable));
        check(Fault::deadline_exceeded("late"), Failure::ComeBack(Trouble::OutOfTime));
        let released = Fault::precondition("HOLD_RELEASED", "STATE", "reservations/x", "given back");
        check(released, Failure::ComeBack(Trouble::ListingUnavailable));
    }
}
