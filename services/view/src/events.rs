//! Incoming events to facts: which rows they touch, and one line for a person.

use std::num::TryFromIntError;

use diesel::QueryResult;
use diesel::result::Error::DeserializationError;
use mesh::consumer::HandlerError;
use mesh::crash_point;
use mesh::event::Received;
use mesh::store::{Conn, Id};
use mesh::value::{Day, Money, id_of};
use prost::Message as _;
use proto::contract::Event;
use proto::google::r#type;
use proto::listing::v1::notification::Channel;
use proto::{listing, message, mileage, payment, reservation, voucher};

use crate::projection::{Change, Entry, Fact, Latest, Listing, Payment, Reservation, Review, Trip, Voucher};
use crate::store;

/// Folds a batch of events into the rows that are served, and keeps them for a rebuild that is under way, in the caller's transaction.
///
/// # Errors
/// As for [`project`].
pub(crate) fn follow(conn: &mut Conn, events: &[Received]) -> Result<(), HandlerError> {
    project(conn, events)?;
    store::journal::keep(conn, events).map_err(HandlerError::from)
}

/// Folds a batch of events into the rows, in the caller's transaction.
///
/// # Errors
/// [`HandlerError::Poison`] for an event that lacks what its row needs; [`HandlerError::Retry`] when the database refuses.
pub(crate) fn project(conn: &mut Conn, events: &[Received]) -> Result<(), HandlerError> {
    let mut facts = Vec::with_capacity(events.len());
    for event in events {
        facts.extend(fact(event)?);
    }
    store::apply(conn, facts)?;
    crash_point!("view.fold.uncommitted");
    Ok(())
}

/// Fills the columns of listings that an older version has written without them.
///
/// # Errors
/// Whatever the database refuses, and a message that cannot be read.
pub(crate) fn fill_listings(conn: &mut Conn) -> QueryResult<()> {
    for (id, snapshot) in store::unfilled_listings(conn)? {
        let told =
            listing::v1::Listing::decode(snapshot.as_slice()).map_err(|error| DeserializationError(error.into()))?;
        let listing = Listing::try_from(told).map_err(|error| DeserializationError(error.into()))?;
        store::fill_listing(conn, id, &listing)?;
    }
    Ok(())
}

/// What the event says; `None` for a kind that no view shows.
pub(crate) fn fact(event: &Received) -> Result<Option<Fact>, HandlerError> {
    use listing::v1::{HoldCommitted, HoldPlaced, HoldReleased, ListingDeleted, ListingModified, ListingRegistered};
    use listing::v1::{ReviewCreated, ReviewDeleted, ReviewModified};
    use message::v1::{MessageFailed, MessageSent};
    use mileage::v1::{MileageDecreased, MileageIncreased};
    use payment::v1::{PaymentApproved, PaymentCancelled, PaymentDeclined};
    use reservation::v1::{ReservationApproved, ReservationConfirmed, ReservationPaid, ReservationRequested};
    use reservation::v1::{ReservationCancelRequested, ReservationCancelled, ReservationForceCancelled};
    use reservation::v1::{ReservationCompleted, ReservationExpired, ReservationRejected};
    use voucher::v1::{VoucherCancelled, VoucherIssued};

    let source = Source(event);
    let fact = match event.kind.as_str() {
        ReservationRequested::TYPE => {
            source.reservation(decode::<ReservationRequested>(event)?.reservation, &titled("reservation requested"))
        }
        ReservationApproved::TYPE => source.reservation(decode::<ReservationApproved>(event)?.reservation, &approved),
        ReservationRejected::TYPE => source.reservation(decode::<ReservationRejected>(event)?.reservation, &rejected),
        ReservationPaid::TYPE => source.reservation(decode::<ReservationPaid>(event)?.reservation, &titled("paid")),
        ReservationConfirmed::TYPE => {
            source.reservation(decode::<ReservationConfirmed>(event)?.reservation, &titled("reservation confirmed"))
        }
        ReservationExpired::TYPE => {
            let what = "expired, neither approved nor paid in time";
            source.reservation(decode::<ReservationExpired>(event)?.reservation, &titled(what))
        }
        ReservationForceCancelled::TYPE => {
            let what = "cancelled because its listing was deleted";
            source.reservation(decode::<ReservationForceCancelled>(event)?.reservation, &titled(what))
        }
        ReservationCompleted::TYPE => {
            source.reservation(decode::<ReservationCompleted>(event)?.reservation, &titled("reservation completed"))
        }
        ReservationCancelRequested::TYPE => {
            let what = "cancellation requested";
            source.reservation(decode::<ReservationCancelRequested>(event)?.reservation, &titled(what))
        }
        ReservationCancelled::TYPE => {
            source.reservation(decode::<ReservationCancelled>(event)?.reservation, &titled("reservation cancelled"))
        }
        HoldPlaced::TYPE => source.hold(decode::<HoldPlaced>(event)?.hold, "place held"),
        HoldCommitted::TYPE => source.hold(decode::<HoldCommitted>(event)?.hold, "place taken for good"),
        HoldReleased::TYPE => source.hold(decode::<HoldReleased>(event)?.hold, "place given back"),
        PaymentApproved::TYPE => source.payment(decode::<PaymentApproved>(event)?.payment, "payment approved"),
        PaymentDeclined::TYPE => source.payment(decode::<PaymentDeclined>(event)?.payment, "payment declined"),
        PaymentCancelled::TYPE => source.payment(decode::<PaymentCancelled>(event)?.payment, "payment cancelled"),
        MileageIncreased::TYPE => source.miles(decode::<MileageIncreased>(event)?.mileage_entry, "miles earned"),
        MileageDecreased::TYPE => source.miles(decode::<MileageDecreased>(event)?.mileage_entry, "miles taken back"),
        MessageSent::TYPE => source.message(decode::<MessageSent>(event)?.message, 1, "message sent"),
        MessageFailed::TYPE => source.message(decode::<MessageFailed>(event)?.message, 0, "message given up"),
        VoucherIssued::TYPE => source.voucher(decode::<VoucherIssued>(event)?.voucher, "issued"),
        VoucherCancelled::TYPE => source.voucher(decode::<VoucherCancelled>(event)?.voucher, "cancelled"),
        ListingRegistered::TYPE => source.listing(decode::<ListingRegistered>(event)?.listing),
        ListingModified::TYPE => source.listing(decode::<ListingModified>(event)?.listing),
        ListingDeleted::TYPE => source.listing(decode::<ListingDeleted>(event)?.listing),
        ReviewCreated::TYPE => {
            let told = decode::<ReviewCreated>(event)?;
            source.review(told.review, &told.listing, true)
        }
        ReviewModified::TYPE => {
            let told = decode::<ReviewModified>(event)?;
            source.review(told.review, &told.listing, true)
        }
        ReviewDeleted::TYPE => {
            let told = decode::<ReviewDeleted>(event)?;
            source.review(told.review, &told.listing, false)
        }
        _ => return Ok(None),
    };
    fact.map(Some).ok_or_else(|| poison(event, "lacks what its row needs"))
}

fn decode<E: Event>(event: &Received) -> Result<E, HandlerError> {
    event.decode().map_err(|error| poison(event, &error.to_string()))
}

fn poison(event: &Received, why: &str) -> HandlerError {
    HandlerError::Poison(format!("{} {}: {why}", event.kind, event.id))
}

/// The event a fact is made from. Each method answers `None` when the event lacks something.
struct Source<'a>(&'a Received);

impl Source<'_> {
    fn reservation(&self, told: Option<reservation::v1::Reservation>, line: &Line<'_>) -> Option<Fact> {
        let told = told?;
        let id = id_of("reservations", &told.name)?;
        let summary = format!("{}{}", line(&told), next(&told));
        let reservation = Reservation {
            listing: id_of("listings", &told.listing)?,
            state: number(told.state)?,
            snapshot: told.encode_to_vec(),
            customer: told.customer,
            host: told.host,
        };
        let trip = Trip { reservation: self.latest(reservation)?, ..Trip::touched(self.0.time) };
        Some(self.about(id, trip, summary))
    }

    fn hold(&self, told: Option<listing::v1::Hold>, what: &str) -> Option<Fact> {
        let told = told?;
        let id = id_of("reservations", &told.reservation)?;
        let unit = if told.units == 1 { "unit" } else { "units" };
        let slot = match &told.slot {
            Some(listing::v1::hold::Slot::Stay(stay)) => nights(stay),
            Some(listing::v1::hold::Slot::Date(date)) => on(date),
            None => String::new(),
        };
        let summary = format!("{what}: {} {unit}{slot}", told.units);
        let trip = Trip { hold: self.latest(number(told.state)?)?, ..Trip::touched(self.0.time) };
        Some(self.about(id, trip, summary))
    }

    fn payment(&self, told: Option<payment::v1::Payment>, what: &str) -> Option<Fact> {
        let told = told?;
        let id = id_of("reservations", &told.reservation)?;
        let payment = Payment { id: id_of("payments", &told.name)?, state: number(told.state)? };
        let mut summary = format!("{what}{}", price(told.amount.as_ref()));
        if !told.decline_code.is_empty() {
            summary = format!("{summary} ({})", told.decline_code);
        }
        let trip = Trip { payment: self.latest(payment)?, ..Trip::touched(self.0.time) };
        Some(self.about(id, trip, summary))
    }

    fn voucher(&self, told: Option<voucher::v1::Voucher>, what: &str) -> Option<Fact> {
        let told = told?;
        let id = id_of("reservations", &told.reservation)?;
        let summary = format!("voucher {} {what}", told.ticket_number);
        let voucher = Voucher {
            id: id_of("vouchers", &told.name)?,
            state: number(told.state)?,
            ticket_number: told.ticket_number,
        };
        let trip = Trip { voucher: self.latest(voucher)?, ..Trip::touched(self.0.time) };
        Some(self.about(id, trip, summary))
    }

    fn miles(&self, told: Option<mileage::v1::MileageEntry>, what: &str) -> Option<Fact> {
        let told = told?;
        let id = id_of("reservations", &told.reservation)?;
        let summary = format!("{what}: {}, balance {}", told.points.unsigned_abs(), told.balance);
        let trip = Trip { mileage_points: told.points, ..Trip::touched(self.0.time) };
        Some(self.about(id, trip, summary))
    }

    fn message(&self, told: Option<message::v1::Message>, delivered: i32, what: &str) -> Option<Fact> {
        let told = told?;
        let id = id_of("reservations", &told.reservation)?;
        let topic = words(told.topic().as_str_name().trim_start_matches("TOPIC_"));
        let channel = match told.channel() {
            Channel::Sms => ", by SMS",
            Channel::Alarm => ", by alarm",
            Channel::Message | Channel::Unspecified => "",
        };
        let trip = Trip { message_count: delivered, ..Trip::touched(self.0.time) };
        Some(self.about(id, trip, format!("{what}: {topic}{channel}")))
    }

    fn listing(&self, told: Option<listing::v1::Listing>) -> Option<Fact> {
        let told = told?;
        let id = id_of("listings", &told.name)?;
        Some(Fact { change: Change::Listing(id, self.latest(Listing::try_from(told).ok()?)?), entry: None })
    }

    fn review(&self, told: Option<listing::v1::Review>, listing: &str, present: bool) -> Option<Fact> {
        // `listings/{listing}/reviews/{review}`.
        let id = told?.name.rsplit('/').next()?.parse().ok()?;
        let review = Review { listing: id_of("listings", listing)?, present };
        Some(Fact { change: Change::Review(id, self.latest(review)?), entry: None })
    }

    fn latest<T>(&self, value: T) -> Option<Latest<T>> {
        (self.0.version > 0).then(|| Latest::new(self.0.version, value))
    }

    fn about(&self, reservation: Id, trip: Trip, summary: String) -> Fact {
        let event = self.0;
        let entry = Entry {
            reservation,
            event: event.id,
            at: event.time,
            kind: event.kind.clone(),
            resource: event.aggregate.clone(),
            version: event.version,
            causation: event.causation,
            trace_id: event.traceparent.as_deref().and_then(trace_id),
            summary,
        };
        Fact { change: Change::Trip(reservation, trip), entry: Some(entry) }
    }
}

/// As the row of a listing is filled, from its event or from an older row.
impl TryFrom<listing::v1::Listing> for Listing {
    type Error = TryFromIntError;

    fn try_from(told: listing::v1::Listing) -> Result<Self, TryFromIntError> {
        Ok(Self {
            snapshot: told.encode_to_vec(),
            kind: told.kind.try_into()?,
            host: told.host,
            region: told.region,
            grade: told.grade,
        })
    }
}

/// A state of the contract as stored; `None` for the unspecified one.
fn number(state: i32) -> Option<i16> {
    i16::try_from(state).ok().filter(|state| *state != 0)
}

/// What happened to a reservation, for a person.
type Line<'a> = dyn Fn(&reservation::v1::Reservation) -> String + 'a;

fn titled(what: &str) -> impl Fn(&reservation::v1::Reservation) -> String {
    use reservation::v1::reservation::Slot;

    move |told| {
        let slot = match &told.slot {
            Some(Slot::Stay(stay)) => nights(stay),
            Some(Slot::Date(date)) => on(date),
            None => String::new(),
        };
        format!("{what}: {}{slot}", told.listing_display_name)
    }
}

fn approved(told: &reservation::v1::Reservation) -> String {
    format!("approved by its host, number {}", told.approval_number)
}

/// With the host's words, or a reason like PAYMENT_DECLINED.
fn rejected(told: &reservation::v1::Reservation) -> String {
    let reason = &told.reject_reason;
    if reason.is_empty() {
        "rejected".to_owned()
    } else if reason.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') {
        format!("rejected: {}", words(reason))
    } else {
        format!("rejected: {reason}")
    }
}

/// What a reservation waits for, if anything.
fn next(told: &reservation::v1::Reservation) -> &'static str {
    use reservation::v1::reservation::State;

    match told.state() {
        State::AwaitingApproval if told.approval_number.is_empty() => "; awaits its host's approval",
        State::AwaitingPayment => "; awaits its payment",
        _ => "",
    }
}

/// UPPER_SNAKE_CASE as a person writes it.
fn words(name: &str) -> String {
    name.replace('_', " ").to_lowercase()
}

fn nights(stay: &listing::v1::Stay) -> String {
    let days = || {
        let check_in = Day::try_from(stay.check_in_date.as_ref()?).ok()?;
        let check_out = Day::try_from(stay.check_out_date.as_ref()?).ok()?;
        Some(format!(", {check_in} to {check_out}"))
    };
    days().unwrap_or_default()
}

fn on(date: &r#type::Date) -> String {
    Day::try_from(date).map(|day| format!(", {day}")).unwrap_or_default()
}

fn price(amount: Option<&r#type::Money>) -> String {
    amount.and_then(|amount| Money::try_from(amount).ok()).map(|amount| format!(": {amount}")).unwrap_or_default()
}

/// The 16 bytes in `00-<trace id>-<span id>-<flags>` (W3C Trace Context).
fn trace_id(traceparent: &str) -> Option<Vec<u8>> {
    let text = traceparent.split('-').nth(1).filter(|id| id.len() == 32)?;
    u128::from_str_radix(text, 16).ok().map(|id| id.to_be_bytes().to_vec())
}
