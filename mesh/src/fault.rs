//! Every error answer is made here, so that all look alike: a status code, one `ErrorInfo`, and the detail that fits the situation.
//!
//! A [`Fault`] is what a service returns to its caller: build it by situation ([`Fault::not_found`], [`Fault::invalid`], …), add what the
//! message mentions with [`Fault::with`], and turn it into a [`tonic::Status`] at the edge. [`Fault::from_status`] reads one back, so
//! that a callee's refusal can be passed on with its reason.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::pb;

mod details;

pub use details::{code_name, reason_of, retry_delay_of};

/// `ErrorInfo.domain` of every answer of this product.
pub const DOMAIN: &str = "holdfast.dev";

/// What took too long is busy; sooner would only add to that.
const RETRY_LATE_AFTER: Duration = Duration::from_secs(1);
/// As a connection that fails.
const RETRY_INJECTED_AFTER: Duration = Duration::from_millis(100);

/// Reasons that this crate itself gives. Services add their own.
pub mod reason {
    /// A field breaks a rule of the contract.
    pub const INVALID_FIELD: &str = "INVALID_FIELD";
    /// No credentials came with the call.
    pub const CREDENTIALS_MISSING: &str = "CREDENTIALS_MISSING";
    /// The credentials are not acceptable.
    pub const CREDENTIALS_INVALID: &str = "CREDENTIALS_INVALID";
    /// The caller is known and may not do this.
    pub const NOT_ALLOWED: &str = "NOT_ALLOWED";
    /// This server has no such method.
    pub const METHOD_UNKNOWN: &str = "METHOD_UNKNOWN";
    /// The caller's time is over, or too short to begin.
    pub const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";
    /// More calls than the server takes at once; nothing was begun.
    pub const OVERLOADED: &str = "OVERLOADED";
    /// The server ends; another one, or this one once it is back, goes on.
    pub const SHUTTING_DOWN: &str = "SHUTTING_DOWN";
    /// The callee could not be reached.
    pub const CONNECTION_FAILED: &str = "CONNECTION_FAILED";
    /// The connection broke before the answer was complete.
    pub const CONNECTION_LOST: &str = "CONNECTION_LOST";
    /// The caller makes more calls than it may.
    pub const RATE_LIMITED: &str = "RATE_LIMITED";
    /// A message is larger than the limit.
    pub const MESSAGE_TOO_LARGE: &str = "MESSAGE_TOO_LARGE";
    /// An operator's rule failed the call before it was made.
    pub const FAULT_INJECTED: &str = "FAULT_INJECTED";
    /// A fault of ours.
    pub const INTERNAL: &str = "INTERNAL";
}

/// An error answer.
#[derive(Clone)]
pub struct Fault(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: Code,
    reason: Cow<'static, str>,
    message: String,
    metadata: Vec<(Cow<'static, str>, String)>,
    fields: Vec<pb::bad_request::FieldViolation>,
    preconditions: Vec<pb::precondition_failure::Violation>,
    quotas: Vec<pb::quota_failure::Violation>,
    resource: Option<pb::ResourceInfo>,
    retry_after: Option<Duration>,
    trace_id: Option<String>,
}

impl Fault {
    fn new(code: Code, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            reason: reason.into(),
            message: message.into(),
            metadata: Vec::new(),
            fields: Vec::new(),
            preconditions: Vec::new(),
            quotas: Vec::new(),
            resource: None,
            retry_after: None,
            trace_id: None,
        }))
    }

    /// One field breaks a rule: `INVALID_ARGUMENT` with `BadRequest`. `field` is the path in the request, e.g. `reservation.units`.
    #[must_use]
    pub fn invalid(
        field: impl Into<String>,
        reason: impl Into<Cow<'static, str>>,
        description: impl Into<String>,
    ) -> Self {
        let (reason, description) = (reason.into(), description.into());
        let field = field.into();
        let mut fault = Self::new(Code::InvalidArgument, reason.clone(), format!("{field}: {description}"))
            .with("field", field.clone());
        fault.0.fields.push(field_violation(field, reason, description));
        fault
    }

    /// Several fields break rules: `INVALID_ARGUMENT` with one `BadRequest` entry each, as (field, reason, description).
    #[must_use]
    pub fn invalid_fields(violations: impl IntoIterator<Item = (String, String, String)>) -> Self {
        let mut fault =
            Self::new(Code::InvalidArgument, reason::INVALID_FIELD, "the request breaks the rules of its contract");
        fault.0.fields = violations
            .into_iter()
            .map(|(field, reason, description)| field_violation(field, reason.into(), description))
            .collect();
        fault
    }

    /// The request as a whole cannot be accepted: `INVALID_ARGUMENT` without a field.
    #[must_use]
    pub fn invalid_request(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, reason, message)
    }

    /// No or bad credentials: `UNAUTHENTICATED`.
    #[must_use]
    pub fn unauthenticated(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Code::Unauthenticated, reason, message)
    }

    /// The caller is known and may not do this: `PERMISSION_DENIED`. Answer it whether or not the thing exists.
    #[must_use]
    pub fn denied(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Code::PermissionDenied, reason, message)
    }

    /// No such thing: `NOT_FOUND` with `ResourceInfo`. `kind` is e.g. `reservation`, `name` its resource name.
    #[must_use]
    pub fn not_found(reason: impl Into<Cow<'static, str>>, kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self::about(Code::NotFound, reason.into(), kind.into(), name.into(), "does not exist")
    }

    /// The name is taken: `ALREADY_EXISTS` with `ResourceInfo`.
    #[must_use]
    pub fn already_exists(
        reason: impl Into<Cow<'static, str>>,
        kind: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self::about(Code::AlreadyExists, reason.into(), kind.into(), name.into(), "exists already")
    }

    fn about(code: Code, reason: Cow<'static, str>, kind: String, name: String, what: &str) -> Self {
        let mut fault = Self::new(code, reason, format!("{kind} {name} {what}")).with("resource", name.clone());
        fault.0.resource = Some(pb::ResourceInfo {
            resource_type: kind,
            resource_name: name,
            owner: String::new(),
            description: String::new(),
        });
        fault
    }

    /// The state forbids it: `FAILED_PRECONDITION` with `PreconditionFailure`. `kind` is a class such as `AVAILABILITY`, `subject` the resource name.
    #[must_use]
    pub fn precondition(
        reason: impl Into<Cow<'static, str>>,
        kind: impl Into<String>,
        subject: impl Into<String>,
        description: impl Into<String>,
    ) -> Self {
        let (subject, description) = (subject.into(), description.into());
        let mut fault =
            Self::new(Code::FailedPrecondition, reason, description.clone()).with("resource", subject.clone());
        fault.0.preconditions.push(pb::precondition_failure::Violation { r#type: kind.into(), subject, description });
        fault
    }

    /// Lost a race (stale etag, same request still running): `ABORTED`. Add [`Fault::retry_after`] when repeating the call can help.
    #[must_use]
    pub fn aborted(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Code::Aborted, reason, message)
    }

    /// The caller's quota is spent: `RESOURCE_EXHAUSTED` with `QuotaFailure`, and `RetryInfo` if it refills after `retry_after`.
    #[must_use]
    pub fn exhausted(
        reason: impl Into<Cow<'static, str>>,
        subject: impl Into<String>,
        description: impl Into<String>,
        retry_after: Option<Duration>,
    ) -> Self {
        let description = description.into();
        let mut fault = Self::new(Code::ResourceExhausted, reason, description.clone());
        fault.0.quotas.push(pb::quota_failure::Violation {
            subject: subject.into(),
            description,
            ..Default::default()
        });
        fault.0.retry_after = retry_after;
        fault
    }

    /// A dependency is down, or the work was refused before it began: `UNAVAILABLE` with `RetryInfo`.
    #[must_use]
    pub fn unavailable(
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
        retry_after: Duration,
    ) -> Self {
        Self::new(Code::Unavailable, reason, message).retry_after(retry_after)
    }

    /// The caller's time is over: `DEADLINE_EXCEEDED` with `RetryInfo`, as a repeat has time of its own.
    #[must_use]
    pub fn deadline_exceeded(message: impl Into<String>) -> Self {
        Self::new(Code::DeadlineExceeded, reason::DEADLINE_EXCEEDED, message).retry_after(RETRY_LATE_AFTER)
    }

    /// The caller gives less time than the work takes at least: `DEADLINE_EXCEEDED` without `RetryInfo`, as waiting changes nothing.
    pub(crate) fn deadline_too_short(minimum_ms: u32) -> Self {
        Self::new(Code::DeadlineExceeded, reason::DEADLINE_EXCEEDED, "the time left is too short to begin")
            .with("minimum_ms", minimum_ms.to_string())
    }

    /// There is no such method here: `UNIMPLEMENTED`.
    #[must_use]
    pub fn unimplemented(message: impl Into<String>) -> Self {
        Self::new(Code::Unimplemented, reason::METHOD_UNKNOWN, message)
    }

    /// What an operator's rule makes of a call. `UNAVAILABLE` comes with `RetryInfo`, as everywhere.
    pub(crate) fn injected(code: Code) -> Self {
        let fault = Self::new(code, reason::FAULT_INJECTED, "a fault was injected into this call");
        if code == Code::Unavailable { fault.retry_after(RETRY_INJECTED_AFTER) } else { fault }
    }

    /// A bug of ours: `INTERNAL`. The cause is logged here, the answer says only where to look: the trace id, in `RequestInfo`.
    #[must_use]
    pub fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %Chain(cause), "internal error");
        Self::internal_unlogged()
    }

    pub(crate) fn internal_unlogged() -> Self {
        let mut fault = Self::new(Code::Internal, reason::INTERNAL, "internal error");
        fault.0.trace_id = crate::telemetry::current_trace_id();
        fault
    }

    /// Adds a value that the message mentions to the `ErrorInfo` metadata. A later value of the same key wins.
    #[must_use]
    pub fn with(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        let key = key.into();
        self.0.metadata.retain(|(present, _)| *present != key);
        self.0.metadata.push((key, value.into()));
        self
    }

    /// Tells the caller when repeating the call makes sense (`RetryInfo`).
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// The status code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The stable reason, `UPPER_SNAKE_CASE`.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The sentence for a human reader.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// A value of the `ErrorInfo` metadata.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.0.metadata.iter().find(|(present, _)| present == key).map(|(_, value)| value.as_str())
    }

    /// When repeating the call makes sense.
    #[must_use]
    pub fn retry_delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Reads a callee's answer. Details that cannot be decoded are left out; a status without `ErrorInfo` gets its code's name as reason.
    #[must_use]
    pub fn from_status(status: &Status) -> Self {
        details::parse(status)
    }

    /// The end of a stream that has begun.
    pub(crate) fn into_trailers(self) -> Frame<Bytes> {
        let mut trailers = HeaderMap::new();
        Status::from(self).add_header(&mut trailers).expect("details are base64 and the message is percent-encoded");
        Frame::trailers(trailers)
    }
}

fn field_violation(field: String, reason: Cow<'static, str>, description: String) -> pb::bad_request::FieldViolation {
    pb::bad_request::FieldViolation { field, description, reason: reason.into_owned(), localized_message: None }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let details = details::encode(&fault.0);
        Status::with_details(fault.0.code, details.message.clone(), details.encode_to_vec().into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Fault {}

/// An error with everything that caused it, on one line.
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_is_read() {
        let second = Duration::from_secs(1);
        let faults = [
            Fault::invalid("units", "TOO_MANY", "must be at most 8"),
            Fault::unauthenticated(reason::CREDENTIALS_MISSING, "who are you?"),
            Fault::denied(reason::NOT_ALLOWED, "no").with("method", "a.B/C"),
            Fault::not_found("THING_NOT_FOUND", "thing", "things/7"),
            Fault::already_exists("THING_EXISTS", "thing", "things/7"),
            Fault::precondition("NOT_FREE", "AVAILABILITY", "things/7", "the day is taken"),
            Fault::aborted("ETAG_MISMATCH", "it has changed").retry_after(second),
            Fault::exhausted("RATE_LIMITED", "users/alice", "too fast", Some(second)),
            Fault::unavailable(reason::OVERLOADED, "busy", second),
            Fault::deadline_exceeded("too late"),
            Fault::deadline_too_short(50),
            Fault::internal_unlogged(),
        ];
        for fault in faults {
            let status = Status::from(fault.clone());
            assert_eq!(reason_of(&status).as_deref(), Some(fault.reason()));
            assert_eq!(retry_delay_of(&status), fault.retry_delay());
            let read = Fault::from_status(&status);
            assert_eq!(format!("{read:?}"), format!("{fault:?}"));
            assert_eq!(Status::from(read).details(), status.details());
        }
    }

    #[test]
    fn details_stay_below_the_limit_and_keep_the_reason() {
        let long = "ä".repeat(5_000);
        let violations = (0..500).map(|index| (format!("field_{index}"), "RULE".to_owned(), long.clone()));
        let precondition = Fault::precondition("STATE", "STATE", long.clone(), long.clone());
        for fault in
            [Fault::invalid_fields(violations), precondition, Fault::aborted("RACE", &*long).with("value", &*long)]
        {
            let status = Status::from(fault.clone());
            assert!(status.details().len() <= 4096 && status.message().len() <= 1024);
            assert_eq!(reason_of(&status).as_deref(), Some(fault.reason()));
        }
    }

    #[test]
    fn foreign_details_are_survived() {
        for details in [&b"\xff\xff\xff"[..], b"\x08\x05", b"\x1a\x02\x0a\x05"] {
            let status = Status::with_details(Code::NotFound, "gone", details.to_vec().into());
            assert_eq!((reason_of(&status), retry_delay_of(&status)), (None, None));
            assert_eq!(Fault::from_status(&status).reason(), "NOT_FOUND");
        }
    }
}
