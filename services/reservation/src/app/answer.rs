//! Stored answers: what every repeat of a request gets.

use prost::Message;
use proto::reservation::v1 as wire;

use super::Error;
use crate::{
    domain::{Failure, Reservation},
    rpc::convert::to_wire,
};

/// The answer to a request that changes something. In the contract each of these responses is one reservation, field 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Reservation(Box<wire::Reservation>),
    Failed(Failure),
}

/// Before the message, and before the stored form of a failure.
const RESERVATION: u8 = 0;
const FAILED: u8 = 1;

impl Answer {
    pub(crate) fn of(reservation: &Reservation) -> Self {
        Self::Reservation(Box::new(to_wire(reservation)))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Reservation(reservation) => {
                let response = wire::CreateReservationResponse { reservation: Some(reservation.as_ref().clone()) };
                let mut bytes = Vec::with_capacity(1 + response.encoded_len());
                bytes.push(RESERVATION);
                response.encode(&mut bytes).expect("a Vec takes any message");
                bytes
            }
            Self::Failed(failure) => [&[FAILED], failure.to_stored().as_bytes()].concat(),
        }
    }

    /// # Panics
    /// When something else wrote it.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        Self::read(bytes).expect("stored answers are ours")
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        let reservation = match kind {
            RESERVATION => wire::CreateReservationResponse::decode(rest).ok()?.reservation?,
            FAILED => return Failure::from_stored(std::str::from_utf8(rest).ok()?).map(Self::Failed),
            // Up to version 0001 of the tables a cancellation stored the bare reservation, which begins with its first tag.
            _ => wire::Reservation::decode(bytes).ok()?,
        };
        Some(Self::Reservation(Box::new(reservation)))
    }

    pub(super) fn into_result(self) -> Result<wire::Reservation, Error> {
        match self {
            Self::Reservation(reservation) => Ok(*reservation),
            Self::Failed(failure) => Err(Error::Failed(failure)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Refusal;

    #[test]
    fn answers_survive_being_stored_also_those_of_the_first_tables() {
        let reservation = wire::Reservation { name: "reservations/x".to_owned(), units: 3, ..Default::default() };
        let bare = reservation.encode_to_vec();
        let answer = Answer::Reservation(Box::new(reservation));
        assert_eq!(Answer::read(&answer.encode()).as_ref(), Some(&answer));
        assert_eq!(Answer::read(&bare), Some(answer));
        let failed = Answer::Failed(Failure::Refused(Refusal::PaymentDeclined("stolen_card".to_owned())));
        assert_eq!(Answer::read(&failed.encode()), Some(failed));
        assert_eq!(Answer::read(b""), None);
    }
}
