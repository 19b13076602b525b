//! The Stripe adapter against two independent servers. What they cannot show is written in the adapter's docs.

use std::time::Duration;

use mesh::fault::Fault;
use mesh::store::{Id, Micros};
use mesh::testing::{Program, TestMesh};
use mesh::value::{Currency, Money, id_of};
use payment::domain::PaymentMethod;
use payment::provider::stripe::{Settings, Stripe};
use payment::provider::{Charge, ChargeKey, Outcome, Provider, ProviderError};
use proto::payment::v1::payment::State;
use secrecy::SecretString;
use serde_json::Value;
use tonic::Code;

use crate::harness::{Service, attempt, order, reason};
use crate::stripe_server::{Line, localstripe, stripe_mock};

const KEY: &str = "sk_test_123456789";

fn adapter(address: std::net::SocketAddr) -> Stripe {
    let url = format!("http://{address}/").parse().expect("an address");
    Stripe::new(&Settings { url, key: SecretString::from(KEY), timeout: Duration::from_secs(5) }).expect("a client")
}

fn charge(method: &str, since: Micros) -> Charge {
    let amount = Money::from_minor(38_000, Currency::KRW);
    let key = ChargeKey { payment: Id::generate(), attempt: 2 };
    Charge { key, amount, method: PaymentMethod::new(method.to_owned()), since }
}

async fn with_stripe(server: std::net::SocketAddr) -> Service {
    let url = format!("--payment-stripe-url=http://{server}/");
    let key = format!("--payment-stripe-key={KEY}");
    Service::start(
        TestMesh::without_broker(),
        &["--payment-provider=stripe", &url, &key, "--payment-stripe-timeout-ms=2000"],
    )
    .await
}

/// Asks localstripe itself.
async fn ask(server: &Program, path: &str) -> Value {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().expect("a client");
    let answer = client.get(format!("http://{}{path}", server.address)).bearer_auth(KEY).send().await.expect("answers");
    serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
}

#[tokio::test]
async fn every_request_is_one_that_stripes_api_description_allows() {
    let server = stripe_mock().await;
    let stripe = adapter(server.address);
    // It answers with samples of the description: an intent that still needs a payment method, so nothing counts as taken.
    let outcome = stripe.charge(&charge("pm_card_visa", Micros::now())).await.expect("the form is accepted");
    assert!(matches!(outcome, Outcome::Declined { .. } | Outcome::Approved { .. }), "{outcome:?}");
    // A charge older than Stripe's memory of keys is searched for first.
    let old = Micros::now().minus(Duration::from_hours(30));
    stripe.charge(&charge("pm_card_visa", old)).await.expect("the search is accepted");
    stripe.undo(&charge("pm_card_visa", Micros::now()), Some("pi_123")).await.expect("the refund is accepted");
    stripe.undo(&charge("pm_card_visa", Micros::now()), None).await.expect("the refund is accepted");
    let key = ChargeKey { payment: Id::generate(), attempt: 1 };
    stripe.kept(key, Currency::KRW, Some("pi_123")).await.expect("the list of refunds is accepted");
}

#[tokio::test]
async fn stripe_mock_does_refuse_what_the_description_does_not_allow() {
    // Otherwise the test above would show nothing.
    let server = stripe_mock().await;
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().expect("a client");
    let answer = client.post(format!("http://{}/v1/payment_intents", server.address)).bearer_auth(KEY);
    assert_eq!(answer.form(&[("amount", "much"), ("currency", "krw")]).send().await.expect("answers").status(), 400);
}

#[tokio::test]
async fn a_wrong_key_is_our_problem_and_no_refusal() {
    let server = stripe_mock().await;
    let url = format!("http://{}/", server.address).parse().expect("an address");
    let stripe = Stripe::new(&Settings { url, key: SecretString::from("nonsense"), timeout: Duration::from_secs(5) })
        .expect("a client");
    let outcome = stripe.charge(&charge("pm_card_visa", Micros::now())).await;
    assert!(matches!(outcome, Err(ProviderError::Unavailable(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_payment_is_charged_and_refunded_at_stripe() {
    let server = localstripe().await;
    let service = with_stripe(server.address).await;
    let wanted = order("pm_card_visa");
    let charged = service.charge(&wanted).await.expect("charges");
    let intent = ask(&server, &format!("/v1/payment_intents/{}", charged.provider_reference)).await;
    assert_eq!(
        (&intent["status"], &intent["amount"], &intent["currency"]),
        (&"succeeded".into(), &38_000.into(), &"krw".into())
    );
    assert_eq!(intent["metadata"]["payment"], charged.name.trim_start_matches("payments/"));
    assert_eq!(service.charge(&wanted).await.expect("the repeat answers"), charged);

    let stripe = adapter(server.address);
    let key = ChargeKey { payment: id_of("payments", &charged.name).expect("a name"), attempt: 1 };
    let kept = async |reference| stripe.kept(key, Currency::KRW, reference).await.expect("Stripe's books");
    assert_eq!((kept(Some(&charged.provider_reference)).await, kept(None).await), (Some(38_000), None));

    let refunded = service.refund(&wanted.reservation).await.expect("refunds").expect("there is a payment");
    assert_eq!(refunded.state(), State::Cancelled);
    assert_eq!(kept(Some(&charged.provider_reference)).await, Some(0));
    let refunds = ask(&server, &format!("/v1/refunds?payment_intent={}", charged.provider_reference)).await;
    let amounts: Vec<_> =
        refunds["data"].as_array().expect("a list").iter().map(|refund| refund["amount"].clone()).collect();
    assert_eq!(amounts, [38_000]);
}

#[tokio::test]
async fn a_second_attempt_is_an_intent_of_its_own_and_the_one_that_is_refunded() {
    let server = localstripe().await;
    let service = with_stripe(server.address).await;
    let wanted = order("pm_card_chargeCustomerFail");
    assert_eq!(reason(&service.charge(&wanted).await.expect_err("declined")), "PAYMENT_DECLINED");
    let charged = service.charge(&attempt(&wanted, 2, "pm_card_visa")).await.expect("charges");
    let intent = ask(&server, &format!("/v1/payment_intents/{}", charged.provider_reference)).await;
    assert_eq!(intent["status"], "succeeded");
    assert_eq!(intent["metadata"]["payment"], format!("{}-2", charged.name.trim_start_matches("payments/")));

    let refunded = service.refund(&wanted.reservation).await.expect("refunds").expect("there is a payment");
    assert_eq!(refunded.state(), State::Cancelled);
    let refunds = ask(&server, "/v1/refunds").await;
    let of: Vec<_> =
        refunds["data"].as_array().expect("a list").iter().map(|refund| &refund["payment_intent"]).collect();
    assert_eq!(of, [&Value::from(charged.provider_reference)]);
}

#[tokio::test]
async fn stripes_refusals_are_refusals() {
    let server = localstripe().await;
    let service = with_stripe(server.address).await;
    let declined = service.charge(&order("pm_card_chargeCustomerFail")).await.expect_err("declined");
    let fault = Fault::from_status(&declined);
    assert_eq!(
        (fault.code(), fault.reason(), fault.metadata("decline_code")),
        (Code::FailedPrecondition, "PAYMENT_DECLINED", Some("card_declined"))
    );
    let unknown = service.charge(&order("pm_nobody_knows")).await.expect_err("unknown");
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::InvalidArgument, "PAYMENT_METHOD_UNKNOWN"));
}

#[tokio::test]
async fn a_refund_while_the_provider_is_down_is_finished_when_it_is_back() {
    // C8: accepted although payment's provider is away; the money is back later, once.
    let server = localstripe().await;
    let line = Line::to(server.address).await;
    let service = with_stripe(line.address).await;
    let wanted = order("pm_card_visa");
    let charged = service.charge(&wanted).await.expect("charges");

    line.cut();
    let accepted = service.refund(&wanted.reservation).await.expect("accepted").expect("there is a payment");
    assert_eq!(accepted.state(), State::Approved, "the money is not back yet, and the answer says so");
    let refused = service.charge(&wanted).await.expect_err("given up");
    assert_eq!(reason(&refused), "PAYMENT_CANCELLED");
    let down = service.charge_within(&order("pm_card_visa"), Duration::from_millis(500)).await.expect_err("down");
    assert_eq!((down.code(), reason(&down).as_str()), (Code::Unavailable, "PROVIDER_UNAVAILABLE"));

    line.mend();
    service.until(&wanted.reservation, State::Cancelled).await;
    let refunds = ask(&server, &format!("/v1/refunds?payment_intent={}", charged.provider_reference)).await;
    assert_eq!(refunds["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_charge_while_the_provider_is_down_is_made_when_it_is_back() {
    let server = localstripe().await;
    let line = Line::to(server.address).await;
    let service = with_stripe(line.address).await;
    line.cut();
    let wanted = order("pm_card_visa");
    service.charge_within(&wanted, Duration::from_secs(1)).await.expect_err("down");
    line.mend();
    // Nobody repeats the call: the worker finishes it, and the reservation that gave up would have it refunded.
    service.until(&wanted.reservation, State::Approved).await;
    let intents = ask(&server, "/v1/payment_intents").await;
    assert_eq!(intents["data"].as_array().map(Vec::len), Some(1));
}
