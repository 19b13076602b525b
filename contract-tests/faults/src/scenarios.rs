//! What people do while something dies: each policy's journeys, and how each has to end.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mesh::event::NewEvent;
use mesh::store::{Id, Micros};
use mesh::testing::Publisher;
use proto::listing::v1::Listing;
use proto::listing::v1::hold::State as HoldState;
use proto::listing::v1::reservation_policy::{Mileage, PaymentWait};
use proto::payment::v1::payment::State as PaymentState;
use proto::payment::v1::{Payment, PaymentCancelled};
use proto::reservation::v1::reservation::State;
use proto::reservation::v1::{CreateReservationRequest, Reservation};
use proto::voucher::v1::voucher::State as VoucherState;
use world::World;
use world::caller::{wish, wish_now, wish_on};
use world::offers::{self, with};

use crate::scene::{Command, End, PATIENCE, Scene, approve, cancel, complete, insist, pay, reject};

const CARD: &str = "pm_card_visa";
const EMPTY_CARD: &str = "pm_card_chargeDeclined";
const SLOW_CARD: &str = "pm_sim_slow";
/// Less than the slow card takes.
const HASTE: Duration = Duration::from_millis(1_200);
const FARE: i64 = 12_000;
/// Days until anybody arrives.
const AHEAD: i32 = 20;
/// Enough for the relay to publish their ends as one batch.
const SCREENINGS: usize = 6;

/// A policy and what people do under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    /// A room is booked and paid.
    Book,
    /// … and cancelled.
    Cancel,
    /// … with a card that is declined.
    Decline,
    /// … while payment is away.
    Unpaid,
    /// … under a policy that insists on miles, while mileage is away.
    Strict,
    /// … so slowly that its caller leaves before the charge is answered, and asks again.
    Late,
    /// … slowly, and cancelled meanwhile.
    Withdraw,
    /// An event that nobody can read comes between.
    Poison,
    /// The host approves, and then it is paid.
    Approve,
    /// The host approves, and the card is declined.
    ApproveDeclined,
    /// The host does not want it.
    Reject,
    /// The host says nothing.
    Expire,
    /// A room of a resort: a first card is declined, a second one pays, then all of it is cancelled.
    Pay,
    /// … nobody pays.
    PayNever,
    /// A taxi: ordered and paid, assigned, ridden.
    Ride,
    /// … cancelled and refunded in one answer.
    RideCancel,
    /// … ordered while payment is away, paid once it is back.
    RidePending,
    /// … ordered while payment is away, for longer.
    RideRetried,
    /// A screening: confirmed, cancelled.
    Screen,
    /// Screenings, and their hospital is deleted.
    Delete,
}

impl Scenario {
    /// What a random load is made of: nobody is away in these.
    pub(crate) const EVERYDAY: [Self; 9] = [
        Self::Book,
        Self::Cancel,
        Self::Decline,
        Self::Approve,
        Self::Reject,
        Self::Pay,
        Self::Ride,
        Self::RideCancel,
        Self::Screen,
    ];

    /// The service that is away at the beginning.
    pub(crate) fn without(self) -> Option<&'static str> {
        match self {
            Self::Unpaid | Self::RidePending | Self::RideRetried => Some("payment"),
            Self::Strict => Some("mileage"),
            _ => None,
        }
    }

    fn offer(self) -> Listing {
        let soon = || Some(prost_types::Duration { seconds: 2, nanos: 0 });
        match self {
            Self::Book | Self::Cancel | Self::Decline | Self::Unpaid | Self::Late | Self::Withdraw | Self::Poison => {
                offers::room(1)
            }
            Self::Strict => with(offers::room(1), |policy| policy.mileage = Mileage::EarnStrict.into()),
            Self::Approve | Self::ApproveDeclined | Self::Reject => offers::room_by_approval(1),
            Self::Expire => with(offers::room_by_approval(1), |policy| policy.approval_ttl = soon()),
            Self::Pay => offers::resort(1),
            Self::PayNever => with(offers::resort(1), |policy| policy.payment_ttl = soon()),
            Self::Ride | Self::RideCancel => offers::taxi(1, FARE),
            Self::RidePending | Self::RideRetried => {
                with(offers::taxi(1, FARE), |policy| policy.payment_wait = PaymentWait::Pending.into())
            }
            Self::Screen => offers::hospital(1),
            Self::Delete => offers::hospital(20),
        }
    }

    /// What has to be there before anything dies: the listing, which is answered.
    pub(crate) async fn prepare(self, scene: &Scene) -> Result<String> {
        scene.offer(self.offer()).await
    }

    fn wish(self, listing: &str) -> CreateReservationRequest {
        let (wish, payment_method) = match self {
            Self::Decline => (wish(listing), EMPTY_CARD),
            Self::Late | Self::Withdraw => (wish(listing), SLOW_CARD),
            Self::ApproveDeclined => (wish(listing), EMPTY_CARD),
            Self::Pay | Self::PayNever | Self::Screen | Self::Delete => (wish_on(listing, AHEAD), ""),
            Self::Ride | Self::RideCancel | Self::RidePending | Self::RideRetried => (wish_now(listing), CARD),
            _ => (wish(listing), CARD),
        };
        CreateReservationRequest { payment_method: payment_method.to_owned(), ..wish }
    }

    /// Plays it to its end, whatever dies meanwhile, and checks that the end is the right one.
    pub(crate) async fn play(self, scene: &Scene, listing: &str) -> Result<()> {
        let reserve = Command::Reserve(Box::new(self.wish(listing)));
        match self {
            Self::Decline => {
                scene.refused(reserve, "PAYMENT_DECLINED").await?;
                return scene.stays_true(&[]).await;
            }
            Self::Late => scene.ask_in_haste(&reserve, HASTE).await,
            Self::Withdraw => return withdraw(scene, reserve).await,
            Self::Delete => return delete(scene, listing).await,
            _ => {}
        }
        let reserved = scene.done(reserve).await?;
        self.go_on(scene, &reserved).await?;
        scene.ends(&reserved, self.end()).await?;
        scene.stays_true(&[&reserved]).await
    }

    /// What follows the booking.
    async fn go_on(self, scene: &Scene, reserved: &Reservation) -> Result<()> {
        match self {
            Self::Cancel | Self::RideCancel | Self::Screen => drop(scene.done(cancel(reserved)).await?),
            Self::Approve => drop(scene.done(approve(reserved)).await?),
            Self::ApproveDeclined => scene.refused(approve(reserved), "PAYMENT_DECLINED").await?,
            Self::Reject => drop(scene.done(reject(reserved)).await?),
            Self::Pay => {
                scene.refused(pay(reserved, EMPTY_CARD), "PAYMENT_DECLINED").await?;
                scene.done(pay(reserved, CARD)).await?;
                // A cancellation that comes before the voucher leaves none to cancel.
                let paid = End::new(State::Confirmed, HoldState::Committed, PaymentState::Approved, 0);
                scene.ends(reserved, End { voucher: VoucherState::Issued, ..paid }).await?;
                scene.done(cancel(reserved)).await?;
            }
            Self::Ride => {
                scene.done(approve(reserved)).await?;
                scene.done(complete(reserved)).await?;
            }
            Self::RidePending | Self::RideRetried => {
                if self == Self::RidePending {
                    scene.relief.notify_one();
                }
                scene.until(&reserved.name, State::AwaitingApproval).await?;
                scene.done(approve(reserved)).await?;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(self) -> End {
        use State::{Cancelled, Completed, Confirmed, Expired, Rejected};
        let never = PaymentState::Unspecified;
        let back = |payment, messages| End::new(Cancelled, HoldState::Released, payment, messages);
        let taken = |messages| End::new(Confirmed, HoldState::Committed, PaymentState::Approved, messages);
        match self {
            Self::Book | Self::Unpaid | Self::Strict | Self::Late | Self::Poison => End { miles: 1, ..taken(2) },
            Self::Cancel => back(PaymentState::Cancelled, 4),
            Self::Approve => taken(2),
            // Declined first, and void with the rejection.
            Self::ApproveDeclined => End::new(Rejected, HoldState::Released, PaymentState::Cancelled, 2),
            Self::Reject => End::new(Rejected, HoldState::Released, never, 2),
            Self::Expire => End::new(Expired, HoldState::Released, never, 2),
            Self::Pay => End { voucher: VoucherState::Cancelled, ..back(PaymentState::Cancelled, 0) },
            Self::PayNever => End::new(Expired, HoldState::Released, PaymentState::Cancelled, 0),
            Self::Ride => End::new(Completed, HoldState::Completed, PaymentState::Approved, 4),
            Self::RideCancel => back(PaymentState::Cancelled, 2),
            Self::RidePending | Self::RideRetried => taken(3),
            Self::Screen => back(never, 3),
            Self::Decline | Self::Withdraw | Self::Delete => unreachable!("they check their ends themselves"),
        }
    }
}

/// Cancels what is still being booked. The booking may win, or never be heard of; in the end nothing is taken.
async fn withdraw(scene: &Scene, reserve: Command) -> Result<()> {
    let withdrawal = async {
        let began = Instant::now();
        loop {
            if let Some(found) = insist(async || scene.reservations().await).await??.pop() {
                return scene.done(cancel(&found)).await;
            }
            ensure!(began.elapsed() < PATIENCE, "the reservation is never seen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (reserved, cancelled) = tokio::join!(scene.ask(reserve), withdrawal);
    reserved?;
    let cancelled = cancelled?;
    scene.until(&cancelled.name, State::Cancelled).await?;
    scene.stays_true(&[&cancelled]).await
}

/// Several are booked, and the listing is deleted.
async fn delete(scene: &Scene, listing: &str) -> Result<()> {
    let mut booked = Vec::new();
    for _ in 0..SCREENINGS {
        booked.push(scene.done(Command::Reserve(Box::new(Scenario::Delete.wish(listing)))).await?);
    }
    // A refusal says that it was deleted before the answer got lost.
    let _ = insist(async || scene.host().withdraw(listing).await).await?;
    let end = End::new(State::ForceCancelled, HoldState::Released, PaymentState::Unspecified, 3);
    for booked in &booked {
        scene.ends(booked, end).await?;
    }
    scene.stays_true(&booked.iter().collect::<Vec<_>>()).await
}

/// Publishes an event that its consumers cannot read, as long as the publisher is there.
pub(crate) async fn publish_poison(world: &World) -> Publisher {
    let id = Id::generate();
    let payment = Payment { name: format!("payments/{id}"), ..Payment::default() };
    let event = PaymentCancelled { payment: Some(payment) };
    let event = NewEvent::of(&event, id, 1, &id.to_string(), None, Micros::now());
    let mut publisher = world.broker.publisher().await;
    publisher.publish(vec![event]).await;
    publisher
}
