//! A taxi: paid when ordered, at the minimum fare; assigned by the company and driven, or cancelled and refunded in one answer.

use anyhow::Result;
use proto::listing::v1::hold;
use proto::message::v1::message::Topic;
use proto::payment::v1::payment;
use proto::reservation::v1::reservation::State;

use super::stage::{Stage, is};

pub(super) async fn play(stage: &mut Stage<'_>) -> Result<()> {
    let (company, alice, bob) = (stage.host("Seoul Call")?, stage.customer("Alice")?, stage.customer("Bob")?);
    let listing = stage.offers(&company, stage.listing(2)).await?;

    let request = stage.request(&listing, "");
    let ride =
        stage.does("Alice orders, at the minimum fare", alice.reserve(&request), State::AwaitingApproval).await?;
    stage.is_paid("it is paid at once", &alice, &ride, payment::State::Approved).await?;
    stage.does("Seoul Call assigns a taxi", company.approve(&ride.name), State::Confirmed).await?;
    stage.is_told(&alice, &ride, Topic::ReservationConfirmed, 3).await?;
    stage.does("Seoul Call completes the ride", company.complete(&ride.name), State::Completed).await?;
    stage
        .comes_to_show("the taxi is free again", &alice, &ride, |trip| {
            is(trip, State::Completed, hold::State::Completed) && trip.payment_state() == payment::State::Approved
        })
        .await?;
    stage.is_told(&alice, &ride, Topic::ReservationCompleted, 4).await?;

    let request = stage.request(&listing, "");
    let other = stage.does("Bob orders one, too", bob.reserve(&request), State::AwaitingApproval).await?;
    stage.does("Bob cancels", bob.cancel(&other.name), State::Cancelled).await?;
    stage.is_paid("his money is back with that answer", &bob, &other, payment::State::Cancelled).await?;
    stage
        .comes_to_show("the taxi is free again", &bob, &other, |trip| is(trip, State::Cancelled, hold::State::Released))
        .await?;
    stage.is_told(&bob, &other, Topic::ReservationCancelled, 2).await?;

    stage.withdraws(&company, &listing).await?;
    stage.close(&[&alice, &bob, &company], &[&ride, &other]).await
}
