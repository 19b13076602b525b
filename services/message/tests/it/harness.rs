//! A message service with all that is around it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh::client::Channel;
use mesh::node::NodeArgs;
use mesh::store::{Id, Micros};
use mesh::testing::{Publisher, Running, Subscriber, TestMesh, all_pages, eventually};
use message::{Channel as Via, Config, Language, NotifierKind, State, Topic};
use proto::contract::{Event, Role};
use proto::message::v1::message_service_client::MessageServiceClient;
use proto::message::v1::{ListMessagesRequest, Message, MessageSent, message as contract};

pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Harness {
    pub(crate) mesh: TestMesh,
    pub(crate) message: Running,
    pub(crate) publisher: Publisher,
    pub(crate) config: Config,
}

impl Harness {
    /// With the file notifier.
    pub(crate) async fn start() -> Self {
        Self::start_with(TestMesh::start().await, |_| {}).await
    }

    pub(crate) async fn start_with(mesh: TestMesh, configure: impl FnOnce(&mut Config)) -> Self {
        let publisher = mesh.publisher().await;
        let mut config = config(&mesh.folder().join("messages.jsonl"));
        configure(&mut config);
        Self { message: serve(mesh.node(), config.clone()).await, mesh, publisher, config }
    }

    pub(crate) fn client(&self, user: &str, role: Role) -> MessageServiceClient<Channel> {
        MessageServiceClient::new(self.mesh.user("message", self.message.address, user, role))
    }

    /// What the service publishes.
    pub(crate) async fn published(&self) -> Subscriber {
        self.mesh.subscriber(MessageSent::STREAM).await
    }

    /// Waits until there are so many messages in this state, as an operator sees them.
    pub(crate) async fn settled(&self, state: contract::State, count: usize) -> Vec<Message> {
        let client = self.client("olga", Role::Operator);
        eventually(SOON, || async {
            let messages: Vec<_> =
                list(client.clone(), "", 500).await.into_iter().filter(|message| message.state() == state).collect();
            (messages.len() == count).then_some(messages)
        })
        .await
    }

    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        lines(&self.config.message_file)
    }
}

pub(crate) fn config(file: &Path) -> Config {
    Config {
        message_listen: ([127, 0, 0, 1], 0).into(),
        message_notifier: NotifierKind::File,
        message_sms_notifier: None,
        message_alarm_notifier: None,
        message_file: file.to_owned(),
        message_log: false,
        message_webhook_url: None,
        message_webhook_secret: None,
        message_webhook_timeout_ms: 2_000,
        message_webhook_allow_private: true,
        message_smtp_url: None,
        message_smtp_from: None,
        message_smtp_domain: None,
        message_smtp_timeout_ms: 5_000,
        message_language: Language::English,
        message_alarm_prefix: "Hello".to_owned(),
        message_attempts: 3,
        message_backoff_ms: 10,
        message_backoff_max_ms: 50,
    }
}

pub(crate) async fn serve(node: NodeArgs, config: Config) -> Running {
    Running::start(|listener, shutdown| async move { message::serve(&node, config, listener, shutdown).await }).await
}

/// Every page of the list.
pub(crate) async fn list(mut client: MessageServiceClient<Channel>, reservation: &str, page_size: i32) -> Vec<Message> {
    all_pages(async |page_token| {
        let request = ListMessagesRequest { reservation: reservation.to_owned(), page_size, page_token };
        let page = client.list_messages(request).await.expect("a page").into_inner();
        assert!(page.messages.len() <= page_size as usize);
        (page.messages, page.next_page_token)
    })
    .await
}

/// The lines of a notifier's file; a line that is not whole fails the test. What follows the last of them is still being written.
pub(crate) fn lines(file: &Path) -> Vec<serde_json::Value> {
    let bytes = std::fs::read(file).unwrap_or_default();
    let ended = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    ended.map(|line| serde_json::from_slice(line).expect("a whole line")).collect()
}

pub(crate) fn names(lines: &[serde_json::Value]) -> HashSet<String> {
    lines.iter().map(|line| line["name"].as_str().expect("a name").to_owned()).collect()
}

/// The same surroundings with a data folder of its own.
pub(crate) fn beside(mesh: &TestMesh, folder: &str) -> (NodeArgs, PathBuf) {
    let mut node = mesh.node();
    node.data.data_dir = mesh.folder().join(folder);
    (node, mesh.folder().join(folder).join("messages.jsonl"))
}

/// A message that waits for its first delivery.
pub(crate) fn sample(body: &str) -> message::Message {
    message::Message {
        id: Id::generate(),
        event: Id::generate(),
        recipient: "users/alice".to_owned(),
        reservation: Id::generate(),
        topic: Topic::ReservationConfirmed,
        channel: Via::Message,
        language: Language::English,
        body: body.to_owned(),
        state: State::Pending,
        attempts: 1,
        created_at: Micros::now(),
        sent_at: None,
        traceparent: None,
    }
}
