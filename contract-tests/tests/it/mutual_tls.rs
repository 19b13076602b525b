//! Services that prove themselves to each other, and to a client in another language.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mesh::client::{self, Address, Credentials};
use mesh::testing::{Authority, tool};
use mesh::tls::Tls;
use proto::contract::Role;
use proto::reservation::v1::{Reservation, reservation::State};
use serde_json::Value;
use world::caller::{Caller, wish};
use world::{SERVICES, World};

/// What a certificate's owner proves itself with, as `grpcurl` is told.
fn proof(folder: &Path) -> [String; 6] {
    let file = |name: &str| folder.join(name).display().to_string();
    let [authority, certificate, key] = ["-cacert", "-cert", "-key"].map(str::to_owned);
    [authority, file("ca.crt"), certificate, file("tls.crt"), key, file("tls.key")]
}

/// A mesh whose services prove themselves, each with a certificate of its own.
pub(crate) struct Secured {
    pub(crate) world: World,
    authority: Authority,
}

impl Secured {
    pub(crate) async fn start() -> Self {
        let mut world = World::without_services(mesh::testing::chosen_database(), &[]).await;
        let authority = Authority::new();
        for service in SERVICES {
            let own = world.keys().join("tls").join(service);
            authority.issue(service, &own);
            world.launch(service, &[("HOLDFAST_TLS_DIR", own.to_str().expect("a plain path"))]);
        }
        let secured = Self { world, authority };
        let tls = Tls::open(&secured.certificates("probe")).expect("certificates");
        for service in SERVICES {
            secured.world.ready_over(service, &tls).await;
        }
        secured
    }

    /// A folder with what somebody else proves itself with.
    pub(crate) fn certificates(&self, name: &str) -> PathBuf {
        let folder = self.world.keys().join("tls").join(name);
        self.authority.issue(name, &folder);
        folder
    }

    /// Books by way of a gateway.
    pub(crate) async fn book(&self) -> Reservation {
        let tls = Tls::open(&self.certificates("gateway")).expect("certificates");
        let caller = |subject: &str, role: Role| {
            let token = self.world.token(subject, role);
            Caller::new(subject, |service| {
                let address = Address::from(self.world.address(service)).secured(Some(&tls));
                client::connect(service, &address, Credentials::token(&token))
            })
        };
        let listing = caller("hana", Role::Host).offer(1).await;
        caller("gil", Role::Customer).reserve(&wish(&listing)).await.expect("a booking")
    }
}

/// `--tls-dir` is all it takes: a booking goes through every service, and who has no certificate gets no connection.
#[tokio::test]
async fn a_booking_goes_over_tls_and_a_foreign_client_proves_itself_too() {
    let secured = Secured::start().await;
    let booked = secured.book().await;
    assert_eq!(booked.state(), State::Confirmed);

    let (world, gateway) = (&secured.world, secured.certificates("gateway"));
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

/// The tools of the binary prove themselves as services do, and say what is wrong where they cannot.
#[tokio::test]
async fn the_tools_speak_tls_and_say_what_is_wrong_without_a_certificate() {
    let secured = Secured::start().await;
    let (world, gateway) = (&secured.world, secured.certificates("gateway"));
    let run = |line: &[&str], tls_dir: Option<&Path>| {
        let mut command = world.command(line);
        if let Some(dir) = tls_dir {
            command.env("HOLDFAST_TLS_DIR", dir);
        }
        let output = command.output().expect("it runs");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("text")).concat();
        (output.status.success(), text)
    };
    let (well, text) = run(&["smoke"], Some(&gateway));
    assert!(well && text.contains("all well"), "{text}");
    let gateway = gateway.to_str().expect("a plain path");
    let (well, text) = run(&["outbox", "status", "--tls-dir", gateway], None);
    assert!(well && text.lines().count() == 8, "{text}");

    let status = ["outbox", "status"];
    let check = |tls_dir: Option<&Path>, wrong: &str| {
        let (well, text) = run(&status, tls_dir);
        assert!(!well && text.contains(wrong), "{tls_dir:?}: {text}");
    };
    check(None, "there is no certificate to call with");
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    check(Some(elsewhere.path()), "ca.crt");
    Authority::new().issue("gateway", elsewhere.path());
    check(Some(elsewhere.path()), "invalid peer certificate");
    // It knows the services, and they do not know it.
    fs::copy(world.keys().join("tls/gateway/ca.crt"), elsewhere.path().join("ca.crt")).expect("a file");
    check(Some(elsewhere.path()), "received fatal alert");
}
