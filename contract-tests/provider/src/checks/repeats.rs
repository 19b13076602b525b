//! What a call changes, and what its repeat does.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost_reflect::{DynamicMessage, Value};
use tonic::Code;

use crate::call::Answer;
use crate::chain::Chain;
use crate::credentials::Caller;
use crate::declared;
use crate::events::Recorder;
use crate::failure::{Failure, json};
use crate::fault;
use crate::model::{Idempotency, Rpc};
use crate::suite::{Suite, Traced, trace_id, until};

/// Two calls of a safe RPC answer the same. What other calls are changing at the moment may differ: it is asked again until it rests.
pub(super) async fn is_safe(suite: &Suite, name: &str, rpc: &Arc<Rpc>) -> Result<(), Failure> {
    let mut chain = Chain::new(suite, rpc, name);
    let (caller, request) = (chain.caller(rpc)?, chain.request(rpc).await?);
    chain.accepted(rpc, &request).await?;
    let asker = Asker { suite, rpc, caller: &caller, request: &request };
    let traces = [trace_id(&mut chain.maker), trace_id(&mut chain.maker)];
    let equal = until(suite.patience(), || async {
        let first = asker.ask(&traces[0]).await;
        let second = asker.ask(&traces[1]).await;
        (first.end.is_ok() && second.end.is_ok() && asker.equal(&first, &second)).then_some(second)
    });
    for trace in &traces {
        asker.remember(trace, false);
    }
    match equal.await {
        Some(_) => Ok(()),
        None => {
            let (first, second) = (asker.ask(&traces[0]).await, asker.ask(&traces[1]).await);
            Err(asker.differs("two calls of an RPC without side effects answer the same", &first, &second))
        }
    }
}

/// The repeat of an idempotent call answers what the first one answered.
pub(super) async fn is_idempotent(suite: &Suite, name: &str, rpc: &Arc<Rpc>) -> Result<(), Failure> {
    let mut chain = Chain::new(suite, rpc, name);
    let (caller, request) = (chain.caller(rpc)?, chain.request(rpc).await?);
    let asker = Asker { suite, rpc, caller: &caller, request: &request };
    let traces = [trace_id(&mut chain.maker), trace_id(&mut chain.maker)];
    let first = suite.settled(|| asker.ask(&traces[0])).await;
    if first.error().is_some() {
        return Err(suite.failure(rpc, &caller, &request, "OK: the first of two equal calls", &first));
    }
    let second = suite.settled(|| asker.ask(&traces[1])).await;
    asker.remember(&traces[0], true);
    asker.remember(&traces[1], false);
    if second.error().is_some() || !asker.equal(&first, &second) {
        return Err(asker.differs("a repeat answers the same as the first call", &first, &second));
    }
    Ok(())
}

/// The reason of a request whose id another one has had. RPCs that declare it are held to it.
pub(crate) const REUSED: &str = "REQUEST_ID_REUSED";
const REQUEST_ID: &str = "request_id";

/// Another request with the id of one that was answered is neither carried out nor taken for a repeat.
pub(super) async fn refuses_reused_request_id(suite: &Suite, name: &str, rpc: &Arc<Rpc>) -> Result<(), Failure> {
    let mut chain = Chain::new(suite, rpc, name);
    let (caller, mut request) = (chain.caller(rpc)?, chain.request(rpc).await?);
    // Where it is optional it is given here.
    let id = Value::String(chain.maker.uuid());
    request.set_field_by_name(REQUEST_ID, id.clone());
    chain.accepted(rpc, &request).await?;
    let model = suite.model();
    let different = fault::places(model, &rpc.method.input()).into_iter().find_map(|place| {
        let edges = fault::edges(model, &mut chain.maker, place.field());
        let values = edges.into_iter().filter(|edge| edge.accepted).map(|edge| edge.value);
        let changed = values.map(|value| place.with(model, &mut chain.maker, &request, &value));
        changed.into_iter().find(|changed| *changed != request)
    });
    let different = match different {
        Some(different) => different,
        None => {
            // The request is all about one thing: the same about another.
            chain.forget_all();
            let mut other = chain.request(rpc).await?;
            other.set_field_by_name(REQUEST_ID, id);
            other
        }
    };
    let answer = suite.call(rpc, &caller, &different).await;
    let is_refused = answer
        .error()
        .is_some_and(|status| status.code() == Code::InvalidArgument && declared::reason(status) == REUSED);
    if is_refused {
        return Ok(());
    }
    let contract = format!("INVALID_ARGUMENT/{REUSED}: the id is that of another request");
    Err(suite.failure(rpc, &caller, &different, contract, &answer))
}

/// No event belongs to a safe call or to a repeat, and a first call publishes no event twice.
pub(super) async fn publishes(suite: &Suite, name: &str, rpc: &Arc<Rpc>) -> Result<(), Failure> {
    let Some(recorder) = suite.recorder() else { return Ok(()) };
    if suite.traced(rpc).is_empty() {
        match rpc.idempotency {
            Idempotency::Safe => is_safe(suite, name, rpc).await?,
            _ => is_idempotent(suite, name, rpc).await?,
        }
        recorder.rest().await;
    }
    let traced = suite.traced(rpc);
    if traced.is_empty() {
        return Err(Failure::of("its events are told by their trace", "no call of it came so far that it has one"));
    }
    traced.iter().try_for_each(|traced| judge(recorder, traced))
}

fn judge(recorder: &Recorder, traced: &Traced) -> Result<(), Failure> {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for event in recorder.events().iter().filter(|event| event.trace() == traced.trace) {
        *counts.entry((event.type_name().to_owned(), event.header("ce-subject").to_owned())).or_default() += 1;
    }
    let most = usize::from(traced.may_publish);
    match counts.into_iter().find(|(_, count)| *count > most) {
        None => Ok(()),
        Some(((kind, aggregate), count)) => {
            let rule =
                if traced.may_publish { "one event of a type about one thing" } else { "no event: it changes nothing" };
            let server = format!("{count} × {kind} about {aggregate}");
            Err(Failure { contract: rule.to_owned(), server, ..traced.failure.clone() })
        }
    }
}

/// One request, sent again and again.
struct Asker<'a> {
    suite: &'a Suite,
    rpc: &'a Rpc,
    caller: &'a Caller,
    request: &'a DynamicMessage,
}

impl Asker<'_> {
    async fn ask(&self, trace: &str) -> Answer {
        self.suite.call_traced(self.rpc, self.caller, self.request, Some(trace.to_owned())).await
    }

    /// Whether both say the same, in whatever order their bytes are. A stream tells how things are at its time.
    fn equal(&self, first: &Answer, second: &Answer) -> bool {
        if self.rpc.is_stream() {
            return first.end.is_ok() == second.end.is_ok();
        }
        match (self.suite.decoded(self.rpc, first), self.suite.decoded(self.rpc, second)) {
            (Ok(first), Ok(second)) => first == second,
            _ => false,
        }
    }

    fn differs(&self, contract: &str, first: &Answer, second: &Answer) -> Failure {
        let shown = |answer: &Answer| match (answer.error(), self.suite.decoded(self.rpc, answer)) {
            (None, Ok(messages)) => crate::failure::cut(&messages.iter().map(json).collect::<Vec<_>>().join(" ")),
            _ => crate::failure::answer(answer),
        };
        let server = format!("first  {}\n            second {}", shown(first), shown(second));
        Failure { server, ..self.suite.failure(self.rpc, self.caller, self.request, contract, second) }
    }

    fn remember(&self, trace: &str, may_publish: bool) {
        let answer = Answer { messages: Vec::new(), end: Ok(()) };
        let failure = self.suite.failure(self.rpc, self.caller, self.request, "", &answer);
        self.suite.trace(self.rpc, Traced { trace: trace.to_owned(), may_publish, failure });
    }
}
