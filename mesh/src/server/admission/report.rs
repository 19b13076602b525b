//! What admission tells: how many calls are in progress, how many may be, how many were refused.

use std::sync::Weak;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use proto::contract::Priority;

use super::Inner;
use crate::telemetry::names;

pub(super) struct Report {
    service: KeyValue,
    refused: Counter<u64>,
}

impl Report {
    pub(super) fn new(meter: &Meter, service: &'static str) -> Self {
        let refused = meter.u64_counter(names::ADMISSION_REFUSALS).with_unit("{call}").build();
        Self { service: KeyValue::new(names::SERVICE, service), refused }
    }

    pub(super) fn refused(&self, priority: Priority) {
        let priority = KeyValue::new(names::ADMISSION_PRIORITY, priority.as_str());
        self.refused.add(1, &[self.service.clone(), priority]);
    }

    /// The gauges look when they are asked, for as long as the server is there.
    pub(super) fn watch(&self, meter: &Meter, server: &Weak<Inner>) {
        let gauge = |name: &'static str, value: fn(&Inner) -> usize| {
            let (server, service) = (server.clone(), [self.service.clone()]);
            let look = move |gauge: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
                if let Some(server) = server.upgrade() {
                    gauge.observe(u64::try_from(value(&server)).unwrap_or(u64::MAX), &service);
                }
            };
            let _ = meter.u64_observable_gauge(name).with_unit("{call}").with_callback(look).build();
        };
        gauge(names::ADMISSION_LIMIT, |server| server.limit.current());
        gauge(names::ADMISSION_IN_PROGRESS, Inner::open);
    }
}
