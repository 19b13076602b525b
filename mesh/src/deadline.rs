//! The deadline of the work in progress: how long the caller still waits.
//!
//! A deadline enters a process with a call (`grpc-timeout`), lives in a task-local while the handler runs, and leaves with every call the
//! handler makes. On the wire it is always *remaining time*, never a wall clock. Task-locals do not follow [`tokio::spawn`]: use [`spawn`]
//! to work on behalf of the caller, [`detach`] for work that must outlive the caller (compensations, releases).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Frame, SizeHint};
use opentelemetry::trace::FutureExt as _;
use pin_project_lite::pin_project;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tonic::body::Body;
use tracing::Instrument as _;

use crate::chain;
use crate::fault::Fault;

tokio::task_local! {
    static CURRENT: Option<Deadline>;
}

/// The moment after which nobody waits for the answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline at this moment.
    #[must_use]
    pub fn new(at: Instant) -> Self {
        Self(at)
    }

    /// The deadline this far from now.
    #[must_use]
    pub fn after(budget: Duration) -> Self {
        Self(Instant::now() + budget)
    }

    /// The moment itself.
    #[must_use]
    pub fn at(self) -> Instant {
        self.0
    }

    /// What is left of it; zero once it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether the caller has stopped waiting.
    #[must_use]
    pub fn has_passed(self) -> bool {
        Instant::now() >= self.0
    }
}

/// The deadline of the calling task, if it works for a caller.
#[must_use]
pub fn current() -> Option<Deadline> {
    CURRENT.try_with(|deadline| *deadline).ok().flatten()
}

/// What is left of the [`current`] deadline.
#[must_use]
pub fn remaining() -> Option<Duration> {
    current().map(Deadline::remaining)
}

/// Runs `future` under `deadline`: [`current`] answers it inside. It does not stop the future when the time is over.
pub async fn scope<F: Future>(deadline: Deadline, future: F) -> F::Output {
    CURRENT.scope(Some(deadline), future).await
}

/// Runs `future` with a deadline of its own, `budget` from now, whatever the caller's deadline is.
pub async fn detach<F: Future>(budget: Duration, future: F) -> F::Output {
    CURRENT.scope(Some(Deadline::after(budget)), future).await
}

/// [`tokio::spawn`] that carries the caller's deadline, trace and chain into the new task.
#[expect(clippy::disallowed_methods, reason = "the one place that may: it carries the deadline")]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(CURRENT.scope(current(), chain::current().scope(future.with_current_context().in_current_span())))
}

/// The header that carries the time left.
pub(crate) const GRPC_TIMEOUT: &str = "grpc-timeout";

/// At most eight digits and a unit (gRPC over HTTP/2); anything else is malformed.
pub(crate) fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0u64, |amount, digit| amount * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// The finest unit that fits in eight digits, rounded down: a callee must not think that it has more.
pub(crate) fn timeout_header(left: Duration) -> HeaderValue {
    const LIMIT: u128 = 100_000_000;
    let (amount, unit) = if left.as_micros() < LIMIT {
        (left.as_micros(), 'u')
    } else if left.as_millis() < LIMIT {
        (left.as_millis(), 'm')
    } else {
        (u128::from(left.as_secs()).min(LIMIT - 1), 'S')
    };
    HeaderValue::try_from(format!("{amount}{unit}")).expect("digits and a letter are a header value")
}

pin_project! {
    /// A body that ends with `DEADLINE_EXCEEDED` in the trailers if it is not complete in time. What produces it runs under the deadline.
    pub(crate) struct DeadlineBody {
        #[pin]
        inner: Body,
        deadline: Deadline,
        // Made when the body first has to be waited for, so never for the answer of a unary call.
        timer: Option<Pin<Box<Sleep>>>,
        ended: bool,
    }
}

impl DeadlineBody {
    pub(crate) fn new(inner: Body, deadline: Deadline) -> Self {
        Self { inner, deadline, timer: None, ended: false }
    }
}

impl http_body::Body for DeadlineBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = CURRENT.sync_scope(Some(*this.deadline), || this.inner.poll_frame(cx)) {
            return Poll::Ready(frame);
        }
        let at = this.deadline.at();
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        *this.ended = true;
        let late = Fault::deadline_exceeded("the answer was not complete before the deadline");
        Poll::Ready(Some(Ok(late.into_trailers())))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_says() {
        let check =
            |text: &str, expected: Option<Duration>| assert_eq!(parse_timeout(text.as_bytes()), expected, "{text}");
        check("1H", Some(Duration::from_secs(3600)));
        check("2M", Some(Duration::from_secs(120)));
        check("3S", Some(Duration::from_secs(3)));
        check("99999999m", Some(Duration::from_millis(99_999_999)));
        check("5u", Some(Duration::from_micros(5)));
        check("0n", Some(Duration::ZERO));
        for malformed in ["", "m", "10", "123456789S", "-1S", "+1S", "1 S", "1s", "1.5S", "٣S"] {
            check(malformed, None);
        }
    }

    #[test]
    fn timeouts_are_written_in_eight_digits_and_never_longer_than_they_are() {
        for left in [
            Duration::ZERO,
            Duration::from_nanos(1_999),
            Duration::from_secs(99),
            Duration::from_secs(3600),
            Duration::MAX,
        ] {
            let header = timeout_header(left);
            let read = parse_timeout(header.as_bytes()).expect("we read what we write");
            assert!(read <= left && header.len() <= 9, "{left:?} became {header:?}");
        }
    }

    #[tokio::test]
    async fn spawned_work_keeps_the_deadline_and_detached_work_has_its_own() {
        let deadline = Deadline::after(Duration::from_secs(5));
        scope(deadline, async {
            assert_eq!(spawn(async { current() }).await.expect("no panic"), Some(deadline));
            let detached = detach(Duration::from_secs(60), async { current() }).await.expect("a deadline of its own");
            assert!(detached > deadline);
        })
        .await;
        assert_eq!(current(), None);
    }
}
