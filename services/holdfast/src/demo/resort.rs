//! A room of a resort: booked now, paid later (with the second card), fixed by a voucher that a cancellation makes void.

use anyhow::Result;
use proto::listing::v1::hold;
use proto::payment::v1::payment;
use proto::reservation::v1::reservation::State;
use proto::voucher::v1::{Voucher, voucher};

use super::stage::{Stage, is};
use crate::business::{BAD_CARD, GOOD_CARD};

pub(super) async fn play(stage: &mut Stage<'_>) -> Result<()> {
    let (suji, alice) = (stage.host("Suji")?, stage.customer("Alice")?);
    let listing = stage.offers(&suji, stage.listing(10)).await?;

    let request = stage.request(&listing, "A room with a view of the sea.");
    let room = stage.does("Alice books a room", alice.reserve(&request), State::AwaitingPayment).await?;
    stage.is_paid("the payment waits for her", &alice, &room, payment::State::Waiting).await?;
    stage.is_refused("Alice pays with an empty card", alice.pay(&room.name, BAD_CARD), "PAYMENT_DECLINED").await?;
    stage.does("the room stays hers for now", alice.reservation(&room.name), State::AwaitingPayment).await?;
    let room = stage.does("Alice pays with another card", alice.pay(&room.name, GOOD_CARD), State::Confirmed).await?;
    stage
        .comes_to_show("a voucher is issued", &alice, &room, |trip| {
            is(trip, State::Confirmed, hold::State::Committed) && trip.voucher_state() == voucher::State::Issued
        })
        .await?;
    let number = async {
        let vouchers = alice.vouchers().await?;
        Ok(vouchers.into_iter().map(|Voucher { ticket_number, .. }| ticket_number).collect::<Vec<_>>().join(", "))
    };
    stage.shows("Alice reads its number", number).await?;

    stage.does("Alice cancels", alice.cancel(&room.name), State::CancelRequested).await?;
    stage
        .comes_to_show("room and money are given back, the voucher is void", &alice, &room, |trip| {
            is(trip, State::Cancelled, hold::State::Released)
                && trip.payment_state() == payment::State::Cancelled
                && trip.voucher_state() == voucher::State::Cancelled
        })
        .await?;

    stage.withdraws(&suji, &listing).await?;
    stage.close(&[&alice, &suji], &[&room]).await
}
