//! What an endpoint costs: how long it takes, and how much it has to do.
//!
//! The latency is a peak-EWMA (Finagle, Linkerd): a call that took longer than the average raises it at once, others bring it down slowly, and
//! what was not measured for a while is forgotten, so that an endpoint that was slow is tried again.

use std::time::Duration;

use tokio::time::Instant;

/// After this time a measurement has lost two thirds of its weight.
const DECAY: Duration = Duration::from_secs(10);
/// No endpoint is faster than this, so that calls in flight always count.
const LEAST: Duration = Duration::from_micros(50);
/// Where nothing was measured yet.
const UNKNOWN: Duration = Duration::from_millis(1);
/// A failure counts as a call that took this much longer than usual: failing is often the fastest thing that an endpoint does.
const FAILURE_FACTOR: u32 = 4;
const FAILURE_CAP: Duration = Duration::from_secs(5);

/// The latency of one endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    average_s: f64,
    at: Instant,
}

impl Latency {
    /// Before anything is measured it is what the others' is: their median. A newcomer is neither flooded nor spared.
    pub(super) fn beside(others: &[Self], now: Instant) -> Self {
        let mut others: Vec<_> = others.iter().map(|other| other.at(now)).collect();
        others.sort_by(f64::total_cmp);
        Self { average_s: others.get(others.len() / 2).copied().unwrap_or(UNKNOWN.as_secs_f64()), at: now }
    }

    /// What one more call costs where so many are in flight.
    pub(super) fn cost(&self, in_flight: usize, now: Instant) -> f64 {
        self.at(now).max(LEAST.as_secs_f64()) * (in_flight as f64 + 1.0)
    }

    /// A call was answered.
    pub(super) fn answered(&mut self, after: Duration, now: Instant) {
        let sample_s = after.as_secs_f64();
        let weight = self.weight(now);
        let average_s = sample_s + (self.average_s - sample_s) * weight;
        *self = Self { average_s: average_s.max(sample_s), at: now };
    }

    /// A call failed.
    pub(super) fn failed(&mut self, after: Duration, now: Instant) {
        let usual = Duration::from_secs_f64(self.at(now)).max(LEAST);
        self.answered(after.max((usual * FAILURE_FACTOR).min(FAILURE_CAP)), now);
    }

    /// A call was given up: it would have taken longer than this.
    pub(super) fn abandoned(&mut self, after: Duration, now: Instant) {
        if after.as_secs_f64() > self.at(now) {
            self.answered(after, now);
        }
    }

    fn at(&self, now: Instant) -> f64 {
        self.average_s * self.weight(now)
    }

    /// What the past still counts.
    fn weight(&self, now: Instant) -> f64 {
        (-now.saturating_duration_since(self.at).as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn latency(average_ms: u32, at: Instant) -> Latency {
        Latency { average_s: (MS * average_ms).as_secs_f64(), at }
    }

    #[test]
    fn a_slow_call_counts_at_once_and_a_fast_one_slowly() {
        let now = Instant::now();
        let mut seen = latency(10, now);
        seen.answered(100 * MS, now + MS);
        assert!((seen.average_s - 0.1).abs() < 1e-9);
        seen.answered(10 * MS, now + 2 * MS);
        assert!(seen.average_s > 0.099, "{seen:?}");
        seen.answered(10 * MS, now + 3 * DECAY);
        assert!(seen.average_s < 0.02, "{seen:?}");
    }

    #[test]
    fn what_is_not_measured_is_forgotten_and_calls_in_flight_always_count() {
        let now = Instant::now();
        let seen = latency(100, now);
        assert!(seen.cost(0, now) > 0.099);
        assert!(seen.cost(0, now + DECAY) < 0.037);
        assert!(seen.cost(3, now) > 3.9 * seen.cost(0, now));
        let long_after = now + 1_000 * DECAY;
        assert!(seen.cost(1, long_after) > seen.cost(0, long_after));
    }

    /// An endpoint that fails fast must not look fast.
    #[test]
    fn failures_cost_more_than_answers() {
        let now = Instant::now();
        let (mut failing, mut well) = (latency(5, now), latency(5, now));
        let mut last = 0.0;
        for call in 1..=20 {
            let then = now + call * MS;
            failing.failed(MS / 10, then);
            well.answered(5 * MS, then);
            let cost = failing.cost(0, then);
            assert!(cost > 3.0 * well.cost(0, then), "{call}");
            assert!(cost >= last && cost <= 5.0, "{call}: {cost}");
            last = cost * 0.99;
        }
    }

    #[test]
    fn what_was_given_up_counts_only_if_it_took_long() {
        let now = Instant::now();
        let mut seen = latency(10, now);
        seen.abandoned(MS, now);
        assert!((seen.average_s - 0.01).abs() < 1e-9);
        seen.abandoned(500 * MS, now);
        assert!((seen.average_s - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_new_endpoint_begins_at_the_median() {
        let now = Instant::now();
        let check = |others: &[u32], expected_ms: u32| {
            let others: Vec<_> = others.iter().map(|ms| latency(*ms, now)).collect();
            let begins = Latency::beside(&others, now);
            assert!((begins.average_s - (MS * expected_ms).as_secs_f64()).abs() < 1e-9, "{others:?}: {begins:?}");
        };
        check(&[], 1);
        check(&[7], 7);
        check(&[900, 3, 5], 5);
    }
}
