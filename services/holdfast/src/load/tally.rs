//! What came of the bookings of the measured time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::histogram::Histogram;

/// Counts by outcome.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Times of the confirmed ones, in microseconds.
    pub(super) latency: Histogram,
    /// Times of the refused ones, in microseconds: being told "no" should be quick.
    pub(super) refusal_latency: Histogram,
    /// Refusals by code and reason.
    pub(super) refusals: BTreeMap<String, u64>,
    /// Starts that were given up because too many calls were open already (open loop only).
    pub(super) not_started: u64,
}

impl Tally {
    /// Counts one answer.
    pub(super) fn record(&mut self, outcome: Result<(), String>, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match outcome {
            Ok(()) => self.latency.record(micros),
            Err(refusal) => {
                self.refusal_latency.record(micros);
                *self.refusals.entry(refusal).or_default() += 1;
            }
        }
    }
}
