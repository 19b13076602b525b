//! The fold of facts into rows: pure, and the same whatever the order.
//!
//! The streams are read independently, so a payment may be known before its reservation and an old state after a newer one. Every part
//! of a row therefore merges: what an aggregate told last is the telling with the highest version, what adds up is a sum over events that are
//! each counted once. Merging is commutative and associative, so the batches of all consumers, on any number of replicas, lead to the same
//! rows; the database does the same merge when a batch is written (see `store`), without reading first.

use std::collections::HashSet;
use std::collections::btree_map::{BTreeMap, Entry as Row};

use mesh::store::{Id, Micros};

/// What an event says, as far as the views care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) change: Change,
    /// The line in its reservation's timeline. Each event that belongs to a reservation has one.
    pub(crate) entry: Option<Entry>,
}

/// What an event changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A part of a trip.
    Trip(Id, Trip),
    /// A listing as told.
    Listing(Id, Latest<Listing>),
    /// A review is there, or no longer.
    Review(Id, Latest<Review>),
}

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) reservation: Id,
    pub(crate) event: Id,
    pub(crate) at: Micros,
    pub(crate) kind: String,
    pub(crate) resource: String,
    pub(crate) version: i64,
    pub(crate) causation: Option<Id>,
    pub(crate) trace_id: Option<Vec<u8>>,
    pub(crate) summary: String,
}

/// What an aggregate told last: a value and the version it came with, which is above zero. An older telling never replaces a newer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Latest<T>(Option<(i64, T)>);

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Latest<T> {
    pub(crate) fn new(version: i64, value: T) -> Self {
        Self(Some((version, value)))
    }

    /// 0 when nothing was told yet.
    pub(crate) fn version(&self) -> i64 {
        self.0.as_ref().map_or(0, |(version, _)| *version)
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|(_, value)| value)
    }

    fn merge(&mut self, other: Self) {
        if other.version() > self.version() {
            *self = other;
        }
    }
}

/// One reservation across the services, or what some events say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trip {
    pub(crate) reservation: Latest<Reservation>,
    /// The hold's state, as the contract numbers it.
    pub(crate) hold: Latest<i16>,
    pub(crate) payment: Latest<Payment>,
    pub(crate) voucher: Latest<Voucher>,
    /// Earned and not given back.
    pub(crate) mileage_points: i64,
    /// Delivered messages.
    pub(crate) message_count: i32,
    /// When the latest of its events happened.
    pub(crate) updated_at: Micros,
}

/// A reservation as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) listing: Id,
    pub(crate) customer: String,
    pub(crate) host: String,
    /// As the contract numbers it.
    pub(crate) state: i16,
    /// The message of the contract, encoded.
    pub(crate) snapshot: Vec<u8>,
}

/// A payment as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payment {
    pub(crate) id: Id,
    /// As the contract numbers it.
    pub(crate) state: i16,
}

/// A voucher as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Voucher {
    pub(crate) id: Id,
    /// As the contract numbers it.
    pub(crate) state: i16,
    pub(crate) ticket_number: String,
}

/// A listing as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) host: String,
    /// As the contract numbers it.
    pub(crate) kind: i16,
    pub(crate) region: String,
    pub(crate) grade: String,
    /// The message of the contract, encoded.
    pub(crate) snapshot: Vec<u8>,
}

/// A review as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Review {
    pub(crate) listing: Id,
    pub(crate) present: bool,
}

impl Trip {
    /// A trip of which nothing more is known than that something happened then.
    pub(crate) fn touched(at: Micros) -> Self {
        Self {
            reservation: Latest::default(),
            hold: Latest::default(),
            payment: Latest::default(),
            voucher: Latest::default(),
            mileage_points: 0,
            message_count: 0,
            updated_at: at,
        }
    }

    /// Adds what other events say. The order does not matter.
    pub(crate) fn merge(&mut self, other: Self) {
        self.reservation.merge(other.reservation);
        self.hold.merge(other.hold);
        self.payment.merge(other.payment);
        self.voucher.merge(other.voucher);
        self.mileage_points += other.mileage_points;
        self.message_count += other.message_count;
        self.updated_at = self.updated_at.max(other.updated_at);
    }
}

/// What a batch of facts changes, one value for each row. Ordered, so that two replicas lock rows in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) trips: BTreeMap<Id, Trip>,
    pub(crate) listings: BTreeMap<Id, Latest<Listing>>,
    pub(crate) reviews: BTreeMap<Id, Latest<Review>>,
}

impl Changes {
    /// Folds the facts whose timeline entry is new, each once, and those that have none.
    pub(crate) fn fold(facts: Vec<Fact>, mut new: HashSet<Id>) -> Self {
        let mut changes = Self::default();
        for fact in facts {
            if fact.entry.is_none_or(|entry| new.remove(&entry.event)) {
                changes.add(fact.change);
            }
        }
        changes
    }

    fn add(&mut self, change: Change) {
        match change {
            Change::Trip(id, trip) => match self.trips.entry(id) {
                Row::Vacant(row) => {
                    row.insert(trip);
                }
                Row::Occupied(mut row) => row.get_mut().merge(trip),
            },
            Change::Listing(id, listing) => self.listings.entry(id).or_default().merge(listing),
            Change::Review(id, review) => self.reviews.entry(id).or_default().merge(review),
        }
    }
}
