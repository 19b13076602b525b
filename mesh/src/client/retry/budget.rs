//! How many calls to one target may be repeated: the throttle of gRFC A6. It goes quiet after few failures, whatever the volume, and comes back
//! with the successes.

use std::sync::atomic::{AtomicU32, Ordering};

/// A failure takes a whole token, an answer gives one of these parts.
const PARTS: u32 = 10;

pub(super) struct Budget {
    full: u32,
    left: AtomicU32,
}

impl Budget {
    pub(super) fn new(tokens: u32) -> Self {
        let full = tokens * PARTS;
        Self { full, left: AtomicU32::new(full) }
    }

    pub(super) fn failed(&self) {
        self.change(|left| Some(left.saturating_sub(PARTS)));
    }

    pub(super) fn answered(&self) {
        self.change(|left| (left < self.full).then_some(left + 1));
    }

    /// Only above half.
    pub(super) fn allows(&self) -> bool {
        self.left.load(Ordering::Relaxed) > self.full / 2
    }

    fn change(&self, next: impl FnMut(u32) -> Option<u32>) {
        // An error is a budget that stays as it is.
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_end_it_and_ten_answers_undo_one() {
        let budget = Budget::new(20);
        let failures = |count: usize| (0..count).for_each(|_| budget.failed());
        let answers = |count: usize| (0..count).for_each(|_| budget.answered());
        failures(9);
        assert!(budget.allows());
        failures(1);
        assert!(!budget.allows());
        answers(1);
        assert!(budget.allows());
        failures(1_000);
        answers(100);
        assert!(!budget.allows());
        answers(1);
        assert!(budget.allows());
        answers(1_000_000);
        failures(9);
        assert!(budget.allows(), "it is never more than full");
        failures(1);
        assert!(!budget.allows());
    }
}
