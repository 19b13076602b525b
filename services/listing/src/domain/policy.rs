//! The deal a listing is reserved under: what it is where its host says nothing, and what cannot be.
//!
//! It is the contract's own message. Listing keeps it and hands it on, and decides by two of its fields; an image of it in types of its own
//! would only be copied to and fro.

use std::time::Duration;

use mesh::value::Money;
use proto::listing::v1::notification::{Audience, Channel, Transition};
pub use proto::listing::v1::reservation_policy::Capacity;
use proto::listing::v1::reservation_policy::{Approval, CancelRefund, Mileage, Payment, PaymentWait, Voucher};
use proto::listing::v1::{Notification, ReservationPolicy};

use super::{Kind, ReviewAfter, Violation};

/// Miles for a payment when the host names none.
const MILEAGE_POINTS_DEFAULT: i64 = 1;
/// How long approval and payment are awaited when the host does not say.
const TTL_DEFAULT: prost_types::Duration = prost_types::Duration { seconds: 86_400, nanos: 0 };
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_hours(90 * 24);

/// What the platform decides for the listings whose hosts leave it open.
#[derive(Clone, Copy, Debug, Default)]
pub struct Platform {
    /// Open reservations of a listing that one customer may have; 0 is no limit.
    pub max_per_person: i32,
    /// What a reservation costs at least, where the listing is priced in this currency and not free.
    pub min_price: Option<Money>,
    /// When a guest may leave a review.
    pub review_after: ReviewAfter,
}

/// The deal a reservation is made under. Whatever its kind decides is set.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy(ReservationPolicy);

impl Policy {
    /// What a host asks for, completed by the defaults of the kind.
    #[must_use]
    pub fn complete(kind: Kind, asked: ReservationPolicy) -> Self {
        let mut policy = asked;
        let (capacity, approval) = match kind {
            Kind::Room => (Capacity::Nightly, Approval::None),
            Kind::Resort | Kind::Hospital => (Capacity::Dated, Approval::None),
            Kind::Taxi if policy.payment() == Payment::None => (Capacity::Stock, Approval::None),
            Kind::Taxi => (Capacity::Stock, Approval::AfterPayment),
        };
        set_if_open(&mut policy.capacity, capacity);
        set_if_open(&mut policy.approval, approval);
        let payment = match kind {
            Kind::Room if policy.approval() == Approval::BeforePayment => Payment::OnApproval,
            Kind::Room | Kind::Taxi => Payment::AtBooking,
            Kind::Resort => Payment::Deferred,
            Kind::Hospital => Payment::None,
        };
        set_if_open(&mut policy.payment, payment);
        set_if_open(&mut policy.payment_wait, PaymentWait::Strict);
        let (mileage, voucher, cancel_refund) = match kind {
            _ if policy.payment() == Payment::None => (Mileage::None, Voucher::None, CancelRefund::None),
            Kind::Room => (Mileage::EarnGraceful, Voucher::None, CancelRefund::Async),
            Kind::Hospital => (Mileage::None, Voucher::None, CancelRefund::Async),
            Kind::Resort => (Mileage::None, Voucher::OnPayment, CancelRefund::Async),
            Kind::Taxi => (Mileage::None, Voucher::None, CancelRefund::Sync),
        };
        set_if_open(&mut policy.mileage, mileage);
        set_if_open(&mut policy.voucher, voucher);
        set_if_open(&mut policy.cancel_refund, cancel_refund);
        if policy.mileage_points == 0 {
            policy.mileage_points = MILEAGE_POINTS_DEFAULT;
        }
        policy.approval_ttl.get_or_insert(TTL_DEFAULT);
        policy.payment_ttl.get_or_insert(TTL_DEFAULT);
        if policy.notifications.is_empty() {
            policy.notifications = notifications(kind, policy.approval());
        }
        for notification in &mut policy.notifications {
            set_if_open(&mut notification.channel, Channel::Message);
            set_if_open(&mut notification.audience, Audience::Customer);
        }
        Self(policy)
    }

    /// From a policy that was complete when it was stored.
    pub(crate) const fn stored(policy: ReservationPolicy) -> Self {
        Self(policy)
    }

    /// In the contract's words.
    #[must_use]
    pub const fn message(&self) -> &ReservationPolicy {
        &self.0
    }

    /// What is counted.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.0.capacity()
    }

    /// What a reservation costs at least.
    #[must_use]
    pub fn min_price(&self) -> Option<Money> {
        let price = self.0.min_price.as_ref()?;
        Some(Money::try_from(price).expect("a minimum was checked when it was written"))
    }

    /// With what the platform decides where the host has left it open. `price` is the listing's.
    #[must_use]
    pub fn under(&self, platform: &Platform, price: Money) -> Self {
        let mut policy = self.0.clone();
        if policy.max_per_person == 0 {
            policy.max_per_person = platform.max_per_person;
        }
        if policy.min_price.is_none() && !price.is_zero() {
            let minimum = platform.min_price.filter(|minimum| minimum.currency() == price.currency());
            policy.min_price = minimum.map(Into::into);
        }
        Self(policy)
    }

    /// What this policy becomes when its host asks for another. Where the platform's word was shown and is sent back, the host has not spoken.
    pub(crate) fn replaced(&self, kind: Kind, asked: &ReservationPolicy, platform: &Platform, price: Money) -> Self {
        let (stored, shown) = (&self.0, self.under(platform, price).0);
        let mut asked = asked.clone();
        asked.capacity = stored.capacity;
        if asked.max_per_person == shown.max_per_person {
            asked.max_per_person = stored.max_per_person;
        }
        if asked.min_price == shown.min_price {
            asked.min_price.clone_from(&stored.min_price);
        }
        Self::complete(kind, asked)
    }

    /// What does not go together, or not with the price.
    pub(crate) fn contradictions(&self, price: Money) -> Vec<Violation> {
        let policy = &self.0;
        let (approval, payment) = (policy.approval(), policy.payment());
        let paid = payment != Payment::None;
        let before = approval == Approval::BeforePayment;
        let rules = [
            (
                before && payment == Payment::AtBooking,
                "listing.policy.payment",
                "AT_BOOKING excludes approval before it",
            ),
            (
                !before && payment == Payment::OnApproval,
                "listing.policy.payment",
                "ON_APPROVAL needs approval before it",
            ),
            (!paid && approval == Approval::AfterPayment, "listing.policy.approval", "AFTER_PAYMENT needs a payment"),
            (!paid && policy.mileage() != Mileage::None, "listing.policy.mileage", "needs a payment"),
            (
                paid && policy.mileage() == Mileage::EarnStrict
                    && (payment != Payment::AtBooking || policy.payment_wait() == PaymentWait::Pending),
                "listing.policy.mileage",
                "EARN_STRICT needs a payment AT_BOOKING that is STRICT: it undoes the payment, which is then final",
            ),
            (!paid && policy.voucher() != Voucher::None, "listing.policy.voucher", "needs a payment"),
            (!paid && policy.cancel_refund() != CancelRefund::None, "listing.policy.cancel_refund", "needs a payment"),
            (!paid && !price.is_zero(), "listing.price", "must be zero where the policy has no payment"),
        ];
        let contradiction = |field, why| Violation::new(field, "POLICY_CONTRADICTORY", why);
        let mut found: Vec<_> =
            rules.into_iter().filter(|(broken, ..)| *broken).map(|(_, field, why)| contradiction(field, why)).collect();
        if self.min_price().is_some_and(|minimum| minimum.currency() != price.currency()) {
            let why = "must be in the currency of the price";
            found.push(Violation::new("listing.policy.min_price", "CURRENCY_MISMATCH", why));
        }
        found
    }
}

/// What single fields of a policy have wrong that a host asks for.
pub(crate) fn violations(asked: &ReservationPolicy) -> Vec<Violation> {
    let ttls = [("listing.policy.approval_ttl", asked.approval_ttl), ("listing.policy.payment_ttl", asked.payment_ttl)];
    let mut found: Vec<_> = ttls
        .into_iter()
        .filter(|(_, ttl)| {
            ttl.is_some_and(|ttl| !Duration::try_from(ttl).is_ok_and(|ttl| (TTL_MIN..=TTL_MAX).contains(&ttl)))
        })
        .map(|(field, _)| Violation::new(field, "DURATION_RANGE", "must be 1 second to 90 days"))
        .collect();
    let minimum = asked.min_price.as_ref().map(Money::try_from);
    if let Some(Err(error)) = minimum.map(|minimum| minimum.and_then(Money::not_negative)) {
        found.push(Violation::new("listing.policy.min_price", error.reason(), error.to_string()));
    }
    found
}

fn set_if_open<E: Into<i32>>(field: &mut i32, default: E) {
    if *field == 0 {
        *field = default.into();
    }
}

/// Who is told of what, by default.
fn notifications(kind: Kind, approval: Approval) -> Vec<Notification> {
    use Transition::{Cancelled, Confirmed, Expired, ForceCancelled, Rejected, Requested, Unspecified};
    let told = |transition: Transition, channel: Channel, audience: Audience| Notification {
        transition: transition.into(),
        channel: channel.into(),
        audience: audience.into(),
    };
    match kind {
        Kind::Room => {
            let customer = [Confirmed, Cancelled, Rejected, Expired, ForceCancelled]
                .map(|transition| told(transition, Channel::Message, Audience::Customer));
            let host = (approval != Approval::None).then(|| told(Requested, Channel::Message, Audience::Host));
            customer.into_iter().chain(host).collect()
        }
        Kind::Resort => Vec::new(),
        Kind::Taxi => vec![told(Unspecified, Channel::Sms, Audience::Customer)],
        Kind::Hospital => vec![told(Unspecified, Channel::Alarm, Audience::Customer)],
    }
}

#[cfg(test)]
mod tests {
    use mesh::value::Currency;

    use super::*;

    const KINDS: [Kind; 4] = [Kind::Room, Kind::Resort, Kind::Taxi, Kind::Hospital];

    fn won(amount: i64) -> Money {
        Money::from_minor(amount, Currency::KRW)
    }

    fn asked(change: impl FnOnce(&mut ReservationPolicy)) -> ReservationPolicy {
        let mut policy = ReservationPolicy::default();
        change(&mut policy);
        policy
    }

    /// The table of the contract.
    #[test]
    fn a_kind_completes_what_its_host_leaves_open() {
        let rows = [
            (Kind::Room, "NIGHTLY NONE AT_BOOKING STRICT EARN_GRACEFUL NONE ASYNC", 5),
            (Kind::Resort, "DATED NONE DEFERRED STRICT NONE ON_PAYMENT ASYNC", 0),
            (Kind::Taxi, "STOCK AFTER_PAYMENT AT_BOOKING STRICT NONE NONE SYNC", 1),
            (Kind::Hospital, "DATED NONE NONE STRICT NONE NONE NONE", 1),
        ];
        for (kind, expected, told) in rows {
            let policy = Policy::complete(kind, ReservationPolicy::default());
            assert_eq!(summary(&policy), expected, "{kind:?}");
            let message = policy.message();
            assert_eq!(message.notifications.len(), told, "{kind:?}");
            assert_eq!(
                (message.mileage_points, message.approval_ttl, message.payment_ttl),
                (1, Some(TTL_DEFAULT), Some(TTL_DEFAULT))
            );
        }
        let approved = asked(|policy| policy.set_approval(Approval::BeforePayment));
        let room = Policy::complete(Kind::Room, approved);
        assert_eq!(summary(&room), "NIGHTLY BEFORE_PAYMENT ON_APPROVAL STRICT EARN_GRACEFUL NONE ASYNC");
        assert_eq!(room.message().notifications.last().map(Notification::audience), Some(Audience::Host));
        let free = Policy::complete(Kind::Room, asked(|policy| policy.set_payment(Payment::None)));
        assert_eq!(summary(&free), "NIGHTLY NONE NONE STRICT NONE NONE NONE");
    }

    fn summary(policy: &Policy) -> String {
        let policy = policy.message();
        [
            policy.capacity().as_str_name(),
            policy.approval().as_str_name(),
            policy.payment().as_str_name(),
            policy.payment_wait().as_str_name(),
            policy.mileage().as_str_name(),
            policy.voucher().as_str_name(),
            policy.cancel_refund().as_str_name(),
        ]
        .into_iter()
        .zip(["CAPACITY_", "APPROVAL_", "PAYMENT_", "PAYMENT_WAIT_", "MILEAGE_", "VOUCHER_", "CANCEL_REFUND_"])
        .map(|(name, prefix)| name.strip_prefix(prefix).unwrap_or(name))
        .collect::<Vec<_>>()
        .join(" ")
    }

    #[test]
    fn completing_again_changes_nothing() {
        for kind in KINDS {
            let policy = Policy::complete(kind, ReservationPolicy::default());
            assert_eq!(Policy::complete(kind, policy.message().clone()), policy);
            let free = if kind == Kind::Hospital { won(0) } else { won(1) };
            assert_eq!(policy.contradictions(free), []);
        }
    }

    #[track_caller]
    fn check(kind: Kind, price: i64, change: impl FnOnce(&mut ReservationPolicy), expected: &[&str]) {
        let asked = asked(change);
        let mut found = violations(&asked);
        if found.is_empty() {
            found = Policy::complete(kind, asked).contradictions(won(price));
        }
        let found: Vec<_> = found
            .iter()
            .map(|violation| format!("{} {}", violation.field.trim_start_matches("listing."), violation.reason))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_field() {
        const PAYMENT: &str = "policy.payment POLICY_CONTRADICTORY";
        let before = |policy: &mut ReservationPolicy| policy.set_approval(Approval::BeforePayment);
        check(Kind::Room, 1, |policy| (before(policy), policy.set_payment(Payment::AtBooking)).1, &[PAYMENT]);
        check(Kind::Room, 1, |policy| policy.set_payment(Payment::OnApproval), &[PAYMENT]);
        check(
            Kind::Resort,
            1,
            |policy| (policy.set_approval(Approval::AfterPayment), policy.set_payment(Payment::OnApproval)).1,
            &[PAYMENT],
        );
        check(Kind::Room, 1, |policy| (before(policy), policy.set_payment(Payment::Deferred)).1, &[]);
        check(Kind::Room, 0, |policy| (before(policy), policy.set_payment(Payment::None)).1, &[]);
        check(Kind::Resort, 1, |policy| policy.set_approval(Approval::AfterPayment), &[]);
        check(Kind::Hospital, 1, |_| {}, &["price POLICY_CONTRADICTORY"]);
        check(Kind::Hospital, 1, |policy| policy.set_payment(Payment::AtBooking), &[]);
        check(Kind::Taxi, 0, |policy| policy.set_payment(Payment::None), &[]);
        check(
            Kind::Taxi,
            0,
            |policy| (policy.set_payment(Payment::None), policy.set_approval(Approval::AfterPayment)).1,
            &["policy.approval POLICY_CONTRADICTORY"],
        );
        let strict = |policy: &mut ReservationPolicy| policy.set_mileage(Mileage::EarnStrict);
        check(Kind::Room, 1, strict, &[]);
        check(Kind::Room, 1, |policy| (strict(policy), before(policy)).1, &["policy.mileage POLICY_CONTRADICTORY"]);
        let pending = |policy: &mut ReservationPolicy| policy.set_payment_wait(PaymentWait::Pending);
        check(Kind::Room, 1, |policy| (strict(policy), pending(policy)).1, &["policy.mileage POLICY_CONTRADICTORY"]);
        check(
            Kind::Hospital,
            0,
            |policy| (policy.set_mileage(Mileage::EarnStrict), policy.set_voucher(Voucher::OnPayment)).1,
            &["policy.mileage POLICY_CONTRADICTORY", "policy.voucher POLICY_CONTRADICTORY"],
        );
        let refunded = |policy: &mut ReservationPolicy| policy.set_cancel_refund(CancelRefund::Async);
        check(Kind::Hospital, 0, refunded, &["policy.cancel_refund POLICY_CONTRADICTORY"]);
    }

    #[test]
    fn limits_have_limits() {
        let ttl = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        for (good, ttl) in [
            (true, ttl(1, 0)),
            (true, ttl(90 * 86_400, 0)),
            (false, ttl(0, 999_999_999)),
            (false, ttl(90 * 86_400, 1)),
            (false, ttl(-5, 0)),
        ] {
            let wrong = |field: &'static str| if good { vec![] } else { vec![field] };
            check(Kind::Room, 1, |policy| policy.approval_ttl = ttl, &wrong("policy.approval_ttl DURATION_RANGE"));
            check(Kind::Room, 1, |policy| policy.payment_ttl = ttl, &wrong("policy.payment_ttl DURATION_RANGE"));
        }
        let minimum =
            |code: &str, units| Some(proto::google::r#type::Money { currency_code: code.to_owned(), units, nanos: 0 });
        for (minimum, expected) in [
            (minimum("KRW", 3_800), [].as_slice()),
            (minimum("EUR", 3), &["policy.min_price CURRENCY_MISMATCH"]),
            (minimum("KRW", -1), &["policy.min_price MONEY_NEGATIVE"]),
            (minimum("", 1), &["policy.min_price CURRENCY_UNKNOWN"]),
        ] {
            check(Kind::Room, 1, |policy| policy.min_price = minimum, expected);
        }
    }

    /// B25, D37: a changed configuration applies wherever the host has said nothing, and only there.
    #[test]
    fn the_platform_decides_what_the_host_leaves_open() {
        let platform = Platform { max_per_person: 10, min_price: Some(won(3_800)), ..Platform::default() };
        let open = Policy::complete(Kind::Taxi, ReservationPolicy::default());
        let under = open.under(&platform, won(1_000));
        assert_eq!((under.message().max_per_person, under.min_price()), (10, Some(won(3_800))));
        assert_eq!(open.under(&platform, won(0)).min_price(), None, "free of charge stays so");
        let euro = Currency::from_code("EUR").expect("a currency");
        assert_eq!(open.under(&platform, Money::from_minor(1, euro)).min_price(), None);
        let own = asked(|policy| (policy.max_per_person, policy.min_price) = (2, Some(won(0).into())));
        let own = Policy::complete(Kind::Taxi, own).under(&platform, won(1_000));
        assert_eq!((own.message().max_per_person, own.min_price()), (2, Some(won(0))));
    }

    #[test]
    fn what_was_shown_and_comes_back_is_not_the_hosts_word() {
        let platform = Platform { max_per_person: 10, min_price: Some(won(3_800)), ..Platform::default() };
        let stored = Policy::complete(Kind::Taxi, ReservationPolicy::default());
        let mut shown = stored.under(&platform, won(1_000)).message().clone();
        assert_eq!(stored.replaced(Kind::Taxi, &shown, &platform, won(1_000)), stored);
        shown.max_per_person = 3;
        let changed = stored.replaced(Kind::Taxi, &shown, &platform, won(1_000));
        assert_eq!((changed.message().max_per_person, changed.min_price()), (3, None));
    }
}
