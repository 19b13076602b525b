//! What the snapshot of a reservation in an event says: whom to tell, how, in which language, and what has changed.

use std::collections::BTreeSet;

use mesh::store::Micros;
use mesh::value::{Day, Money};
use proto::google::r#type::Date;
use proto::listing::v1::notification::Transition;
use proto::listing::v1::reservation_policy::{Approval, CancelRefund, Payment, PaymentWait};
use proto::listing::v1::{ReservationPolicy, listing, notification};
use proto::reservation::v1::Reservation;
use proto::reservation::v1::reservation::{self, Slot as WireSlot};

use crate::domain::{Channel, Language};
use crate::news::{Audience, Awaits, Booking, Change, Kind, Lapse, Price, Refund, Refusal, Slot};

/// Who is told of a move, and how: each once.
type Told = BTreeSet<(Audience, Channel)>;

/// Whom the reservation's policy has told of the move.
pub(super) fn audience(transition: Transition, told: &Reservation) -> Told {
    let wanted = told.policy.as_ref().map(|policy| policy.notifications.as_slice()).unwrap_or_default();
    if wanted.is_empty() {
        return before_notifications(transition, told);
    }
    let of_move = wanted.iter().filter(|one| [Transition::Unspecified, transition].contains(&one.transition()));
    of_move.map(|one| (audience_of(one.audience()), channel_of(one.channel()))).collect()
}

/// The policy of a room always says who is told; one that does not is from before it could, when customers were told.
fn before_notifications(transition: Transition, told: &Reservation) -> Told {
    let ends = match transition {
        Transition::Confirmed
        | Transition::Cancelled
        | Transition::Rejected
        | Transition::Expired
        | Transition::ForceCancelled => true,
        Transition::Unspecified | Transition::Requested | Transition::Approved | Transition::Completed => false,
    };
    (ends && kind(told.listing_kind()) == Kind::Room)
        .then_some((Audience::Customer, Channel::Message))
        .into_iter()
        .collect()
}

fn audience_of(audience: notification::Audience) -> Audience {
    match audience {
        notification::Audience::Unspecified | notification::Audience::Customer => Audience::Customer,
        notification::Audience::Host => Audience::Host,
    }
}

fn channel_of(channel: notification::Channel) -> Channel {
    match channel {
        notification::Channel::Unspecified | notification::Channel::Message => Channel::Message,
        notification::Channel::Sms => Channel::Sms,
        notification::Channel::Alarm => Channel::Alarm,
    }
}

/// A customer who chose no language gets the listing's.
pub(super) fn language(audience: Audience, told: &Reservation) -> Option<Language> {
    let chosen = match audience {
        Audience::Customer => Language::from_code(&told.language_code),
        Audience::Host => None,
    };
    chosen.or_else(|| Language::from_code(&told.host_language_code))
}

/// What the texts say of the reservation; `None` if its days are none of the calendar.
pub(super) fn booking(told: &Reservation, at: Micros) -> Option<Booking<'_>> {
    Some(Booking {
        kind: kind(told.listing_kind()),
        title: &told.listing_display_name,
        slot: slot(told)?,
        persons: told.persons,
        year: Date::from(day_of(at)?).year,
    })
}

/// In UTC: near enough to tell which year it is.
fn day_of(at: Micros) -> Option<Day> {
    const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;
    i32::try_from(at.0.div_euclid(DAY_MICROS)).ok().map(Day::from_number)
}

/// An event from before there were kinds is of a room.
fn kind(kind: listing::Kind) -> Kind {
    match kind {
        listing::Kind::Unspecified | listing::Kind::Room => Kind::Room,
        listing::Kind::Resort => Kind::Resort,
        listing::Kind::Taxi => Kind::Taxi,
        listing::Kind::Hospital => Kind::Hospital,
    }
}

fn slot(told: &Reservation) -> Option<Slot> {
    Some(match &told.slot {
        None => Slot::Open,
        Some(WireSlot::Date(date)) => Slot::Date(Day::try_from(date).ok()?),
        Some(WireSlot::Stay(stay)) => Slot::Nights {
            check_in: Day::try_from(stay.check_in_date.as_ref()?).ok()?,
            check_out: Day::try_from(stay.check_out_date.as_ref()?).ok()?,
        },
    })
}

/// What happened, as the reservation's snapshot tells it; `None` if it contradicts itself.
pub(super) fn change(transition: Transition, told: &Reservation) -> Option<Change<'_>> {
    let deal = Deal::of(told)?;
    Some(match transition {
        Transition::Unspecified => return None,
        Transition::Requested => Change::Requested(deal.awaits(told)),
        Transition::Approved => Change::Approved(deal.awaits(told)),
        Transition::Rejected => Change::Rejected(deal.refusal(&told.reject_reason)),
        Transition::Confirmed => Change::Confirmed(deal.price()),
        Transition::Cancelled => Change::Cancelled(deal.refund_of_cancellation()),
        Transition::ForceCancelled => Change::ForceCancelled(deal.refund()),
        Transition::Expired => deal.expired(told.approve_time.is_some()),
        Transition::Completed => Change::Completed,
    })
}

/// What a message needs to know of the deal.
struct Deal {
    approval: Approval,
    payment: Payment,
    wait: PaymentWait,
    cancel_refund: CancelRefund,
    total: Option<Money>,
    has_payment: bool,
}

/// How the reasons begin for which a reservation could not be paid, e.g. `PAYMENT_DECLINED`. Any other is the host's own words.
const NOT_PAID: &str = "PAYMENT_";

impl Deal {
    fn of(told: &Reservation) -> Option<Self> {
        let none = ReservationPolicy::default();
        let policy = told.policy.as_ref().unwrap_or(&none);
        Some(Self {
            approval: policy.approval(),
            payment: policy.payment(),
            wait: policy.payment_wait(),
            cancel_refund: policy.cancel_refund(),
            total: told.total.as_ref().map(Money::try_from).transpose().ok()?,
            has_payment: !told.payment.is_empty(),
        })
    }

    /// What there is to pay.
    fn due(&self) -> Option<Money> {
        self.total.filter(|total| !total.is_zero() && self.payment != Payment::None)
    }

    /// Whether a reservation may rest unpaid, so that having a payment does not mean that it was paid.
    fn may_rest_unpaid(&self) -> bool {
        self.payment == Payment::Deferred || self.wait == PaymentWait::Pending
    }

    fn awaits(&self, told: &Reservation) -> Awaits {
        match told.state() {
            reservation::State::AwaitingApproval => {
                Awaits::Approval { paid: self.due().filter(|_| self.approval == Approval::AfterPayment) }
            }
            reservation::State::AwaitingPayment if self.payment == Payment::Deferred => Awaits::Payment(self.due()),
            reservation::State::AwaitingPayment => Awaits::Charge,
            _ => Awaits::Nothing,
        }
    }

    fn refusal<'a>(&self, reason: &'a str) -> Refusal<'a> {
        if reason.starts_with(NOT_PAID) { Refusal::Declined } else { Refusal::Host(reason, self.refund()) }
    }

    fn price(&self) -> Price {
        match self.total {
            Some(total) if self.payment != Payment::None => {
                if total.is_zero() {
                    Price::Free
                } else {
                    Price::Paid(total)
                }
            }
            _ => Price::Unsaid,
        }
    }

    fn refund(&self) -> Refund {
        match self.due().filter(|_| self.has_payment) {
            None => Refund::Nothing,
            Some(_) if self.may_rest_unpaid() => Refund::Any,
            Some(paid) => Refund::Amount(paid),
        }
    }

    fn refund_of_cancellation(&self) -> Refund {
        if self.cancel_refund == CancelRefund::None { Refund::Nothing } else { self.refund() }
    }

    fn expired(&self, approved: bool) -> Change<'static> {
        let lapse = match self.approval {
            Approval::Unspecified | Approval::None => Lapse::Payment,
            Approval::BeforePayment if approved => Lapse::Payment,
            Approval::BeforePayment => Lapse::Approval,
            Approval::AfterPayment if self.may_rest_unpaid() => Lapse::Either,
            Approval::AfterPayment => Lapse::Approval,
        };
        let refund = if lapse == Lapse::Payment { Refund::Nothing } else { self.refund() };
        Change::Expired(lapse, refund)
    }
}

#[cfg(test)]
mod tests {
    use mesh::value::Currency;

    use super::*;

    const WON: Money = Money::from_minor(3_800, Currency::KRW);

    /// A reservation of 3,800 won, in `state`, that has a payment.
    fn told(state: reservation::State, approval: Approval, payment: Payment, wait: PaymentWait) -> Reservation {
        let mut policy = ReservationPolicy::default();
        policy.set_approval(approval);
        policy.set_payment(payment);
        policy.set_payment_wait(wait);
        Reservation {
            state: state.into(),
            total: Some(WON.into()),
            payment: "payments/any".to_owned(),
            policy: Some(policy),
            ..Reservation::default()
        }
    }

    fn check(transition: Transition, told: &Reservation, expected: Change<'_>) {
        assert_eq!(change(transition, told), Some(expected), "{told:?}");
    }

    #[test]
    fn a_request_tells_what_it_waits_for() {
        use reservation::State::{AwaitingApproval, AwaitingPayment, Confirmed};
        for (state, approval, payment, wait, awaits) in [
            (Confirmed, Approval::None, Payment::AtBooking, PaymentWait::Strict, Awaits::Nothing),
            (
                AwaitingApproval,
                Approval::BeforePayment,
                Payment::OnApproval,
                PaymentWait::Strict,
                Awaits::Approval { paid: None },
            ),
            (
                AwaitingApproval,
                Approval::AfterPayment,
                Payment::AtBooking,
                PaymentWait::Strict,
                Awaits::Approval { paid: Some(WON) },
            ),
            (AwaitingPayment, Approval::None, Payment::Deferred, PaymentWait::Strict, Awaits::Payment(Some(WON))),
            (AwaitingPayment, Approval::None, Payment::AtBooking, PaymentWait::Pending, Awaits::Charge),
        ] {
            let told = told(state, approval, payment, wait);
            check(Transition::Requested, &told, Change::Requested(awaits));
            check(Transition::Approved, &told, Change::Approved(awaits));
        }
    }

    /// A refund is only promised of what was paid.
    #[test]
    fn what_goes_back_is_what_was_paid() {
        let cancelled = |payment, wait| told(reservation::State::Cancelled, Approval::None, payment, wait);
        let paid = cancelled(Payment::AtBooking, PaymentWait::Strict);
        let mut kept = paid.clone();
        kept.policy.as_mut().expect("it has one").set_cancel_refund(CancelRefund::None);
        check(Transition::Cancelled, &kept, Change::Cancelled(Refund::Nothing));
        check(Transition::ForceCancelled, &kept, Change::ForceCancelled(Refund::Amount(WON)));
        for (told, refund) in [
            (paid.clone(), Refund::Amount(WON)),
            (Reservation { policy: None, ..paid.clone() }, Refund::Amount(WON)),
            (Reservation { payment: String::new(), ..paid.clone() }, Refund::Nothing),
            (Reservation { total: None, ..paid.clone() }, Refund::Nothing),
            (Reservation { total: Some(Money::from_minor(0, Currency::KRW).into()), ..paid }, Refund::Nothing),
            (cancelled(Payment::None, PaymentWait::Strict), Refund::Nothing),
            (cancelled(Payment::Deferred, PaymentWait::Strict), Refund::Any),
            (cancelled(Payment::AtBooking, PaymentWait::Pending), Refund::Any),
        ] {
            check(Transition::Cancelled, &told, Change::Cancelled(refund));
            check(Transition::ForceCancelled, &told, Change::ForceCancelled(refund));
            let words = Reservation { reject_reason: "We are closed".to_owned(), ..told.clone() };
            check(Transition::Rejected, &words, Change::Rejected(Refusal::Host("We are closed", refund)));
            let declined = Reservation { reject_reason: "PAYMENT_DECLINED".to_owned(), ..told };
            check(Transition::Rejected, &declined, Change::Rejected(Refusal::Declined));
        }
    }

    #[test]
    fn a_confirmation_tells_the_price_if_there_is_one() {
        let confirmed = told(reservation::State::Confirmed, Approval::None, Payment::AtBooking, PaymentWait::Strict);
        let free = Some(Money::from_minor(0, Currency::KRW).into());
        let mut unpaid = confirmed.clone();
        unpaid.policy.as_mut().expect("it has one").set_payment(Payment::None);
        for (told, price) in [
            (confirmed.clone(), Price::Paid(WON)),
            (Reservation { total: free, ..confirmed.clone() }, Price::Free),
            (Reservation { total: None, ..confirmed }, Price::Unsaid),
            (unpaid, Price::Unsaid),
        ] {
            check(Transition::Confirmed, &told, Change::Confirmed(price));
        }
    }

    #[test]
    fn an_expiry_tells_what_did_not_come() {
        use PaymentWait::{Pending, Strict};
        let approved = Some(Micros(0).into());
        for (approval, payment, wait, approve_time, lapse, refund) in [
            (Approval::None, Payment::Deferred, Strict, None, Lapse::Payment, Refund::Nothing),
            (Approval::None, Payment::AtBooking, Pending, None, Lapse::Payment, Refund::Nothing),
            (Approval::BeforePayment, Payment::Deferred, Strict, approved, Lapse::Payment, Refund::Nothing),
            (Approval::BeforePayment, Payment::Deferred, Strict, None, Lapse::Approval, Refund::Any),
            (Approval::AfterPayment, Payment::AtBooking, Strict, None, Lapse::Approval, Refund::Amount(WON)),
            (Approval::AfterPayment, Payment::AtBooking, Pending, None, Lapse::Either, Refund::Any),
        ] {
            let told = told(reservation::State::Expired, approval, payment, wait);
            check(Transition::Expired, &Reservation { approve_time, ..told }, Change::Expired(lapse, refund));
        }
    }

    #[test]
    fn what_contradicts_itself_is_no_change() {
        let no_money = proto::google::r#type::Money { currency_code: "XXQ".to_owned(), units: 1, nanos: 0 };
        assert_eq!(
            change(Transition::Confirmed, &Reservation { total: Some(no_money), ..Reservation::default() }),
            None
        );
        let no_day = Date { year: 2026, month: 2, day: 30 };
        assert!(slot(&Reservation { slot: Some(WireSlot::Date(no_day)), ..Reservation::default() }).is_none());
        let no_nights = WireSlot::Stay(proto::listing::v1::Stay::default());
        assert!(slot(&Reservation { slot: Some(no_nights), ..Reservation::default() }).is_none());
    }
}
