//! Every service in this process, and who calls whom by way of a proxy that listens and may lie.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clap::Parser as _;
use holdfast::serve::{ServeArgs, serve};
use holdfast::service::Service;
use mesh::client::Channel;
use mesh::testing::{Running, TestMesh, free_port};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use proto::contract::Role;
use tonic::Status;
use world::proxy::{self, Call, Plant, Reply};

use crate::events::Deliveries;
use crate::variants::Variant;

#[derive(clap::Parser)]
struct Options {
    #[command(flatten)]
    serve: ServeArgs,
}

/// A call that one service made to another.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) consumer: &'static str,
    pub(crate) provider: &'static str,
    pub(crate) rpc: MethodDescriptor,
    pub(crate) request: DynamicMessage,
    pub(crate) answer: Result<DynamicMessage, Status>,
}

/// What is answered instead of the truth.
#[derive(Clone, Debug)]
pub(crate) enum Lie {
    /// The provider's answer, changed.
    Changed(Variant),
    /// A refusal; the provider is not asked.
    Refused(Status),
}

/// What the proxies share.
#[derive(Default)]
pub(crate) struct Wire {
    heard: Mutex<Vec<Heard>>,
    lie: Mutex<Option<(String, Lie)>>,
}

impl Wire {
    /// From now on calls of this RPC are answered so; `None` ends it. What was heard until now is forgotten.
    pub(crate) fn begin(&self, lie: Option<(String, Lie)>) {
        *self.lie.lock().expect("nobody panics with it") = lie;
        self.heard.lock().expect("nobody panics with it").clear();
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().expect("nobody panics with it").clone()
    }

    fn lie_about(&self, rpc: &MethodDescriptor) -> Option<Lie> {
        let lie = self.lie.lock().expect("nobody panics with it");
        lie.as_ref().filter(|(name, _)| name == rpc.full_name()).map(|(_, lie)| lie.clone())
    }
}

/// All of the mesh.
pub(crate) struct Stage {
    pub(crate) mesh: TestMesh,
    pub(crate) wire: Arc<Wire>,
    pub(crate) deliveries: Deliveries,
    pub(crate) addresses: BTreeMap<&'static str, SocketAddr>,
    running: Vec<Running>,
}

static SETTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const SERVICES: [Service; 8] = [
    Service::Listing,
    Service::Reservation,
    Service::Payment,
    Service::Mileage,
    Service::Message,
    Service::View,
    Service::Voucher,
    Service::Marketing,
];

impl Stage {
    /// With these options besides.
    pub(crate) async fn set(pool: &DescriptorPool, options: &[&str]) -> Self {
        // Services show their batches to whoever asked last.
        let _alone = SETTING.lock().await;
        let mesh = TestMesh::start().await;
        let node = mesh.node();
        let deliveries = Deliveries::keep(node.data.data_dir.clone(), mesh.folder().join("copies"));
        let addresses: BTreeMap<&str, SocketAddr> =
            SERVICES.iter().map(|service| (service.name(), ([127, 0, 0, 1], free_port()).into())).collect();
        let wire = Arc::new(Wire::default());
        let mut urls = Vec::new();
        for (consumer, provider) in [("reservation", "listing"), ("reservation", "payment"), ("payment", "mileage")] {
            let plant = Arc::new(listening(&wire, pool, consumer, provider));
            let address = proxy::start(addresses[provider], plant).await;
            urls.extend([format!("--{provider}-url"), format!("http://{address}")]);
        }
        let messages = mesh.folder().join("messages.jsonl");
        let fixed = ["test", "all", "--no-breaker", "--no-retry", "--message-file", messages.to_str().expect("UTF-8")];
        let words = fixed.into_iter().chain(options.iter().copied()).map(str::to_owned).chain(urls);
        let mut args = Options::parse_from(words).serve;
        args.node = mesh::node::NodeArgs { calls: args.node.calls, ..node };
        let mut running = Vec::new();
        for service in SERVICES {
            let args = args.clone();
            let start = |listener, shutdown| serve(service, args, listener, shutdown);
            running.push(Running::start_at(addresses[service.name()], start).await);
        }
        Self { mesh, wire, deliveries, addresses, running }
    }

    pub(crate) async fn strike(self) {
        for service in self.running.into_iter().rev() {
            service.stop().await;
        }
    }

    pub(crate) fn user(&self, service: &'static str, subject: &str, role: Role) -> Channel {
        self.mesh.user(service, self.addresses[service], subject, role)
    }
}

fn listening(wire: &Arc<Wire>, pool: &DescriptorPool, consumer: &'static str, provider: &'static str) -> Plant {
    let rpcs: BTreeMap<String, MethodDescriptor> = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|rpc| (format!("/{}/{}", rpc.parent_service().full_name(), rpc.name()), rpc))
        .collect();
    let rpcs = Arc::new(rpcs);
    let hear = {
        let (wire, rpcs) = (Arc::clone(wire), Arc::clone(&rpcs));
        move |call: &Call, reply: &Reply| {
            let Some(rpc) = rpcs.get(&call.path) else { return };
            let decode = |message, bytes: &[u8]| DynamicMessage::decode(message, Bytes::copy_from_slice(bytes));
            let request = decode(rpc.input(), &call.message).expect("a request of its type");
            let answer = reply.end.clone().map(|()| {
                decode(rpc.output(), reply.message.as_deref().unwrap_or_default()).expect("an answer of its type")
            });
            let heard = Heard { consumer, provider, rpc: rpc.clone(), request, answer };
            wire.heard.lock().expect("nobody panics with it").push(heard);
        }
    };
    let hear = Arc::new(hear);
    let before = {
        let (wire, rpcs, hear) = (Arc::clone(wire), Arc::clone(&rpcs), Arc::clone(&hear));
        move |call: &mut Call| {
            let Some(Lie::Refused(status)) = wire.lie_about(rpcs.get(&call.path)?) else { return None };
            let reply = Reply::refused(status);
            hear(call, &reply);
            Some(reply)
        }
    };
    let wire = Arc::clone(wire);
    let after = move |call: &Call, reply: &mut Reply| {
        if let Some(rpc) = rpcs.get(&call.path)
            && let Some(Lie::Changed(variant)) = wire.lie_about(rpc)
            && let Some(bytes) = &reply.message
        {
            let mut answer = DynamicMessage::decode(rpc.output(), bytes.as_slice()).expect("an answer of its type");
            variant.apply(&mut answer);
            reply.message = Some(answer.encode_to_vec());
        }
        hear(call, reply);
    };
    Plant { path: "", before: Box::new(before), after: Some(Box::new(after)), besides: None }
}
