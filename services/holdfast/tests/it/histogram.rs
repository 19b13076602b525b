//! The load generator's histogram against the exact percentiles of the same values.

use holdfast::load::histogram::Histogram;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const QUANTILES: [f64; 7] = [0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0];

/// Nearest rank: the smallest value that at least this share of all does not exceed.
fn exact(sorted: &[u64], quantile: f64) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few thousand values"
    )]
    let rank = ((quantile * sorted.len() as f64).ceil() as usize).max(1);
    sorted[rank - 1]
}

fn check(name: &str, mut values: Vec<u64>) {
    let mut histogram = Histogram::default();
    for value in &values {
        histogram.record(*value);
    }
    values.sort_unstable();
    assert_eq!(histogram.count(), values.len() as u64, "{name}");
    assert_eq!(histogram.max(), *values.last().expect("there are values"), "{name}");
    for quantile in QUANTILES {
        let (found, exact) = (histogram.quantile(quantile), exact(&values, quantile));
        assert!(found >= exact, "{name}, {quantile}: {found} is below the exact {exact}");
        assert!(found - exact <= exact / 128, "{name}, {quantile}: {found} is too far above the exact {exact}");
    }
}

#[test]
fn quantiles_are_exact_to_one_part_in_128_and_never_too_low() {
    let mut random = StdRng::seed_from_u64(7);
    check("one value", vec![4_711]);
    check("small values, exactly", (0..200).collect());
    check("all alike", vec![1_000; 5_000]);
    check("uniform", (0..20_000).map(|_| random.random_range(0..5_000_000)).collect());
    check(
        "like latencies",
        (0..20_000).map(|_| 300 + (1 << random.random_range(0..22)) + random.random_range(0..500)).collect(),
    );
    check("two far apart", [vec![100; 990], vec![60_000_000; 10]].concat());
    check("the ends of the range", vec![0, u64::MAX]);
}

#[test]
fn an_empty_histogram_answers_zero() {
    let empty = Histogram::default();
    assert_eq!((empty.count(), empty.max(), empty.quantile(0.5)), (0, 0, 0));
}
