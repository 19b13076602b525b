//! What a seed decides: who offers and books what, and what goes wrong meanwhile.

use std::ops::RangeInclusive;
use std::time::Duration;

use holdfast::business::{BAD_CARD, Business, GOOD_CARD};
use holdfast::service::Service;
use mesh::simulation::Roughness;
use proto::listing::v1::Listing;
use proto::listing::v1::reservation_policy::{Approval, Mileage, PaymentWait};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// 2026-01-01T00:00:00Z; a simulation begins at some moment of the year after it.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);
const YEAR: u64 = 365 * 86_400;
/// Faults begin within so long after the listings are made.
const FAULTS: Duration = Duration::from_secs(5);

/// All of it.
pub(crate) struct Plan {
    /// When it begins, since 1970.
    pub(crate) begins: Duration,
    pub(crate) offers: Vec<Offer>,
    /// What each customer does, one after the other.
    pub(crate) customers: Vec<Vec<Journey>>,
    /// In order of time.
    pub(crate) faults: Vec<(Duration, Fault)>,
    pub(crate) roughness: Roughness,
    /// A host that crashed at its disk is away for so long.
    pub(crate) outage: Duration,
    /// Each customer wants everything at once, instead of one thing after the other.
    pub(crate) at_once: bool,
    /// One way through the network takes up to so long.
    pub(crate) network: Duration,
}

/// A listing.
pub(crate) struct Offer {
    pub(crate) business: Business,
    pub(crate) listing: Listing,
}

/// One reservation and what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Journey {
    /// Before it begins.
    pub(crate) pause: Duration,
    /// Which offer.
    pub(crate) offer: usize,
    /// From so many days ahead.
    pub(crate) day: i32,
    pub(crate) nights: i32,
    pub(crate) card: &'static str,
    /// The caller's own deadline.
    pub(crate) budget: Option<Duration>,
    /// Asked again once more though it was answered.
    pub(crate) repeats: bool,
    pub(crate) then: Vec<Step>,
}

/// What follows a reservation that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Wait(Duration),
    Approve,
    Reject,
    Pay(&'static str),
    Cancel,
    /// The host deletes the listing.
    Withdraw,
}

/// What goes wrong, or right again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Crash(Service),
    Restart(Service),
    /// Nothing gets through between the two, and what was on its way is lost.
    Cut(&'static str, &'static str),
    Mend(&'static str, &'static str),
    /// Everything between the two waits.
    Hold(&'static str, &'static str),
    Release(&'static str, &'static str),
    BrokerLeaves,
    /// Having lost so many of the last events of each stream.
    BrokerReturns(usize),
}

/// Who talks to whom.
const LINKS: [(&str, &str); 6] = [
    ("callers", "reservation"),
    ("callers", "listing"),
    ("reservation", "listing"),
    ("reservation", "payment"),
    ("payment", "mileage"),
    ("callers", "reservation"),
];
/// Who crashes; those who decide more often than those who tell.
const VICTIMS: [Service; 9] = [
    Service::Reservation,
    Service::Reservation,
    Service::Payment,
    Service::Payment,
    Service::Listing,
    Service::Mileage,
    Service::Message,
    Service::View,
    Service::Voucher,
];

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice(StdRng::seed_from_u64(seed));
        let mut offers: Vec<Offer> = (0..dice.number(2..=4)).map(|_| dice.offer()).collect();
        let mut customers: Vec<_> = (0..dice.number(2..=5)).map(|_| dice.journeys(offers.len())).collect();
        if dice.chance(50) {
            rush(&mut customers);
        }
        let at_once = dice.chance(30);
        if at_once {
            hoard(&mut offers[0], &mut customers);
        }
        Self {
            begins: EPOCH + Duration::from_secs(dice.0.random_range(0..YEAR)),
            offers,
            customers,
            faults: dice.faults(),
            roughness: dice.roughness(),
            outage: dice.millis(20..=2500),
            at_once,
            network: dice.latency(60),
        }
    }
}

/// Everybody wants the same at once.
fn rush(customers: &mut [Vec<Journey>]) {
    for journey in customers.iter_mut().filter_map(|journeys| journeys.first_mut()) {
        (journey.pause, journey.offer, journey.day) = (Duration::ZERO, 0, 2);
    }
}

/// Each wants more of the same than one person may have.
fn hoard(offer: &mut Offer, customers: &mut [Vec<Journey>]) {
    offer.listing.policy.get_or_insert_default().max_per_person = 1;
    for journeys in customers {
        for (day, journey) in (2..).step_by(4).zip(journeys) {
            (journey.offer, journey.day) = (0, day);
        }
    }
}

struct Dice(StdRng);

impl Dice {
    fn number(&mut self, range: RangeInclusive<i32>) -> i32 {
        self.0.random_range(range)
    }

    fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.0.random_range(range))
    }

    /// The usual, or much more.
    fn latency(&mut self, usual_ms: u64) -> Duration {
        if self.chance(25) { self.millis(usual_ms..=usual_ms * 6) } else { self.millis(1..=usual_ms) }
    }

    /// So many times out of a hundred.
    fn chance(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.random_range(0..choices.len())]
    }

    fn offer(&mut self) -> Offer {
        let business = self.one_of(&[
            Business::Airbnb,
            Business::Airbnb,
            Business::Approval,
            Business::Resort,
            Business::Taxi,
            Business::Screening,
        ]);
        let capacity = self.one_of(&[1, 1, 1, 2, 3]);
        let mut listing = business.listing(capacity);
        let policy = listing.policy.get_or_insert_default();
        let seconds = |seconds: i32| Some(prost_types::Duration { seconds: seconds.into(), nanos: 0 });
        policy.approval_ttl = seconds(self.number(2..=8));
        policy.payment_ttl = seconds(self.number(2..=8));
        if self.chance(25) {
            policy.max_per_person = self.number(1..=2);
        }
        match business {
            Business::Airbnb => {
                policy.mileage_points = i64::from(self.number(1..=100));
                // Strict miles exclude a payment that is waited for.
                let (mileage, wait) = self.one_of(&[
                    (Mileage::EarnGraceful, PaymentWait::Strict),
                    (Mileage::EarnGraceful, PaymentWait::Pending),
                    (Mileage::EarnStrict, PaymentWait::Strict),
                ]);
                policy.mileage = mileage.into();
                policy.payment_wait = wait.into();
                if self.chance(15) {
                    policy.approval = Approval::AfterPayment.into();
                }
            }
            Business::Approval | Business::Resort | Business::Taxi | Business::Screening => {}
        }
        Offer { business, listing }
    }

    fn journeys(&mut self, offers: usize) -> Vec<Journey> {
        (0..self.number(1..=4)).map(|_| self.journey(offers)).collect()
    }

    fn journey(&mut self, offers: usize) -> Journey {
        let budgets = [None, None, Some(100), Some(250), Some(600), Some(1500)];
        Journey {
            pause: self.millis(0..=800),
            offer: self.0.random_range(0..offers),
            day: self.number(2..=3),
            nights: self.number(1..=3),
            card: self.card(),
            budget: self.one_of(&budgets).map(Duration::from_millis),
            repeats: self.chance(30),
            then: self.steps(),
        }
    }

    fn card(&mut self) -> &'static str {
        let cards = [GOOD_CARD, GOOD_CARD, GOOD_CARD, GOOD_CARD, BAD_CARD, "pm_sim_slow", "pm_sim_lost_answer"];
        self.one_of(&cards)
    }

    /// Approving and paying where it may be wanted; whoever is not asked is refused, which does no harm.
    fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.chance(40) {
            steps.push(Step::Wait(self.millis(0..=2000)));
        }
        if self.chance(10) {
            steps.push(Step::Withdraw);
        }
        if self.chance(80) {
            let card = self.card();
            let mut asked = vec![if self.chance(85) { Step::Approve } else { Step::Reject }, Step::Pay(card)];
            if self.chance(50) {
                asked.reverse();
            }
            steps.append(&mut asked);
        }
        if self.chance(35) {
            let at = self.0.random_range(0..=steps.len());
            steps.insert(at, Step::Cancel);
        }
        steps
    }

    fn faults(&mut self) -> Vec<(Duration, Fault)> {
        let mut faults = Vec::new();
        for _ in 0..self.number(1..=6) {
            let at = self.millis(0..=FAULTS.as_millis() as u64);
            let until = at + self.millis(20..=2500);
            let (begin, end) = self.fault();
            faults.push((at, begin));
            faults.push((until, end));
        }
        faults.sort_by_key(|(at, _)| *at);
        faults
    }

    fn fault(&mut self) -> (Fault, Fault) {
        let (a, b) = self.one_of(&LINKS);
        match self.number(0..=9) {
            0..=5 => {
                let victim = self.one_of(&VICTIMS);
                (Fault::Crash(victim), Fault::Restart(victim))
            }
            6 => (Fault::Cut(a, b), Fault::Mend(a, b)),
            7 | 8 => (Fault::Hold(a, b), Fault::Release(a, b)),
            _ => {
                let forgotten = if self.chance(50) { self.number(1..=10) } else { 0 };
                (Fault::BrokerLeaves, Fault::BrokerReturns(usize::try_from(forgotten).unwrap_or_default()))
            }
        }
    }

    fn roughness(&mut self) -> Roughness {
        let crash = self.one_of(&[0, 0, 5, 10, 20]);
        let mut chance = |most| self.0.random_range(0..=most);
        Roughness {
            lost_publish: chance(30),
            lost_publish_ack: chance(60),
            stored_twice: chance(500),
            late_delivery: chance(150),
            lost_ack: chance(100),
            late_call: chance(150),
            crash,
            latency: self.latency(10),
        }
    }
}
