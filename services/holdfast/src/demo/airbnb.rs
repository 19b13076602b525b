//! A night in a hanok: booked and paid in one call, miles earned; cancelled, and everything given back.

use anyhow::Result;
use proto::listing::v1::{Listing, ReservationPolicy, hold};
use proto::message::v1::message::Topic;
use proto::payment::v1::payment;
use proto::reservation::v1::reservation::State;

use super::stage::{Stage, is};

const MILES: i64 = 120;

pub(super) async fn play(stage: &mut Stage<'_>) -> Result<()> {
    let (hana, alice) = (stage.host("Hana")?, stage.customer("Alice")?);
    let policy = ReservationPolicy { mileage_points: MILES, ..ReservationPolicy::default() };
    let listing = stage.offers(&hana, Listing { policy: Some(policy), ..stage.listing(3) }).await?;

    let request = stage.request(&listing, "");
    let stay = stage.does("Alice books two nights with her card", alice.reserve(&request), State::Confirmed).await?;
    stage.is_paid("her card is charged once", &alice, &stay, payment::State::Approved).await?;
    stage
        .comes_to_show("my page shows place and miles", &alice, &stay, |trip| {
            is(trip, State::Confirmed, hold::State::Committed) && trip.mileage_points == MILES
        })
        .await?;
    stage.is_told(&alice, &stay, Topic::ReservationConfirmed, 2).await?;
    stage.is_told(&alice, &stay, Topic::MileageIncreased, 2).await?;
    stage.shows("Alice asks for her miles", alice.miles()).await?;

    stage.does("Alice cancels", alice.cancel(&stay.name), State::CancelRequested).await?;
    stage
        .comes_to_show("everything is taken back", &alice, &stay, |trip| {
            is(trip, State::Cancelled, hold::State::Released)
                && trip.payment_state() == payment::State::Cancelled
                && trip.mileage_points == 0
        })
        .await?;
    stage.is_told(&alice, &stay, Topic::ReservationCancelled, 4).await?;
    stage.is_told(&alice, &stay, Topic::MileageDecreased, 4).await?;
    stage.shows("Alice asks for her miles", alice.miles()).await?;

    stage.withdraws(&hana, &listing).await?;
    stage.close(&[&alice, &hana], &[&stay]).await
}
