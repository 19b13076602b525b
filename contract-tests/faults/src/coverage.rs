//! Which journeys reach which crash point, in which service. The binary lists the points; one without an entry here fails the run, and so does
//! an entry without its point.

use std::collections::BTreeSet;

use crate::scenarios::Scenario::{self, *};

/// When the process is to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// While it starts, or serves.
    Serving,
    /// After it was asked to end.
    Ending,
    /// While its database is made.
    Migrating,
    /// It does not die: it sleeps over its leases, and wakes up when others have taken over.
    Asleep,
}

/// A point that a service reaches in each of these scenarios.
pub(crate) struct Reach {
    pub(crate) point: &'static str,
    pub(crate) service: &'static str,
    pub(crate) scenarios: &'static [Scenario],
    pub(crate) nth: u32,
    pub(crate) when: When,
    /// SQLite has no lock around migrations.
    pub(crate) postgres_only: bool,
}

const fn reach(point: &'static str, service: &'static str, scenarios: &'static [Scenario]) -> Reach {
    Reach { point, service, scenarios, nth: 1, when: When::Serving, postgres_only: false }
}

/// The second time.
const fn second(reach: Reach) -> Reach {
    Reach { nth: 2, ..reach }
}

const fn ending(reach: Reach) -> Reach {
    Reach { when: When::Ending, ..reach }
}

const fn migrating(reach: Reach) -> Reach {
    Reach { when: When::Migrating, ..reach }
}

const fn asleep(reach: Reach) -> Reach {
    Reach { when: When::Asleep, ..reach }
}

/// Every point.
pub(crate) const REACHES: &[Reach] = &[
    // Reservation: the saga forward.
    reach("reservation.intent.uncommitted", "reservation", &[Book]),
    reach("reservation.intent.committed", "reservation", &[Book, Approve, Pay, Ride, Screen]),
    reach("reservation.intent.again.committed", "reservation", &[Strict]),
    reach("reservation.hold.calling", "reservation", &[Book]),
    reach("reservation.hold.placed", "reservation", &[Book, Approve, Pay, Screen]),
    reach("reservation.admitted", "reservation", &[Approve]),
    reach("reservation.register.calling", "reservation", &[Pay]),
    reach("reservation.register.answered", "reservation", &[Pay]),
    reach("reservation.charge.calling", "reservation", &[Book, Approve, Pay, Ride]),
    reach(
        "reservation.charge.answered",
        "reservation",
        &[Book, Approve, Decline, ApproveDeclined, Pay, Ride, RidePending],
    ),
    reach("reservation.settle.uncommitted", "reservation", &[Book, Approve, Pay, Ride, Screen]),
    reach("reservation.settle.committed", "reservation", &[Book, Approve, Pay, Ride, Screen]),
    second(reach("reservation.settle.uncommitted", "reservation", &[Approve, ApproveDeclined, Pay, RidePending])),
    second(reach("reservation.settle.committed", "reservation", &[Approve, ApproveDeclined, Pay, RidePending])),
    reach("reservation.retry.put.off", "reservation", &[RideRetried]),
    reach("reservation.wait.again.uncommitted", "reservation", &[Pay]),
    reach("reservation.wait.again.committed", "reservation", &[Pay]),
    reach("reservation.takeover.committed", "reservation", &[Expire, RideRetried, Unpaid]),
    // Reservation: what people and time do.
    reach("reservation.step.uncommitted", "reservation", &[Approve, Pay]),
    reach("reservation.step.committed", "reservation", &[Approve, Pay]),
    reach("reservation.change.uncommitted", "reservation", &[Cancel, Reject, Ride, RideCancel, Screen]),
    reach("reservation.change.committed", "reservation", &[Cancel, Reject, Ride, RideCancel, Screen]),
    second(reach("reservation.change.uncommitted", "reservation", &[Ride])),
    second(reach("reservation.change.committed", "reservation", &[Ride])),
    reach("reservation.refund.first.done", "reservation", &[RideCancel]),
    reach("reservation.refund.first.uncommitted", "reservation", &[RideCancel]),
    reach("reservation.expiry.uncommitted", "reservation", &[Expire, PayNever]),
    reach("reservation.expiry.committed", "reservation", &[Expire, PayNever]),
    reach("reservation.closure.page.uncommitted", "reservation", &[Delete]),
    reach("reservation.closure.page.committed", "reservation", &[Delete]),
    reach("reservation.closure.ending", "reservation", &[Delete]),
    // Reservation: the way back.
    reach("reservation.turn.uncommitted", "reservation", &[Decline, Unpaid, Strict, Late, Withdraw]),
    reach("reservation.turn.committed", "reservation", &[Decline, Unpaid, Strict, Late, Withdraw]),
    reach("reservation.deal.kept", "reservation", &[Withdraw]),
    reach("reservation.release.calling", "reservation", &[Decline, Unpaid]),
    reach("reservation.release.answered", "reservation", &[Decline, Unpaid]),
    reach("reservation.refund.calling", "reservation", &[Strict, Late, Withdraw, RideCancel]),
    reach("reservation.refund.answered", "reservation", &[Strict, Late, Withdraw, RideCancel]),
    reach("reservation.undone.uncommitted", "reservation", &[Decline, Strict, Late, Withdraw]),
    reach("reservation.undone.committed", "reservation", &[Decline, Strict, Withdraw]),
    // Payment.
    reach("payment.intent.uncommitted", "payment", &[Book]),
    reach("payment.intent.committed", "payment", &[Book, Approve]),
    reach("payment.registered", "payment", &[Pay]),
    reach("payment.attempt.committed", "payment", &[Pay]),
    reach("payment.charge.calling", "payment", &[Book]),
    reach("payment.charge.answered", "payment", &[Book, Decline, Strict, Approve, Pay, Ride, Withdraw]),
    reach("payment.miles.earned", "payment", &[Book]),
    reach("payment.outcome.uncommitted", "payment", &[Book, Decline, Pay]),
    reach("payment.outcome.committed", "payment", &[Book, Decline, Pay]),
    reach("payment.given.up.committed", "payment", &[Strict]),
    reach("payment.refund.requested", "payment", &[Late, RideCancel]),
    reach("payment.refund.calling", "payment", &[Cancel, RideCancel, Strict]),
    reach("payment.refund.answered", "payment", &[Cancel, RideCancel, Strict]),
    reach("payment.refund.uncommitted", "payment", &[Cancel, RideCancel]),
    reach("payment.refund.committed", "payment", &[Cancel, RideCancel]),
    reach("payment.takeover.committed", "payment", &[Cancel, PayNever]),
    // Listing, mileage, voucher, message, view.
    reach("listing.hold.uncommitted", "listing", &[Book, Screen]),
    reach("listing.hold.committed", "listing", &[Book, Screen]),
    reach("listing.release.uncommitted", "listing", &[Decline]),
    reach("listing.release.committed", "listing", &[Decline]),
    reach("listing.events.half.uncommitted", "listing", &[Book]),
    reach("mileage.accrual.uncommitted", "mileage", &[Book]),
    reach("mileage.accrual.committed", "mileage", &[Book]),
    reach("mileage.reversal.uncommitted", "mileage", &[Cancel]),
    reach("voucher.issue.uncommitted", "voucher", &[Pay]),
    reach("voucher.cancellation.uncommitted", "voucher", &[Pay]),
    reach("message.claim.committed", "message", &[Book]),
    reach("message.delivered", "message", &[Book]),
    reach("message.settlement.uncommitted", "message", &[Book]),
    reach("message.settlement.committed", "message", &[Book]),
    reach("view.fold.uncommitted", "view", &[Book]),
    // The outbox of every service.
    reach("mesh.outbox.unpublished", "listing", &[Book]),
    reach("mesh.outbox.unpublished", "reservation", &[Book]),
    reach("mesh.outbox.unpublished", "payment", &[Book]),
    reach("mesh.outbox.unpublished", "mileage", &[Book]),
    reach("mesh.outbox.unpublished", "voucher", &[Pay]),
    reach("mesh.outbox.unpublished", "message", &[Book]),
    reach("mesh.outbox.batch.uncommitted", "reservation", &[Delete]),
    reach("mesh.outbox.wave.acknowledged", "reservation", &[Book]),
    reach("mesh.outbox.published", "reservation", &[Book]),
    reach("mesh.outbox.published", "payment", &[Book]),
    reach("mesh.outbox.acknowledged", "listing", &[Book]),
    reach("mesh.outbox.acknowledged", "reservation", &[Book]),
    reach("mesh.outbox.acknowledged", "payment", &[Book]),
    reach("mesh.outbox.acknowledged", "mileage", &[Book]),
    reach("mesh.outbox.acknowledged", "voucher", &[Pay]),
    reach("mesh.outbox.acknowledged", "message", &[Book]),
    reach("mesh.outbox.mark.uncommitted", "reservation", &[Book]),
    reach("mesh.outbox.marked", "reservation", &[Book]),
    // The consumers of every service.
    reach("mesh.consumer.received", "listing", &[Book]),
    reach("mesh.consumer.received", "reservation", &[Cancel, Delete]),
    reach("mesh.consumer.received", "view", &[Book]),
    reach("mesh.consumer.effect.uncommitted", "listing", &[Book]),
    reach("mesh.consumer.effect.uncommitted", "reservation", &[Cancel, Delete]),
    reach("mesh.consumer.effect.uncommitted", "payment", &[Cancel]),
    reach("mesh.consumer.effect.uncommitted", "mileage", &[Cancel]),
    reach("mesh.consumer.effect.uncommitted", "message", &[Book]),
    reach("mesh.consumer.effect.committed", "listing", &[Book]),
    reach("mesh.consumer.effect.committed", "reservation", &[Cancel, Delete]),
    reach("mesh.consumer.effect.committed", "payment", &[Cancel]),
    reach("mesh.consumer.effect.committed", "mileage", &[Cancel]),
    reach("mesh.consumer.effect.committed", "message", &[Book]),
    reach("mesh.consumer.effect.committed", "view", &[Book]),
    reach("mesh.consumer.effect.committed", "voucher", &[Pay]),
    reach("mesh.consumer.acknowledged", "reservation", &[Cancel]),
    reach("mesh.consumer.buried", "reservation", &[Poison]),
    // A process's own life.
    migrating(reach("mesh.migration.pending", "reservation", &[Book])),
    migrating(second(reach("mesh.migration.pending", "listing", &[Book]))),
    migrating(reach("mesh.migration.applied", "payment", &[Book])),
    migrating(second(reach("mesh.migration.applied", "view", &[Book]))),
    Reach { postgres_only: true, ..migrating(reach("mesh.migration.unlocking", "mileage", &[Book])) },
    reach("mesh.node.opened", "reservation", &[Book]),
    ending(reach("mesh.node.drained", "reservation", &[Book])),
    ending(reach("mesh.node.drained", "payment", &[Book])),
    ending(reach("mesh.node.drained", "message", &[Book])),
    ending(reach("mesh.node.ended", "reservation", &[Book])),
    // Those who wake up with something in their hands.
    asleep(reach("reservation.intent.committed", "reservation", &[Book])),
    asleep(reach("reservation.hold.placed", "reservation", &[Book, Screen])),
    asleep(reach("reservation.charge.answered", "reservation", &[Book, Approve, Decline, Pay, Ride, RidePending])),
    asleep(reach("reservation.settle.committed", "reservation", &[Book])),
    asleep(reach("reservation.step.committed", "reservation", &[Approve, Pay])),
    asleep(reach("reservation.change.committed", "reservation", &[Cancel])),
    asleep(reach("reservation.turn.committed", "reservation", &[Decline])),
    asleep(reach("reservation.release.answered", "reservation", &[Decline])),
    asleep(reach("reservation.takeover.committed", "reservation", &[Expire])),
    asleep(reach("reservation.closure.page.committed", "reservation", &[Delete])),
    asleep(reach("payment.intent.committed", "payment", &[Book])),
    asleep(reach("payment.charge.answered", "payment", &[Book, Approve, Late, Pay])),
    asleep(reach("payment.miles.earned", "payment", &[Book])),
    asleep(reach("payment.refund.answered", "payment", &[Cancel])),
    asleep(reach("listing.hold.committed", "listing", &[Book])),
    asleep(reach("message.delivered", "message", &[Book])),
    asleep(reach("mesh.outbox.unpublished", "reservation", &[Book])),
    asleep(reach("mesh.outbox.acknowledged", "reservation", &[Book])),
    asleep(reach("mesh.consumer.received", "reservation", &[Cancel])),
    asleep(reach("mesh.consumer.effect.committed", "reservation", &[Cancel])),
];

/// What is wrong between the points of the binary and the entries.
pub(crate) fn gaps(points: &[String]) -> Vec<String> {
    let points_of_binary: BTreeSet<&str> = points.iter().map(String::as_str).collect();
    let entries: BTreeSet<&str> = REACHES.iter().map(|reach| reach.point).collect();
    let unreached = points_of_binary.difference(&entries).map(|point| format!("no scenario reaches {point}"));
    let unknown = entries.difference(&points_of_binary).map(|point| format!("there is no crash point {point}"));
    let twice = points.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| format!("{} stands twice", pair[0]));
    unreached.chain(unknown).chain(twice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_without_an_entry_and_an_entry_without_its_point_are_gaps() {
        let mut points: Vec<String> = REACHES.iter().map(|reach| reach.point.to_owned()).collect();
        points.sort_unstable();
        points.dedup();
        assert_eq!(gaps(&points), Vec::<String>::new());
        points[0] = "new.point".to_owned();
        assert_eq!(gaps(&points).len(), 2);
        points.push("new.point.2".to_owned());
        points.push("new.point.2".to_owned());
        assert_eq!(gaps(&points).len(), 4);
    }
}
