//! What a set of descriptors says, in the form the checks need.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use prost::Message;
use prost_reflect::{
    DescriptorError, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    ReflectMessage, Value,
};
use prost_types::FileDescriptorSet;
use tonic::Code;

use crate::path;
use crate::rules::Rules;

const OPTIONS: &str = "holdfast.options.v1";

/// Why a set of descriptors says nothing to test.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The bytes are no descriptor set.
    #[error("the bytes are no descriptor set")]
    Malformed(#[source] prost::DecodeError),
    /// The descriptors contradict each other, or an import is missing.
    #[error("the descriptors do not fit together (a set must hold its imports too)")]
    Unlinked(#[source] DescriptorError),
    /// Neither proto2 nor proto3.
    #[error("{0} uses an edition; only proto2 and proto3 can be tested")]
    Edition(String),
    /// It holds no RPC.
    #[error("the descriptors hold no RPC")]
    Empty,
    /// An RPC does not say who may call it: whoever wrote the set has dropped its options.
    #[error("{0} has no {OPTIONS}.access: the descriptors have lost their options, or never had them")]
    Stripped(String),
}

/// Whether a call may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// It may not.
    None,
    /// It changes nothing.
    Safe,
    /// The second changes nothing more.
    Idempotent,
}

/// A call to make first.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its full name.
    pub rpc: String,
    /// What of its answer goes where in the request; `None` if it only has to be made.
    pub copies: Option<(String, String)>,
}

/// One RPC and its rules.
#[derive(Debug)]
pub struct Rpc {
    /// Its descriptor.
    pub method: MethodDescriptor,
    /// Users with any of these roles may call.
    pub roles: Vec<String>,
    /// Services that may call.
    pub services: Vec<String>,
    /// Whether callers may read what belongs to others.
    pub public: bool,
    /// Whether it may be repeated.
    pub idempotency: Idempotency,
    /// Its own refusals.
    pub errors: Vec<(Code, String)>,
    /// Calls that come first.
    pub links: Vec<Link>,
    /// No calls lead to what it is for.
    pub unreachable: bool,
    /// What calls on the way ask for: the RPC's full name, and fields as JSON.
    pub given: Vec<(String, String)>,
}

impl Rpc {
    /// The full name, e.g. `holdfast.listing.v1.ListingService.GetListing`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.method.full_name()
    }

    /// The name in checks and on the wire, e.g. `holdfast.listing.v1.ListingService/GetListing`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.service(), self.method.name())
    }

    /// The full name of its gRPC service.
    #[must_use]
    pub fn service(&self) -> String {
        self.method.parent_service().full_name().to_owned()
    }

    /// The process that serves it, as tokens name it: `listing` of `holdfast.listing.v1`.
    #[must_use]
    pub fn audience(&self) -> String {
        let service = self.method.parent_service();
        service.package_name().split('.').rev().nth(1).unwrap_or_default().to_owned()
    }

    /// Whether its answer is a stream.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.method.is_server_streaming()
    }

    /// Whether it is a list in pages.
    #[must_use]
    pub fn is_paged(&self) -> bool {
        let has = |message: MessageDescriptor, field: &str| message.get_field_by_name(field).is_some();
        has(self.method.input(), "page_token")
            && has(self.method.input(), "page_size")
            && has(self.method.output(), "next_page_token")
    }
}

/// A message that is published.
#[derive(Debug)]
pub struct Event {
    /// The message.
    pub message: MessageDescriptor,
    /// The subject; its last token is `{id}`.
    pub subject: String,
    /// The field with the aggregate's resource name.
    pub key: String,
}

/// Everything there is to test.
#[derive(Debug)]
pub struct Model {
    pool: DescriptorPool,
    rpcs: BTreeMap<String, Arc<Rpc>>,
    events: Vec<Event>,
    rules: HashMap<String, Rules>,
}

impl Model {
    /// Reads encoded descriptors. They stay encoded until here: decoded into generated types they would lose their options.
    ///
    /// # Errors
    /// There is nothing to test, or nothing that could be trusted.
    pub fn decode(bytes: &[u8]) -> Result<Self, ModelError> {
        let shape = FileDescriptorSet::decode(bytes).map_err(ModelError::Malformed)?;
        // Asked before the pool is built: prost-reflect 0.16 panics on an edition.
        if let Some(file) = shape.file.iter().find(|file| file.syntax() == "editions") {
            return Err(ModelError::Edition(file.name().to_owned()));
        }
        let pool = DescriptorPool::decode(bytes).map_err(ModelError::Unlinked)?;
        let methods: Vec<_> = pool
            .services()
            .filter(|service| !service.package_name().starts_with("grpc."))
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .collect();
        if methods.is_empty() {
            return Err(ModelError::Empty);
        }
        let rpcs = methods
            .into_iter()
            .map(|method| rpc(&pool, method).map(|rpc| (rpc.name().to_owned(), Arc::new(rpc))))
            .collect::<Result<_, _>>()?;
        let events = pool.all_messages().filter_map(|message| event(&pool, message)).collect();
        let rules = pool
            .all_messages()
            .filter(|message| !is_foreign(message))
            .flat_map(|message| message.fields().collect::<Vec<_>>())
            .map(|field| (field.full_name().to_owned(), Rules::of(&pool, &field)))
            .collect();
        Ok(Self { pool, rpcs, events, rules })
    }

    /// Every RPC, by name.
    pub fn rpcs(&self) -> impl Iterator<Item = &Arc<Rpc>> {
        self.rpcs.values()
    }

    /// An RPC by its full name.
    #[must_use]
    pub fn rpc(&self, name: &str) -> Option<&Arc<Rpc>> {
        self.rpcs.get(name)
    }

    /// Every event.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The full names of the gRPC services.
    #[must_use]
    pub fn services(&self) -> BTreeSet<String> {
        self.rpcs().map(|rpc| rpc.service()).collect()
    }

    /// The roles that any RPC names.
    #[must_use]
    pub fn roles(&self) -> BTreeSet<String> {
        self.rpcs().flat_map(|rpc| rpc.roles.clone()).collect()
    }

    /// The services that may call any RPC.
    #[must_use]
    pub fn callers(&self) -> BTreeSet<String> {
        self.rpcs().flat_map(|rpc| rpc.services.clone()).collect()
    }

    /// The descriptors.
    #[must_use]
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// A field's rules.
    #[must_use]
    pub(crate) fn rules(&self, field: &FieldDescriptor) -> &Rules {
        static NONE: Rules = Rules::NONE;
        self.rules.get(field.full_name()).unwrap_or(&NONE)
    }

    /// What is wrong with links and with what they ask for. Empty when every chain can be followed.
    #[must_use]
    pub fn broken_links(&self) -> Vec<String> {
        self.rpcs().flat_map(|rpc| self.broken_links_of(rpc)).collect()
    }

    fn broken_links_of(&self, rpc: &Rpc) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut complain = |what: String| wrong.push(format!("{}: {what}", rpc.path()));
        for link in &rpc.links {
            let Some(first) = self.rpc(&link.rpc) else {
                complain(format!("its link leads to {}, which is no RPC", link.rpc));
                continue;
            };
            let Some((from, to)) = &link.copies else { continue };
            let ends = (path::last(&first.method.output(), from), path::last(&rpc.method.input(), to));
            match ends {
                (None, _) => complain(format!("its link copies {from}, which {} does not answer", first.path())),
                (_, None) => complain(format!("its link fills {to}, which it does not take")),
                (Some(from), Some(to)) if from.kind() != to.kind() => {
                    complain(format!("its link copies {} into {}", from.full_name(), to.full_name()));
                }
                _ => {}
            }
        }
        let reachable = self.reachable(rpc);
        for (name, request) in &rpc.given {
            match self.rpc(name).filter(|_| reachable.contains(name)) {
                None => complain(format!("it gives {name} a request, and no link leads there")),
                Some(first) => {
                    if let Err(error) = parse(&first.method.input(), request) {
                        complain(format!("what it gives {} is no request: {error}", first.path()));
                    }
                }
            }
        }
        wrong.extend(self.unlinked(rpc).filter(|_| !rpc.unreachable).map(|field| {
            format!("{}: {field} names something of its own package, and no link or example says what", rpc.path())
        }));
        wrong
    }

    /// The RPC itself and all that its links lead to.
    fn reachable(&self, rpc: &Rpc) -> BTreeSet<String> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![rpc.name().to_owned()]);
        while let Some(name) = open.pop() {
            let links = self.rpc(&name).into_iter().flat_map(|rpc| &rpc.links);
            open.extend(links.map(|link| link.rpc.clone()).filter(|next| !seen.contains(next)));
            seen.insert(name);
        }
        seen
    }

    /// Required names of resources of the RPC's own package that nothing fills: no call with them can be OK.
    fn unlinked<'a>(&'a self, rpc: &'a Rpc) -> impl Iterator<Item = String> + 'a {
        let package = rpc.method.parent_service().package_name().to_owned();
        let collections: BTreeSet<String> = self
            .pool
            .all_messages()
            .filter(|message| message.package_name() == package)
            .filter_map(|message| collection(&self.pool, &message))
            .collect();
        let linked = |field: &str| rpc.links.iter().filter_map(|link| link.copies.as_ref()).any(|(_, to)| to == field);
        rpc.method.input().fields().collect::<Vec<_>>().into_iter().filter_map(move |field| {
            let rules = self.rules(&field);
            let pattern = rules.pattern.as_ref()?.as_str().trim_start_matches('^');
            let own = collections.iter().any(|collection| pattern.starts_with(&format!("{collection}/")));
            let is_key = field.name() == "name" || field.name() == "parent";
            (own && is_key && rules.required && rules.example.is_none() && !linked(field.name()))
                .then(|| field.name().to_owned())
        })
    }
}

/// Fields from JSON.
///
/// # Errors
/// A field is unknown or holds something else.
pub(crate) fn parse(message: &MessageDescriptor, json: &str) -> Result<DynamicMessage, serde_json::Error> {
    let mut source = serde_json::Deserializer::from_str(json);
    let parsed = DynamicMessage::deserialize(message.clone(), &mut source)?;
    source.end()?;
    Ok(parsed)
}

/// Whether a message is one that others define and whose values are known, such as a date or an amount of money.
#[must_use]
pub(crate) fn is_foreign(message: &MessageDescriptor) -> bool {
    message.package_name().starts_with("google.") || message.package_name().starts_with("buf.")
}

/// The first part of a resource's name, e.g. `listings`.
fn collection(pool: &DescriptorPool, message: &MessageDescriptor) -> Option<String> {
    let resource = option(pool, &message.options(), "google.api.resource")?;
    let patterns = resource.as_message()?.get_field_by_name("pattern")?.into_owned();
    let first = patterns.as_list()?.first()?.as_str()?.split('/').next()?.to_owned();
    Some(first)
}

/// An extension's value, if it is set.
pub(crate) fn option(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<Value> {
    let extension = pool.get_extension_by_name(name)?;
    options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned())
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn texts(message: &DynamicMessage, field: &str) -> Vec<String> {
    let value = message.get_field_by_name(field);
    let list = value.as_ref().and_then(|value| value.as_list()).unwrap_or_default();
    list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// `ROLE_CUSTOMER` is the role `customer`.
fn roles(access: &DynamicMessage) -> Vec<String> {
    let Some(field) = access.descriptor().get_field_by_name("roles") else { return Vec::new() };
    let Kind::Enum(names) = field.kind() else { return Vec::new() };
    let list = access.get_field(&field);
    let numbers = list.as_list().unwrap_or_default().iter().filter_map(Value::as_enum_number);
    let names = numbers.filter_map(|number| names.get_value(number));
    names.map(|value| value.name().trim_start_matches("ROLE_").to_lowercase()).collect()
}

fn rpc(pool: &DescriptorPool, method: MethodDescriptor) -> Result<Rpc, ModelError> {
    let set = method.options();
    let own = |name: &str| option(pool, &set, &format!("{OPTIONS}.{name}"));
    let stripped = || ModelError::Stripped(method.full_name().to_owned());
    let access = own("access").ok_or_else(stripped)?;
    let access = access.as_message().ok_or_else(stripped)?;
    let messages = |name: &str| -> Vec<DynamicMessage> {
        let value = own(name);
        let list = value.as_ref().and_then(Value::as_list).unwrap_or_default();
        list.iter().filter_map(|item| item.as_message().cloned()).collect()
    };
    let errors = messages("errors").into_iter().map(|error| {
        let code = error.get_field_by_name("code").and_then(|code| code.as_enum_number()).unwrap_or_default();
        (Code::from(code), text(&error, "reason"))
    });
    let links = messages("links").into_iter().map(|link| {
        let (from, to) = (text(&link, "from"), text(&link, "to"));
        let copies = (!from.is_empty() || !to.is_empty()).then_some((from, to));
        Link { rpc: text(&link, "rpc"), copies }
    });
    let given = messages("given").into_iter().map(|given| {
        let name = Some(text(&given, "rpc")).filter(|name| !name.is_empty());
        (name.unwrap_or_else(|| method.full_name().to_owned()), text(&given, "request"))
    });
    let level = set.get_field_by_name("idempotency_level").and_then(|level| level.as_enum_number());
    Ok(Rpc {
        roles: roles(access),
        services: texts(access, "services"),
        public: access.get_field_by_name("public").and_then(|public| public.as_bool()).unwrap_or_default(),
        idempotency: match level {
            Some(1) => Idempotency::Safe,
            Some(2) => Idempotency::Idempotent,
            _ => Idempotency::None,
        },
        errors: errors.collect(),
        unreachable: own("unreachable").is_some(),
        links: links.collect(),
        given: given.collect(),
        method,
    })
}

fn event(pool: &DescriptorPool, message: MessageDescriptor) -> Option<Event> {
    let event = option(pool, &message.options(), &format!("{OPTIONS}.event"))?;
    let event = event.as_message()?;
    Some(Event { subject: text(event, "subject"), key: text(event, "key"), message })
}
