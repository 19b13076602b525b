//! An error as a person needs it: for a refused call, its code, reason and details.

use std::error::Error as StdError;
use std::fmt::Write as _;

use anyhow::Error;
use tonic::Status;
use tonic_types::StatusExt as _;

/// The error and its causes, one per line; the details of a refused call below.
pub(crate) fn describe(error: &Error) -> String {
    let mut text = String::new();
    for (depth, cause) in error.chain().enumerate() {
        if depth > 0 {
            text.push_str("\n  ");
        }
        match cause.downcast_ref::<Status>() {
            Some(status) => text.push_str(&status_lines(status)),
            None => {
                let _ = write!(text, "{cause}");
            }
        }
        if cause.is::<Status>() {
            break;
        }
    }
    text
}

/// `CODE/REASON: message` and what else the answer says.
fn status_lines(status: &Status) -> String {
    let details = status.get_error_details();
    let mut text = match details.error_info() {
        Some(info) => format!("{}/{}: {}", code(status), info.reason, status.message()),
        None => format!("{}: {}", code(status), finding(status)),
    };
    if let Some(info) = details.error_info() {
        let mut metadata: Vec<_> = info.metadata.iter().collect();
        metadata.sort();
        for (key, value) in metadata {
            let _ = write!(text, "\n    {key} = {value}");
        }
    }
    for violation in details.bad_request().into_iter().flat_map(|bad| &bad.field_violations) {
        let _ = write!(text, "\n    field {}: {}", violation.field, violation.description);
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        let _ = write!(text, "\n    worth repeating in {}", crate::duration::readable(delay));
    }
    if let Some(request) = details.request_info() {
        let _ = write!(text, "\n    trace {}", request.request_id);
    }
    text
}

/// The code and the reason of a refused call, for counting: `UNAVAILABLE/PAYMENT_UNAVAILABLE`.
pub(crate) fn code_and_reason(status: &Status) -> String {
    match status.get_details_error_info() {
        Some(info) => format!("{}/{}", code(status), info.reason),
        // Without a reason it is this side's own finding: no connection, or no answer in time.
        None => format!("{} ({})", code(status), status.message()),
    }
}

/// What this side found, down to its cause.
pub(crate) fn finding(status: &Status) -> String {
    let mut cause: &dyn StdError = status;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.to_string() {
        cause if status.source().is_none() || status.message().contains(&cause) => status.message().to_owned(),
        cause => format!("{}: {cause}", status.message()),
    }
}

/// As the contracts spell it.
fn code(status: &Status) -> &'static str {
    use tonic::Code;
    match status.code() {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::Context as _;
    use mesh::fault::Fault;

    use super::*;

    #[test]
    fn a_refused_call_shows_reason_values_and_when_to_come_back() {
        let fault = Fault::unavailable("PAYMENT_UNAVAILABLE", "payment is down", Duration::from_millis(250))
            .with("service", "payment");
        let status = Status::from(fault);
        assert_eq!(code_and_reason(&status), "UNAVAILABLE/PAYMENT_UNAVAILABLE");
        let error = Err::<(), _>(status).context("cannot book").expect_err("an error");
        let text = describe(&error);
        assert!(text.starts_with("cannot book\n  UNAVAILABLE/PAYMENT_UNAVAILABLE: payment is down"), "{text}");
        assert!(text.contains("service = payment"), "{text}");
        assert!(text.contains("worth repeating in 250.0 ms"), "{text}");
    }

    #[test]
    fn an_error_of_this_side_shows_its_causes() {
        let error = anyhow::anyhow!("inner").context("outer");
        assert_eq!(describe(&error), "outer\n  inner");
    }

    #[test]
    fn what_this_side_found_is_told_down_to_its_cause() {
        #[derive(Debug, thiserror::Error)]
        #[error("no answer")]
        struct NoAnswer(#[source] std::io::Error);
        let status = Status::from_error(Box::new(NoAnswer(std::io::Error::other("the server speaks TLS only"))));
        assert_eq!(finding(&status), "no answer: the server speaks TLS only");
        assert_eq!(finding(&Status::unavailable("down")), "down");
    }
}
