//! Services and their RPCs.

use prost_reflect::{MethodDescriptor, ServiceDescriptor};
use prost_types::{MethodOptions, method_options::IdempotencyLevel};

use crate::{Diff, finding::At, rules};

const INPUT_TYPE: i32 = 2;
const OUTPUT_TYPE: i32 = 3;
const OPTIONS: i32 = 4;
const IDEMPOTENCY_LEVEL: i32 = 34;

pub(crate) fn compare(diff: &mut Diff<'_>, old: &ServiceDescriptor, new: &ServiceDescriptor) {
    for rpc in old.methods() {
        if let Some(now) = new.methods().find(|now| now.name() == rpc.name()) {
            compare_rpc(diff, &rpc, &now);
        } else {
            let at = At::path(&new.parent_file(), new.path());
            diff.add(&rules::RPC_NO_DELETE, at, rpc.full_name(), "the RPC was deleted");
        }
    }
}

fn compare_rpc(diff: &mut Diff<'_>, old: &MethodDescriptor, new: &MethodDescriptor) {
    let (file, path, name) = (new.parent_file(), new.path(), new.full_name());
    let (was, is) = (old.input(), new.input());
    if was.full_name() != is.full_name() {
        let message = format!("the request changed from {} to {}", was.full_name(), is.full_name());
        diff.add(&rules::RPC_SAME_REQUEST_TYPE, At::part(&file, path, &[INPUT_TYPE]), name, message);
    }
    let (was, is) = (old.output(), new.output());
    if was.full_name() != is.full_name() {
        let message = format!("the response changed from {} to {}", was.full_name(), is.full_name());
        diff.add(&rules::RPC_SAME_RESPONSE_TYPE, At::part(&file, path, &[OUTPUT_TYPE]), name, message);
    }
    let shape = |is_stream| if is_stream { "a stream" } else { "one message" };
    if old.is_client_streaming() != new.is_client_streaming() {
        let message = format!("the request is now {}", shape(new.is_client_streaming()));
        diff.add(&rules::RPC_SAME_CLIENT_STREAMING, At::path(&file, path), name, message);
    }
    if old.is_server_streaming() != new.is_server_streaming() {
        let message = format!("the response is now {}", shape(new.is_server_streaming()));
        diff.add(&rules::RPC_SAME_SERVER_STREAMING, At::path(&file, path), name, message);
    }
    let (was, is) = (idempotency(old), idempotency(new));
    if was != is {
        let at = At::path(&file, &[path, &[OPTIONS, IDEMPOTENCY_LEVEL]].concat());
        let message = format!("idempotency_level changed from {} to {}", was.as_str_name(), is.as_str_name());
        diff.add(&rules::RPC_SAME_IDEMPOTENCY_LEVEL, at, name, message);
    }
}

fn idempotency(rpc: &MethodDescriptor) -> IdempotencyLevel {
    rpc.method_descriptor_proto()
        .options
        .as_ref()
        .map_or(IdempotencyLevel::IdempotencyUnknown, MethodOptions::idempotency_level)
}
