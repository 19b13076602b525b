//! What a breaker tells: a log line and two metrics for each transition, an answer and a metric for each rejection. An ordinary call touches
//! none of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Meter};

use super::BREAKER_OPEN;
use super::state::{Cause, Phase, Transition};
use crate::fault::Fault;
use crate::telemetry::names;

pub(super) struct Report {
    target: &'static str,
    method: &'static str,
    attributes: [KeyValue; 2],
    state: Gauge<u64>,
    transitions: Counter<u64>,
    rejections: Counter<u64>,
    /// As the counter, for who asks this process.
    rejected: AtomicU64,
}

impl Report {
    pub(super) fn new(meter: &Meter, target: &'static str, method: &'static str) -> Self {
        Self {
            target,
            method,
            attributes: [KeyValue::new(names::BREAKER_TARGET, target), KeyValue::new(names::BREAKER_METHOD, method)],
            state: meter.u64_gauge(names::BREAKER_STATE).build(),
            transitions: meter.u64_counter(names::BREAKER_TRANSITIONS).build(),
            rejections: meter.u64_counter(names::BREAKER_REJECTIONS).build(),
            rejected: AtomicU64::new(0),
        }
    }

    pub(super) fn target(&self) -> &'static str {
        self.target
    }

    pub(super) fn method(&self) -> &'static str {
        self.method
    }

    /// How many calls were rejected.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    pub(super) fn rejection(&self, retry_after: Duration) -> Fault {
        self.rejections.add(1, &self.attributes);
        self.rejected.fetch_add(1, Ordering::Relaxed);
        let message = format!("{} is in trouble and not called for the moment", self.target);
        Fault::unavailable(BREAKER_OPEN, message, retry_after).with("service", self.target).with("method", self.method)
    }

    pub(super) fn transition(&self, Transition { from, to, cause, totals }: Transition) {
        let (target, method) = (self.target, self.method);
        let (from, to_name, cause) = (name(from), name(to), cause_name(cause));
        let (calls, failed, slow) = (totals.calls, totals.failed, totals.slow);
        if matches!(to, Phase::Open | Phase::ForcedOpen) {
            tracing::warn!(
                target_service = target,
                method,
                from,
                to = to_name,
                reason = cause,
                calls,
                failed,
                slow,
                "a breaker opened"
            );
        } else {
            tracing::info!(
                target_service = target,
                method,
                from,
                to = to_name,
                reason = cause,
                calls,
                failed,
                slow,
                "a breaker changed"
            );
        }
        self.state.record(level(to), &self.attributes);
        let [target, method] = self.attributes.clone();
        let (to, reason) = (KeyValue::new(names::BREAKER_TO, to_name), KeyValue::new(names::BREAKER_REASON, cause));
        self.transitions.add(1, &[target, method, to, reason]);
    }
}

/// The gauge's value: what happens to calls, whoever decided it.
fn level(phase: Phase) -> u64 {
    match phase {
        Phase::Closed | Phase::Disabled => 0,
        Phase::HalfOpen => 1,
        Phase::Open | Phase::ForcedOpen => 2,
    }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Closed => "closed",
        Phase::HalfOpen => "half_open",
        Phase::Open => "open",
        Phase::ForcedOpen => "forced_open",
        Phase::Disabled => "disabled",
    }
}

fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::FailureRate => "failure_rate",
        Cause::SlowRate => "slow_rate",
        Cause::Consecutive => "consecutive",
        Cause::OpenTime => "open_time",
        Cause::Probe => "probe",
        Cause::Operator => "operator",
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider as _;

    use super::*;
    use crate::client::breaker::state::Totals;
    use crate::telemetry::exported::Exported;

    #[test]
    fn state_transitions_and_rejections_are_exported() {
        let exported = Exported::default();
        let provider = exported.provider();
        let check = |expected: &[&str]| {
            provider.force_flush().unwrap();
            assert_eq!(exported.lines(), expected);
        };
        let report = Report::new(&provider.meter("test"), "payment", "Charge");
        check(&[]);
        let opened =
            Transition { from: Phase::Closed, to: Phase::Open, cause: Cause::SlowRate, totals: Totals::default() };
        report.transition(opened);
        assert_eq!(report.rejection(Duration::from_secs(1)).reason(), BREAKER_OPEN);
        check(&[
            "holdfast.breaker.rejections method=Charge target=payment 1",
            "holdfast.breaker.state method=Charge target=payment 2",
            "holdfast.breaker.transitions method=Charge reason=slow_rate target=payment to=open 1",
        ]);
    }
}
