//! Services that prove themselves to each other, and to a client in another language.

use std::path::Path;
use std::process::Command;

use mesh::client::{self, Address, Credentials};
use mesh::testing::{Authority, tool};
use mesh::tls::Tls;
use proto::contract::Role;
use proto::reservation::v1::reservation::State;
use serde_json::Value;
use world::caller::{Caller, wish};
use world::{SERVICES, World};

/// What a certificate's owner proves itself with, as `grpcurl` is told.
fn proof(folder: &Path) -> [String; 6] {
    let file = |name: &str| folder.join(name).display().to_string();
    let [authority, certificate, key] = ["-cacert", "-cert", "-key"].map(str::to_owned);
    [authority, file("ca.crt"), certificate, file("tls.crt"), key, file("tls.key")]
}

/// `--tls-dir` is all it takes: a booking goes through every service, and who has no certificate gets no connection.
#[tokio::test]
async fn a_booking_goes_over_tls_and_a_foreign_client_proves_itself_too() {
    let mut world = World::without_services(mesh::testing::chosen_database(), &[]).await;
    let (authority, folder) = (Authority::new(), world.keys().join("tls"));
    for service in SERVICES {
        let own = folder.join(service);
        authority.issue(service, &own);
        world.launch(service, &[("HOLDFAST_TLS_DIR", own.to_str().expect("a plain path"))]);
    }
    let gateway = folder.join("gateway");
    authority.issue("gateway", &gateway);

    let tls = Tls::open(&gateway).expect("certificates");
    let caller = |subject: &str, role: Role| {
        let token = world.token(subject, role);
        Caller::new(subject, |service| {
            let address = Address::from(world.address(service)).secured(Some(&tls));
            client::connect(service, &address, Credentials::token(&token))
        })
    };
    for service in SERVICES {
        world.ready_over(service, &tls).await;
    }
    let listing = caller("hana", Role::Host).offer(1).await;
    let booked = caller("gil", Role::Customer).reserve(&wish(&listing)).await.expect("a booking");
    assert_eq!(booked.state(), State::Confirmed);

    let address = world.address("reservation").to_string();
    let ask = |options: Vec<String>| {
        let mut grpcurl = Command::new(tool("grpcurl/bin/grpcurl"));
        let token = world.token("gil", Role::Customer);
        grpcurl.args(options).args(["-H", &format!("authorization: Bearer {token}"), "-servername", "reservation"]);
        grpcurl.args(["-d", &format!("{{\"name\": {:?}}}", booked.name)]);
        grpcurl.args([&address, "holdfast.reservation.v1.ReservationService/GetReservation"]);
        grpcurl.output().expect("grpcurl runs")
    };
    let answer = ask(proof(&gateway).into());
    let text = String::from_utf8_lossy(&answer.stdout);
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{answer:?}"));
    assert_eq!(json["reservation"]["state"], "STATE_CONFIRMED", "{text}");

    assert!(!ask(vec!["-plaintext".to_owned()]).status.success(), "without TLS");
    let nobody = proof(&gateway)[..2].to_vec();
    assert!(!ask(nobody).status.success(), "without a certificate");
    world.audit();
}
