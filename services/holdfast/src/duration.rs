//! Durations as people write them: `30s`, `15m`, `2h`, `1d`, `250ms`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a whole number and a unit; a number alone is seconds.
///
/// # Errors
/// One sentence for the person who typed it.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let explain = || format!("expected a number and a unit, such as 30s, 15m, 2h or 1d, not {text:?}");
    let number: u64 = number.parse().map_err(|_| explain())?;
    let unit = if unit.is_empty() { "s" } else { unit };
    let (_, ms) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(explain)?;
    number.checked_mul(ms).map(Duration::from_millis).ok_or_else(|| format!("{text} is too long"))
}

/// With the unit that suits its size: `870 µs`, `12.3 ms`, `4.56 s`.
pub(crate) fn readable(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, ms) in
            [("250ms", 250), ("30s", 30_000), ("30", 30_000), ("15m", 900_000), ("2h", 7_200_000), ("1d", 86_400_000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1s", "1.5h", "1w", "1 h", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_unit_suits_the_size() {
        assert_eq!(readable(Duration::from_micros(870)), "870 µs");
        assert_eq!(readable(Duration::from_micros(12_340)), "12.3 ms");
        assert_eq!(readable(Duration::from_millis(4_560)), "4.56 s");
    }
}
