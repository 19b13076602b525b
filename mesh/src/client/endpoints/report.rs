//! What the endpoints of a target tell: how many are ejected, and which requests were sent again.

use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Meter};

use crate::telemetry::names;

/// Why a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Resend {
    /// It was never on the wire.
    Returned,
    /// The server has not looked at it.
    Refused,
}

pub(super) struct Report {
    target: [KeyValue; 1],
    ejected: Gauge<u64>,
    ejected_last: AtomicU64,
    resends: Counter<u64>,
}

impl Report {
    pub(super) fn new(meter: &Meter, target: &'static str) -> Self {
        Self {
            target: [KeyValue::new(names::ENDPOINT_TARGET, target)],
            ejected: meter.u64_gauge(names::ENDPOINT_EJECTED).build(),
            ejected_last: AtomicU64::new(0),
            resends: meter.u64_counter(names::ENDPOINT_RESENDS).build(),
        }
    }

    /// So many are ejected now.
    pub(super) fn ejected(&self, count: u64) {
        if self.ejected_last.swap(count, Ordering::Relaxed) != count {
            self.ejected.record(count, &self.target);
        }
    }

    pub(super) fn resent(&self, why: Resend) {
        let why = match why {
            Resend::Returned => "returned",
            Resend::Refused => "refused",
        };
        let [target] = self.target.clone();
        self.resends.add(1, &[target, KeyValue::new(names::ENDPOINT_REASON, why)]);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider as _;

    use super::*;
    use crate::telemetry::exported::Exported;

    #[test]
    fn ejections_and_resends_are_exported() {
        let exported = Exported::default();
        let provider = exported.provider();
        let check = |expected: &[&str]| {
            provider.force_flush().unwrap();
            assert_eq!(exported.lines(), expected);
        };
        let report = Report::new(&provider.meter("test"), "payment");
        report.ejected(0);
        check(&[]);
        report.ejected(2);
        report.ejected(1);
        report.resent(Resend::Returned);
        report.resent(Resend::Refused);
        check(&[
            "holdfast.endpoint.ejected target=payment 1",
            "holdfast.endpoint.resends reason=refused target=payment 1",
            "holdfast.endpoint.resends reason=returned target=payment 1",
        ]);
    }
}
