//! Money in integer minor units of a currency; never a fraction, never a float, never rounded.

use std::fmt;

use proto::google;

/// One unit is so many nanos in `google.type.Money`.
const NANOS_PER_UNIT: i64 = 1_000_000_000;

/// An ISO 4217 currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// The South Korean won, which has no minor unit.
    pub const KRW: Self = Self(iso_currency::Currency::KRW);

    /// The currency with this code, e.g. `EUR`; upper case only.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        iso_currency::Currency::from_code(code).filter(|currency| currency.exponent().is_some()).map(Self)
    }

    /// The three-letter code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Minor units per unit: 1 for KRW, 100 for EUR, 1000 for KWD.
    fn scale(self) -> i64 {
        let exponent = self.0.exponent().expect("from_code refuses currencies without an exponent");
        10_i64.pow(u32::from(exponent))
    }
}

/// An amount: whole minor units of one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

/// Why an amount cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not an ISO 4217 code.
    #[error("the currency code is not one of ISO 4217")]
    UnknownCurrency,
    /// `units` and `nanos` disagree in sign, or `nanos` is a unit or more.
    #[error("units and nanos do not make one amount")]
    Malformed,
    /// A fraction of the minor unit.
    #[error("the amount is finer than the currency's minor unit")]
    TooFine,
    /// Beyond 64 bits.
    #[error("the amount is too large")]
    Overflow,
    /// Less than zero where that makes no sense.
    #[error("the amount is negative")]
    Negative,
}

impl MoneyError {
    /// A stable name for error details.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::UnknownCurrency => "CURRENCY_UNKNOWN",
            Self::Malformed => "MONEY_MALFORMED",
            Self::TooFine => "MONEY_TOO_FINE",
            Self::Overflow => "MONEY_OVERFLOW",
            Self::Negative => "MONEY_NEGATIVE",
        }
    }
}

impl Money {
    /// So many minor units.
    #[must_use]
    pub const fn from_minor(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// In minor units.
    #[must_use]
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// Its currency.
    #[must_use]
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.minor == 0
    }

    /// This amount, if it is zero or more.
    ///
    /// # Errors
    /// [`MoneyError::Negative`].
    pub const fn not_negative(self) -> Result<Self, MoneyError> {
        if self.minor < 0 { Err(MoneyError::Negative) } else { Ok(self) }
    }

    /// So many times the amount.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`].
    pub fn times(self, factor: i64) -> Result<Self, MoneyError> {
        let minor = self.minor.checked_mul(factor).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }
}

impl TryFrom<&google::r#type::Money> for Money {
    type Error = MoneyError;

    fn try_from(wire: &google::r#type::Money) -> Result<Self, MoneyError> {
        let currency = Currency::from_code(&wire.currency_code).ok_or(MoneyError::UnknownCurrency)?;
        let nanos = i64::from(wire.nanos);
        if nanos.abs() >= NANOS_PER_UNIT || (wire.units > 0 && nanos < 0) || (wire.units < 0 && nanos > 0) {
            return Err(MoneyError::Malformed);
        }
        let scale = currency.scale();
        let nanos_per_minor = NANOS_PER_UNIT / scale;
        if nanos % nanos_per_minor != 0 {
            return Err(MoneyError::TooFine);
        }
        let minor = wire
            .units
            .checked_mul(scale)
            .and_then(|minor| minor.checked_add(nanos / nanos_per_minor))
            .ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, currency })
    }
}

impl From<Money> for google::r#type::Money {
    fn from(money: Money) -> Self {
        let scale = money.currency.scale();
        let nanos = (money.minor % scale) * (NANOS_PER_UNIT / scale);
        Self {
            currency_code: money.currency.code().to_owned(),
            units: money.minor / scale,
            nanos: i32::try_from(nanos).expect("less than a unit of nanos fits"),
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = self.currency.scale();
        let (units, rest) = (self.minor / scale, (self.minor % scale).abs());
        let sign = if self.minor < 0 && units == 0 { "-" } else { "" };
        write!(f, "{} {sign}{units}", self.currency.code())?;
        let digits = scale.ilog10() as usize;
        if digits == 0 { Ok(()) } else { write!(f, ".{rest:0digits$}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(code: &str, units: i64, nanos: i32) -> google::r#type::Money {
        google::r#type::Money { currency_code: code.to_owned(), units, nanos }
    }

    fn check(code: &str, units: i64, nanos: i32, expected: Result<i64, MoneyError>) {
        let parsed = Money::try_from(&wire(code, units, nanos));
        assert_eq!(parsed.map(Money::minor), expected, "{code} {units} {nanos}");
        if let Ok(money) = parsed {
            assert_eq!(google::r#type::Money::from(money), wire(code, units, nanos));
        }
    }

    #[test]
    fn the_wire_form_is_read_exactly_or_refused() {
        check("KRW", 38_000, 0, Ok(38_000));
        check("EUR", 12, 340_000_000, Ok(1_234));
        check("EUR", -12, -340_000_000, Ok(-1_234));
        check("EUR", 0, -10_000_000, Ok(-1));
        check("KWD", 1, 5_000_000, Ok(1_005));
        check("KRW", 1, 500_000_000, Err(MoneyError::TooFine));
        check("EUR", 1, 1, Err(MoneyError::TooFine));
        check("EUR", 1, -10_000_000, Err(MoneyError::Malformed));
        check("EUR", 0, 1_000_000_000, Err(MoneyError::Malformed));
        check("EUR", i64::MAX, 0, Err(MoneyError::Overflow));
        check("XXQ", 1, 0, Err(MoneyError::UnknownCurrency));
        check("krw", 1, 0, Err(MoneyError::UnknownCurrency));
        check("", 1, 0, Err(MoneyError::UnknownCurrency));
    }

    #[test]
    fn a_product_never_wraps() {
        let won = Money::from_minor(i64::MAX, Currency::KRW);
        assert_eq!(won.times(1), Ok(won));
        assert_eq!(won.times(2), Err(MoneyError::Overflow));
    }

    #[test]
    fn it_reads_like_a_price() {
        let euro = Currency::from_code("EUR").expect("a currency");
        assert_eq!(Money::from_minor(-5, euro).to_string(), "EUR -0.05");
        assert_eq!(Money::from_minor(38_000, Currency::KRW).to_string(), "KRW 38000");
    }
}
