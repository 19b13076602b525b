//! Column types shared by every service: identifiers and instants.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{BigInt, Binary};
use uuid::Uuid;

/// An identifier: a UUIDv7, 16 bytes in the database, hyphenated lower-case text outside.
///
/// Identifiers made later sort later, which keeps an index's hot pages few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Binary)]
pub struct Id(Uuid);

impl Id {
    /// A new identifier; later ones of this process compare greater.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The identifier with these bytes; they are not checked.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// When it was made, to the millisecond.
    #[must_use]
    pub fn made_at(&self) -> Micros {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&self.as_bytes()[..6]);
        Micros(i64::from_be_bytes(millis).saturating_mul(1000))
    }

    /// Not greater than any identifier made at `at` or later: the start of a range by age.
    #[must_use]
    pub fn floor(at: Micros) -> Self {
        let millis = u64::try_from(at.0 / 1000).unwrap_or(0);
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        Self::from_bytes(bytes)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0.as_hyphenated(), f)
    }
}

/// The text is not an identifier in the form this system writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a UUID in lower case with hyphens")]
pub struct InvalidId;

impl FromStr for Id {
    type Err = InvalidId;

    /// Accepts exactly what `Display` writes, so that one identifier has one spelling.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.len() != 36 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(InvalidId);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidId)
    }
}

impl<DB: Backend> ToSql<Binary, DB> for Id
where
    [u8]: ToSql<Binary, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.as_bytes().as_slice().to_sql(out)
    }
}

impl<DB: Backend> FromSql<Binary, DB> for Id
where
    Vec<u8>: FromSql<Binary, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(Uuid::from_slice(&Vec::<u8>::from_sql(bytes)?)?))
    }
}

/// An instant: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = BigInt)]
pub struct Micros(pub i64);

impl Micros {
    /// The system clock's time.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// This much later; stops at the end of the range.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This much earlier; stops at the start of the range.
    #[must_use]
    pub fn minus(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How much later it is than `earlier`; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// RFC 3339 in UTC, as CloudEvents' `time` wants it.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => fmt::Display::fmt(&at, f),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

/// The text is not an RFC 3339 instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an RFC 3339 instant")]
pub struct InvalidInstant;

impl FromStr for Micros {
    type Err = InvalidInstant;

    fn from_str(text: &str) -> Result<Self, InvalidInstant> {
        let at: jiff::Timestamp = text.parse().map_err(|_| InvalidInstant)?;
        Ok(Self(at.as_microsecond()))
    }
}

impl From<Micros> for prost_types::Timestamp {
    fn from(at: Micros) -> Self {
        let nanos = at.0.rem_euclid(1_000_000) * 1000;
        Self {
            seconds: at.0.div_euclid(1_000_000),
            nanos: i32::try_from(nanos).expect("less than a second of nanoseconds"),
        }
    }
}

impl From<prost_types::Timestamp> for Micros {
    /// Cuts to whole microseconds; stops at the ends of the range.
    fn from(at: prost_types::Timestamp) -> Self {
        Self(at.seconds.saturating_mul(1_000_000).saturating_add(i64::from(at.nanos) / 1000))
    }
}

impl<DB: Backend> ToSql<BigInt, DB> for Micros
where
    i64: ToSql<BigInt, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.to_sql(out)
    }
}

impl<DB: Backend> FromSql<BigInt, DB> for Micros
where
    i64: FromSql<BigInt, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        i64::from_sql(bytes).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = Id::generate();
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        for other in
            [text.to_uppercase(), text.replace('-', ""), format!("{{{text}}}"), format!("{text} "), String::new()]
        {
            assert_eq!(other.parse::<Id>(), Err(InvalidId), "{other}");
        }
    }

    #[test]
    fn ids_sort_by_the_time_they_were_made() {
        let before = Id::floor(Micros::now());
        let (first, second) = (Id::generate(), Id::generate());
        assert!(before <= first && first < second);
        assert!(second < Id::floor(Micros::now().plus(Duration::from_secs(1))));
        assert_eq!(Id::floor(second.made_at()).made_at(), second.made_at());
        assert!(Micros::now().since(second.made_at()) < Duration::from_secs(60));
    }

    #[test]
    fn instants_survive_text_and_timestamps() {
        for micros in [0, 1, -1, 1_700_000_000_123_456, -62_000_000_000_000_001] {
            let at = Micros(micros);
            assert_eq!(at.to_string().parse(), Ok(at));
            assert_eq!(Micros::from(prost_types::Timestamp::from(at)), at);
        }
        assert_eq!(Micros(1_700_000_000_123_456).to_string(), "2023-11-14T22:13:20.123456Z");
    }
}
