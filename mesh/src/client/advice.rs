//! What an answer says about asking again: `RetryInfo`, and `grpc-retry-pushback-ms` (gRFC A6).

use std::time::Duration;

use http::HeaderMap;
use tonic::Status;
use tonic::metadata::MetadataValue;

use crate::fault::{Fault, reason, reason_of, retry_delay_of};

/// Milliseconds to wait before the call is repeated; a negative number forbids it.
pub(crate) const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Read from the headers or trailers of a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Advice {
    /// Not before this time has passed.
    pub(super) after: Option<Duration>,
    /// Not at all: whoever answered has taken that decision already.
    pub(super) never: bool,
    /// The callee has certainly not begun.
    pub(super) untouched: bool,
}

/// The reasons of answers that say so.
const UNTOUCHED: [&str; 5] =
    [reason::CONNECTION_FAILED, reason::OVERLOADED, reason::SHUTTING_DOWN, super::BREAKER_OPEN, super::BULKHEAD_FULL];

impl Advice {
    pub(super) fn of(said: &HeaderMap) -> Self {
        let pushback = said.get(PUSHBACK).map(|value| value.to_str().ok().and_then(|text| text.parse::<u32>().ok()));
        let status = Status::from_header_map(said);
        let info = status.as_ref().and_then(retry_delay_of);
        let reason = status.as_ref().and_then(reason_of);
        let untouched = reason.is_some_and(|reason| UNTOUCHED.contains(&reason.as_str()));
        match pushback {
            // Negative, or nothing that can be read: both forbid it.
            Some(None) => Self { after: info, never: true, untouched },
            Some(Some(ms)) => Self { after: info.max(Some(Duration::from_millis(ms.into()))), never: false, untouched },
            None => Self { after: info, never: false, untouched },
        }
    }
}

/// An answer that no loop repeats.
pub(super) fn final_answer(fault: Fault) -> Status {
    let mut status = Status::from(fault);
    status.metadata_mut().insert(PUSHBACK, MetadataValue::from_static("-1"));
    status
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_longer_time_counts_and_what_is_negative_or_unreadable_forbids() {
        let check = |info_ms: Option<u64>, pushback: Option<&'static str>, after_ms: Option<u64>, never: bool| {
            let mut fault = Fault::aborted("TEST", "");
            if let Some(ms) = info_ms {
                fault = fault.retry_after(Duration::from_millis(ms));
            }
            let response = Status::from(fault).into_http::<tonic::body::Body>();
            let mut headers = response.headers().clone();
            headers
                .extend(pushback.map(|text| (http::HeaderName::from_static(PUSHBACK), HeaderValue::from_static(text))));
            let expected = Advice { after: after_ms.map(Duration::from_millis), never, untouched: false };
            assert_eq!(Advice::of(&headers), expected, "{info_ms:?} and {pushback:?}");
        };
        check(None, None, None, false);
        check(Some(40), None, Some(40), false);
        check(None, Some("70"), Some(70), false);
        check(Some(40), Some("70"), Some(70), false);
        check(Some(40), Some("7"), Some(40), false);
        check(Some(40), Some("-1"), Some(40), true);
        check(None, Some("soon"), None, true);
    }

    #[test]
    fn a_final_answer_forbids_another_attempt() {
        let status = final_answer(Fault::unavailable("TEST", "", Duration::from_millis(5)));
        let advice = Advice::of(status.into_http::<tonic::body::Body>().headers());
        assert_eq!(advice, Advice { after: Some(Duration::from_millis(5)), never: true, untouched: false });
    }
}
