//! Registering a payment that is made later, or never.

use payment::provider::simulator::EntryKind;
use proto::payment::v1::payment::State;
use proto::payment::v1::{ChargePaymentRequest, RegisterPaymentRequest};
use tonic::Code;

use crate::harness::{Service, order, reason, registration, told, won};

#[tokio::test]
async fn a_registered_payment_waits_and_is_never_told_as_paid() {
    // C2, C19, K26: stored as waiting, and nothing happens to it by itself; K36: once.
    let service = Service::alone().await;
    let wanted = order("pm_card_visa");
    let registered = service.register(&registration(&wanted)).await.expect("registers");
    assert_eq!(
        (registered.state(), registered.attempt, registered.amount.clone()),
        (State::Waiting, 0, wanted.amount.clone())
    );
    assert_eq!(service.register(&registration(&wanted)).await.expect("repeats"), registered);
    // The worker of a new process looks for work first of all; then another payment goes all the way.
    let service = service.restart().await;
    service.charge(&order("pm_card_visa")).await.expect("charges");
    assert_eq!(service.payment_of(&registered.reservation).await.as_ref(), Some(&registered));
    let audit = service.audit().await;
    assert_eq!((audit.rows.len(), audit.books.len(), audit.violations), (2, 1, Vec::new()));
    assert_eq!(audit.events, told([("PaymentApproved", 1)]), "of the other one");
}

#[tokio::test]
async fn a_registered_payment_is_the_one_that_is_charged() {
    let service = Service::alone().await;
    let wanted = order("pm_card_visa");
    let registered = service.register(&registration(&wanted)).await.expect("registers");
    let charged = service.charge(&wanted).await.expect("charges");
    assert_eq!((charged.state(), charged.attempt, &charged.name), (State::Approved, 1, &registered.name));
    assert_eq!(charged.create_time, registered.create_time);
    assert_eq!(service.register(&registration(&wanted)).await.expect("a repeat is answered"), charged);
    let audit = service.audit().await;
    assert_eq!((audit.rows.len(), audit.books.len(), audit.violations), (1, 1, Vec::new()));
    assert_eq!(audit.events, told([("PaymentApproved", 1)]));
}

#[tokio::test]
async fn another_registration_of_the_same_reservation_is_refused() {
    let service = Service::alone().await;
    let wanted = order("pm_card_visa");
    let first = registration(&wanted);
    service.register(&first).await.expect("registers");
    for other in [
        RegisterPaymentRequest { amount: Some(won(38_001)), ..first.clone() },
        RegisterPaymentRequest { customer: "users/mallory".to_owned(), ..first.clone() },
    ] {
        let refused = service.register(&other).await.expect_err("refused");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "PAYMENT_MISMATCH"));
    }
    let dearer = ChargePaymentRequest { amount: Some(won(38_001)), ..wanted };
    assert_eq!(reason(&service.charge(&dearer).await.expect_err("refused")), "PAYMENT_MISMATCH");
    let nothing = RegisterPaymentRequest { amount: Some(won(0)), ..registration(&order("pm_card_visa")) };
    assert_eq!(service.register(&nothing).await.expect_err("refused").code(), Code::InvalidArgument);
    assert_eq!(service.kinds(), []);
}

#[tokio::test]
async fn what_was_given_up_is_not_registered_any_more() {
    let service = Service::alone().await;
    let (late, paid) = (order("pm_card_visa"), order("pm_card_visa"));
    service.refund(&late.reservation).await.expect("leaves a tombstone");
    service.charge(&paid).await.expect("charges");
    service.refund(&paid.reservation).await.expect("refunds");
    for wanted in [&late, &paid] {
        let refused = service.register(&registration(wanted)).await.expect_err("refused");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "PAYMENT_CANCELLED"));
    }
    assert_eq!(service.kinds(), [EntryKind::Charge, EntryKind::Refund]);
}

#[tokio::test]
async fn a_registered_payment_is_void_without_the_provider_hearing_of_it() {
    let service = Service::alone().await;
    let wanted = order("pm_card_visa");
    let registered = service.register(&registration(&wanted)).await.expect("registers");
    let void = service.refund(&wanted.reservation).await.expect("accepted").expect("there is a payment");
    assert_eq!((void.state(), &void.name), (State::Cancelled, &registered.name));
    assert_eq!(reason(&service.charge(&wanted).await.expect_err("given up")), "PAYMENT_CANCELLED");
    let audit = service.audit().await;
    assert_eq!((audit.books, audit.violations), (Vec::new(), Vec::new()));
    assert_eq!(audit.events, told([("PaymentCancelled", 1)]));
}
