//! The clock of the open loop: a thread that does nothing but say "now".
//!
//! An asynchronous runtime's timers tick in milliseconds and wait for a busy loop, which would spoil what is measured. A sleeping thread wakes
//! within about 60 µs; a spinning one would be exact but take half of a small computer from the mesh under test.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, channel};

/// Starts that wait for the loop to take them.
const WAITING: usize = 65_536;

/// The intended starts, in order, and how many could not even be handed over.
pub(super) struct Pace {
    pub(super) starts: Receiver<Instant>,
    thread: JoinHandle<u64>,
}

impl Pace {
    /// Begins at `started`, `rate` a second for `length`.
    pub(super) fn begin(started: Instant, rate: u32, length: Duration) -> std::io::Result<Self> {
        let (sender, starts) = channel(WAITING);
        let thread = thread::Builder::new().name("pace".to_owned()).spawn(move || {
            let mut lost = 0;
            for start in schedule(started, rate, length) {
                thread::sleep(start.saturating_duration_since(Instant::now()));
                match sender.try_send(start) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_)) => lost += 1,
                    Err(TrySendError::Closed(_)) => break,
                }
            }
            lost
        })?;
        Ok(Self { starts, thread })
    }

    /// Starts that were lost because the loop did not take them; waits for the thread's end.
    pub(super) fn lost(self) -> u64 {
        drop(self.starts);
        self.thread.join().unwrap_or(0)
    }
}

/// Evenly spaced, without adding up rounding errors.
fn schedule(started: Instant, rate: u32, length: Duration) -> impl Iterator<Item = Instant> {
    let offset = move |number: u64| Duration::from_nanos(number * 1_000_000_000 / u64::from(rate));
    (0..).map(offset).take_while(move |offset| *offset < length).map(move |offset| started + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_evenly_spaced_and_as_many_as_the_rate_says() {
        let now = Instant::now();
        let starts: Vec<Instant> = schedule(now, 3_000, Duration::from_secs(2)).collect();
        assert_eq!(starts.len(), 6_000);
        assert_eq!(starts[3_000], now + Duration::from_secs(1));
        assert!(starts.windows(2).all(|pair| (333_333..=333_334).contains(&(pair[1] - pair[0]).as_nanos())));
    }
}
