//! What operators do with the commands of the binary: look at outboxes, redrive dead letters, help stuck sagas, decide for breakers.

use mesh::{
    client,
    event::NewEvent,
    identity::{KeyDirectory, ServiceIdentity},
    store::{Id, Micros},
    testing::{Publisher, eventually},
    value::{format_name, format_user},
};
use proto::{
    mileage::v1::{AccrueMileageRequest, ReverseMileageRequest, accrual_service_client::AccrualServiceClient},
    payment::v1::{MileageAccrual, Payment, PaymentApproved, payment::State as Paid},
    reservation::v1::reservation::State,
};
use serde_json::Value;

use world::{
    PATIENCE, World,
    caller::{stay, wish},
};

/// Exit code and both outputs.
type Ran = (Option<i32>, String, String);

fn run(world: &World, line: &[&str]) -> Ran {
    let output = world.command(line).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// What a command that does well prints for a machine.
fn json(world: &World, line: &[&str]) -> Value {
    let (code, out, err) = run(world, &[line, &["--json"]].concat());
    assert_eq!(code, Some(0), "{line:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{line:?}: {error}: {out}"))
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn waiting(world: &World) -> i64 {
    let outboxes = json(world, &["outbox", "status"]);
    rows(&outboxes).iter().map(|outbox| outbox["waiting_count"].as_i64().expect("a number")).sum()
}

/// K2: what waits is seen while the broker is away, and that it went when it is back.
#[tokio::test]
async fn the_outboxes_are_seen_to_grow_and_to_drain() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    eventually(PATIENCE, || async { waiting(&world) == 0 }).await;
    world.broker.stop();
    guest.reserve(&wish(&listing)).await.expect("bookings go on");
    assert!(waiting(&world) >= 4, "requested, confirmed, held, paid");
    let (code, out, _) = run(&world, &["outbox", "status"]);
    assert_eq!((code, out.lines().count()), (Some(0), 8), "{out}");
    eventually(PATIENCE, || async {
        let outboxes = json(&world, &["outbox", "status"]);
        rows(&outboxes).iter().all(|outbox| outbox["broker_connected"] == false)
    })
    .await;
    let (code, _, err) = run(&world, &["dlq", "list"]);
    assert!(code == Some(1) && err.contains("BROKER_UNAVAILABLE"), "{err}");
    world.broker.restart();
    eventually(PATIENCE, || async { waiting(&world) == 0 }).await;
    world.stop("voucher").await;
    let (code, out, err) = run(&world, &["outbox", "status"]);
    assert_eq!((code, out.lines().count()), (Some(1), 7), "the others are shown: {out}");
    assert!(err.contains("not every service answers") && err.contains("voucher"), "{err}");
}

/// K9: an event that its consumer gives up waits beside the others; once the cause is mended it is handled after all.
#[tokio::test]
async fn a_poisonous_event_is_listed_shown_and_redriven() {
    let world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    // The payment has earned 5, and an event insists on 6.
    let keys = KeyDirectory::new(world.keys());
    let payment = ServiceIdentity::open(&keys, "payment").expect("a key");
    let mileage = AccrualServiceClient::new(client::connect("mileage", &world.address("mileage").into(), payment));
    let earned = AccrueMileageRequest {
        payment: format_name("payments", Id::generate()),
        reservation: format_name("reservations", Id::generate()),
        customer: format_user("mina"),
        points: 5,
    };
    mileage.clone().accrue_mileage(earned.clone()).await.expect("earned");
    let poison = PaymentApproved {
        payment: Some(Payment {
            name: earned.payment.clone(),
            reservation: earned.reservation.clone(),
            customer: earned.customer.clone(),
            state: Paid::Approved.into(),
            mileage_points: 6,
            mileage_accrual: MileageAccrual::Pending.into(),
            ..Payment::default()
        }),
    };
    let mut publisher = Publisher::new(world.broker.bus().await);
    publisher.publish(vec![NewEvent::of(&poison, Id::generate(), 1, &earned.reservation, None, Micros::now())]).await;
    let listed = eventually(PATIENCE, || async {
        let letters = json(&world, &["dlq", "list", "--consumer", "mileage-on-payment"]);
        rows(&letters).first().cloned()
    })
    .await;
    let name = listed["name"].as_str().expect("a name");
    assert_eq!(listed["resource"], earned.payment.as_str());
    assert_eq!(listed["error"], "the payment earned other miles");
    let booked = guest.reserve(&wish(&listing)).await.expect("the others are not held up");
    guest.cancel(&booked.name).await.expect("accepted");
    guest.until(&booked.name, State::Cancelled).await;
    eventually(PATIENCE, || async { guest.miles().await == 0 }).await;

    assert_eq!(json(&world, &["dlq", "show", name])["event_id"], listed["event_id"]);
    let (code, out, err) = run(&world, &["dlq", "redrive", name]);
    assert_eq!(code, Some(3), "only told what it would do: {err}");
    assert!(out.contains("mileage-on-payment") && err.contains("--yes"), "{out}{err}");
    let (code, out, _) = run(&world, &["dlq", "redrive", name, "--yes"]);
    assert!(code == Some(1) && out.contains("EVENT_REFUSED"), "the cause is still there: {out}");
    let reverse = ReverseMileageRequest { payment: earned.payment.clone() };
    mileage.clone().reverse_mileage(reverse).await.expect("mended");
    let (code, out, err) = run(&world, &["dlq", "redrive", name, "--yes", "--operator", "otto"]);
    assert!(code == Some(0) && out.contains("handled"), "{out}{err}");
    let mileage_letters = json(&world, &["dlq", "list", "--consumer", "mileage-on-payment"]);
    assert!(rows(&mileage_letters).is_empty(), "{mileage_letters}");
    let (code, _, err) = run(&world, &["dlq", "show", name]);
    assert!(code == Some(1) && err.contains("there is no"), "{err}");
}

/// A35, B20, E28: a fault that an operator injects is seen to open a breaker; the operator sees both, ends the one and decides for the other.
#[tokio::test]
async fn faults_are_injected_and_breakers_are_seen_and_decided_for() {
    const FAULT: &str = "payment/ChargePayment=abort:UNAVAILABLE#7";
    const CHARGE: &str = "payment/ChargePayment";
    let world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(100).await;
    let breaker = |state: &str| {
        let breakers = json(&world, &["breaker", "list", "--callee", "payment"]);
        let found = rows(&breakers).iter().find(|breaker| breaker["state"] == state);
        found.filter(|breaker| breaker["method"] == "holdfast.payment.v1.ChargeService/ChargePayment").cloned()
    };
    guest.reserve(&wish(&listing)).await.expect("all is well");
    assert_eq!(breaker("CLOSED").expect("it was passed")["caller"], "reservation");
    assert!(rows(&json(&world, &["inject", "list"])).is_empty(), "nothing is injected unless somebody says so");

    let (code, out, err) = run(&world, &["inject", "set", FAULT]);
    assert!(code == Some(3) && out.contains("reservation") && err.contains("--yes"), "{out}{err}");
    let set = json(&world, &["inject", "set", FAULT, "--for", "5m", "--yes"]);
    assert_eq!(rows(&set).iter().map(|fault| &fault["caller"]).collect::<Vec<_>>(), ["reservation"]);
    let open = eventually(PATIENCE, || async {
        guest.reserve(&wish(&listing)).await.expect_err("payment is ill");
        breaker("OPEN")
    })
    .await;
    assert!(open["rejection_count"].is_i64() && open["next_probe_time"].is_string(), "{open}");
    let faults = json(&world, &["inject", "list"]);
    assert!(rows(&faults)[0]["injected_count"].as_i64() >= Some(5), "{faults}");

    json(&world, &["inject", "clear", "--callee", "payment", "--yes"]);
    let (code, _, err) = run(&world, &["breaker", "disable", CHARGE]);
    assert!(code == Some(3) && err.contains("--yes"), "{err}");
    json(&world, &["breaker", "disable", CHARGE, "--yes"]);
    guest.reserve(&wish(&listing)).await.expect("it lets everything pass, and payment is well");
    json(&world, &["breaker", "open", CHARGE, "--yes"]);
    let rejected = guest.reserve(&wish(&listing)).await.expect_err("it lets nothing pass");
    assert!(mesh::fault::retry_delay_of(&rejected).is_some(), "{rejected:?}");
    assert_eq!(breaker("FORCED_OPEN").expect("it is overridden")["reason"], "OPERATOR");
    json(&world, &["breaker", "auto", "payment", "--yes"]);
    guest.reserve(&wish(&listing)).await.expect("it decides by itself");
    let (code, _, err) = run(&world, &["breaker", "open", "view", "--yes"]);
    assert!(code == Some(1) && err.contains("no service calls view"), "{err}");
    world.audit();
}

/// K8: payment is down for good, so a saga can neither go forward nor back. It is seen, given up on record, and mended.
#[tokio::test]
async fn a_stuck_saga_is_seen_given_up_on_record_and_mended() {
    let mut world = World::start().await;
    let (host, guest) = (world.host(), world.customer("gil"));
    let listing = host.offer(1).await;
    world.stop("payment").await;
    guest.reserve(&wish(&listing)).await.expect_err("no payment");
    let saga = eventually(PATIENCE, || async {
        let sagas = json(&world, &["saga", "list"]);
        rows(&sagas).iter().find(|saga| saga["last_error"] != "").cloned()
    })
    .await;
    let name = saga["name"].as_str().expect("a name");
    assert_eq!((saga["state"].as_str(), saga["step"].as_str()), (Some("UNDOING"), Some("BOOK")));
    let (code, out, _) = run(&world, &["saga", "show", name]);
    assert!(code == Some(0) && out.contains("may be paid"), "{out}");
    let give_up = ["saga", "abandon", name, "--give-up", "--reason", "payment is gone"];
    assert_eq!(run(&world, &give_up).0, Some(3), "only told");
    let given_up = json(&world, &[&give_up[..], &["--yes", "--operator", "otto"]].concat());
    assert_eq!(
        (given_up["state"].as_str(), given_up["abandoned_by"].as_str()),
        (Some("ABANDONED"), Some("users/otto"))
    );
    assert_eq!(given_up["outstanding"]["charge"], true);
    let (code, out, _) = run(&world, &["audit", "--settle", "1s"]);
    assert!(code == Some(1) && out.contains("abandoned by users/otto"), "{out}");

    world.begin("payment").await;
    assert_eq!(run(&world, &["saga", "retry", name, "--yes"]).0, Some(0));
    eventually(PATIENCE, || async { rows(&json(&world, &["saga", "list"])).is_empty() }).await;
    eventually(PATIENCE, || async { guest.free(&listing, &stay(30)).await == 1 }).await;
    world.audit();
}
