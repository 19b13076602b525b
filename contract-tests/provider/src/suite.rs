//! What checks share while they run: the servers, what was seen of them, and who may be asked for what.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, ReflectMessage};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tonic::Code;

use crate::call::{Answer, Endpoints, Sent, Server};
use crate::chain::Chain;
use crate::checks;
use crate::credentials::{Caller, Credentials};
use crate::declared;
use crate::events::{self, Recorder};
use crate::failure::{self, Failure, cut, json};
use crate::model::{Model, Rpc};
use crate::plan::Check;
use crate::rules::{self, Written};
use crate::values::Maker;

const PAUSE: Duration = Duration::from_millis(20);
/// Examples of one kind of trouble that are kept.
const KEPT: usize = 3;

/// Servers, and what it takes to call them.
pub struct Target {
    /// Where they are.
    pub endpoints: Endpoints,
    /// Who may be spoken for.
    pub credentials: Credentials,
    /// The broker they publish to; without it nothing is said of events.
    pub nats: Option<String>,
    /// `ErrorInfo.domain` of their refusals.
    pub domain: String,
    /// What follows from a call, through events, is there by then unless it never will be.
    pub patience: Duration,
    /// Where random bytes that broke a server are kept.
    pub rejects: PathBuf,
}

/// A valid request that the checks of one RPC share, and who sends it.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) caller: Caller,
    pub(crate) request: DynamicMessage,
}

/// A [`Base`], once somebody has made it.
type Made = OnceCell<Result<Base, Failure>>;

/// What all calls of one RPC have shown so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) answered: usize,
    pub(crate) refused: BTreeMap<String, usize>,
    pub(crate) undeclared: Vec<Failure>,
    pub(crate) surprising: Vec<Failure>,
    pub(crate) dishonoured: Vec<Failure>,
}

/// A call, and how many events it may have led to.
#[derive(Clone, Debug)]
pub(crate) struct Traced {
    pub(crate) trace: String,
    /// It may publish; its repeat may not.
    pub(crate) may_publish: bool,
    pub(crate) failure: Failure,
}

/// Runs checks against a target.
pub struct Suite {
    model: Arc<Model>,
    contracts: BTreeMap<String, Vec<u8>>,
    target: Target,
    recorder: Option<Recorder>,
    seed: u64,
    bases: Mutex<HashMap<String, Arc<Made>>>,
    seen: Mutex<BTreeMap<String, Seen>>,
    traced: Mutex<BTreeMap<String, Vec<Traced>>>,
    running: AtomicUsize,
    rested: OnceCell<()>,
}

impl Suite {
    /// A suite for the contracts in `descriptors`. The seed decides every value that is made up.
    ///
    /// # Errors
    /// There is no broker where the target says.
    pub async fn new(
        model: Arc<Model>,
        descriptors: &[u8],
        target: Target,
        seed: u64,
    ) -> Result<Self, async_nats::Error> {
        let recorder = match &target.nats {
            Some(url) => Some(Recorder::connect(url).await?),
            None => None,
        };
        Ok(Self {
            model,
            contracts: crate::reflection::split(descriptors),
            target,
            recorder,
            seed,
            bases: Mutex::default(),
            seen: Mutex::default(),
            traced: Mutex::default(),
            running: AtomicUsize::new(0),
            rested: OnceCell::new(),
        })
    }

    /// Runs a check.
    ///
    /// # Errors
    /// The contract is not kept.
    pub async fn run(&self, check: &Check) -> Result<(), Failure> {
        if check.is_late() {
            self.others_are_over().await;
            return checks::run(self, check).await;
        }
        let _running = Running::begin(&self.running);
        checks::run(self, check).await
    }

    /// Late checks are the last to begin: whatever still runs is a call that has yet to be judged.
    async fn others_are_over(&self) {
        while self.running.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        if let Some(recorder) = &self.recorder {
            self.rested.get_or_init(|| recorder.rest()).await;
        }
    }

    /// What was seen besides failures: declared reasons that no call met, declared events that were never published.
    #[must_use]
    pub fn report(&self) -> String {
        let seen = lock(&self.seen);
        let (answered, refused): (usize, usize) = seen.values().fold((0, 0), |(answered, refused), seen| {
            (answered + seen.answered, refused + seen.refused.values().sum::<usize>())
        });
        let mut text = format!("calls: {} answered, {} refused; seed {}\n", answered, refused, self.seed);
        for rpc in self.model.rpcs().filter(|rpc| rpc.unreachable) {
            text += &format!("never answered with what it is for, as its contract says: {}\n", rpc.path());
        }
        drop(seen);
        let never = |all: &BTreeMap<String, bool>| -> String {
            all.iter().filter(|(_, met)| !**met).map(|(name, _)| format!("  {name}\n")).collect()
        };
        let reasons = self.reasons();
        let met = reasons.values().filter(|met| **met).count();
        text += &format!("reasons declared: {met} met, {} never met\n{}", reasons.len() - met, never(&reasons));
        if let Some(recorder) = &self.recorder {
            let silent = never(&self.events());
            let (heard, count) = (recorder.events().len(), silent.lines().count());
            text += &format!("events: {heard} heard; declared and never heard: {count}\n{silent}");
        }
        text
    }

    /// What is declared, reasons by their RPC and events, and whether a call has met it.
    pub(crate) fn declared(&self) -> BTreeMap<String, bool> {
        self.reasons().into_iter().chain(self.events()).collect()
    }

    fn reasons(&self) -> BTreeMap<String, bool> {
        let seen = lock(&self.seen);
        let declared = self.model.rpcs().flat_map(|rpc| rpc.errors.iter().map(move |(_, reason)| (rpc, reason)));
        let is_met =
            |rpc: &Rpc, reason: &str| seen.get(rpc.name()).is_some_and(|seen| seen.refused.contains_key(reason));
        declared.map(|(rpc, reason)| (format!("{} {reason}", rpc.path()), is_met(rpc, reason))).collect()
    }

    /// None where nothing is heard.
    fn events(&self) -> BTreeMap<String, bool> {
        let Some(recorder) = &self.recorder else { return BTreeMap::new() };
        let heard: BTreeSet<String> = recorder.events().iter().map(|event| event.type_name().to_owned()).collect();
        let names = self.model.events().iter().map(|event| event.message.full_name().to_owned());
        names.map(|name| (name.clone(), heard.contains(&name))).collect()
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    pub(crate) fn contracts(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.contracts
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.target.credentials
    }

    pub(crate) fn domain(&self) -> &str {
        &self.target.domain
    }

    pub(crate) fn rejects(&self) -> &Path {
        &self.target.rejects
    }

    pub(crate) fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    pub(crate) fn patience(&self) -> Duration {
        self.target.patience
    }

    /// Asks until the answer is final. What follows from the calls before, through events, may not be there yet, so what a state forbids is
    /// asked again, too.
    pub(crate) async fn settled<F: Future<Output = Answer>>(&self, mut ask: impl FnMut() -> F) -> Answer {
        let end = Instant::now() + self.patience();
        loop {
            let answer = ask().await;
            let passes = [Code::Unavailable, Code::Aborted, Code::FailedPrecondition, Code::NotFound];
            let is_final = answer.error().is_none_or(|status| !passes.contains(&status.code()));
            if is_final || Instant::now() >= end {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn maker(&self, label: &str) -> Maker {
        Maker::new(self.seed, label)
    }

    pub(crate) fn server(&self, service: &str) -> Result<&Server, Failure> {
        let found = self.target.endpoints.of(service);
        found.ok_or_else(|| Failure::of(format!("{service} is served"), "no address was given for it"))
    }

    /// Whom tokens for the RPC are meant for.
    pub(crate) fn audience(&self, rpc: &Rpc) -> String {
        let server = self.target.endpoints.of(&rpc.service());
        server.and_then(|server| server.audience.clone()).unwrap_or_else(|| rpc.audience())
    }

    /// The request that the checks of an RPC share, made by whoever needs it first.
    pub(crate) async fn base(&self, rpc: &Arc<Rpc>) -> Result<Base, Failure> {
        let cell = Arc::clone(lock(&self.bases).entry(rpc.name().to_owned()).or_default());
        let make = || async {
            let mut chain = Chain::new(self, rpc, &format!("{}::base", rpc.path()));
            let (caller, request) = (chain.caller(rpc)?, chain.request(rpc).await?);
            Ok(Base { caller, request })
        };
        cell.get_or_init(make).await.clone()
    }

    /// Calls an RPC and remembers what came of it.
    pub(crate) async fn call(&self, rpc: &Rpc, caller: &Caller, request: &DynamicMessage) -> Answer {
        self.call_traced(rpc, caller, request, None).await
    }

    pub(crate) async fn call_traced(
        &self,
        rpc: &Rpc,
        caller: &Caller,
        request: &DynamicMessage,
        trace: Option<String>,
    ) -> Answer {
        let messages = vec![Bytes::from(request.encode_to_vec())];
        let answer = self.send(rpc, caller, Sent { messages, trace, ..self.sent(rpc) }).await;
        self.observe(rpc, caller, request, &answer);
        answer
    }

    pub(crate) fn sent(&self, rpc: &Rpc) -> Sent {
        Sent { path: rpc.path(), enough: usize::from(rpc.is_stream()), ..Sent::default() }
    }

    /// Sends as this caller, without a record.
    pub(crate) async fn send(&self, rpc: &Rpc, caller: &Caller, sent: Sent) -> Answer {
        let token = self.credentials().token(caller, &self.audience(rpc));
        self.send_with(rpc, Sent { authorization: token.map(|token| format!("Bearer {token}")), ..sent }).await
    }

    /// Sends with the credentials in `sent`, without a record.
    pub(crate) async fn send_with(&self, rpc: &Rpc, sent: Sent) -> Answer {
        match self.server(&rpc.service()) {
            Ok(server) => server.send(sent).await,
            Err(failure) => Answer { messages: Vec::new(), end: Err(tonic::Status::unknown(failure.server)) },
        }
    }

    pub(crate) fn decoded(&self, rpc: &Rpc, answer: &Answer) -> Result<Vec<DynamicMessage>, String> {
        let decode = |bytes: &Bytes| DynamicMessage::decode(rpc.method.output(), bytes.clone());
        answer.messages.iter().map(decode).collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    pub(crate) fn observe(&self, rpc: &Rpc, caller: &Caller, request: &DynamicMessage, answer: &Answer) {
        let fail = |contract: &str, server: String| Failure {
            server,
            ..self.failure(rpc, caller, request, contract.to_owned(), answer)
        };
        let (mut surprising, mut dishonoured) = (None, None);
        match self.decoded(rpc, answer) {
            Ok(messages) => {
                for message in &messages {
                    surprising = surprising.or(events::unknown(message).map(|field| {
                        fail(
                            "an answer holds nothing that the contract does not know",
                            format!("OK, with a field {field}"),
                        )
                    }));
                    dishonoured = dishonoured.or(self
                        .broken(message)
                        .map(|broken| fail("an answer keeps the rules of its fields", format!("OK, with {broken}"))));
                }
            }
            Err(error) => surprising = Some(fail("an answer is the message that the contract names", error)),
        }
        let mut all = lock(&self.seen);
        let seen = all.entry(rpc.name().to_owned()).or_default();
        keep(&mut seen.surprising, surprising);
        keep(&mut seen.dishonoured, dishonoured);
        match &answer.end {
            Ok(()) => seen.answered += 1,
            Err(status) => {
                *seen.refused.entry(declared::reason(status)).or_default() += 1;
                let complaint = declared::complaint(rpc, &self.target.domain, status);
                let failure = complaint.map(|complaint| {
                    fail("a refusal is declared and complete", format!("{}: {complaint}", failure::status(status)))
                });
                keep(&mut seen.undeclared, failure);
            }
        }
    }

    fn broken(&self, answer: &DynamicMessage) -> Option<String> {
        let broken = rules::violations(&self.model, answer, Written::ByService);
        broken.first().map(|broken| format!("{} that breaks {}", broken.field, broken.rule))
    }

    pub(crate) fn seen(&self, rpc: &Rpc) -> Seen {
        lock(&self.seen).get(rpc.name()).cloned().unwrap_or_default()
    }

    pub(crate) fn trace(&self, rpc: &Rpc, traced: Traced) {
        lock(&self.traced).entry(rpc.name().to_owned()).or_default().push(traced);
    }

    pub(crate) fn traced(&self, rpc: &Rpc) -> Vec<Traced> {
        lock(&self.traced).get(rpc.name()).cloned().unwrap_or_default()
    }

    /// A failure of a call, with the line that makes it again.
    pub(crate) fn failure(
        &self,
        rpc: &Rpc,
        caller: &Caller,
        request: &DynamicMessage,
        contract: impl Into<String>,
        answer: &Answer,
    ) -> Failure {
        let address = self.server(&rpc.service()).map(|server| server.address.clone()).unwrap_or_default();
        let json = json(request);
        let quoted = json.replace('\'', "'\\''");
        Failure {
            sent: format!("{} by {caller}", cut(&json)),
            contract: contract.into(),
            server: failure::answer(answer),
            repeat: format!(
                "grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" -d '{quoted}' {address} {}",
                rpc.path()
            ),
        }
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("seed", &self.seed).finish_non_exhaustive()
    }
}

struct Running<'a>(&'a AtomicUsize);

impl<'a> Running<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A panic of one check leaves what the others have seen as it is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(list: &mut Vec<Failure>, failure: Option<Failure>) {
    if list.len() < KEPT {
        list.extend(failure);
    }
}

/// Asks again until there is an answer; `None` after `limit`.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    mut question: impl FnMut() -> F,
) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = question().await {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A trace id from a UUID.
pub(crate) fn trace_id(maker: &mut Maker) -> String {
    maker.uuid().replace('-', "")
}

/// The items of a list's page: the only repeated field of messages.
pub(crate) fn items(page: &DynamicMessage) -> Vec<DynamicMessage> {
    let lists =
        page.descriptor().fields().filter(FieldDescriptor::is_list).find(|field| field.kind().as_message().is_some());
    let Some(list) = lists else { return Vec::new() };
    let value = page.get_field(&list);
    value.as_list().unwrap_or_default().iter().filter_map(|item| item.as_message().cloned()).collect()
}
