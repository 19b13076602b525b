//! A room whose host decides: one request approved, paid and cancelled later, another one rejected.

use anyhow::Result;
use proto::listing::v1::hold;
use proto::message::v1::message::Topic;
use proto::payment::v1::payment;
use proto::reservation::v1::reservation::State;

use super::stage::{Stage, is};

pub(super) async fn play(stage: &mut Stage<'_>) -> Result<()> {
    let (minji, alice, bob) = (stage.host("Minji")?, stage.customer("Alice")?, stage.customer("Bob")?);
    let listing = stage.offers(&minji, stage.listing(2)).await?;

    let request = stage.request(&listing, "We come late.");
    let stay = stage.does("Alice asks for two nights", alice.reserve(&request), State::AwaitingApproval).await?;
    stage.is_told(&minji, &stay, Topic::ReservationRequested, 1).await?;
    let stay =
        stage.does("Minji approves, and Alice's card is charged", minji.approve(&stay.name), State::Confirmed).await?;
    stage.is_paid("her card is charged once", &alice, &stay, payment::State::Approved).await?;
    stage
        .comes_to_show("my page shows it", &alice, &stay, |trip| is(trip, State::Confirmed, hold::State::Committed))
        .await?;
    stage.is_told(&alice, &stay, Topic::ReservationConfirmed, 2).await?;

    stage.does("Alice cancels", alice.cancel(&stay.name), State::CancelRequested).await?;
    stage
        .comes_to_show("place and money are given back", &alice, &stay, |trip| {
            is(trip, State::Cancelled, hold::State::Released) && trip.payment_state() == payment::State::Cancelled
        })
        .await?;
    stage.is_told(&alice, &stay, Topic::ReservationCancelled, 3).await?;

    let request = stage.request(&listing, "With two dogs.");
    let other = stage.does("Bob asks for the same nights", bob.reserve(&request), State::AwaitingApproval).await?;
    stage.does("Minji rejects", minji.reject(&other.name, "no dogs, sorry"), State::Rejected).await?;
    stage
        .comes_to_show("his place is free again, nothing was paid", &bob, &other, |trip| {
            is(trip, State::Rejected, hold::State::Released)
        })
        .await?;
    stage.is_told(&bob, &other, Topic::ReservationRejected, 2).await?;

    stage.withdraws(&minji, &listing).await?;
    stage.close(&[&alice, &bob, &minji], &[&stay, &other]).await
}
