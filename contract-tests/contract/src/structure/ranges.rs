//! Ranges of reserved and extension numbers.

use std::{fmt::Write, ops::RangeInclusive};

pub(crate) type Range = RangeInclusive<i64>;

/// Those of the old ranges that lost a number.
pub(crate) fn shrunk<'a>(old: &'a [Range], new: &[Range]) -> Vec<&'a Range> {
    let merged = merge(new);
    let kept = |range: &Range| merged.iter().any(|now| now.start() <= range.start() && range.end() <= now.end());
    old.iter().filter(|range| !kept(range)).collect()
}

/// Adjacent and overlapping ranges as one.
fn merge(ranges: &[Range]) -> Vec<Range> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| *range.start());
    let mut merged: Vec<Range> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end() + 1 => *last = *last.start()..=*range.end().max(last.end()),
            _ => merged.push(range),
        }
    }
    merged
}

/// `5`, or `5 to 9`.
pub(crate) fn name(range: &Range) -> String {
    let mut text = range.start().to_string();
    if range.end() > range.start() {
        write!(text, " to {}", range.end()).expect("writing to a String cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(old: &[Range], new: &[Range], lost: &[Range]) {
        assert_eq!(shrunk(old, new), lost.iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_range_is_kept_by_others_that_cover_it_together() {
        check(&[1..=9], &[5..=9, 1..=4], &[]);
        check(&[1..=9], &[1..=4, 6..=9], &[1..=9]);
        check(&[1..=2, 4..=4], &[1..=2], &[4..=4]);
        check(&[3..=4], &[1..=3, 2..=8, 8..=8], &[]);
        check(&[], &[1..=1], &[]);
    }
}
