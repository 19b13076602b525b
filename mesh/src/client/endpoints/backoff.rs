//! How long an endpoint is left alone after an attempt to connect.

use std::io;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(20);
/// A process that is not there yet says so at once; asking costs little, and its return is noticed soon.
const REFUSED_CAP: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_secs(30);
/// Half a second in all.
const YOUNG: u32 = 5;
/// To either side, so that callers of one endpoint do not come back together.
const JITTER: f64 = 0.2;

/// Twice as long after each attempt in a row that failed.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failed: u32,
}

impl Backoff {
    /// An attempt failed like this. `jitter` is of −1 to 1.
    pub(super) fn failed(&mut self, kind: io::ErrorKind, jitter: f64) -> Duration {
        let cap = if kind == io::ErrorKind::ConnectionRefused { REFUSED_CAP } else { CAP };
        let delay = 2u32.checked_pow(self.failed).and_then(|factor| FIRST.checked_mul(factor)).unwrap_or(cap).min(cap);
        self.failed = self.failed.saturating_add(1);
        delay.mul_f64(1.0 + JITTER * jitter)
    }

    /// Whether there were only a few failures in a row.
    pub(super) fn is_young(&self) -> bool {
        self.failed < YOUNG
    }

    /// The endpoint has served.
    pub(super) fn reset(&mut self) {
        self.failed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_a_cap_and_begins_again() {
        let check = |kind: io::ErrorKind, jitter: f64, expected_ms: &[u64]| {
            let mut backoff = Backoff::default();
            for _ in 0..2 {
                let delays: Vec<_> = expected_ms.iter().map(|_| backoff.failed(kind, jitter).as_millis()).collect();
                assert_eq!(delays, expected_ms.iter().map(|ms| u128::from(*ms)).collect::<Vec<_>>(), "{kind} {jitter}");
                backoff.reset();
            }
        };
        let (refused, timed_out) = (io::ErrorKind::ConnectionRefused, io::ErrorKind::TimedOut);
        check(refused, 0.0, &[20, 40, 80, 160, 320, 640, 1000, 1000]);
        check(refused, -1.0, &[16, 32, 64, 128, 256, 512, 800]);
        check(timed_out, 0.0, &[20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 20480, 30_000, 30_000]);
        check(timed_out, 1.0, &[24, 48]);
    }

    #[test]
    fn it_stays_at_the_cap_for_ever() {
        let mut backoff = Backoff { failed: u32::MAX - 1 };
        for _ in 0..3 {
            assert_eq!(backoff.failed(io::ErrorKind::TimedOut, 0.0), CAP);
        }
    }
}
