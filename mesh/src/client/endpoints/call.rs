//! One request at one endpoint, watched until its answer has ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::Code;

use super::{Endpoint, Line};
use crate::fault::code_name;
use crate::telemetry::rpc::status_code;

/// Counts as in flight until it is dropped.
pub(in crate::client) struct Call {
    line: Arc<Line>,
    began: Instant,
    /// The moment at which an endpoint that has said nothing is at fault; none if it was not given a fair time.
    due: Option<Instant>,
    answered: bool,
    ended: bool,
}

impl Call {
    pub(in crate::client) fn begin(line: Arc<Line>, due: Option<Instant>) -> Self {
        line.endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { line, began: Instant::now(), due, answered: false, ended: false }
    }

    /// The headers are here; with a status they are the end.
    pub(in crate::client) fn headers(&mut self, headers: &HeaderMap) {
        if !self.line.answered.load(Ordering::Relaxed) {
            self.line.answered.store(true, Ordering::Relaxed);
        }
        match status_code(headers) {
            Some(code) => self.finish(code),
            None => self.measure(false),
        }
    }

    /// The trailers are here.
    pub(in crate::client) fn trailers(&mut self, trailers: &HeaderMap) {
        self.finish(status_code(trailers).unwrap_or(Code::Unknown));
    }

    /// The endpoint said how it ended, or should have.
    pub(in crate::client) fn finish(&mut self, code: Code) {
        let failed = match code {
            Code::Unavailable | Code::Internal | Code::Unknown | Code::DataLoss => true,
            // A stream whose time is over has ended as it was meant to.
            Code::DeadlineExceeded if self.due.is_some() && !self.answered => true,
            Code::DeadlineExceeded | Code::ResourceExhausted | Code::Cancelled => return self.abandon(),
            _ => false,
        };
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.measure(failed);
        if failed {
            self.endpoint().failed(code_name(code));
        } else {
            self.endpoint().succeeded();
        }
    }

    /// It broke, and nothing else did.
    pub(in crate::client) fn broke(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.measure(true);
            self.endpoint().failed("STREAM");
        }
    }

    /// It broke with its connection. However many calls do, that is one failure.
    pub(in crate::client) fn broke_with_connection(&mut self) {
        if !std::mem::replace(&mut self.ended, true) && !self.line.failed.swap(true, Ordering::Relaxed) {
            self.measure(true);
            self.endpoint().failed("CONNECTION");
        }
    }

    /// Its end says nothing about the endpoint.
    fn abandon(&mut self) {
        self.ended = true;
    }

    fn measure(&mut self, failed: bool) {
        if !std::mem::replace(&mut self.answered, true) {
            let now = Instant::now();
            let (after, mut latency) = (now - self.began, self.endpoint().latency());
            if failed { latency.failed(after, now) } else { latency.answered(after, now) }
        }
    }

    fn endpoint(&self) -> &Arc<Endpoint> {
        &self.line.endpoint
    }
}

impl Drop for Call {
    /// Nobody waits any more. That says something only if nothing had come for a long time.
    fn drop(&mut self) {
        self.endpoint().in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.ended || self.answered {
            return;
        }
        let now = Instant::now();
        if self.due.is_some_and(|due| now >= due) {
            self.finish(Code::DeadlineExceeded);
        } else {
            self.endpoint().latency().abandoned(now - self.began, now);
        }
    }
}
