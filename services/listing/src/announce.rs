//! What listing tells the others: one event for each fact, stored in the transaction that made it one.

use diesel::QueryResult;
use mesh::event::{NewEvent, Received};
use mesh::outbox;
use mesh::store::{Conn, Id, Micros};
use proto::contract::Event;
use proto::listing::v1 as pb;

use crate::NAME;
use crate::domain::{Days, Hold, Listing, Review};
use crate::wire;

/// Where an event comes from. It is noted before the transaction, which runs on a thread that knows nothing of the call.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) at: Micros,
    causation: Option<Id>,
    traceparent: Option<String>,
}

impl Origin {
    /// The call being answered.
    pub(crate) fn call(at: Micros) -> Self {
        Self { at, causation: None, traceparent: mesh::telemetry::current_traceparent() }
    }

    /// An event that arrived.
    pub(crate) fn event(event: &Received, at: Micros) -> Self {
        Self { at, causation: Some(event.id), traceparent: event.traceparent.clone() }
    }

    fn new_event<E: Event>(&self, event: &E, version: i64, correlation: Id) -> NewEvent {
        let new = NewEvent::of(event, Id::generate(), version, &correlation.to_string(), self.causation, self.at);
        NewEvent { traceparent: self.traceparent.clone(), ..new }
    }
}

/// What became of a listing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ListingFact {
    Registered,
    Modified,
    Deleted,
}

pub(crate) fn listing(conn: &mut Conn, origin: &Origin, fact: ListingFact, listing: &Listing) -> QueryResult<()> {
    let (id, version) = (listing.id, listing.version);
    let listing = Some(wire::listing(listing));
    let event = match fact {
        ListingFact::Registered => origin.new_event(&pb::ListingRegistered { listing }, version, id),
        ListingFact::Modified => origin.new_event(&pb::ListingModified { listing }, version, id),
        ListingFact::Deleted => origin.new_event(&pb::ListingDeleted { listing }, version, id),
    };
    outbox::push(conn, NAME, &event)
}

/// Of dates; a stock has no capacity but its listing's. `version` is the listing's after the change.
pub(crate) fn capacity(
    conn: &mut Conn,
    origin: &Origin,
    listing: Id,
    version: i64,
    dates: Days,
    capacity: i32,
) -> QueryResult<()> {
    let dates = Some(wire::date_range(&dates));
    let event = pb::CapacityChanged { listing: wire::listing_name(listing), dates, capacity };
    outbox::push(conn, NAME, &origin.new_event(&event, version, listing))
}

/// The event of a hold in its present state.
pub(crate) fn hold(origin: &Origin, hold: &Hold) -> NewEvent {
    use crate::domain::HoldState::{Committed, Completed, Held, Released};
    let (reservation, version) = (hold.reservation, hold.version);
    let message = Some(wire::hold(hold));
    match hold.state {
        Held => origin.new_event(&pb::HoldPlaced { hold: message }, version, reservation),
        Committed => origin.new_event(&pb::HoldCommitted { hold: message }, version, reservation),
        Released | Completed => origin.new_event(&pb::HoldReleased { hold: message }, version, reservation),
    }
}

/// What became of a review.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReviewFact {
    Created,
    Modified,
    Deleted,
}

/// `version` is the review's after the change, `review` the text to tell: after the change, or before a deletion.
pub(crate) fn review(
    conn: &mut Conn,
    origin: &Origin,
    fact: ReviewFact,
    version: i64,
    review: &Review,
    review_count: i32,
) -> QueryResult<()> {
    let (listing, id) = (wire::listing_name(review.listing), review.id);
    let review = Some(wire::review(review));
    let event = match fact {
        ReviewFact::Created => origin.new_event(&pb::ReviewCreated { review, listing, review_count }, version, id),
        ReviewFact::Modified => origin.new_event(&pb::ReviewModified { review, listing, review_count }, version, id),
        ReviewFact::Deleted => origin.new_event(&pb::ReviewDeleted { review, listing, review_count }, version, id),
    };
    outbox::push(conn, NAME, &event)
}
