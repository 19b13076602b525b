//! How enums, money and what is kept whole are written in the database. Enums are texts, so that an operator can read them; what no statement
//! looks into is one protobuf message.

use diesel::QueryResult;
use diesel::result::Error;
use mesh::value::{Currency, Money};

use crate::domain::{HoldState, Kind, ListingState};

/// An enum with one text for each value.
pub(super) trait Code: Sized + Copy + PartialEq + 'static {
    const CODES: &'static [(Self, &'static str)];

    fn code(self) -> &'static str {
        Self::CODES.iter().find(|(value, _)| *value == self).expect("every value has a code").1
    }

    fn decode(code: &str) -> QueryResult<Self> {
        Self::CODES
            .iter()
            .find(|(_, known)| *known == code)
            .map(|(value, _)| *value)
            .ok_or_else(|| Error::DeserializationError(format!("{code} is no code of this program's").into()))
    }
}

impl Code for Kind {
    const CODES: &'static [(Self, &'static str)] =
        &[(Self::Room, "ROOM"), (Self::Resort, "RESORT"), (Self::Taxi, "TAXI"), (Self::Hospital, "HOSPITAL")];
}

impl Code for ListingState {
    const CODES: &'static [(Self, &'static str)] = &[(Self::Active, "ACTIVE"), (Self::Deleted, "DELETED")];
}

impl Code for HoldState {
    const CODES: &'static [(Self, &'static str)] = &[
        (Self::Held, "HELD"),
        (Self::Committed, "COMMITTED"),
        (Self::Released, "RELEASED"),
        (Self::Completed, "COMPLETED"),
    ];
}

pub(super) fn money(minor: i64, currency: &str) -> QueryResult<Money> {
    Currency::from_code(currency)
        .map(|currency| Money::from_minor(minor, currency))
        .ok_or_else(|| Error::DeserializationError(format!("{currency} is no currency").into()))
}

pub(super) fn message<M: prost::Message + Default>(bytes: &[u8]) -> QueryResult<M> {
    M::decode(bytes).map_err(|error| Error::DeserializationError(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<C: Code + std::fmt::Debug>() {
        for (value, code) in C::CODES {
            assert_eq!(value.code(), *code);
            assert_eq!(C::decode(code).expect("known"), *value);
        }
        assert!(C::decode("?").is_err());
    }

    #[test]
    fn every_code_leads_back_to_its_value() {
        check::<Kind>();
        check::<ListingState>();
        check::<HoldState>();
    }
}
