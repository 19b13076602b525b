use mesh::{
    store::{Id, Micros},
    value::{Currency, Day, Money},
};

use super::*;

const AT: Micros = Micros(1_000_000);

fn day(number: i32) -> Day {
    Day::from_number(number)
}

fn deal(total: i64, policy: Policy) -> Deal {
    let total = Money::from_minor(total, Currency::KRW);
    Deal { total, host: "hana".to_owned(), policy, described: Described::default() }
}

fn requested(deal: Option<Deal>) -> Reservation {
    let wish = Wish {
        listing: Id::generate(),
        slot: Slot::Date(day(20_000)),
        units: 1,
        persons: 2,
        note: String::new(),
        language: String::new(),
        payment_method: None,
        expected_total: None,
    };
    Reservation { deal, ..Reservation::request(Id::generate(), "gil".to_owned(), &wish, Micros(1)) }
}

/// What is told, with the versions it is told of.
fn told(change: &Change) -> Vec<(Fact, State, i64)> {
    change.told.iter().map(|(fact, then)| (*fact, then.state, then.version)).collect()
}

#[test]
fn a_stay_has_one_to_ninety_nights() {
    assert_eq!(Stay::new(day(5), day(5)), Err(StayError::Empty));
    assert_eq!(Stay::new(day(5), day(4)), Err(StayError::Empty));
    assert!(Stay::new(day(5), day(6)).is_ok());
    assert!(Stay::new(day(5), day(95)).is_ok());
    assert_eq!(Stay::new(day(5), day(96)), Err(StayError::TooLong));
}

#[test]
fn a_slot_survives_being_stored() {
    let stay = Stay::new(day(5), day(7)).expect("a stay");
    for slot in [Slot::Stay(stay), Slot::Date(day(5)), Slot::None] {
        assert_eq!(Slot::from_days(slot.check_in(), slot.check_out()), slot);
    }
}

/// 4.4: the whole matrix, 100 pairs.
#[test]
fn only_the_moves_of_the_contract_exist() {
    use State::{
        AwaitingApproval, AwaitingPayment, CancelRequested, Cancelled, Completed, Confirmed, Expired, ForceCancelled,
        Rejected, Requested,
    };
    let moves = |from: State| -> Vec<State> { State::ALL.into_iter().filter(|to| from.may_become(*to)).collect() };
    let check = |from, to: &[State]| assert_eq!(moves(from), to, "from {from:?}");
    check(Requested, &[AwaitingApproval, AwaitingPayment, Confirmed, CancelRequested, Rejected, ForceCancelled]);
    check(AwaitingApproval, &[AwaitingPayment, Confirmed, CancelRequested, Rejected, ForceCancelled, Expired]);
    check(AwaitingPayment, &[AwaitingApproval, Confirmed, CancelRequested, Rejected, ForceCancelled, Expired]);
    check(Confirmed, &[CancelRequested, ForceCancelled, Completed]);
    check(CancelRequested, &[Cancelled]);
    for last in [Cancelled, Rejected, ForceCancelled, Expired, Completed] {
        check(last, &[]);
        assert!(last.is_final());
    }
    assert_eq!(State::ALL.into_iter().filter(|state| state.is_final()).count(), 5);
}

/// 4.2: what each policy asks of payment, and when.
#[test]
fn a_policy_says_what_comes_next() {
    let check = |total, approval, payment, at_booking, on_approval| {
        let deal = deal(total, Policy { approval, payment, ..Policy::default() });
        assert_eq!((deal.at_booking(), deal.on_approval()), (at_booking, on_approval), "{approval:?} {payment:?}");
    };
    for approval in [Approval::None, Approval::BeforePayment, Approval::AfterPayment] {
        check(0, approval, Payment::None, Next::Nothing, Next::Nothing);
        check(0, approval, Payment::AtBooking, Next::Nothing, Next::Nothing);
        check(0, approval, Payment::Deferred, Next::Nothing, Next::Nothing);
    }
    check(5, Approval::None, Payment::AtBooking, Next::Charge, Next::Nothing);
    check(5, Approval::AfterPayment, Payment::AtBooking, Next::Charge, Next::Nothing);
    check(5, Approval::BeforePayment, Payment::OnApproval, Next::Nothing, Next::Charge);
    check(5, Approval::None, Payment::Deferred, Next::Register, Next::Nothing);
    check(5, Approval::AfterPayment, Payment::Deferred, Next::Register, Next::Nothing);
    check(5, Approval::BeforePayment, Payment::Deferred, Next::Nothing, Next::Register);
}

/// Two facts of one commit have consecutive versions, so that consumers guarded by version drop neither.
#[test]
fn each_fact_is_told_at_the_version_it_led_to() {
    let policy = |approval, payment| Policy { approval, payment, ..Policy::default() };
    let paid = Some(Id::generate());
    let of = |total, approval, payment| requested(Some(deal(total, policy(approval, payment))));

    let room = of(5, Approval::None, Payment::AtBooking).booked(paid, AT);
    assert_eq!(told(&room), [(Fact::Requested, State::Requested, 1), (Fact::Confirmed, State::Confirmed, 2)]);

    let asked = of(5, Approval::BeforePayment, Payment::OnApproval).booked(None, AT);
    assert_eq!(told(&asked), [(Fact::Requested, State::AwaitingApproval, 2)]);
    assert_eq!(asked.next.expires_at, Some(AT.plus(Policy::default().approval_ttl)));
    let approved = asked.next.approved(Id::generate(), paid, AT);
    assert_eq!(told(&approved), [(Fact::Approved, State::AwaitingApproval, 3), (Fact::Confirmed, State::Confirmed, 4)]);
    assert_eq!((approved.next.payment, approved.next.expires_at), (paid, None));
    assert_eq!(told(&asked.next.rejected("full", AT)), [(Fact::Rejected, State::Rejected, 3)]);

    let resort = of(5, Approval::None, Payment::Deferred).booked(paid, AT);
    assert_eq!(told(&resort), [(Fact::Requested, State::AwaitingPayment, 2)]);
    assert!(!resort.next.is_paid(), "only registered");
    assert_eq!(told(&resort.next.paid(paid, AT)), [(Fact::Confirmed, State::Confirmed, 3)]);
    assert_eq!(told(&resort.next.expired(AT)), [(Fact::Expired, State::Expired, 3)]);

    let taxi = of(5, Approval::AfterPayment, Payment::AtBooking).booked(paid, AT);
    assert_eq!(told(&taxi), [(Fact::Requested, State::AwaitingApproval, 2)]);
    assert!(taxi.next.is_paid());
    assert_eq!(taxi.next.approved(Id::generate(), None, AT).next.payment, paid, "it keeps its payment");
    let pending = of(5, Approval::AfterPayment, Payment::AtBooking).pending(AT);
    assert_eq!(told(&pending), [(Fact::Requested, State::AwaitingPayment, 2)]);
    assert_eq!(told(&pending.next.paid(paid, AT)), [(Fact::Paid, State::AwaitingApproval, 3)]);

    let later = of(5, Approval::BeforePayment, Payment::Deferred).booked(None, AT);
    assert_eq!(told(&later.next.approved(Id::generate(), paid, AT)), [(Fact::Approved, State::AwaitingPayment, 3)]);

    assert_eq!(told(&room.next.completed(AT)), [(Fact::Completed, State::Completed, 3)]);
    assert_eq!(told(&room.next.force_cancelled(AT)), [(Fact::ForceCancelled, State::ForceCancelled, 3)]);
    let never_rested = of(5, Approval::None, Payment::AtBooking).force_cancelled(AT);
    assert!(never_rested.told.is_empty(), "until it is undone");
    let undone = never_rested.next.undone(false, paid, AT).expect("to be told");
    assert_eq!(told(&undone), [(Fact::ForceCancelled, State::ForceCancelled, 2)]);
    assert_eq!(undone.next.payment, paid);
    assert_eq!(never_rested.next.undone(true, paid, AT), None, "one that rested has told it already");
    let refused = of(5, Approval::None, Payment::AtBooking).refused(AT);
    assert!(refused.told.is_empty() && refused.next.deal.is_none(), "T42: nobody is told");
}

/// K13, T5, T39: in every live state, and who undoes what was done.
#[test]
fn cancelling_depends_on_where_it_stands() {
    let payment = Some(Id::generate());
    let at = |state, payment, refund| {
        let deal = deal(5, Policy { refund, ..Policy::default() });
        Reservation { state, payment, ..requested(Some(deal)) }
    };
    let undo = |reservation: &Reservation, charging| match reservation.cancel(charging, AT) {
        Some(Cancellation::Changes(change, undo)) => (change.next.state, undo),
        other => panic!("{other:?}"),
    };
    let through = |state, payment, refund, charging| undo(&at(state, payment, refund), charging);
    let (requested, cancelled) = (State::CancelRequested, State::Cancelled);

    assert_eq!(through(State::Requested, None, Refund::Async, true), (requested, Undo::Saga));
    for state in [State::AwaitingApproval, State::AwaitingPayment, State::Confirmed] {
        for refund in [Refund::None, Refund::Sync, Refund::Async] {
            assert_eq!(through(state, None, refund, false), (cancelled, Undo::Nobody), "nothing was paid");
            assert_eq!(through(state, payment, refund, true), (requested, Undo::Saga), "it may be charged any moment");
        }
        assert_eq!(through(state, payment, Refund::Sync, false), (requested, Undo::Payment));
        assert_eq!(through(state, payment, Refund::Async, false), (requested, Undo::Payment));
    }
    assert_eq!(through(State::AwaitingApproval, payment, Refund::None, false), (cancelled, Undo::Nobody));
    assert_eq!(through(State::Confirmed, payment, Refund::None, false), (cancelled, Undo::Nobody));
    assert_eq!(through(State::AwaitingPayment, payment, Refund::None, false), (requested, Undo::Saga), "to be void");

    for state in [State::CancelRequested, State::Cancelled] {
        assert_eq!(at(state, payment, Refund::Async).cancel(false, AT), Some(Cancellation::Already));
    }
    for state in [State::Rejected, State::ForceCancelled, State::Expired, State::Completed] {
        assert_eq!(at(state, payment, Refund::Async).cancel(false, AT), None);
    }
    let Some(Cancellation::Changes(free, _)) = at(State::Confirmed, None, Refund::None).cancel(false, AT) else {
        panic!("cancellable")
    };
    assert_eq!(
        told(&free),
        [(Fact::CancelRequested, State::CancelRequested, 2), (Fact::Cancelled, State::Cancelled, 3)]
    );
}

#[test]
fn states_and_failures_survive_being_stored() {
    for state in State::ALL {
        assert_eq!(State::from_stored(state.as_str()), Some(state));
    }
    let declined = Failure::Refused(Refusal::PaymentDeclined("insufficient_funds".to_owned()));
    for failure in Failure::PLAIN.iter().chain([&declined]) {
        assert_eq!(Failure::from_stored(&failure.to_stored()).as_ref(), Some(failure));
    }
    assert_eq!(Failure::from_stored("WHATEVER"), None);
}

#[test]
fn a_payment_method_is_never_printed() {
    assert!(!format!("{:?}", PaymentMethod("pm_card_visa".to_owned())).contains("visa"));
}
