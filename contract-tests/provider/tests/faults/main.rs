//! The checks find what they are for: real servers with one fault planted before them, each found by a check whose name says what is wrong.

mod plants;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use plants::Planted;
use prost::Message;
use proto::contract::{FILE_DESCRIPTOR_SET, Role};
use proto::listing::v1::{Listing, ListingRegistered};
use provider::{Check, Credentials, Endpoints, Failure, Model, ModelError, Plan, Suite, Target, checks};
use world::proxy::{Plant, start};
use world::{SERVICES, World};

/// Whoever waits longer for what a fault keeps from coming only tests our patience.
const PATIENCE: Duration = Duration::from_secs(3);
const AT_ONCE: usize = 8;

fn model() -> Arc<Model> {
    Arc::new(Model::decode(FILE_DESCRIPTOR_SET).expect("our contracts"))
}

fn check(model: &Model, name: &str) -> Check {
    let plan = Plan { fuzz: Duration::from_millis(500), ..Plan::FULL };
    checks(model, &plan).into_iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check {name}"))
}

async fn suite(world: &World, model: &Arc<Model>, plant: Plant) -> Suite {
    let plant = Arc::new(plant);
    let mut servers = String::new();
    for service in SERVICES {
        let address = start(world.address(service), Arc::clone(&plant)).await;
        servers += &format!("holdfast.{service}.v1 {address}\n");
    }
    let target = Target {
        endpoints: Endpoints::parse(&servers).expect("addresses"),
        credentials: Credentials::keys(&world.keys()).expect("keys"),
        nats: Some(world.broker.url()),
        domain: "holdfast.dev".to_owned(),
        patience: PATIENCE,
        rejects: rejects(world),
    };
    Suite::new(Arc::clone(model), FILE_DESCRIPTOR_SET, target, 1).await.expect("a broker")
}

fn rejects(world: &World) -> PathBuf {
    world.data().join("rejects")
}

fn nothing() -> Plant {
    Plant { path: "/nowhere", before: Box::new(|_| None), after: None, besides: None }
}

/// What a check says of a server, and of the same server with a fault.
struct Judged {
    fault: &'static str,
    check: String,
    without: Result<(), Failure>,
    with: Result<(), Failure>,
}

/// A74: a server that does not do what its contract says does not pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_planted_fault_is_found_by_its_check() {
    let (world, model) = (World::start().await, model());
    let planted = plants::all(&world);
    assert!(planted.len() >= 20, "{} faults", planted.len());
    let (world, model) = (&world, &model);
    let found: Vec<Judged> = stream::iter(planted)
        .map(|Planted { fault, check: name, plant }| async move {
            let judge = check(model, &name);
            let without = suite(world, model, nothing()).await.run(&judge).await;
            let with = suite(world, model, plant).await.run(&judge).await;
            Judged { fault, check: name, without, with }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut wrong = Vec::new();
    for Judged { fault, check: name, without, with } in &found {
        println!("{fault:<50} {name}");
        if let Err(failure) = without {
            wrong.push(format!("{name} fails where nothing is planted:\n{failure}"));
        }
        if with.is_ok() {
            wrong.push(format!("{name} does not find that {fault}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let kept = std::fs::read_dir(rejects(world)).expect("what broke the server is kept").count();
    assert_eq!(kept, 1);
}

/// An event as it should not be, but for the first.
struct Published<'a> {
    fault: &'static str,
    check: &'a str,
    subject: &'a str,
    changes: &'a [(&'a str, &'a str)],
    payload: &'a [u8],
}

/// What an event may have wrong, and the check that says so (K32: a topic for events that nobody sends).
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_event_that_is_not_as_declared_is_found() {
    const REGISTERED: &str = "holdfast.listing.v1.ListingRegistered";
    let (world, model) = (World::start().await, model());
    let id = uuid::Uuid::from_u128(7).to_string();
    let name = format!("listings/{id}");
    let subject = format!("holdfast.evt.listing.listing.registered.v1.{id}");
    let listing = Listing { name: name.clone(), ..Listing::default() };
    let payload = ListingRegistered { listing: Some(listing.clone()) }.encode_to_vec();
    let surprising = [payload.as_slice(), &[0xfa, 0xff, 0xff, 0xff, 0x0f, 0]].concat();
    let dishonest = ListingRegistered { listing: Some(Listing { kind: 99, ..listing }) }.encode_to_vec();
    let as_declared = format!("event::{REGISTERED}::as_declared");
    let good = Published { fault: "nothing", check: &as_declared, subject: &subject, changes: &[], payload: &payload };
    let table = [
        Published { ..good },
        Published {
            fault: "an event under another's subject",
            subject: "holdfast.evt.listing.listing.modified.v1.1",
            ..good
        },
        Published { fault: "a payload with a field of a newer contract", payload: &surprising, ..good },
        Published { fault: "a payload that breaks a rule", payload: &dishonest, ..good },
        Published { fault: "a message id that is not the event's", changes: &[("Nats-Msg-Id", "1")], ..good },
        Published { fault: "another's source", changes: &[("ce-source", "//holdfast/payment")], ..good },
        Published { fault: "another aggregate", changes: &[("ce-subject", "listings/1")], ..good },
        Published {
            fault: "a type that no contract knows",
            check: "events::declared",
            changes: &[("ce-type", "holdfast.listing.v1.Exploded")],
            ..good
        },
    ];
    let broker = async_nats::connect(world.broker.url()).await.expect("the broker");
    for Published { fault, check: name_of_check, subject, changes, payload } in table {
        let suite = suite(&world, &model, nothing()).await;
        let mut headers = async_nats::HeaderMap::new();
        let usual = [
            ("Nats-Msg-Id", id.as_str()),
            ("ce-id", &id),
            ("ce-source", "//holdfast/listing"),
            ("ce-specversion", "1.0"),
            ("ce-type", REGISTERED),
            ("ce-subject", &name),
            ("ce-time", "2026-01-01T00:00:00.000000Z"),
            ("ce-datacontenttype", "application/protobuf"),
            ("ce-sequence", "1"),
        ];
        for (name, value) in usual.iter().chain(changes) {
            headers.insert(*name, *value);
        }
        broker.publish_with_headers(subject.to_owned(), headers, payload.to_vec().into()).await.expect("published");
        broker.flush().await.expect("sent");
        let judged = suite.run(&check(&model, name_of_check)).await;
        println!("{fault:<50} {name_of_check}");
        assert_eq!(judged.is_ok(), fault == good.fault, "{fault}: {judged:?}");
    }
}

fn program(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let servers: String =
        SERVICES.iter().map(|service| format!("holdfast.{service}.v1 {}\n", world.address(service))).collect();
    let file = world.data().join("servers");
    std::fs::write(&file, format!("# ours\n{servers}")).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_provider"));
    let output = command.arg("--services").arg(file).args(arguments).output().expect("the program runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// A74: the same checks for servers at any address, with the contracts as the servers tell them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_program_checks_servers_at_their_addresses() {
    let world = World::start().await;
    let keys = world.keys().display().to_string();
    let (code, text) = program(&world, &["--keys", &keys, "ReviewService/CreateReview"]);
    assert_eq!(code, Some(0), "{text}");
    let heard = ["--keys", &keys, "--nats", &world.broker.url(), "ReviewService/CreateReview"];
    let (code, text) = program(&world, &heard);
    assert_eq!(code, Some(2), "reflection tells of no events: {text}");
    let descriptors = world.data().join("contracts.binpb");
    std::fs::write(&descriptors, FILE_DESCRIPTOR_SET).expect("a file");
    let descriptors = ["--descriptors", descriptors.to_str().expect("a plain path")];
    let (code, text) = program(&world, &[&descriptors[..], &heard].concat());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("CreateReview::rejects::review.content.required"), "{text}");

    // One token, one user: what is for others is not tested, and said so.
    let token = format!("customer={}", world.token("gil", Role::Customer));
    let (code, text) = program(&world, &["--token", &token, "MileageService/"]);
    assert_eq!(code, Some(1), "its links lead to a host, for whom there is no token: {text}");
    assert!(text.contains("not tested, for want of a token: holdfast.listing.v1.HoldService/PlaceHold"), "{text}");
    assert!(text.contains("--keys or --token"), "{text}");
    let host = format!("host={}", world.token("hana", Role::Host));
    let (code, text) = program(&world, &["--token", &token, "--token", &host, "MileageService/"]);
    assert_eq!(code, Some(0), "{text}");

    let (code, text) = program(&world, &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("there is a token for no RPC"), "{text}");
    let (code, text) = program(&world, &["--keys", &keys, "ReviewService/CreateReveiw"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no check has this in its name"), "{text}");
}

/// A set of descriptors that says nothing fails; it does not pass with nothing to test.
#[test]
fn descriptors_without_rpcs_or_options_are_no_contracts() {
    use prost_types::FileDescriptorSet;
    assert!(matches!(Model::decode(&[]), Err(ModelError::Empty)));
    assert!(matches!(Model::decode(&[0xff]), Err(ModelError::Malformed(_))));
    // Decoded into generated types, the set has lost every option of ours.
    let stripped = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("a set").encode_to_vec();
    assert!(matches!(Model::decode(&stripped), Err(ModelError::Stripped(_))));
}

/// Links that lead nowhere, or nowhere yet, are named with their RPC.
#[test]
fn broken_links_are_named() {
    assert_eq!(model().broken_links(), Vec::<String>::new());
    for (old, new, complaint) in [
        ("ListingService.CreateListing", "ListingService.CreateLizting", "which is no RPC"),
        ("listing.name", "listing.nome", "does not answer"),
        ("vouchers.name", "vouchers.host", ""),
        ("{\"dates\": {}}", "{\"datez\": {}}", "is no request"),
    ] {
        // Of the same length, so that the encoding stays one.
        assert_eq!(old.len(), new.len());
        let edited = replaced(FILE_DESCRIPTOR_SET, old, new);
        let broken = Model::decode(&edited).map(|model| model.broken_links()).unwrap_or_default();
        assert_eq!(broken.iter().any(|line| line.contains(complaint)), !complaint.is_empty(), "{new}: {broken:?}");
    }
}

fn replaced(bytes: &[u8], old: &str, new: &str) -> Vec<u8> {
    let mut edited = bytes.to_vec();
    let places = bytes.windows(old.len()).enumerate().filter(|(_, window)| *window == old.as_bytes());
    for (at, _) in places {
        edited[at..at + new.len()].copy_from_slice(new.as_bytes());
    }
    edited
}
