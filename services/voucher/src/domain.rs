//! Which reservations get a voucher, and what is on it.
//!
//! Pure: no clock, no random numbers, no SQL, no protobuf.

use std::fmt;

use mesh::store::{Id, Micros};

/// Whether a voucher is good. Only this move exists: issued to cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Good.
    Issued,
    /// Void.
    Cancelled,
}

/// A ticket for a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Voucher {
    pub(crate) id: Id,
    /// What it is for, as it was when it was issued.
    pub(crate) reserved: Reserved,
    pub(crate) number: TicketNumber,
    pub(crate) state: State,
    /// 1 when issued, 2 when cancelled.
    pub(crate) version: i64,
    pub(crate) created_at: Micros,
    pub(crate) updated_at: Micros,
}

/// A reservation, as far as a voucher shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reserved {
    pub(crate) reservation: Id,
    /// The reservation's version, for telling older news from newer.
    pub(crate) version: i64,
    /// The `sub` of the customer's tokens.
    pub(crate) customer: String,
    /// The `sub` of the host's tokens.
    pub(crate) host: String,
    pub(crate) listing: Id,
    pub(crate) listing_display_name: String,
}

/// What a reservation's news mean for its voucher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Issue it.
    Issue,
    /// Make it void, or see to it that it is never issued.
    Cancel,
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Confirmed; `paid` unless it costs nothing.
    Confirmed {
        /// Whether it has a payment.
        paid: bool,
    },
    /// Cancelled, by whomever.
    Cancelled,
}

impl News {
    /// `promised`: whether the reservation's policy promises a voucher once it is paid.
    pub(crate) fn effect(self, promised: bool) -> Option<Effect> {
        match self {
            _ if !promised => None,
            Self::Confirmed { paid } => paid.then_some(Effect::Issue),
            Self::Cancelled => Some(Effect::Cancel),
        }
    }
}

/// The number on a ticket: twelve digits of Crockford's base 32, which has no I, L, O and U, in groups of four.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TicketNumber(String);

impl TicketNumber {
    const ALPHABET: &'static [u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    const DIGITS: u32 = 12;

    /// From the upper 60 bits of a number that nobody can guess.
    pub(crate) fn new(random: u64) -> Self {
        let digits = (0..Self::DIGITS).map(|n| Self::ALPHABET[(random >> (59 - 5 * n) & 31) as usize]);
        let mut text = String::with_capacity(14);
        for (n, digit) in digits.enumerate() {
            if n > 0 && n % 4 == 0 {
                text.push('-');
            }
            text.push(char::from(digit));
        }
        Self(text)
    }

    /// One that was stored.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    /// Whether it reads like one.
    pub(crate) fn is_well_formed(&self) -> bool {
        self.0.len() == 14
            && self.0.bytes().enumerate().all(|(n, byte)| match n {
                4 | 9 => byte == b'-',
                _ => Self::ALPHABET.contains(&byte),
            })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TicketNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_promised_and_paid_gets_a_voucher() {
        let check = |news: News, promised, expected| assert_eq!(news.effect(promised), expected, "{news:?} {promised}");
        check(News::Confirmed { paid: true }, true, Some(Effect::Issue));
        check(News::Confirmed { paid: false }, true, None); // K26
        check(News::Confirmed { paid: true }, false, None);
        check(News::Cancelled, true, Some(Effect::Cancel));
        check(News::Cancelled, false, None);
    }

    #[test]
    fn a_number_has_twelve_digits_in_three_groups() {
        let check = |random: u64, expected: &str| {
            let number = TicketNumber::new(random);
            assert_eq!(number.as_str(), expected);
            assert!(number.is_well_formed());
        };
        check(0, "0000-0000-0000");
        check(u64::MAX, "ZZZZ-ZZZZ-ZZZZ");
        check(0x0123_4567_89ab_cdef, "04HM-ASW9-NF6Y");
        check(1 << 63, "G000-0000-0000");
        for other in ["", "0000-0000-000", "0000-0000-000I", "000000000000", "0000-0000-0000 ", "abcd-0000-0000"] {
            assert!(!TicketNumber::stored(other.to_owned()).is_well_formed(), "{other}");
        }
    }
}
