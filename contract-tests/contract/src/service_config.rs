//! How a client's calls behave, whatever their caller says: a [gRPC service config](https://github.com/grpc/grpc/blob/master/doc/service_config.md).
//!
//! No call takes longer than its server would let it, retries included: a service config can only shorten what a caller
//! says, so the contract's default, which a caller may exceed, is for the helper of a language. An RPC that is safe to repeat by its contract is repeated
//! where the service could not be reached or asks to come back (`UNAVAILABLE`), and for nothing else.

use std::collections::BTreeMap;

use prost_reflect::MethodDescriptor;
use serde::Serialize;

use crate::{
    DescriptorSet,
    meaning::{
        options::get,
        rpcs::{IDEMPOTENT, NO_SIDE_EFFECTS, option},
    },
};

/// Three repeats, within a second: a lost connection is bridged, and a caller of an outage learns of it soon.
const RETRY: RetryPolicy = RetryPolicy {
    max_attempts: 4,
    initial_backoff: "0.1s",
    max_backoff: "1s",
    backoff_multiplier: 2,
    retryable_status_codes: ["UNAVAILABLE"],
};

/// The retry budget of gRPC A6: ten failures in a row, and none is repeated until calls succeed again.
const THROTTLING: RetryThrottling = RetryThrottling { max_tokens: 20, token_ratio: 0.1 };

/// The service config of every RPC in a set, as JSON.
///
/// # Panics
///
/// Never: nothing in it can fail to be written.
#[must_use]
pub fn json(set: &DescriptorSet) -> String {
    let mut methods = BTreeMap::<_, Vec<Name>>::new();
    for rpc in set.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let name = Name { service: rpc.parent_service().full_name().to_owned(), method: rpc.name().to_owned() };
        methods.entry((timeout_ms(&rpc), is_repeatable(&rpc))).or_default().push(name);
    }
    let method_config = methods.into_iter().map(|((timeout_ms, is_repeatable), name)| MethodConfig {
        name,
        timeout: timeout_ms.map(seconds),
        retry_policy: is_repeatable.then_some(RETRY),
    });
    let config = ServiceConfig { method_config: method_config.collect(), retry_throttling: THROTTLING };
    serde_json::to_string_pretty(&config).expect("strings and numbers") + "\n"
}

/// What the server cuts longer ones to.
fn timeout_ms(rpc: &MethodDescriptor) -> Option<i32> {
    let deadline = option(rpc, "holdfast.options.v1.deadline")?;
    get(&deadline, "max_ms")?.as_i32()
}

fn is_repeatable(rpc: &MethodDescriptor) -> bool {
    let level = get(&rpc.options(), "idempotency_level").and_then(|level| level.as_enum_number());
    matches!(level, Some(NO_SIDE_EFFECTS | IDEMPOTENT))
}

/// As JSON writes a `google.protobuf.Duration`.
fn seconds(milliseconds: i32) -> String {
    format!("{}s", f64::from(milliseconds) / 1000.0)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceConfig {
    method_config: Vec<MethodConfig>,
    retry_throttling: RetryThrottling,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MethodConfig {
    name: Vec<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<RetryPolicy>,
}

#[derive(Serialize)]
struct Name {
    service: String,
    method: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RetryPolicy {
    max_attempts: u32,
    initial_backoff: &'static str,
    max_backoff: &'static str,
    backoff_multiplier: u32,
    retryable_status_codes: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RetryThrottling {
    max_tokens: u32,
    token_ratio: f64,
}
