//! How many calls may be worked on at once, found by how long work waits for its turn.
//!
//! Latency would be the wrong sign: a slow callee raises it as well, and refusing calls does not mend a callee. Waiting is told by the queues
//! themselves: that of the runtime (a call accepted and not yet looked at) and those of the database's threads. As long as work waits too
//! long the limit falls below what was in progress; when it does not, the limit rises, as far as it is used. An idle server has room for a
//! burst, but not for any: what is let in before the first of it has waited is not known to be too much.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::waits::Waits;

/// How often it is set anew.
const EVERY: Duration = Duration::from_millis(100);
/// Work that waits longer than this on average has too much before it. A group commit's time, several times: less would cost throughput.
const WAIT_LIMIT: Duration = Duration::from_millis(25);
/// It never falls below this: a machine that pauses for a moment must not make a server refuse what it can do.
const LEAST: usize = 32;
/// What an idle server takes.
const AT_REST: usize = 256;
/// The least it falls to at a time, in percent. Sooner it would not see what the last step did.
const STEEPEST_PERCENT: usize = 70;

pub(super) struct Limit {
    greatest: usize,
    adaptive: bool,
    current: AtomicUsize,
    /// Most calls in progress since it was last set.
    peak: AtomicUsize,
    began: Instant,
    next_us: AtomicU64,
    wait_us: AtomicU64,
    queues: Vec<Waits>,
}

impl Limit {
    /// `queues` are those whose waiting counts.
    pub(super) fn new(greatest: usize, adaptive: bool, queues: Vec<Waits>) -> Self {
        Self {
            greatest,
            adaptive,
            current: AtomicUsize::new(if adaptive { greatest.min(AT_REST) } else { greatest }),
            peak: AtomicUsize::new(0),
            began: Instant::now(),
            next_us: AtomicU64::new(micros(EVERY)),
            wait_us: AtomicU64::new(0),
            queues,
        }
    }

    /// One that is set at the next look.
    #[cfg(test)]
    pub(super) fn due(greatest: usize, queue: &Waits) -> Self {
        Self { next_us: AtomicU64::new(0), ..Self::new(greatest, true, vec![queue.clone()]) }
    }

    pub(super) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// How long work that comes now will wait before it is begun, as far as is known.
    pub(super) fn wait(&self) -> Duration {
        Duration::from_micros(self.wait_us.load(Ordering::Relaxed))
    }

    /// A call comes, and finds so many in progress. Sets the limit anew if it is time.
    pub(super) fn look(&self, working: usize) {
        if !self.adaptive {
            return;
        }
        self.peak.fetch_max(working, Ordering::Relaxed);
        let now_us = micros(self.began.elapsed());
        let next_us = self.next_us.load(Ordering::Relaxed);
        let mine = || {
            let next = now_us + micros(EVERY);
            self.next_us.compare_exchange(next_us, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        if now_us >= next_us && mine() {
            let wait = self.queues.iter().map(Waits::take).max().unwrap_or_default();
            let peak = self.peak.swap(working, Ordering::Relaxed);
            self.wait_us.store(micros(wait), Ordering::Relaxed);
            self.current.store(next(self.current(), self.greatest, wait, peak), Ordering::Relaxed);
        }
    }
}

/// What follows the limit `now`, after work has waited for `wait` with at most `peak` calls in progress.
fn next(now: usize, greatest: usize, wait: Duration, peak: usize) -> usize {
    let (least, at_rest) = (LEAST.min(greatest), AT_REST.min(greatest));
    if wait > WAIT_LIMIT {
        // By Little's law the wait falls as much as what is in progress does; a limit above that would not be felt.
        let percent = usize::try_from(100 * WAIT_LIMIT.as_micros() / wait.as_micros()).unwrap_or(0);
        return (now.min(peak) * percent.max(STEEPEST_PERCENT) / 100).max(least);
    }
    if wait > WAIT_LIMIT / 2 {
        return now;
    }
    let is_used = 2 * peak >= now;
    if is_used || now < at_rest { (now + now / 10 + 1).min(greatest) } else { (now - now / 10).max(at_rest) }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_follows_what_work_waits() {
        let check = |now, wait_ms, peak, expected| {
            let wait = Duration::from_millis(wait_ms);
            assert_eq!(next(now, 2048, wait, peak), expected, "{now}, {wait:?}, {peak}");
        };
        // Nothing waits: it rises, as far as it is used, and otherwise comes back to rest.
        check(100, 0, 0, 111);
        check(256, 0, 0, 256);
        check(256, 0, 128, 282);
        check(2048, 0, 2048, 2048);
        check(2048, 0, 1000, 1844);
        check(257, 0, 0, 256);
        // In between it stays.
        check(100, 20, 100, 100);
        // Work waits: below what was in progress, by as much as it waits too long, but no more than a step.
        check(100, 26, 100, 96);
        check(100, 30, 100, 83);
        check(100, 500, 100, 70);
        check(2048, 30, 100, 83);
        // Never below its least, nor above its greatest.
        check(33, 500, 33, 32);
        assert_eq!(next(1, 1, Duration::from_secs(1), 1), 1);
    }

    #[test]
    fn overload_is_found_within_a_second_and_forgotten_after_it() {
        let settle = |mut limit, wait_ms, times| {
            for _ in 0..times {
                limit = next(limit, 2048, Duration::from_millis(wait_ms), 2048);
            }
            limit
        };
        let overloaded = settle(2048, 200, 10);
        assert!(overloaded < 100, "{overloaded}");
        assert!(settle(overloaded, 0, 30) > AT_REST);
    }
}
