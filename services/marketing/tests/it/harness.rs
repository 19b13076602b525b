//! A marketing service with all that is around it, and what reservation and listing tell.

use std::time::Duration;

use marketing::{Config, NAME};
use mesh::event::NewEvent;
use mesh::store::{DatabaseUrl, Id, Micros};
use mesh::testing::{Publisher, Running, TestMesh, eventually};
use mesh::value::{Day, Zone, format_name};
use proto::contract::{Event, Role};
use proto::listing::v1::{CapacityChanged, DateRange, Listing, ListingModified, ListingRegistered};
use proto::marketing::v1::marketing_service_client::MarketingServiceClient;
use proto::marketing::v1::{ListListingDemandsRequest, ListingDemand};
use proto::reservation::v1::{Reservation, ReservationCancelled, ReservationConfirmed, reservation::Slot};

pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) mesh: TestMesh,
    publisher: Publisher,
}

impl World {
    pub(crate) async fn new(database: Option<DatabaseUrl>) -> Self {
        let mesh = TestMesh::start().await;
        let publisher = mesh.publisher().await;
        let mesh = if let Some(database) = database { mesh.on(database) } else { mesh };
        Self { mesh, publisher }
    }

    pub(crate) async fn serve(&self) -> Running {
        let node = self.mesh.node();
        let config = Config { marketing_listen: ([127, 0, 0, 1], 0).into(), marketing_nearly_full_percent: 80 };
        Running::start(|listener, shutdown| async move { marketing::serve(&node, config, listener, shutdown).await })
            .await
    }

    pub(crate) async fn publish(&mut self, events: impl IntoIterator<Item = NewEvent>) {
        self.publisher.publish(events.into_iter().collect()).await;
    }

    /// The demand that a user sees.
    pub(crate) async fn demands(&self, running: &Running, subject: &str, role: Role) -> Vec<ListingDemand> {
        let mut client = MarketingServiceClient::new(self.mesh.user(NAME, running.address, subject, role));
        let answer = client.list_listing_demands(ListListingDemandsRequest::default()).await.expect("lists");
        answer.into_inner().listing_demands
    }

    /// Waits until a listing has so many confirmed, cancelled, and requests for more.
    pub(crate) async fn until(&self, running: &Running, listing: &Listing, counts: (i32, i32, i32)) {
        eventually(SOON, || async {
            let demands = self.demands(running, "olga", Role::Operator).await;
            let of = |it: &&ListingDemand| it.listing == listing.name;
            demands
                .iter()
                .find(of)
                .is_some_and(|it| (it.confirmed_count, it.cancelled_count, it.increment_request_count) == counts)
        })
        .await;
    }
}

pub(crate) fn date(ahead: i32) -> Day {
    Zone::named("Etc/UTC").expect("a zone").day_at(Micros::now()).plus(ahead)
}

pub(crate) fn listing(host: &str, capacity: i32) -> Listing {
    Listing {
        name: format_name("listings", Id::generate()),
        host: host.to_owned(),
        default_capacity: capacity,
        ..Default::default()
    }
}

pub(crate) fn registered(listing: &Listing) -> NewEvent {
    event(&ListingRegistered { listing: Some(listing.clone()) }, 1)
}

/// Of a stock: what it offers in all.
pub(crate) fn modified(listing: &Listing, default_capacity: i32, version: i64) -> NewEvent {
    event(&ListingModified { listing: Some(Listing { default_capacity, ..listing.clone() }) }, version)
}

/// From a date to the day before another.
pub(crate) fn capacity(listing: &Listing, (from, to): (Day, Day), capacity: i32, version: i64) -> NewEvent {
    let dates = Some(DateRange { start_date: Some(from.into()), end_date: Some(to.into()) });
    event(&CapacityChanged { listing: listing.name.clone(), dates, capacity }, version)
}

pub(crate) fn reservation(listing: &Listing, slot: Option<Slot>, units: i32) -> Reservation {
    Reservation {
        name: format_name("reservations", Id::generate()),
        listing: listing.name.clone(),
        host: listing.host.clone(),
        slot,
        units,
        ..Default::default()
    }
}

pub(crate) fn confirmed(told: &Reservation) -> NewEvent {
    event(&ReservationConfirmed { reservation: Some(told.clone()) }, 2)
}

pub(crate) fn cancelled(told: &Reservation) -> NewEvent {
    event(&ReservationCancelled { reservation: Some(told.clone()) }, 4)
}

fn event<E: Event>(event: &E, version: i64) -> NewEvent {
    NewEvent::of(event, Id::generate(), version, event.key(), None, Micros::now())
}
