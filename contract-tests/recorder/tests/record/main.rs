//! Records what our services send each other and what they read of answers and events, by running them.
//!
//! Nothing of it is written by hand. A field is read if the consumer does something else once it is changed: writes other rows, sends
//! other requests, answers otherwise. So the real handlers are run on real events and on variants of them, and the real callers are
//! answered by the real providers and by variants of their answers. What comes of it is `contract-tests/consumers/`, which the gate
//! compares with today's contracts.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod calls;
mod events;
mod evidence;
mod journeys;
mod replay;
mod rows;
mod stage;
mod steady;
mod variants;

use std::collections::{BTreeMap, BTreeSet};
use std::{env, fs};

use contract::{Consumer, DescriptorSet, Project};
use holdfast::demo::Language;
use holdfast::service::Service;
use prost_reflect::DescriptorPool;
use proto::contract::FILE_DESCRIPTOR_SET;

use calls::Called;
use events::Read;
use stage::Stage;

const WRITE: &str = "HOLDFAST_WRITE";

/// Alarms go to nobody, so that some messages are given up.
const ALARMS_FAIL: [&str; 5] = [
    "--message-alarm-notifier=webhook",
    "--message-webhook-url=http://127.0.0.1:9/",
    "--message-webhook-allow-private",
    "--message-webhook-secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "--message-attempts=1",
];

/// A74: what consumers rely on is what they were seen to rely on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_consumers_send_and_read_is_what_is_recorded() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let stage = Stage::set(&pool, &ALARMS_FAIL).await;
    journeys::all(&stage, &[Language::En, Language::Ko]).await;
    journeys::rest(&stage).await;
    stage.deliveries.end();
    let called = calls::probe(&stage, &pool).await;
    let deliveries = stage.deliveries.clone();
    let handled = tokio::task::spawn_blocking(move || deliveries.probe(&pool)).await.unwrap();
    stage.strike().await;
    expect_files(&consumers(called, handled));
}

/// A74: providers answer what their consumers were seen to read, those that are not ours, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn recorded_requests_are_answered_as_they_were() {
    let set = DescriptorSet::decode(FILE_DESCRIPTOR_SET, contract::baseline::OURS).unwrap();
    let consumers = committed();
    let stage = Stage::set(set.pool(), &[]).await;
    stage.deliveries.end();
    let replayed = replay::replay(&stage, &set, &consumers).await;
    stage.strike().await;
    assert!(replayed.missed.is_empty(), "{:#?}", replayed.missed);
    let callings = consumers.iter().flat_map(|consumer| consumer.rpcs.values());
    assert_eq!(replayed.asked, callings.map(|calling| calling.cases.len()).sum::<usize>(), "every case is asked");
    assert!(consumers.iter().any(|it| !is_ours(it)) && consumers.iter().filter(|it| !it.rpcs.is_empty()).count() >= 4);
}

/// A74: every event there is, as the broker carries it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_event_is_published_as_it_is_declared() {
    let model = provider::Model::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut stage = Stage::set(model.pool(), &ALARMS_FAIL).await;
    let recorder = provider::Recorder::connect(&stage.mesh.broker().url()).await.unwrap();
    journeys::all(&stage, &[Language::En]).await;
    recorder.rest().await;
    let captured = recorder.events();
    stage.strike().await;

    provider::check_declared(&model, &captured).unwrap();
    let count = |event| provider::check_type(&model, event, &captured).unwrap();
    let unseen: Vec<&str> =
        model.events().iter().filter(|event| count(event) == 0).map(|event| event.message.full_name()).collect();
    assert!(unseen.is_empty(), "never published: {unseen:?}");
    let ids: BTreeSet<&str> = captured.iter().map(|event| event.header("ce-id")).collect();
    assert_eq!(ids.len(), captured.len(), "an id is of one event");
}

fn consumers(called: Called, handled: Read) -> Vec<Consumer> {
    let mut found: BTreeMap<(String, String), Consumer> = BTreeMap::new();
    let empty = |consumer: &String, provider: &String| Consumer {
        consumer: consumer.clone(),
        provider: provider.clone(),
        events: BTreeMap::new(),
        rpcs: BTreeMap::new(),
    };
    for ((consumer, provider, rpc), calling) in called {
        let of = found.entry((consumer.clone(), provider.clone())).or_insert_with(|| empty(&consumer, &provider));
        of.rpcs.insert(rpc, calling);
    }
    for ((consumer, provider, event), evidence) in handled.into_iter().filter(|(_, evidence)| !evidence.is_empty()) {
        let of = found.entry((consumer.clone(), provider.clone())).or_insert_with(|| empty(&consumer, &provider));
        of.events.insert(event, evidence.reading());
    }
    found.into_values().collect()
}

/// The files of our services are these, and there are no others of theirs.
fn expect_files(recorded: &[Consumer]) {
    let folder = Project::at(&Project::own_root()).consumers();
    let name = |consumer: &Consumer| format!("{}-on-{}.json", consumer.consumer, consumer.provider);
    if env::var_os(WRITE).is_some() {
        fs::create_dir_all(&folder).unwrap();
        recorded.iter().for_each(|it| fs::write(folder.join(name(it)), it.to_json()).unwrap());
    }
    let files: BTreeMap<String, String> = recorded.iter().map(|it| (name(it), it.to_json())).collect();
    for committed in ours() {
        assert!(files.contains_key(&name(&committed)), "{} is of nobody", name(&committed));
    }
    for (name, text) in files {
        let committed = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(committed == text, "{name} is out of date; write it anew with {WRITE}=1\n{text}");
    }
}

/// The committed files of our own services.
fn ours() -> Vec<Consumer> {
    committed().into_iter().filter(is_ours).collect()
}

/// Every committed file.
fn committed() -> Vec<Consumer> {
    contract::consumers::read(&Project::at(&Project::own_root()).consumers()).unwrap()
}

fn is_ours(consumer: &Consumer) -> bool {
    Service::names().contains(&consumer.consumer.as_str())
}
