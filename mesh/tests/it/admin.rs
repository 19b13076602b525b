//! What a node answers operators: its outbox, and the dead letters of its consumers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use mesh::client::Channel;
use mesh::consumer::{ConsumerSpec, HandlerError, Repeats};
use mesh::event::{NewEvent, filter};
use mesh::fault::Fault;
use mesh::node::{Node, NodeArgs, NodeError};
use mesh::outbox;
use mesh::server::Routes;
use mesh::store::{Id, Micros, Store, StoreError};
use mesh::testing::{Running, TestMesh, eventually};
use proto::contract::Role;
use proto::mesh::v1::dead_letter_service_client::DeadLetterServiceClient;
use proto::mesh::v1::outbox_service_client::OutboxServiceClient;
use proto::mesh::v1::{
    DeadLetter, GetDeadLetterRequest, GetOutboxRequest, ListDeadLettersRequest, Outbox, RedriveDeadLetterRequest,
};
use proto::mileage::v1::MileageIncreased;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::events::{SOON, jetstream, publish};
use crate::things::{self, Made};

/// Two consumers of the same events. While it is broken, neither takes what is about `things/bad…`.
#[derive(Clone, Default)]
struct Service {
    broken: Arc<AtomicBool>,
    store: Arc<OnceLock<Store>>,
}

const CONSUMERS: [&str; 2] = ["counter-on-test", "other-on-test"];

impl Service {
    fn broken() -> Self {
        let service = Self::default();
        service.mend(false);
        service
    }

    fn mend(&self, well: bool) {
        self.broken.store(!well, Ordering::Relaxed);
    }

    async fn start(&self, mesh: &TestMesh) -> Running {
        let (service, args) = (self.clone(), mesh.node());
        Running::start(|listener, shutdown| service.serve(args, listener, shutdown)).await
    }

    async fn serve(self, args: NodeArgs, listener: TcpListener, shutdown: CancellationToken) -> Result<(), NodeError> {
        let node = Node::start("mileage", &args, things::migrations(), shutdown).await?;
        let _ = self.store.set(node.store().clone());
        for durable in CONSUMERS {
            let (stream, subjects) = ("TEST", vec![filter::<Made>()]);
            let spec = ConsumerSpec { stream, durable, subjects, batch: 64, repeats: Repeats::Dropped };
            let broken = Arc::clone(&self.broken);
            node.consume(spec, move |conn, events| {
                for event in events {
                    if event.aggregate.starts_with("things/bad") && broken.load(Ordering::Relaxed) {
                        return Err(HandlerError::Poison("it is \"broken\"".to_owned()));
                    }
                    things::add(conn, &format!("{durable}/{}", event.aggregate), 1)?;
                }
                Ok(())
            });
        }
        node.serve(listener, Routes::default(), &[]).await
    }

    async fn effects(&self, name: &str) -> [Option<i64>; 2] {
        let store = self.store.get().expect("it was started");
        let effect = |durable| async move { things::number(store, &format!("{durable}/{name}")).await };
        [effect(CONSUMERS[0]).await, effect(CONSUMERS[1]).await]
    }
}

fn operator(mesh: &TestMesh, running: &Running) -> DeadLetterServiceClient<Channel> {
    DeadLetterServiceClient::new(mesh.user("mileage", running.address, "olga", Role::Operator))
}

async fn list(client: &DeadLetterServiceClient<Channel>, consumer: &str) -> Vec<DeadLetter> {
    mesh::testing::all_pages(async |page_token| {
        let request = ListDeadLettersRequest { page_size: 2, page_token, consumer: consumer.to_owned() };
        let page = client.clone().list_dead_letters(request).await.expect("a page").into_inner();
        (page.dead_letters, page.next_page_token)
    })
    .await
}

async fn listed(client: &DeadLetterServiceClient<Channel>, count: usize) -> Vec<DeadLetter> {
    eventually(SOON, || async { Some(list(client, "").await).filter(|letters| letters.len() == count) }).await
}

async fn redrive(client: &DeadLetterServiceClient<Channel>, name: &str) -> Result<DeadLetter, Status> {
    let request = RedriveDeadLetterRequest { name: name.to_owned() };
    Ok(client.clone().redrive_dead_letter(request).await?.into_inner().dead_letter.expect("the letter"))
}

fn reason(status: &Status) -> String {
    Fault::from_status(status).reason().to_owned()
}

/// K9: one that is given up waits, the others flow; handled after all, by its own consumer, once.
#[tokio::test]
async fn a_dead_letter_waits_and_is_redriven_to_its_own_consumer() {
    let mut mesh = TestMesh::start().await;
    let service = Service::broken();
    let running = service.start(&mesh).await;
    let client = operator(&mesh, &running);
    eventually(SOON, || async { outbox_of(&mesh, &running).await.broker_connected }).await;
    assert!(list(&client, "").await.is_empty());
    let bus = mesh.broker().bus().await;
    for name in ["things/a", "things/bad", "things/b"] {
        publish(&bus, mesh.broker(), &things::made(name, 1)).await;
    }
    let letters = listed(&client, 2).await;
    for name in ["things/a", "things/b"] {
        eventually(SOON, || async { service.effects(name).await == [Some(1); 2] }).await;
    }

    let only = list(&client, CONSUMERS[1]).await;
    let [letter] = only.as_slice() else { panic!("one letter: {only:?}") };
    assert!(letters.contains(letter));
    assert_eq!((letter.consumer.as_str(), letter.stream.as_str()), (CONSUMERS[1], "TEST"));
    assert_eq!((letter.stream_sequence, letter.version, letter.delivery_count), (2, 1, 1));
    assert_eq!((letter.resource.as_str(), letter.r#type.as_str()), ("things/bad", "holdfast.test.v1.Made"));
    assert_eq!(letter.error, "it is \"broken\"");
    assert!(letter.payload.is_empty() && letter.create_time.is_some() && letter.event_time.is_some());
    let get = GetDeadLetterRequest { name: letter.name.clone() };
    let shown = client.clone().get_dead_letter(get).await.expect("there").into_inner().dead_letter.expect("it");
    assert_eq!(prost::Message::decode(shown.payload.as_slice()), Ok(Made { name: "things/bad".to_owned(), number: 1 }));

    let refused = redrive(&client, &letter.name).await.expect_err("still broken");
    assert_eq!((refused.code(), reason(&refused)), (Code::FailedPrecondition, "EVENT_REFUSED".to_owned()));
    assert_eq!(list(&client, "").await, letters, "it stays");

    service.mend(true);
    assert_eq!(&redrive(&client, &letter.name).await.expect("handled"), letter);
    assert_eq!(service.effects("things/bad").await, [None, Some(1)], "no other consumer");
    let gone = redrive(&client, &letter.name).await.expect_err("gone");
    assert_eq!((gone.code(), reason(&gone)), (Code::NotFound, "DEAD_LETTER_NOT_FOUND".to_owned()));
    assert_eq!(list(&client, "").await.len(), 1);
    running.stop().await;
}

/// K10: cut off after the effect was stored and before the letter was gone.
#[tokio::test]
async fn a_redrive_that_was_cut_off_is_repeated_without_a_second_effect() {
    let mut mesh = TestMesh::start().await;
    let service = Service::broken();
    let running = service.start(&mesh).await;
    let client = operator(&mesh, &running);
    let bus = mesh.broker().bus().await;
    publish(&bus, mesh.broker(), &things::made("things/bad", 1)).await;
    let letter = listed(&client, 2).await.remove(0);
    let jetstream = jetstream(mesh.broker()).await;
    let sequence: u64 = letter.name.rsplit('/').next().and_then(|number| number.parse().ok()).expect("a number");
    let copy = jetstream.get_stream("DLQ").await.expect("there").direct_get(sequence).await.expect("there");

    service.mend(true);
    redrive(&client, &letter.name).await.expect("handled");
    let mut headers = copy.headers.clone();
    headers.insert("Nats-Msg-Id", "again");
    jetstream.publish_with_headers(copy.subject, headers, copy.payload).await.expect("sent").await.expect("stored");
    let left = list(&client, &letter.consumer).await;
    let [again] = left.as_slice() else { panic!("one letter: {left:?}") };
    redrive(&client, &again.name).await.expect("handled already");
    assert_eq!(service.effects("things/bad").await.iter().flatten().sum::<i64>(), 1);
    assert!(list(&client, &letter.consumer).await.is_empty());
    running.stop().await;
}

/// Letters in the order they were given up, over pages, and those of other services' consumers not at all.
#[tokio::test]
async fn a_node_shows_the_letters_of_its_own_consumers_in_order() {
    let mut mesh = TestMesh::start().await;
    let service = Service::broken();
    let running = service.start(&mesh).await;
    let client = operator(&mesh, &running);
    let bus = mesh.broker().bus().await;
    for number in 1..=4 {
        publish(&bus, mesh.broker(), &things::made("things/bad", number)).await;
    }
    let letters = listed(&client, 8).await;
    let number = |letter: &DeadLetter| letter.name.rsplit('/').next().and_then(|number| number.parse::<u64>().ok());
    assert!(letters.is_sorted_by_key(number), "{letters:?}");
    let jetstream = jetstream(mesh.broker()).await;
    let foreign = jetstream.publish("holdfast.dlq.TEST.somebody-on-test", "x".into()).await.expect("sent");
    let name = format!("deadLetters/{}", foreign.await.expect("stored").sequence);
    let hidden =
        client.clone().get_dead_letter(GetDeadLetterRequest { name: name.clone() }).await.expect_err("not its");
    assert_eq!(reason(&hidden), "DEAD_LETTER_NOT_FOUND");
    assert_eq!(reason(&redrive(&client, &name).await.expect_err("not its")), "DEAD_LETTER_NOT_FOUND");
    assert_eq!(list(&client, "").await.len(), 8);
    assert!(list(&client, "somebody-on-test").await.is_empty());

    let request = ListDeadLettersRequest { page_size: 2, ..Default::default() };
    let token = client.clone().list_dead_letters(request).await.expect("a page").into_inner().next_page_token;
    let other = ListDeadLettersRequest { page_token: token, consumer: "another".to_owned(), ..Default::default() };
    assert_eq!(reason(&client.clone().list_dead_letters(other).await.expect_err("bound")), "PAGE_TOKEN_INVALID");
    running.stop().await;
}

/// A letter that is no event cannot be redriven, and says so.
#[tokio::test]
async fn a_message_that_is_no_event_is_shown_and_refused() {
    let mut mesh = TestMesh::start().await;
    let service = Service::default();
    let running = service.start(&mesh).await;
    let client = operator(&mesh, &running);
    mesh.broker().bus().await.ensure_stream(things::SERVICE).await;
    let jetstream = jetstream(mesh.broker()).await;
    let sent = jetstream.publish("holdfast.evt.test.thing.made.v1.x", "junk".into()).await.expect("sent");
    sent.await.expect("stored");
    let letter = listed(&client, 2).await.remove(0);
    assert_eq!((letter.event_id.as_str(), letter.error.as_str()), ("", "the header ce-id is missing"));
    let get = GetDeadLetterRequest { name: letter.name.clone() };
    let shown = client.clone().get_dead_letter(get).await.expect("there").into_inner().dead_letter.expect("it");
    assert_eq!(shown.payload, b"junk");
    assert_eq!(reason(&redrive(&client, &letter.name).await.expect_err("no event")), "EVENT_REFUSED");
    running.stop().await;
}

async fn outbox_of(mesh: &TestMesh, running: &Running) -> Outbox {
    let channel = mesh.user("mileage", running.address, "olga", Role::Operator);
    let answer = OutboxServiceClient::new(channel).get_outbox(GetOutboxRequest {}).await.expect("readable");
    answer.into_inner().outbox.expect("an outbox")
}

async fn push(service: &Service, count: i64) {
    let store = eventually(SOON, || async { service.store.get() }).await;
    let event = |number| NewEvent::of(&MileageIncreased::default(), Id::generate(), number, "r", None, Micros::now());
    let events: Vec<NewEvent> = (1..=count).map(event).collect();
    store.write(move |conn| Ok::<_, StoreError>(outbox::push_all(conn, "mileage", &events)?)).await.expect("stored");
}

/// K2: what waits is told while the broker is away, and that it is gone from the outbox afterwards.
#[tokio::test]
async fn the_outbox_tells_what_waits_and_what_was_published() {
    let mut mesh = TestMesh::start().await;
    let service = Service::default();
    let running = service.start(&mesh).await;
    push(&service, 3).await;
    let published = |waiting, kept| {
        let (mesh, running) = (&mesh, &running);
        move || async move {
            let outbox = outbox_of(mesh, running).await;
            (outbox.waiting_count == waiting && outbox.kept_count == kept).then_some(outbox)
        }
    };
    let outbox = eventually(SOON, published(0, 3)).await;
    assert_eq!((outbox.service.as_str(), outbox.stream_sequence, outbox.broker_connected), ("mileage", 3, true));
    assert_eq!(outbox.oldest_waiting_time, None);

    mesh.broker().stop();
    push(&service, 2).await;
    let outbox =
        eventually(SOON, || async { Some(outbox_of(&mesh, &running).await).filter(|outbox| !outbox.broker_connected) })
            .await;
    assert_eq!((outbox.waiting_count, outbox.kept_count, outbox.stream_sequence), (2, 3, 3));
    assert!(outbox.oldest_waiting_time.is_some());
    let request = ListDeadLettersRequest::default();
    let away = operator(&mesh, &running).list_dead_letters(request).await.expect_err("no broker");
    assert_eq!((away.code(), reason(&away)), (Code::Unavailable, "BROKER_UNAVAILABLE".to_owned()));

    mesh.broker().restart();
    let outbox = eventually(SOON, || async {
        Some(outbox_of(&mesh, &running).await).filter(|outbox| outbox.kept_count == 5 && outbox.broker_connected)
    })
    .await;
    assert_eq!((outbox.waiting_count, outbox.stream_sequence), (0, 5));
    running.stop().await;
}

/// Only operators: neither customers, hosts nor services.
#[tokio::test]
async fn nobody_but_an_operator_is_answered() {
    let mesh = TestMesh::start().await;
    let running = Service::default().start(&mesh).await;
    let user = |role| mesh.user("mileage", running.address, "mallory", role);
    let callers = [user(Role::Customer), user(Role::Host), mesh.service("mileage", running.address, "payment")];
    for channel in callers {
        let mut letters = DeadLetterServiceClient::new(channel.clone());
        let name = "deadLetters/1".to_owned();
        let answers = [
            OutboxServiceClient::new(channel).get_outbox(GetOutboxRequest {}).await.map(|_| ()),
            letters.list_dead_letters(ListDeadLettersRequest::default()).await.map(|_| ()),
            letters.get_dead_letter(GetDeadLetterRequest { name: name.clone() }).await.map(|_| ()),
            letters.redrive_dead_letter(RedriveDeadLetterRequest { name }).await.map(|_| ()),
        ];
        for answer in answers {
            assert_eq!(answer.expect_err("refused").code(), Code::PermissionDenied);
        }
    }
    running.stop().await;
}
