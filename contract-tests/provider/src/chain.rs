//! From nothing to an OK answer: the calls that links name, made in their order by those whom the contract lets.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use prost_reflect::{DynamicMessage, ReflectMessage};
use serde_json::Value as Json;

use crate::credentials::Caller;
use crate::failure::Failure;
use crate::model::{Idempotency, Rpc, parse};
use crate::path;
use crate::suite::{Suite, until};
use crate::values::{Amount, Maker};

/// The way to one RPC. What was called once is not called again.
pub(crate) struct Chain<'s> {
    suite: &'s Suite,
    pub(crate) maker: Maker,
    tenant: String,
    given: HashMap<String, Json>,
    answers: BTreeMap<String, DynamicMessage>,
}

impl<'s> Chain<'s> {
    /// For a check of this name, which has users of its own.
    pub(crate) fn new(suite: &'s Suite, rpc: &Rpc, check: &str) -> Self {
        let mut maker = suite.maker(check);
        let tenant = maker.uuid();
        let mut chain = Self { suite, maker, tenant, given: HashMap::new(), answers: BTreeMap::new() };
        chain.collect_given(rpc);
        chain
    }

    /// What RPCs on the way say first; whoever is nearer to the end has the last word.
    fn collect_given(&mut self, rpc: &Rpc) {
        for link in &rpc.links {
            if let Some(first) = self.suite.model().rpc(&link.rpc).cloned() {
                self.collect_given(&first);
            }
        }
        for (name, request) in &rpc.given {
            if let Ok(request) = serde_json::from_str(request) {
                merge(self.given.entry(name.clone()).or_default(), request);
            }
        }
    }

    /// Who calls an RPC on this way: of those who may, the first we can speak for.
    pub(crate) fn caller(&self, rpc: &Rpc) -> Result<Caller, Failure> {
        let credentials = self.suite.credentials();
        let role = rpc.roles.iter().find(|role| credentials.speaks_for(role));
        let service = rpc.services.first().filter(|_| credentials.speaks_for_services());
        match (role, service) {
            (Some(role), _) => Ok(self.user(role)),
            (None, Some(service)) => Ok(Caller::Service(service.clone())),
            (None, None) => Err(Failure::of(
                format!("{} is for {}", rpc.path(), [rpc.roles.clone(), rpc.services.clone()].concat().join(", ")),
                "not called: there is a token for none of them (--keys or --token)",
            )),
        }
    }

    /// The user of a role on this way.
    pub(crate) fn user(&self, role: &str) -> Caller {
        Caller::User { role: role.to_owned(), subject: format!("{role}-{}", self.tenant) }
    }

    /// A valid request, after the calls it needs.
    pub(crate) async fn request(&mut self, rpc: &Arc<Rpc>) -> Result<DynamicMessage, Failure> {
        let mut request = self.linked(rpc).await?;
        self.maker.fill(self.suite.model(), &mut request, Amount::Least);
        Ok(request)
    }

    /// A request with what links and the contract give, and nothing else, after the calls it needs.
    pub(crate) async fn linked(&mut self, rpc: &Arc<Rpc>) -> Result<DynamicMessage, Failure> {
        let mut request = match self.given.get(rpc.name()) {
            Some(given) => parse(&rpc.method.input(), &given.to_string())
                .map_err(|error| Failure::of(format!("{} is given a request", rpc.path()), error.to_string()))?,
            None => DynamicMessage::new(rpc.method.input()),
        };
        for link in &rpc.links {
            let first = self.suite.model().rpc(&link.rpc).cloned();
            let first = first.ok_or_else(|| Failure::of("links lead to RPCs", format!("{} is none", link.rpc)))?;
            self.boxed_ok(&first).await?;
            if let Some((from, to)) = &link.copies {
                let value = self.output(&first, from).await?;
                path::set(&mut request, to, value);
            }
        }
        Ok(request)
    }

    /// What an RPC answers. What is not there yet, as in a list that follows events, is asked for again.
    async fn output(&mut self, rpc: &Arc<Rpc>, from: &str) -> Result<prost_reflect::Value, Failure> {
        if let Some(value) = self.answers.get(rpc.name()).and_then(|answer| path::get(answer, from)) {
            return Ok(value);
        }
        let nothing = || Failure::of(format!("{} answers {from}, which a link needs", rpc.path()), "it stays empty");
        if rpc.idempotency != Idempotency::Safe {
            return Err(nothing());
        }
        let (request, caller) = (self.request_again(rpc).await?, self.caller(rpc)?);
        let suite = self.suite;
        let found = until(suite.patience(), || async {
            let answer = suite.call(rpc, &caller, &request).await;
            suite.decoded(rpc, &answer).ok()?.into_iter().next().and_then(|answer| path::get(&answer, from))
        });
        found.await.ok_or_else(nothing)
    }

    async fn request_again(&mut self, rpc: &Arc<Rpc>) -> Result<DynamicMessage, Failure> {
        Box::pin(self.request(rpc)).await
    }

    /// The answer to a valid request, which must be OK.
    pub(crate) async fn ok(&mut self, rpc: &Arc<Rpc>) -> Result<DynamicMessage, Failure> {
        if let Some(answer) = self.answers.get(rpc.name()) {
            return Ok(answer.clone());
        }
        let request = self.request(rpc).await?;
        let answer = self.accepted(rpc, &request).await?;
        self.answers.insert(rpc.name().to_owned(), answer.clone());
        Ok(answer)
    }

    fn boxed_ok<'a>(
        &'a mut self,
        rpc: &'a Arc<Rpc>,
    ) -> Pin<Box<dyn Future<Output = Result<DynamicMessage, Failure>> + Send + 'a>> {
        Box::pin(self.ok(rpc))
    }

    /// Sends a request that must be OK.
    pub(crate) async fn accepted(&self, rpc: &Arc<Rpc>, request: &DynamicMessage) -> Result<DynamicMessage, Failure> {
        let caller = self.caller(rpc)?;
        let answer = self.suite.settled(|| self.suite.call(rpc, &caller, request)).await;
        let first = self.suite.decoded(rpc, &answer).ok().and_then(|answers| answers.into_iter().next());
        match (answer.error(), first) {
            (None, Some(first)) => Ok(first),
            _ => Err(self.suite.failure(rpc, &caller, request, self.way(rpc), &answer)),
        }
    }

    fn way(&self, rpc: &Rpc) -> String {
        let mut text = "OK: the least valid request".to_owned();
        if rpc.links.is_empty() && rpc.given.is_empty() {
            text += "; no option (holdfast.options.v1.links, .given) says that it takes more";
        }
        text
    }

    /// Forgets all calls: what follows is about other things, of the same users.
    pub(crate) fn forget_all(&mut self) {
        self.answers.clear();
    }

    /// Forgets all calls but those whose output fills this RPC's requests, and what they needed.
    pub(crate) fn forget_the_rest(&mut self, rpc: &Rpc) {
        let mut keep = BTreeSet::new();
        let fills = rpc.links.iter().filter(|link| link.copies.is_some());
        let mut open: Vec<String> = fills.map(|link| link.rpc.clone()).collect();
        while let Some(name) = open.pop() {
            if let Some(first) = self.suite.model().rpc(&name) {
                open.extend(first.links.iter().map(|link| link.rpc.clone()).filter(|next| !keep.contains(next)));
            }
            keep.insert(name);
        }
        self.answers.retain(|name, _| keep.contains(name));
    }

    /// The same request as another one: what the caller makes up is made up anew.
    pub(crate) fn renewed(&mut self, rpc: &Rpc, request: &DynamicMessage) -> DynamicMessage {
        let mut renewed = request.clone();
        let is_linked = |field: &str| {
            rpc.links.iter().filter_map(|link| link.copies.as_ref()).any(|(_, to)| to.split('.').next() == Some(field))
        };
        let given = self.given.get(rpc.name()).and_then(Json::as_object);
        for field in request.descriptor().fields() {
            let rules = self.suite.model().rules(&field);
            let is_given = given.is_some_and(|given| given.contains_key(field.json_name()));
            let is_made_up = rules.required && rules.example.is_none() && (rules.uuid || rules.pattern.is_some());
            if is_made_up && !is_given && !is_linked(field.name()) {
                let value = self.maker.item(self.suite.model(), &field, Amount::Least);
                renewed.set_field(&field, value);
            }
        }
        renewed
    }
}

/// Puts JSON over JSON, object by object.
fn merge(under: &mut Json, over: Json) {
    match (under, over) {
        (Json::Object(under), Json::Object(over)) => {
            for (name, value) in over {
                merge(under.entry(name).or_insert(Json::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_given_last_wins_field_by_field() {
        let mut given = json!({"a": {"b": 1, "c": 2}});
        merge(&mut given, json!({"a": {"c": 3}, "d": {}}));
        assert_eq!(given, json!({"a": {"b": 1, "c": 3}, "d": {}}));
    }
}
