//! When an endpoint is left out although it is connected: outlier ejection, as Envoy's, by failures in a row.
//!
//! The breaker finds out that a service is sick, this that one of its processes is.

use std::time::Duration;

use tokio::time::Instant;

/// So many failures in a row are no chance.
pub(super) const FAILURES: u32 = 5;
/// Multiplied by how often it was ejected lately.
const BASE: Duration = Duration::from_secs(5);
const CAP: Duration = Duration::from_secs(60);
/// Each such time in which it was not ejected makes up for one ejection.
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);

/// What is known of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ejection {
    times: u32,
    until: Option<Instant>,
}

impl Ejection {
    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// When it returns, if it is ejected.
    pub(super) fn returns(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }

    /// Ejects it; answers for how long.
    pub(super) fn eject(&mut self, now: Instant) -> Duration {
        let well = self.until.map_or(Duration::ZERO, |until| now.saturating_duration_since(until));
        let forgiven = u32::try_from(well.as_secs() / FORGIVEN_AFTER.as_secs()).unwrap_or(u32::MAX);
        self.times = self.times.saturating_sub(forgiven).saturating_add(1);
        let time = BASE.saturating_mul(self.times).min(CAP);
        self.until = Some(now + time);
        time
    }
}

/// How the endpoints of a target stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// All that discovery knows.
    pub(super) known: usize,
    /// Connected and not ejected.
    pub(super) usable: usize,
    /// Ejected, connected or not.
    pub(super) ejected: usize,
}

impl Census {
    /// Whether one more that is usable may be ejected: half of them at most, and never the last one.
    pub(super) fn may_eject(self) -> bool {
        2 * (self.ejected + 1) <= self.known && self.usable > 1
    }

    /// With fewer than half of them usable, those that are ejected are better than what is left (Envoy's panic).
    pub(super) fn is_panic(self) -> bool {
        2 * self.usable < self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_longer_each_time_up_to_a_cap_and_forgiven_in_time() {
        let mut now = Instant::now();
        let mut ejection = Ejection::default();
        assert!(!ejection.is_ejected(now));
        for expected in [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 60, 60] {
            assert_eq!(ejection.eject(now), expected * SECOND);
            assert!(ejection.is_ejected(now + expected * SECOND - Duration::from_nanos(1)));
            assert_eq!(ejection.returns(now), Some(now + expected * SECOND));
            now += expected * SECOND;
            assert!(!ejection.is_ejected(now));
            assert_eq!(ejection.returns(now), None);
        }
        // 14 times, and 12 are forgiven.
        now += 125 * SECOND;
        assert_eq!(ejection.eject(now), 15 * SECOND);
        now += 10_000 * SECOND;
        assert_eq!(ejection.eject(now), 5 * SECOND);
    }

    #[test]
    fn at_most_half_are_ejected_and_never_the_last_one() {
        let check = |(known, usable, ejected): (usize, usize, usize), may_eject: bool, is_panic: bool| {
            let census = Census { known, usable, ejected };
            assert_eq!((census.may_eject(), census.is_panic()), (may_eject, is_panic), "{census:?}");
        };
        check((1, 1, 0), false, false);
        check((2, 2, 0), true, false);
        // One of two is dead: the other is the last one.
        check((2, 1, 0), false, false);
        check((2, 1, 1), false, false);
        check((3, 3, 0), true, false);
        check((3, 2, 1), false, false);
        check((3, 1, 1), false, true);
        check((4, 3, 1), true, false);
        check((4, 2, 2), false, false);
        check((4, 1, 2), false, true);
        check((0, 0, 0), false, false);
    }

    /// However failures come, some endpoint is always used.
    #[test]
    fn ejecting_never_leaves_nothing() {
        for known in 1..=12 {
            for dead in 0..known {
                let mut census = Census { known, usable: known - dead, ejected: 0 };
                while census.may_eject() {
                    census = Census { usable: census.usable - 1, ejected: census.ejected + 1, ..census };
                }
                assert!(census.usable >= 1 && 2 * census.ejected <= known, "{census:?}");
            }
        }
    }
}
