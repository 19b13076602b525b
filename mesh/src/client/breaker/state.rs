//! What a breaker decides: a pure machine, told what time it is and how calls ended.

use std::time::Duration;

use tokio::time::Instant;

use super::Breaker;

/// The window is this many buckets; the oldest is forgotten as a whole.
const BUCKETS: u64 = 10;
/// The open time varies by this much to either side, so that callers of one callee do not come back together.
const JITTER: f64 = 0.2;
/// When every probe is out and none has come back for this long, others are let through.
const PROBES_LIMIT: Duration = Duration::from_secs(10);
/// Without a verdict for this long the probes begin anew: what they saw is too old to judge by. It does not go back to open for that, or the
/// caller of a quiet service would be rejected for nothing.
const HALF_OPEN_LIMIT: Duration = Duration::from_secs(30);
/// When a probe is likely to have come back: what a caller is told who finds all of them out.
const PROBE_TIME: Duration = Duration::from_millis(100);
/// What a caller is told while an operator keeps it open: nobody knows for how long.
const FORCED_TIME: Duration = Duration::from_secs(5);

/// One of its conditions. *Open* means rejecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Closed,
    HalfOpen,
    Open,
    ForcedOpen,
    Disabled,
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The breaker.
    Auto,
    /// Nobody: all calls are rejected.
    Open,
    /// Nobody: all calls are let through.
    Disabled,
}

/// What led to a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    FailureRate,
    SlowRate,
    Consecutive,
    OpenTime,
    Probe,
    Operator,
}

/// How a call ended that says something about the callee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) failed: bool,
    pub(super) slow: bool,
    /// When the callee says that it wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

/// What the breaker has seen: of the window when it opens, of the probes when it half-opens or closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) calls: u32,
    pub(crate) failed: u32,
    pub(crate) slow: u32,
}

/// What there is to know of a breaker at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) phase: Phase,
    /// What led to it; nothing, in the beginning.
    pub(crate) cause: Option<Cause>,
    pub(crate) since: Instant,
    pub(crate) totals: Totals,
    /// When it lets the next call through, if it is open.
    pub(crate) next_probe: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) from: Phase,
    pub(super) to: Phase,
    pub(super) cause: Cause,
    pub(super) totals: Totals,
}

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// Yes; its end belongs to this generation.
    Yes { generation: u64 },
    /// Not now; asking again makes sense after this time.
    No { retry_after: Duration },
}

pub(super) struct State {
    settings: Breaker,
    condition: Condition,
    /// Counts the conditions there have been: what a call of an earlier one has to tell is not news.
    generation: u64,
    since: Instant,
    cause: Option<Cause>,
    /// How often in succession it has opened: each open time is twice the one before. Forgotten when it was closed for a whole window.
    opened: u32,
}

enum Condition {
    Closed(Window),
    HalfOpen(Probes),
    Open { until: Instant },
    ForcedOpen,
    Disabled,
}

impl State {
    pub(super) fn new(settings: Breaker, now: Instant) -> Self {
        let condition = Condition::Closed(Window::new(settings.window, now));
        Self { settings, condition, generation: 0, since: now, cause: None, opened: 0 }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.condition {
            Condition::Closed(_) => Phase::Closed,
            Condition::HalfOpen(_) => Phase::HalfOpen,
            Condition::Open { .. } => Phase::Open,
            Condition::ForcedOpen => Phase::ForcedOpen,
            Condition::Disabled => Phase::Disabled,
        }
    }

    pub(super) fn snapshot(&mut self, now: Instant) -> Snapshot {
        if let Condition::Closed(window) = &mut self.condition {
            window.slide(now);
        }
        let next_probe = match self.condition {
            Condition::Open { until } => Some(until),
            _ => None,
        };
        Snapshot { phase: self.phase(), cause: self.cause, since: self.since, totals: self.totals(), next_probe }
    }

    /// An operator says who decides. Given back, it begins closed, with nothing seen.
    pub(super) fn set(&mut self, mode: Mode, now: Instant) -> Option<Transition> {
        let condition = match (mode, self.phase()) {
            (Mode::Auto, Phase::ForcedOpen | Phase::Disabled) => {
                Condition::Closed(Window::new(self.settings.window, now))
            }
            (Mode::Open, phase) if phase != Phase::ForcedOpen => Condition::ForcedOpen,
            (Mode::Disabled, phase) if phase != Phase::Disabled => Condition::Disabled,
            _ => return None,
        };
        self.opened = 0;
        Some(self.enter(condition, Cause::Operator, now))
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Asks for one call. Each that is admitted has to be [recorded](Self::record).
    pub(super) fn admit(&mut self, now: Instant) -> (Admitted, Option<Transition>) {
        let mut transition = None;
        match &self.condition {
            Condition::Open { until } if now < *until => {
                return (Admitted::No { retry_after: *until - now }, None);
            }
            Condition::Open { .. } => {
                transition = Some(self.enter(Condition::HalfOpen(Probes::new(now)), Cause::OpenTime, now));
            }
            Condition::HalfOpen(probes) if probes.are_over(&self.settings, now) => {
                self.generation += 1;
                self.condition = Condition::HalfOpen(Probes::new(now));
            }
            Condition::ForcedOpen => return (Admitted::No { retry_after: FORCED_TIME }, None),
            Condition::HalfOpen(_) | Condition::Closed(_) | Condition::Disabled => {}
        }
        let room = match &mut self.condition {
            Condition::HalfOpen(probes) => probes.take(&self.settings),
            _ => true,
        };
        let generation = self.generation;
        (if room { Admitted::Yes { generation } } else { Admitted::No { retry_after: PROBE_TIME } }, transition)
    }

    /// A call of `generation` has ended; without a sample if its end says nothing about the callee. `jitter` is of −1 to 1, and asked for
    /// only when the breaker opens.
    pub(super) fn record(
        &mut self,
        generation: u64,
        sample: Option<Sample>,
        now: Instant,
        jitter: impl FnOnce() -> f64,
    ) -> Option<Transition> {
        if generation != self.generation {
            return None;
        }
        let (next, cause) = match &mut self.condition {
            Condition::Closed(window) => {
                window.add(sample?, now);
                (Verdict::Open, window.verdict(&self.settings)?)
            }
            Condition::HalfOpen(probes) => {
                probes.give_back(sample, now);
                (probes.verdict(&self.settings)?, Cause::Probe)
            }
            Condition::Open { .. } | Condition::ForcedOpen | Condition::Disabled => return None,
        };
        let condition = match next {
            Verdict::Close => Condition::Closed(Window::new(self.settings.window, now)),
            Verdict::Open => {
                let floor = sample.and_then(|sample| sample.retry_after);
                Condition::Open { until: now + self.open_time(floor, now, jitter()) }
            }
        };
        Some(self.enter(condition, cause, now))
    }

    /// For how long it rejects now: twice as long each time, but no less than the callee asks for.
    fn open_time(&mut self, floor: Option<Duration>, now: Instant, jitter: f64) -> Duration {
        let Breaker { open, open_max, window, .. } = self.settings;
        if self.phase() == Phase::Closed && now.saturating_duration_since(self.since) >= window {
            self.opened = 0;
        }
        let time = open.saturating_mul(1 << self.opened.min(16)).min(open_max);
        self.opened += 1;
        // A callee that says when is not asked earlier.
        let floor = floor.unwrap_or_default().min(open_max).mul_f64(1.0 + JITTER * jitter.abs());
        time.mul_f64(1.0 + JITTER * jitter).max(floor)
    }

    fn enter(&mut self, condition: Condition, cause: Cause, now: Instant) -> Transition {
        let (from, totals) = (self.phase(), self.totals());
        self.generation += 1;
        self.condition = condition;
        (self.since, self.cause) = (now, Some(cause));
        Transition { from, to: self.phase(), cause, totals }
    }

    fn totals(&self) -> Totals {
        match &self.condition {
            Condition::Closed(window) => window.totals,
            Condition::HalfOpen(probes) => probes.totals,
            Condition::Open { .. } | Condition::ForcedOpen | Condition::Disabled => Totals::default(),
        }
    }
}

/// Where the calls that ended lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Close,
    Open,
}

impl Totals {
    fn add(&mut self, sample: Sample) {
        self.calls += 1;
        self.failed += u32::from(sample.failed);
        self.slow += u32::from(sample.slow);
    }

    fn subtract(&mut self, other: Self) {
        self.calls -= other.calls;
        self.failed -= other.failed;
        self.slow -= other.slow;
    }
}

/// The calls of the last while, exact to one bucket.
struct Window {
    began: Instant,
    bucket: Duration,
    /// The bucket that is being filled, counted from the beginning.
    current: u64,
    buckets: [Totals; BUCKETS as usize],
    totals: Totals,
    failed_in_a_row: u32,
}

impl Window {
    fn new(length: Duration, began: Instant) -> Self {
        let bucket = (length / BUCKETS as u32).max(Duration::from_millis(1));
        Self { began, bucket, current: 0, buckets: Default::default(), totals: Totals::default(), failed_in_a_row: 0 }
    }

    fn add(&mut self, sample: Sample, now: Instant) {
        self.slide(now);
        self.buckets[(self.current % BUCKETS) as usize].add(sample);
        self.totals.add(sample);
        self.failed_in_a_row = if sample.failed { self.failed_in_a_row + 1 } else { 0 };
    }

    fn slide(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.began).as_nanos() / self.bucket.as_nanos();
        let target = u64::try_from(elapsed).unwrap_or(u64::MAX).max(self.current);
        for passed in (self.current..target).take(BUCKETS as usize) {
            let oldest = std::mem::take(&mut self.buckets[((passed + 1) % BUCKETS) as usize]);
            self.totals.subtract(oldest);
        }
        self.current = target;
        // Failures that have left the window are forgotten, in a row or not.
        self.failed_in_a_row = self.failed_in_a_row.min(self.totals.failed);
    }

    fn verdict(&self, settings: &Breaker) -> Option<Cause> {
        let Totals { calls, failed, slow } = self.totals;
        let reaches = |count: u32, rate: f64| f64::from(count) >= f64::from(calls) * rate;
        let in_a_row = |failures| (self.failed_in_a_row >= failures).then_some(Cause::Consecutive);
        if calls < settings.minimum_calls {
            return in_a_row(settings.consecutive_failures);
        }
        if reaches(failed, settings.failure_rate) {
            return Some(Cause::FailureRate);
        }
        if reaches(slow, settings.slow_rate) {
            return Some(Cause::SlowRate);
        }
        // That many are no chance: a callee that is gone is not called until the good calls before that are old.
        in_a_row(settings.minimum_calls)
    }
}

/// Calls that try whether the callee is well again. Counted, not timed: few callers take longer for the same verdict.
struct Probes {
    out: u32,
    good: u32,
    totals: Totals,
    began: Instant,
    /// When one last came back.
    heard: Instant,
}

impl Probes {
    fn new(now: Instant) -> Self {
        Self { out: 0, good: 0, totals: Totals::default(), began: now, heard: now }
    }

    fn has_room(&self, settings: &Breaker) -> bool {
        self.totals.calls + self.out < settings.probes.max(1)
    }

    fn take(&mut self, settings: &Breaker) -> bool {
        let room = self.has_room(settings);
        self.out += u32::from(room);
        room
    }

    /// They are lost, or of too long ago.
    fn are_over(&self, settings: &Breaker, now: Instant) -> bool {
        let lost = !self.has_room(settings) && now.saturating_duration_since(self.heard) >= PROBES_LIMIT;
        lost || now.saturating_duration_since(self.began) >= HALF_OPEN_LIMIT
    }

    fn give_back(&mut self, sample: Option<Sample>, now: Instant) {
        self.out -= 1;
        self.heard = now;
        if let Some(sample) = sample {
            self.totals.add(sample);
            self.good += u32::from(!sample.failed && !sample.slow);
        }
    }

    /// As soon as it is certain, whatever the others may still say.
    fn verdict(&self, settings: &Breaker) -> Option<Verdict> {
        let probes = settings.probes.max(1);
        let needed = settings.good_probes.clamp(1, probes);
        if self.good >= needed {
            return Some(Verdict::Close);
        }
        (self.totals.calls - self.good > probes - needed).then_some(Verdict::Open)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    const GOOD: Option<Sample> = Some(Sample { failed: false, slow: false, retry_after: None });
    const FAILED: Option<Sample> = Some(Sample { failed: true, slow: false, retry_after: None });
    const SLOW: Option<Sample> = Some(Sample { failed: false, slow: true, retry_after: None });

    /// A breaker with the default numbers, and its clock.
    struct Bench {
        state: State,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::now();
            Self { state: State::new(Breaker::default(), now), now }
        }

        fn wait_ms(&mut self, ms: u64) {
            self.now += Duration::from_millis(ms);
        }

        fn admit(&mut self) -> Result<u64, Duration> {
            match self.state.admit(self.now).0 {
                Admitted::Yes { generation } => Ok(generation),
                Admitted::No { retry_after } => Err(retry_after),
            }
        }

        fn record(&mut self, generation: u64, sample: Option<Sample>) -> Option<Transition> {
            self.state.record(generation, sample, self.now, || 0.0)
        }

        fn call(&mut self, sample: Option<Sample>) -> Option<Transition> {
            let generation = self.admit().expect("admitted");
            self.record(generation, sample)
        }

        /// The last transition of so many calls.
        fn calls(&mut self, count: usize, sample: Option<Sample>) -> Option<Transition> {
            (0..count).filter_map(|_| self.call(sample)).last()
        }

        /// Five failures in a row, and the open time.
        fn half_open() -> Self {
            let mut bench = Self::new();
            bench.calls(5, FAILED);
            bench.wait_ms(800);
            bench
        }
    }

    #[test]
    fn it_opens_at_a_rate_of_enough_calls_or_at_failures_in_a_row() {
        let check = |calls: &[(usize, Option<Sample>)], expected: Option<Cause>| {
            let mut bench = Bench::new();
            let all = calls.iter().flat_map(|(count, sample)| std::iter::repeat_n(*sample, *count));
            let transitions: Vec<_> = all.map(|sample| bench.call(sample)).collect();
            let (last, before) = transitions.split_last().expect("calls");
            assert!(before.iter().all(Option::is_none), "{calls:?}");
            assert_eq!(last.map(|opened| (opened.from, opened.to, opened.cause)), {
                expected.map(|cause| (Phase::Closed, Phase::Open, cause))
            });
        };
        check(&[(4, FAILED), (2, GOOD), (4, FAILED), (8, GOOD), (2, FAILED)], Some(Cause::FailureRate));
        check(&[(4, FAILED), (3, GOOD), (4, FAILED), (8, GOOD), (1, FAILED)], None);
        check(&[(15, GOOD), (4, FAILED), (1, GOOD), (5, FAILED)], None);
        check(&[(4, FAILED), (1, GOOD), (4, FAILED), (1, GOOD), (1, FAILED)], None);
        check(&[(4, GOOD), (16, SLOW)], Some(Cause::SlowRate));
        check(&[(5, GOOD), (15, SLOW)], None);
        check(&[(5, FAILED)], Some(Cause::Consecutive));
        check(&[(4, FAILED), (1, SLOW), (4, FAILED)], None);
        check(&[(1_000, GOOD), (20, FAILED)], Some(Cause::Consecutive));
        check(&[(1_000, GOOD), (19, FAILED), (1, GOOD), (19, FAILED)], None);
        check(&[(4, FAILED), (99, None), (1, FAILED)], Some(Cause::Consecutive));
    }

    #[test]
    fn the_window_slides() {
        let mut bench = Bench::new();
        for _ in 0..10_000 {
            assert_eq!(bench.call(GOOD), None);
            bench.wait_ms(1);
        }
        // Nine of ten fail.
        let opened = (1..).find_map(|calls| {
            bench.wait_ms(1);
            bench.call(if calls % 10 == 0 { GOOD } else { FAILED }).map(|transition| (calls, transition))
        });
        let (calls, transition) = opened.expect("it opens");
        assert!((5_000..=6_500).contains(&calls), "after {calls}");
        assert_eq!((transition.cause, transition.totals.failed), (Cause::FailureRate, calls - calls / 10));
    }

    #[test]
    fn an_idle_service_forgets() {
        let mut bench = Bench::new();
        bench.calls(4, FAILED);
        bench.wait_ms(11_000);
        assert_eq!(bench.calls(4, FAILED), None);
        assert!(bench.call(FAILED).is_some());
    }

    #[test]
    fn while_open_nothing_passes_and_callers_learn_when_to_come_back() {
        for (jitter, open_ms) in [(-1.0, 640), (0.0, 800), (1.0, 960)] {
            let mut bench = Bench::new();
            let generation = bench.admit().expect("closed");
            let opened = (0..5).find_map(|_| bench.state.record(generation, FAILED, bench.now, || jitter));
            assert_eq!(opened.map(|transition| transition.to), Some(Phase::Open));
            assert_eq!(bench.admit(), Err(Duration::from_millis(open_ms)));
            bench.wait_ms(open_ms - 1);
            assert_eq!(bench.admit(), Err(Duration::from_millis(1)));
            bench.wait_ms(1);
            let (admitted, transition) = bench.state.admit(bench.now);
            assert!(matches!(admitted, Admitted::Yes { .. }));
            let transition = transition.map(|transition| (transition.from, transition.to, transition.cause));
            assert_eq!(transition, Some((Phase::Open, Phase::HalfOpen, Cause::OpenTime)));
        }
    }

    #[test]
    fn probes_decide_as_soon_as_it_is_certain() {
        let check = |samples: &[Option<Sample>], expected: Option<Phase>| {
            let mut bench = Bench::half_open();
            let (last, before) = samples.split_last().expect("calls");
            assert_eq!(bench.call(before[0]), None);
            assert!(before[1..].iter().all(|sample| bench.call(*sample).is_none()), "{samples:?}");
            let closing = bench.call(*last);
            assert_eq!(
                closing.map(|transition| (transition.to, transition.cause)),
                expected.map(|to| (to, Cause::Probe))
            );
        };
        check(&[GOOD, GOOD, GOOD, GOOD], Some(Phase::Closed));
        check(&[GOOD, GOOD, FAILED, GOOD, GOOD], Some(Phase::Closed));
        check(&[FAILED, FAILED], Some(Phase::Open));
        check(&[GOOD, SLOW, GOOD, FAILED], Some(Phase::Open));
        check(&[GOOD, None, None, None, None, None, GOOD, GOOD], None);
    }

    #[test]
    fn a_closed_breaker_begins_with_an_empty_window() {
        let mut bench = Bench::half_open();
        bench.calls(4, GOOD);
        assert_eq!(bench.state.phase(), Phase::Closed);
        assert_eq!(bench.calls(4, FAILED), None);
    }

    #[test]
    fn five_probes_are_out_at_most_and_a_cancelled_one_makes_room() {
        let mut bench = Bench::half_open();
        let probes: Vec<_> = (0..5).map(|_| bench.admit().expect("a probe")).collect();
        assert_eq!(bench.admit(), Err(PROBE_TIME));
        assert_eq!(bench.record(probes[0], None), None);
        assert!(bench.admit().is_ok());
        assert_eq!(bench.admit(), Err(PROBE_TIME));
    }

    #[test]
    fn an_answer_to_an_earlier_question_decides_nothing() {
        let mut bench = Bench::new();
        let early = bench.admit().expect("closed");
        bench.calls(5, FAILED);
        assert_eq!(bench.record(early, FAILED), None);
        bench.wait_ms(800);
        bench.admit().expect("a probe");
        (0..9).for_each(|_| assert_eq!(bench.record(early, FAILED), None));
        assert_eq!(bench.state.phase(), Phase::HalfOpen);
    }

    #[test]
    fn probes_that_never_come_back_do_not_hold_it_half_open() {
        let mut bench = Bench::half_open();
        let lost: Vec<_> = (0..5).map(|_| bench.admit().expect("a probe")).collect();
        bench.wait_ms(9_999);
        assert_eq!(bench.admit(), Err(PROBE_TIME));
        bench.wait_ms(1);
        assert_eq!(bench.calls(3, GOOD), None);
        lost.iter().for_each(|lost| assert_eq!(bench.record(*lost, FAILED), None));
        assert_eq!(bench.call(GOOD).map(|transition| transition.to), Some(Phase::Closed));
    }

    /// How long it rejects: nothing passes before, the first call after is a probe.
    fn open_ms(bench: &mut Bench) -> u64 {
        let left = bench.admit().expect_err("open");
        bench.now += left;
        u64::try_from(left.as_millis()).expect("short")
    }

    #[test]
    fn each_open_time_is_twice_the_one_before_up_to_a_limit() {
        let mut bench = Bench::new();
        bench.calls(5, FAILED);
        let times: Vec<_> = (0..8)
            .map(|_| {
                let time = open_ms(&mut bench);
                bench.calls(2, FAILED);
                time
            })
            .collect();
        assert_eq!(times, [800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
    }

    #[test]
    fn a_whole_window_closed_makes_the_next_open_time_short_again() {
        for (closed_ms, expected) in [(9_999, 1_600), (10_000, 800)] {
            let mut bench = Bench::half_open();
            bench.calls(4, GOOD);
            bench.wait_ms(closed_ms);
            bench.calls(5, FAILED);
            assert_eq!(open_ms(&mut bench), expected, "closed for {closed_ms} ms");
        }
    }

    #[test]
    fn a_callee_that_says_when_is_not_asked_earlier() {
        let check = |asked_ms: u64, jitter: f64, expected: u64| {
            let mut bench = Bench::new();
            let asked = Some(Sample { failed: true, slow: false, retry_after: Some(Duration::from_millis(asked_ms)) });
            bench.calls(4, FAILED);
            let generation = bench.admit().expect("closed");
            bench.state.record(generation, asked, bench.now, || jitter).expect("it opens");
            assert_eq!(open_ms(&mut bench), expected, "asked for {asked_ms} ms at {jitter}");
        };
        check(100, 0.0, 800);
        check(3_000, 0.0, 3_000);
        check(3_000, -1.0, 3_600);
        check(90_000, 0.0, 30_000);
    }

    #[test]
    fn an_operator_takes_the_decision_and_gives_it_back() {
        let mut bench = Bench::new();
        let moved = |transition: Option<Transition>| transition.map(|to| (to.from, to.to, to.cause));
        assert_eq!(bench.state.set(Mode::Auto, bench.now), None);
        let opened = bench.state.set(Mode::Open, bench.now);
        assert_eq!(moved(opened), Some((Phase::Closed, Phase::ForcedOpen, Cause::Operator)));
        assert_eq!(bench.state.set(Mode::Open, bench.now), None);
        bench.wait_ms(3_600_000);
        assert_eq!(bench.admit(), Err(FORCED_TIME));

        let disabled = bench.state.set(Mode::Disabled, bench.now);
        assert_eq!(moved(disabled), Some((Phase::ForcedOpen, Phase::Disabled, Cause::Operator)));
        assert_eq!(bench.calls(99, FAILED), None);

        let before = bench.admit().expect("disabled");
        let automatic = bench.state.set(Mode::Auto, bench.now);
        assert_eq!(moved(automatic), Some((Phase::Disabled, Phase::Closed, Cause::Operator)));
        (0..9).for_each(|_| assert_eq!(bench.record(before, FAILED), None));
        assert_eq!(bench.calls(4, FAILED), None);
        assert!(bench.call(FAILED).is_some());
        assert_eq!(open_ms(&mut bench), 800);
    }

    #[test]
    fn what_is_known_of_it_is_of_now() {
        let mut bench = Bench::new();
        let began = bench.now;
        bench.calls(3, FAILED);
        bench.call(SLOW);
        let totals = |calls, failed, slow| Totals { calls, failed, slow };
        let snapshot = bench.state.snapshot(bench.now);
        assert_eq!((snapshot.phase, snapshot.cause, snapshot.since), (Phase::Closed, None, began));
        assert_eq!((snapshot.totals, snapshot.next_probe), (totals(4, 3, 1), None));
        bench.wait_ms(11_000);
        assert_eq!(bench.state.snapshot(bench.now).totals, totals(0, 0, 0));
        bench.calls(5, FAILED);
        let snapshot = bench.state.snapshot(bench.now);
        assert_eq!((snapshot.phase, snapshot.cause), (Phase::Open, Some(Cause::Consecutive)));
        assert_eq!(snapshot.next_probe, Some(bench.now + Duration::from_millis(800)));
    }

    #[test]
    fn probes_of_long_ago_do_not_judge() {
        let mut bench = Bench::half_open();
        let early = bench.admit().expect("a probe");
        bench.record(early, FAILED);
        let late = bench.admit().expect("a probe");
        bench.wait_ms(30_000);
        // The first failure is forgotten, and the second comes too late.
        assert_eq!(bench.call(FAILED), None);
        assert_eq!(bench.record(late, FAILED), None);
        assert_eq!(bench.state.phase(), Phase::HalfOpen);
        assert_eq!(bench.calls(4, GOOD).map(|transition| transition.to), Some(Phase::Closed));
    }

    /// Whatever callers do: open admits nobody, half-open at most five at a time, and good answers close it in the end.
    #[test]
    fn no_order_of_events_breaks_it() {
        let mut random = StdRng::seed_from_u64(7);
        for _ in 0..200 {
            let mut bench = Bench::new();
            let mut out = Vec::new();
            for _ in 0..300 {
                bench.wait_ms(random.random_range(0..300));
                let was_open = matches!(bench.state.condition, Condition::Open { until } if bench.now < until);
                if out.is_empty() || random.random_bool(0.5) {
                    let admitted = bench.admit();
                    assert!(!(was_open && admitted.is_ok()));
                    out.extend(admitted);
                } else {
                    let generation = out.swap_remove(random.random_range(0..out.len()));
                    bench.record(generation, [GOOD, FAILED, SLOW, None][random.random_range(0..4)]);
                }
                let current = out.iter().filter(|generation| **generation == bench.state.generation).count();
                assert!(bench.state.phase() != Phase::HalfOpen || current <= 5, "{current} probes are out");
            }
            for _ in 0..40 {
                bench.wait_ms(5_000);
                if let Ok(generation) = bench.admit() {
                    bench.record(generation, GOOD);
                }
            }
            assert_eq!(bench.state.phase(), Phase::Closed);
        }
    }
}
