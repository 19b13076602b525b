//! What an RPC may refuse, and how a refusal looks.

use prost_reflect::MessageDescriptor;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::model::Rpc;
use crate::path;

/// Details of a refusal at most: HTTP/2 headers have limits, and what goes over them hangs or resets calls.
const DETAILS_MAX_BYTES: usize = 4 * 1024;

/// What any RPC may answer, as `ErrorCase` says.
const GENERAL: [(Code, &str); 12] = [
    (Code::InvalidArgument, "INVALID_FIELD"),
    (Code::InvalidArgument, "MESSAGE_MALFORMED"),
    (Code::Unauthenticated, "CREDENTIALS_MISSING"),
    (Code::Unauthenticated, "CREDENTIALS_INVALID"),
    (Code::PermissionDenied, "NOT_ALLOWED"),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (Code::Unavailable, "STORE_UNAVAILABLE"),
    (Code::Unavailable, "OVERLOADED"),
    (Code::Unavailable, "SHUTTING_DOWN"),
    (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
    (Code::ResourceExhausted, "RATE_LIMITED"),
    (Code::Unimplemented, "METHOD_UNKNOWN"),
];

/// The reason of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The fields that a refusal names, each with why.
pub(crate) fn fields(status: &Status) -> Vec<(String, String)> {
    let request = status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
    request.into_iter().map(|violation| (violation.field, violation.reason)).collect()
}

/// What is wrong with a refusal; `None` if it is one that the contract declares.
pub(crate) fn complaint(rpc: &Rpc, domain: &str, status: &Status) -> Option<String> {
    let (code, reason) = (status.code(), reason(status));
    if status.details().len() > DETAILS_MAX_BYTES {
        return Some(format!("{} bytes of details; {DETAILS_MAX_BYTES} are allowed", status.details().len()));
    }
    if let Err(error) = status.check_error_details() {
        return Some(format!("its details cannot be decoded: {error}"));
    }
    let Some(info) = status.get_details_error_info() else {
        return Some(format!("{} without an ErrorInfo", name(code)));
    };
    if info.domain != domain {
        return Some(format!("an ErrorInfo of the domain {:?}, not {domain:?}", info.domain));
    }
    if code == Code::Unavailable && status.get_details_retry_info().is_none() {
        return Some(format!("UNAVAILABLE/{reason} without a RetryInfo"));
    }
    let is_declared = rpc.errors.iter().any(|(known, why)| *known == code && *why == reason)
        || GENERAL.iter().any(|(known, why)| *known == code && *why == reason)
        || tells_a_field(&rpc.method.input(), status, &reason);
    (!is_declared).then(|| format!("{}/{reason}, which the contract does not declare", name(code)))
}

/// An invalid field's reason is its entry's, and the `ErrorInfo`'s where it is the only one.
fn tells_a_field(input: &MessageDescriptor, status: &Status, reason: &str) -> bool {
    let fields = fields(status);
    let is_only = |(field, why): &(String, String)| why == reason && path::exists(input, field);
    status.code() == Code::InvalidArgument && fields.len() == 1 && fields.iter().all(is_only)
}

/// `INVALID_ARGUMENT`, as contracts write it.
pub(crate) fn name(code: Code) -> String {
    let words = format!("{code:?}");
    let mut name = String::new();
    for (index, letter) in words.chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            name.push('_');
        }
        name.extend(letter.to_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_named_as_in_contracts() {
        for (code, expected) in
            [(Code::InvalidArgument, "INVALID_ARGUMENT"), (Code::Ok, "OK"), (Code::NotFound, "NOT_FOUND")]
        {
            assert_eq!(name(code), expected);
        }
    }
}
