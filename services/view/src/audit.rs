//! What the rows say, for comparison with the services they come from, and whether they contradict themselves.

use std::collections::BTreeMap;

use diesel::QueryResult;
use mesh::store::{Conn, Id};
use prost::Message as _;
use proto::contract::Event;
use proto::listing;
use proto::message::v1::MessageSent;

use crate::projection::{self, Entry};
use crate::store;

/// A trip, as far as an audit compares it. States are numbered as in the contracts; 0 is none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trip {
    /// The reservation.
    pub reservation: Id,
    /// What is reserved; `None` until the reservation's own events have come.
    pub listing: Option<Id>,
    /// The reservation's state.
    pub reservation_state: i16,
    /// The hold's state.
    pub hold_state: i16,
    /// The payment's state.
    pub payment_state: i16,
    /// The voucher's state.
    pub voucher_state: i16,
    /// Miles earned and not given back.
    pub mileage_points: i64,
    /// Messages delivered.
    pub message_count: i32,
}

/// The whole service in rows.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every trip, oldest first, beginnings included.
    pub trips: Vec<Trip>,
    /// Confirmed reservations of each listing.
    pub confirmed: BTreeMap<Id, i64>,
    /// Events in the timelines, of each service.
    pub events: BTreeMap<String, i64>,
    /// Rules of this service that its rows break; empty when all is well.
    pub violations: Vec<String>,
}

/// Reads everything. Takes memory and time in proportion to the rows.
///
/// # Errors
/// Whatever the database refuses.
pub fn read(conn: &mut Conn) -> QueryResult<Report> {
    let mut report = Report { confirmed: store::confirmed_counts(conn)?, ..Report::default() };
    for (kind, count) in store::event_counts(conn)? {
        let service = kind.split('.').nth(1).unwrap_or_default().to_owned();
        *report.events.entry(service).or_default() += count;
    }
    for (id, trip) in store::all_trips(conn)? {
        report.violations.extend(violations(id, &trip, &store::timeline_of(conn, id)?));
        report.trips.push(Trip {
            reservation: id,
            listing: trip.reservation.get().map(|told| told.listing),
            reservation_state: trip.reservation.get().map_or(0, |told| told.state),
            hold_state: trip.hold.get().copied().unwrap_or(0),
            payment_state: trip.payment.get().map_or(0, |told| told.state),
            voucher_state: trip.voucher.get().map_or(0, |told| told.state),
            mileage_points: trip.mileage_points,
            message_count: trip.message_count,
        });
    }
    report.violations.extend(store::all_listings(conn)?.into_iter().filter_map(|(id, kept)| {
        let told = listing::v1::Listing::decode(kept.snapshot.as_slice()).ok().and_then(|told| told.try_into().ok());
        (told != Some(kept)).then(|| format!("listing {id}: the columns are not its message's"))
    }));
    Ok(report)
}

/// Compares a trip with its timeline, which was written event by event.
fn violations(id: Id, trip: &projection::Trip, timeline: &[Entry]) -> Vec<String> {
    let last = |kinds: &str| {
        timeline.iter().filter(|entry| entry.kind.starts_with(kinds)).map(|entry| entry.version).max().unwrap_or(0)
    };
    let sent = timeline.iter().filter(|entry| entry.kind == MessageSent::TYPE).count();
    let mut found = Vec::new();
    let mut check = |holds: bool, rule: &str| {
        if !holds {
            found.push(format!("trip {id}: {rule}"));
        }
    };
    check(trip.reservation.version() == last("holdfast.reservation.v1."), "the reservation is not as last told");
    check(trip.hold.version() == last("holdfast.listing.v1.Hold"), "the hold is not as last told");
    check(trip.payment.version() == last("holdfast.payment.v1."), "the payment is not as last told");
    check(trip.voucher.version() == last("holdfast.voucher.v1."), "the voucher is not as last told");
    check(usize::try_from(trip.message_count) == Ok(sent), "the messages are not those in the timeline");
    check(
        timeline.iter().map(|entry| entry.at).max() == Some(trip.updated_at),
        "the last change is not the last event's",
    );
    check(trip.mileage_points >= 0, "more miles were taken back than earned");
    found
}
