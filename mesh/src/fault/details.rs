//! `google.rpc` details: encoding within the limit, and reading back without trusting the sender.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::pb;

use super::{DOMAIN, Fault, Inner};

/// Details travel in a header, of which proxies and peers accept little; with base64 this stays below 6 KiB.
const LIMIT_BYTES: usize = 4096;
/// The message is sent twice: as `grpc-message` and in the details.
const MESSAGE_LIMIT_BYTES: usize = 1024;
const VALUE_LIMIT_BYTES: usize = 256;

const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
const PRECONDITION_FAILURE: &str = "type.googleapis.com/google.rpc.PreconditionFailure";
const QUOTA_FAILURE: &str = "type.googleapis.com/google.rpc.QuotaFailure";
const RESOURCE_INFO: &str = "type.googleapis.com/google.rpc.ResourceInfo";
const REQUEST_INFO: &str = "type.googleapis.com/google.rpc.RequestInfo";

/// `google.rpc.ErrorInfo` with its map in order: a repeated answer has to be the same bytes.
#[derive(prost::Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

/// The encoded form. What would exceed the limit is left out, the last field violations first; the `ErrorInfo` always stays.
pub(super) fn encode(fault: &Inner) -> pb::Status {
    let mut fields = fault.fields.as_slice();
    loop {
        let mut status = assemble(fault, fields);
        if status.encoded_len() <= LIMIT_BYTES {
            return status;
        }
        if fields.is_empty() {
            status.details.truncate(1);
            return status;
        }
        fields = &fields[..fields.len() * 3 / 4];
    }
}

fn assemble(fault: &Inner, fields: &[pb::bad_request::FieldViolation]) -> pb::Status {
    // At most eight values of at most 256 bytes: the ErrorInfo alone is never over the limit.
    let metadata = fault
        .metadata
        .iter()
        .take(8)
        .map(|(key, value)| (key.clone().into_owned(), cut(value, VALUE_LIMIT_BYTES).to_owned()))
        .collect();
    let info = ErrorInfo { reason: fault.reason.clone().into_owned(), domain: DOMAIN.to_owned(), metadata };
    let mut details = vec![any(ERROR_INFO, &info)];
    if let Some(delay) = fault.retry_after {
        details.push(any(RETRY_INFO, &pb::RetryInfo { retry_delay: delay.try_into().ok() }));
    }
    if !fields.is_empty() {
        details.push(any(BAD_REQUEST, &pb::BadRequest { field_violations: fields.to_vec() }));
    }
    if !fault.preconditions.is_empty() {
        details.push(any(PRECONDITION_FAILURE, &pb::PreconditionFailure { violations: fault.preconditions.clone() }));
    }
    if !fault.quotas.is_empty() {
        details.push(any(QUOTA_FAILURE, &pb::QuotaFailure { violations: fault.quotas.clone() }));
    }
    if let Some(resource) = &fault.resource {
        details.push(any(RESOURCE_INFO, resource));
    }
    if let Some(trace_id) = &fault.trace_id {
        details.push(any(REQUEST_INFO, &pb::RequestInfo { request_id: trace_id.clone(), serving_data: String::new() }));
    }
    pb::Status { code: fault.code.into(), message: cut(&fault.message, MESSAGE_LIMIT_BYTES).to_owned(), details }
}

fn any(type_url: &str, message: &impl Message) -> Any {
    Any { type_url: type_url.to_owned(), value: message.encode_to_vec() }
}

/// The longest start of `text` that is not over `limit` bytes and ends at a character.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// The reason in a status' `ErrorInfo`; `None` if it has none, or details that cannot be decoded.
#[must_use]
pub fn reason_of(status: &Status) -> Option<String> {
    find::<pb::ErrorInfo>(&decode(status)?, ERROR_INFO).map(|info| info.reason)
}

/// The delay in a status' `RetryInfo`; `None` if it has none, or details that cannot be decoded.
#[must_use]
pub fn retry_delay_of(status: &Status) -> Option<Duration> {
    find::<pb::RetryInfo>(&decode(status)?, RETRY_INFO)?.retry_delay?.try_into().ok()
}

pub(super) fn parse(status: &Status) -> Fault {
    let mut fault = Fault::new(status.code(), code_name(status.code()), status.message());
    let Some(decoded) = decode(status) else { return fault };
    let inner = &mut *fault.0;
    if let Some(info) = find::<pb::ErrorInfo>(&decoded, ERROR_INFO) {
        inner.reason = info.reason.into();
        inner.metadata = info.metadata.into_iter().map(|(key, value)| (Cow::Owned(key), value)).collect();
        inner.metadata.sort_unstable();
    }
    inner.fields =
        find::<pb::BadRequest>(&decoded, BAD_REQUEST).map(|found| found.field_violations).unwrap_or_default();
    inner.preconditions = find::<pb::PreconditionFailure>(&decoded, PRECONDITION_FAILURE)
        .map(|found| found.violations)
        .unwrap_or_default();
    inner.quotas = find::<pb::QuotaFailure>(&decoded, QUOTA_FAILURE).map(|found| found.violations).unwrap_or_default();
    inner.resource = find(&decoded, RESOURCE_INFO);
    inner.retry_after =
        find::<pb::RetryInfo>(&decoded, RETRY_INFO).and_then(|found| found.retry_delay?.try_into().ok());
    inner.trace_id = find::<pb::RequestInfo>(&decoded, REQUEST_INFO).map(|found| found.request_id);
    fault
}

fn decode(status: &Status) -> Option<pb::Status> {
    if status.details().is_empty() { None } else { pb::Status::decode(status.details()).ok() }
}

fn find<M: Message + Default>(status: &pb::Status, type_url: &str) -> Option<M> {
    let found = status.details.iter().find(|any| any.type_url == type_url)?;
    M::decode(found.value.as_slice()).ok()
}

/// The name that gRPC gives the code, e.g. `NOT_FOUND`.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
