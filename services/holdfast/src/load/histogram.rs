//! How long calls took: counts in buckets that are never wider than 1/128 of their value.
//!
//! Log-linear as in HdrHistogram: values below 128 have a bucket each, and every doubling above is cut into 128 equal buckets. A quantile
//! answers its bucket's upper end (but never more than the greatest value seen), so it errs upwards, by less than 0.8 %.

/// Buckets for each doubling, a power of two.
const PER_DOUBLING: u64 = 128;
const BITS: u32 = PER_DOUBLING.ilog2();

/// Counts of values; microseconds here, though any unit will do.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        let bucket = bucket_of(value);
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The greatest value, exactly; 0 when there is none.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// A value that at least the share `quantile` (0 to 1) of all values does not exceed; 0 when there is none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> u64 {
        // Rank of the value, counted from one: the nearest-rank definition.
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts stay far below 2^52"
        )]
        let rank = ((quantile * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_end(bucket).min(self.max);
            }
        }
        self.max
    }
}

fn bucket_of(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(BITS + 1);
    let bucket = u64::from(shift) * PER_DOUBLING + (value >> shift);
    usize::try_from(bucket).expect("there are fewer than 2^13 buckets")
}

/// The greatest value that falls into the bucket.
fn upper_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * PER_DOUBLING {
        return bucket;
    }
    let shift = bucket / PER_DOUBLING - 1;
    let first = bucket % PER_DOUBLING + PER_DOUBLING;
    (first << shift) + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gap_or_overlap() {
        for value in (0..100_000).chain([1 << 20, (1 << 40) + 12_345, u64::MAX]) {
            let bucket = bucket_of(value);
            let end = upper_end(bucket);
            assert!(end >= value, "{value} lies above the end {end} of its bucket");
            assert!(bucket == 0 || upper_end(bucket - 1) < value, "{value} belongs into the bucket before");
            assert!(end - value <= value / PER_DOUBLING, "the bucket of {value} is too wide");
        }
    }
}
