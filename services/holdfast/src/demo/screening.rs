//! A screening: confirmed at once and free of charge; cancelled by its patient, or by the end of the hospital.

use anyhow::Result;
use proto::listing::v1::{DateCapacity, Listing, hold};
use proto::message::v1::message::Topic;
use proto::reservation::v1::reservation::{Slot, State};

use super::stage::{Stage, is};

/// How many people it screens on the day.
const PLACES: i32 = 20;

pub(super) async fn play(stage: &mut Stage<'_>) -> Result<()> {
    let (doctor, alice, bob) = (stage.host("Doctor Kim")?, stage.customer("Alice")?, stage.customer("Bob")?);
    let date = match stage.slot() {
        Some(Slot::Date(date)) => Some(date),
        _ => None,
    };
    let date_capacities = vec![DateCapacity { date, capacity: PLACES }];
    // Nothing on other days.
    let listing = stage.offers(&doctor, Listing { date_capacities, ..stage.listing(0) }).await?;

    let request = stage.request(&listing, "");
    let first = stage.does("Alice asks for a screening", alice.reserve(&request), State::Confirmed).await?;
    stage.is_told(&alice, &first, Topic::ReservationConfirmed, 2).await?;
    stage.does("Alice cancels", alice.cancel(&first.name), State::Cancelled).await?;
    stage
        .comes_to_show("her place is free again", &alice, &first, |trip| {
            is(trip, State::Cancelled, hold::State::Released)
        })
        .await?;
    stage.is_told(&alice, &first, Topic::ReservationCancelled, 3).await?;

    let request = stage.request(&listing, "");
    let second = stage.does("Bob asks for a screening", bob.reserve(&request), State::Confirmed).await?;
    stage.withdraws(&doctor, &listing).await?;
    stage
        .comes_to_show("his screening is cancelled with it", &bob, &second, |trip| {
            is(trip, State::ForceCancelled, hold::State::Released)
        })
        .await?;
    stage.is_told(&bob, &second, Topic::ReservationForceCancelled, 3).await?;
    stage.close(&[&bob, &alice, &doctor], &[&second, &first]).await
}
