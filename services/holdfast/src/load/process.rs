//! How much CPU time a process has used, by the scheduler's own account.
//!
//! `/proc/<pid>/task/*/schedstat` counts nanoseconds; the tick counters of `/proc/<pid>/stat` undercount short wake-ups by up to a quarter.
//! Threads that ended in between are missing, which is fine for services: their threads live as long as they do.

use std::fs;
use std::time::Duration;

/// CPU time of all living threads of the processes; `None` when one cannot be read (other host, other user, other system).
pub(crate) fn cpu_time(pids: &[u32]) -> Option<Duration> {
    pids.iter().map(|pid| of_process(*pid)).sum()
}

fn of_process(pid: u32) -> Option<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread may end while its neighbours are read.
        let Ok(stat) = fs::read_to_string(task.ok()?.path().join("schedstat")) else { continue };
        total += Duration::from_nanos(stat.split_whitespace().next()?.parse().ok()?);
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_as_cpu_time() {
        let own = [std::process::id()];
        let before = cpu_time(&own).expect("our own process can be read");
        let mut sum = 0_u64;
        while cpu_time(&own).expect("our own process can be read") < before + Duration::from_millis(5) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert_eq!(cpu_time(&[u32::MAX]), None);
    }
}
