//! Answers of many parts: pages and streams.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DynamicMessage, Value};
use tonic::Code;

use crate::call::Sent;
use crate::chain::Chain;
use crate::credentials::Caller;
use crate::declared;
use crate::failure::{Failure, json};
use crate::model::Rpc;
use crate::suite::{Suite, items, until};

/// So many items make three pages at least.
const ITEMS: usize = 3;
const PAGES: usize = 4;
const PAGE_MAX: i32 = 500;
/// Short enough to be waited for, long enough for a first item on a busy machine.
const STREAM_LIFE: &str = "10S";

/// The pages together are the whole, nothing comes twice, and a token from nowhere is refused.
pub(super) async fn pagination(suite: &Suite, name: &str, rpc: &Arc<Rpc>) -> Result<(), Failure> {
    let mut chain = Chain::new(suite, rpc, name);
    let (caller, mut request) = (chain.caller(rpc)?, chain.request(rpc).await?);
    for _ in 1..ITEMS {
        chain.forget_the_rest(rpc);
        request = chain.request(rpc).await?;
    }
    let list = List { suite, rpc, caller: &caller, request: &request };
    let filled = until(suite.patience(), || async {
        match list.walk(PAGE_MAX).await {
            Ok(pages) if pages.concat().len() < ITEMS => None,
            other => Some(other),
        }
    });
    let too_few = || Failure::of(format!("a list of {ITEMS} items, after its links were followed as often"), "fewer");
    let before = filled.await.ok_or_else(too_few)??.concat();
    let size = i32::try_from(before.len().div_ceil(PAGES).max(1)).unwrap_or(PAGE_MAX);
    let pages = list.walk(size).await?;
    let after = list.walk(PAGE_MAX).await?.concat();
    list.judge(size, &pages, &before, &after)?;
    list.refuses_a_strange_token().await
}

struct List<'a> {
    suite: &'a Suite,
    rpc: &'a Rpc,
    caller: &'a Caller,
    request: &'a DynamicMessage,
}

impl List<'_> {
    fn page_request(&self, size: i32, token: &str) -> DynamicMessage {
        let mut request = self.request.clone();
        request.set_field_by_name("page_size", Value::I32(size));
        request.set_field_by_name("page_token", Value::String(token.to_owned()));
        request
    }

    /// All pages of this size: what identifies each item.
    async fn walk(&self, size: i32) -> Result<Vec<Vec<String>>, Failure> {
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let request = self.page_request(size, &token);
            let answer = self.suite.call(self.rpc, self.caller, &request).await;
            let failed = |contract: &str| self.suite.failure(self.rpc, self.caller, &request, contract, &answer);
            let page = self.suite.decoded(self.rpc, &answer).ok().and_then(|pages| pages.into_iter().next());
            let Some(page) = page.filter(|_| answer.error().is_none()) else { return Err(failed("a page")) };
            let names: Vec<_> = items(&page).iter().map(identity).collect();
            if usize::try_from(size).is_ok_and(|size| names.len() > size) {
                return Err(Failure {
                    server: format!("{} items", names.len()),
                    ..failed("no more than page_size items")
                });
            }
            let next = page.get_field_by_name("next_page_token").and_then(|next| next.as_str().map(str::to_owned));
            let next = next.unwrap_or_default();
            if !next.is_empty() && next == token {
                return Err(Failure {
                    server: "the same token again".to_owned(),
                    ..failed("the token of the next page")
                });
            }
            pages.push(names);
            if next.is_empty() {
                return Ok(pages);
            }
            let seen = pages.iter().map(BTreeSet::from_iter).collect::<Vec<BTreeSet<_>>>();
            if let [.., last] = seen.as_slice()
                && seen[..seen.len() - 1].contains(last)
                && !last.is_empty()
            {
                let server = "a page that was there before".to_owned();
                return Err(Failure { server, ..failed("the page after the one that the token is of") });
            }
            token = next;
        }
    }

    /// Others may add and remove items meanwhile: what was there before and after is on a page, and nothing else is.
    fn judge(&self, size: i32, pages: &[Vec<String>], before: &[String], after: &[String]) -> Result<(), Failure> {
        let all: Vec<&String> = pages.iter().flatten().collect();
        let set: BTreeSet<&String> = all.iter().copied().collect();
        let missing = before.iter().find(|name| after.contains(name) && !set.contains(name));
        let strange = all.iter().find(|name| !before.contains(name) && !after.contains(name));
        let request = self.page_request(size, "");
        let answer = crate::call::Answer { messages: Vec::new(), end: Ok(()) };
        let failed = |server: String| {
            let contract = format!("pages of {size} hold what one of {PAGE_MAX} holds, each item once");
            Err(Failure { server, ..self.suite.failure(self.rpc, self.caller, &request, contract, &answer) })
        };
        match (missing, strange) {
            (Some(missing), _) => failed(format!("{missing} is on no page")),
            (_, Some(strange)) => failed(format!("{strange} is on a page and not in the whole")),
            _ if set.len() < all.len() => failed("an item is there twice".to_owned()),
            _ if pages.len() < 2 => failed("a single page".to_owned()),
            _ => Ok(()),
        }
    }

    async fn refuses_a_strange_token(&self) -> Result<(), Failure> {
        let request = self.page_request(1, "from-nowhere");
        let answer = self.suite.call(self.rpc, self.caller, &request).await;
        let complaint = |status| declared::complaint(self.rpc, self.suite.domain(), status);
        let is_refused =
            answer.error().is_some_and(|status| status.code() == Code::InvalidArgument && complaint(status).is_none());
        if is_refused {
            return Ok(());
        }
        let contract = "INVALID_ARGUMENT and a declared reason: the page_token is none";
        Err(self.suite.failure(self.rpc, self.caller, &request, contract, &answer))
    }
}

/// The resource's name, or all of an item that has none.
pub(super) fn identity(item: &DynamicMessage) -> String {
    let name = item.get_field_by_name("name").and_then(|name| name.as_str().map(str::to_owned));
    name.unwrap_or_else(|| json(item))
}

/// A stream begins with an item, ends when its time is over, and may be left at any time without harm.
pub(super) async fn stream_shape(suite: &Suite, name: &str, rpc: &Arc<Rpc>) -> Result<(), Failure> {
    let mut chain = Chain::new(suite, rpc, name);
    let (caller, request) = (chain.caller(rpc)?, chain.request(rpc).await?);
    let messages = vec![Bytes::from(request.encode_to_vec())];
    let whole = Sent { messages, timeout: Some(STREAM_LIFE), enough: 0, ..suite.sent(rpc) };
    let answer = suite.settled(|| suite.send(rpc, &caller, whole.clone())).await;
    suite.observe(rpc, &caller, &request, &answer);
    let ended = answer.error().is_none_or(|status| status.code() == Code::DeadlineExceeded);
    if answer.messages.is_empty() || !ended {
        let contract = format!("an item at least, then OK or DEADLINE_EXCEEDED after {STREAM_LIFE}");
        return Err(suite.failure(rpc, &caller, &request, contract, &answer));
    }
    for _ in 0..ITEMS {
        // Left after its first item.
        let answer = suite.settled(|| suite.call(rpc, &caller, &request)).await;
        if answer.error().is_some() || answer.messages.is_empty() {
            let contract = "an item, after streams before were left in their midst";
            return Err(suite.failure(rpc, &caller, &request, contract, &answer));
        }
    }
    Ok(())
}
