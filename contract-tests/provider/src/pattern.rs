//! Texts that a regular expression accepts, and texts that it refuses.

use rand::Rng;
use rand::rngs::StdRng;
use regex::Regex;
use regex_syntax::hir::{Class, Hir, HirKind};

/// How much a repetition without an end is repeated at most, beyond its least.
const OPEN_END: u32 = 8;

/// How long a text shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// The shortest there is.
    Least,
    /// The longest there is.
    Most,
}

/// A text that the expression accepts; `None` if none is found, which is for the contract to answer, with an example.
#[must_use]
pub(crate) fn accepted(pattern: &Regex, length: Length, random: &mut StdRng) -> Option<String> {
    let parsed = regex_syntax::parse(pattern.as_str()).ok()?;
    let mut text = String::new();
    write(&parsed, length, random, &mut text)?;
    pattern.is_match(&text).then_some(text)
}

/// A text that the expression refuses and that is not empty; `None` if none is found.
#[must_use]
pub(crate) fn refused(pattern: &Regex, like: &str) -> Option<String> {
    let candidates = [format!("{like}!"), format!("!{like}"), format!("{like}\n"), like.to_uppercase(), "?".to_owned()];
    candidates.into_iter().find(|text| !text.is_empty() && !pattern.is_match(text))
}

fn write(part: &Hir, length: Length, random: &mut StdRng, text: &mut String) -> Option<()> {
    match part.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Class(Class::Unicode(class)) => {
            let ranges = class.ranges();
            let range = ranges.get(random.random_range(0..ranges.len().max(1)))?;
            text.push(random.random_range(range.start()..=range.end()));
        }
        HirKind::Class(Class::Bytes(class)) => {
            text.push(char::from(class.ranges().first()?.start()));
        }
        HirKind::Repetition(repetition) => {
            let count = match length {
                Length::Least => repetition.min,
                Length::Most => repetition.max.unwrap_or(repetition.min + OPEN_END),
            };
            for _ in 0..count {
                write(&repetition.sub, length, random, text)?;
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, length, random, text)?,
        HirKind::Concat(parts) => {
            for part in parts {
                write(part, length, random, text)?;
            }
        }
        HirKind::Alternation(parts) => {
            let part = if length == Length::Least { parts.first() } else { parts.last() };
            write(part?, length, random, text)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn texts_are_found_on_both_sides_of_our_patterns() {
        let mut random = StdRng::seed_from_u64(1);
        for pattern in [
            "^listings/[0-9a-f]{8}-[0-9a-f]{4}$",
            "^users/(me|[A-Za-z0-9][A-Za-z0-9._@|-]{0,127})$",
            "^(en|ko)$",
            "^create_time( desc)?$",
            "^pm_[A-Za-z0-9_]{1,64}$",
        ] {
            let pattern = Regex::new(pattern).expect("a pattern");
            for length in [Length::Least, Length::Most] {
                let text = accepted(&pattern, length, &mut random).expect("a witness");
                assert!(pattern.is_match(&text), "{pattern} accepts {text}");
                let wrong = refused(&pattern, &text).expect("a witness");
                assert!(!pattern.is_match(&wrong), "{pattern} refuses {wrong}");
            }
        }
    }

    #[test]
    fn what_accepts_everything_has_nothing_to_refuse() {
        assert_eq!(refused(&Regex::new("(?s)^.*$").expect("a pattern"), "x"), None);
    }
}
