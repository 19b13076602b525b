//! What the services tell of a listing, of a booking, and of its cancellation.

use std::time::Duration;

use mesh::event::NewEvent;
use mesh::store::{Id, Micros};
use mesh::value::{Currency, Day, Money, format_name};
use proto::contract::Event;
use proto::listing::v1::{
    self as listing, Hold, HoldCommitted, HoldPlaced, HoldReleased, Listing, ListingModified, ListingRegistered,
    Review, ReviewCreated, ReviewDeleted, Stay, hold, notification,
};
use proto::message::v1::{Message, MessageSent, message};
use proto::mileage::v1::{MileageDecreased, MileageEntry, MileageIncreased, mileage_entry};
use proto::payment::v1::{Payment, PaymentApproved, PaymentCancelled, payment};
use proto::reservation::v1::{
    Reservation, ReservationApproved, ReservationCancelRequested, ReservationCancelled, ReservationCompleted,
    ReservationConfirmed, ReservationExpired, ReservationForceCancelled, ReservationPaid, ReservationRejected,
    ReservationRequested, reservation,
};
use proto::voucher::v1::{Voucher, VoucherCancelled, VoucherIssued, voucher};

pub(crate) const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A listing, its host, and its reviews.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) id: Id,
    pub(crate) host: &'static str,
    kind: listing::listing::Kind,
    region: &'static str,
    grade: &'static str,
    at: Micros,
}

impl Place {
    pub(crate) fn of(host: &'static str) -> Self {
        Self::with(host, listing::listing::Kind::Room, "Jeju", "basic")
    }

    pub(crate) fn with(
        host: &'static str,
        kind: listing::listing::Kind,
        region: &'static str,
        grade: &'static str,
    ) -> Self {
        Self { id: Id::generate(), host, kind, region, grade, at: Micros::now() }
    }

    /// Registered, renamed, two reviews written, one of them deleted.
    pub(crate) fn events(&self) -> Vec<NewEvent> {
        let (kept, deleted) = (Id::generate(), Id::generate());
        vec![
            self.event(&ListingRegistered { listing: Some(self.listing("Sea Hut", 1)) }, 1, 0),
            self.event(&self.created(kept, 1), 1, 1),
            self.event(&self.created(deleted, 2), 1, 2),
            self.event(
                &ReviewDeleted { review: Some(self.review(deleted)), listing: self.name(), review_count: 1 },
                2,
                3,
            ),
            self.event(&ListingModified { listing: Some(self.listing("Sea View", 2)) }, 2, 4),
        ]
    }

    fn created(&self, id: Id, count: i32) -> ReviewCreated {
        ReviewCreated { review: Some(self.review(id)), listing: self.name(), review_count: count }
    }

    pub(crate) fn name(&self) -> String {
        format_name("listings", self.id)
    }

    fn listing(&self, title: &str, version: i64) -> Listing {
        Listing {
            name: self.name(),
            host: self.host.to_owned(),
            display_name: title.to_owned(),
            kind: self.kind.into(),
            region: self.region.to_owned(),
            grade: self.grade.to_owned(),
            price: Some(won(60_000)),
            default_capacity: 3,
            time_zone: "Asia/Seoul".to_owned(),
            state: listing::listing::State::Active.into(),
            etag: mesh::value::etag(version),
            ..Listing::default()
        }
    }

    fn review(&self, id: Id) -> Review {
        let name = format!("{}/reviews/{id}", self.name());
        Review { name, author: "users/alice".to_owned(), content: "Quiet.".to_owned(), ..Review::default() }
    }

    fn event(&self, event: &impl Event, version: i64, step: u64) -> NewEvent {
        NewEvent::of(
            event,
            Id::generate(),
            version,
            &self.id.to_string(),
            None,
            self.at.plus(Duration::from_millis(step)),
        )
    }
}

/// What a reservation is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// Two nights.
    Nights,
    /// A date.
    Date,
    /// Units of a stock.
    AnyTime,
}

/// The approval's number.
pub(crate) const APPROVAL: &str = "7K3M-0001";
/// The voucher's.
pub(crate) const TICKET: &str = "7K3M-PW9X-R2TD";

/// One reservation for KRW 120000, which earns 30 miles.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) reservation: Id,
    pub(crate) payment: Id,
    pub(crate) voucher: Id,
    pub(crate) customer: &'static str,
    when: When,
    note: String,
    place: Place,
    at: Micros,
}

impl Story {
    pub(crate) fn of(place: &Place, customer: &'static str) -> Self {
        Self {
            reservation: Id::generate(),
            payment: Id::generate(),
            voucher: Id::generate(),
            customer,
            when: When::Nights,
            note: String::new(),
            place: place.clone(),
            at: Micros::now(),
        }
    }

    pub(crate) fn on(self, when: When) -> Self {
        Self { when, ..self }
    }

    /// With a note of so many bytes.
    pub(crate) fn noted(self, bytes: usize) -> Self {
        Self { note: "x".repeat(bytes), ..self }
    }

    pub(crate) fn name(&self) -> String {
        format_name("reservations", self.reservation)
    }

    /// The eight events of a booking, in the order in which they happen.
    pub(crate) fn booking(&self) -> Vec<NewEvent> {
        let confirmed =
            self.event(&ReservationConfirmed { reservation: Some(self.told(reservation::State::Confirmed, 2)) }, 2, 4);
        let (approved, waits) = (payment::State::Approved, message::Topic::ReservationConfirmed);
        vec![
            self.event(&HoldPlaced { hold: Some(self.hold(hold::State::Held)) }, 1, 0),
            self.event(&PaymentApproved { payment: Some(self.paid(approved)) }, 1, 1),
            self.event(&MileageIncreased { mileage_entry: Some(self.miles(mileage_entry::Kind::Accrual, 30)) }, 1, 2),
            self.event(&ReservationRequested { reservation: Some(self.told(reservation::State::Requested, 1)) }, 1, 3),
            NewEvent {
                causation: Some(confirmed.id),
                ..self.event(&HoldCommitted { hold: Some(self.hold(hold::State::Committed)) }, 2, 5)
            },
            NewEvent { causation: Some(confirmed.id), ..self.event(&self.sent(waits), 1, 6) },
            self.event(&self.sent(message::Topic::MileageIncreased), 1, 7),
            confirmed,
        ]
    }

    /// The seven events of its cancellation.
    pub(crate) fn cancellation(&self) -> Vec<NewEvent> {
        let requested =
            ReservationCancelRequested { reservation: Some(self.told(reservation::State::CancelRequested, 3)) };
        vec![
            self.event(&requested, 3, 100),
            self.event(&PaymentCancelled { payment: Some(self.paid(payment::State::Cancelled)) }, 2, 101),
            self.event(
                &MileageDecreased { mileage_entry: Some(self.miles(mileage_entry::Kind::Reversal, -30)) },
                1,
                102,
            ),
            self.event(
                &ReservationCancelled { reservation: Some(self.told(reservation::State::Cancelled, 4)) },
                4,
                103,
            ),
            self.event(&HoldReleased { hold: Some(self.hold(hold::State::Released)) }, 3, 104),
            self.event(&self.sent(message::Topic::ReservationCancelled), 1, 105),
            self.event(&self.sent(message::Topic::MileageDecreased), 1, 106),
        ]
    }

    /// Requested, approved, paid, confirmed with a voucher, completed: nine events.
    pub(crate) fn approved(&self) -> Vec<NewEvent> {
        use reservation::State::{AwaitingApproval, AwaitingPayment, Completed, Confirmed};

        let approved = Reservation { approval_number: APPROVAL.to_owned(), ..self.told(AwaitingPayment, 2) };
        vec![
            self.event(&HoldPlaced { hold: Some(self.hold(hold::State::Held)) }, 1, 0),
            self.event(&ReservationRequested { reservation: Some(self.told(AwaitingApproval, 1)) }, 1, 1),
            self.event(&ReservationApproved { reservation: Some(approved) }, 2, 2),
            self.event(&PaymentApproved { payment: Some(self.paid(payment::State::Approved)) }, 1, 3),
            self.event(&ReservationConfirmed { reservation: Some(self.told(Confirmed, 3)) }, 3, 4),
            self.event(&HoldCommitted { hold: Some(self.hold(hold::State::Committed)) }, 2, 5),
            self.event(&VoucherIssued { voucher: Some(self.ticket(voucher::State::Issued)) }, 1, 6),
            self.event(&ReservationCompleted { reservation: Some(self.told(Completed, 4)) }, 4, 7),
            self.event(&HoldReleased { hold: Some(self.hold(hold::State::Completed)) }, 3, 8),
        ]
    }

    /// Paid late, then rejected: three events.
    pub(crate) fn rejected(&self, reason: &str) -> Vec<NewEvent> {
        use reservation::State::{AwaitingApproval, AwaitingPayment, Rejected};

        let rejected = Reservation { reject_reason: reason.to_owned(), ..self.told(Rejected, 3) };
        vec![
            self.event(&ReservationRequested { reservation: Some(self.told(AwaitingPayment, 1)) }, 1, 0),
            self.event(&ReservationPaid { reservation: Some(self.told(AwaitingApproval, 2)) }, 2, 1),
            self.event(&ReservationRejected { reservation: Some(rejected) }, 3, 2),
        ]
    }

    /// Never paid: two events.
    pub(crate) fn expired(&self) -> Vec<NewEvent> {
        use reservation::State::{AwaitingPayment, Expired};

        vec![
            self.event(&ReservationRequested { reservation: Some(self.told(AwaitingPayment, 1)) }, 1, 0),
            self.event(&ReservationExpired { reservation: Some(self.told(Expired, 2)) }, 2, 1),
        ]
    }

    /// What follows a booking with a voucher when the listing is deleted: seven events.
    pub(crate) fn forced(&self) -> Vec<NewEvent> {
        let forced = ReservationForceCancelled { reservation: Some(self.told(reservation::State::ForceCancelled, 3)) };
        let told = self.sent(message::Topic::ReservationForceCancelled);
        let told = Message { channel: notification::Channel::Sms.into(), ..told.message.unwrap_or_default() };
        let miles = self.miles(mileage_entry::Kind::Reversal, -30);
        vec![
            self.event(&VoucherIssued { voucher: Some(self.ticket(voucher::State::Issued)) }, 1, 99),
            self.event(&forced, 3, 100),
            self.event(&PaymentCancelled { payment: Some(self.paid(payment::State::Cancelled)) }, 2, 101),
            self.event(&MileageDecreased { mileage_entry: Some(miles) }, 1, 102),
            self.event(&VoucherCancelled { voucher: Some(self.ticket(voucher::State::Cancelled)) }, 2, 103),
            self.event(&HoldReleased { hold: Some(self.hold(hold::State::Released)) }, 3, 104),
            self.event(&MessageSent { message: Some(told) }, 1, 105),
        ]
    }

    fn told(&self, state: reservation::State, version: i64) -> Reservation {
        Reservation {
            name: self.name(),
            listing: self.place.name(),
            note: self.note.clone(),
            slot: match self.when {
                When::Nights => Some(reservation::Slot::Stay(stay())),
                When::Date => Some(reservation::Slot::Date(first_day().into())),
                When::AnyTime => None,
            },
            units: 1,
            persons: 2,
            customer: self.customer.to_owned(),
            host: self.place.host.to_owned(),
            listing_display_name: "Sea View".to_owned(),
            state: state.into(),
            total: Some(won(120_000)),
            payment: format_name("payments", self.payment),
            etag: mesh::value::etag(version),
            ..Reservation::default()
        }
    }

    fn hold(&self, state: hold::State) -> Hold {
        Hold {
            reservation: self.name(),
            listing: self.place.name(),
            customer: self.customer.to_owned(),
            units: 1,
            state: state.into(),
            slot: match self.when {
                When::Nights => Some(hold::Slot::Stay(stay())),
                When::Date => Some(hold::Slot::Date(first_day().into())),
                When::AnyTime => None,
            },
        }
    }

    fn ticket(&self, state: voucher::State) -> Voucher {
        Voucher {
            name: format_name("vouchers", self.voucher),
            reservation: self.name(),
            ticket_number: TICKET.to_owned(),
            state: state.into(),
            ..Voucher::default()
        }
    }

    fn paid(&self, state: payment::State) -> Payment {
        Payment {
            name: format_name("payments", self.payment),
            reservation: self.name(),
            customer: self.customer.to_owned(),
            amount: Some(won(120_000)),
            state: state.into(),
            ..Payment::default()
        }
    }

    fn miles(&self, kind: mileage_entry::Kind, points: i64) -> MileageEntry {
        MileageEntry {
            name: format!("{}/mileageEntries/{}", self.customer, Id::generate()),
            kind: kind.into(),
            points,
            balance: points.max(0),
            payment: format_name("payments", self.payment),
            reservation: self.name(),
            create_time: None,
        }
    }

    fn sent(&self, topic: message::Topic) -> MessageSent {
        let message = Message {
            name: format_name("messages", Id::generate()),
            recipient: self.customer.to_owned(),
            reservation: self.name(),
            topic: topic.into(),
            body: "…".to_owned(),
            state: message::State::Sent.into(),
            ..Message::default()
        };
        MessageSent { message: Some(message) }
    }

    fn event(&self, event: &impl Event, version: i64, step: u64) -> NewEvent {
        let at = self.at.plus(Duration::from_millis(step));
        let event = NewEvent::of(event, Id::generate(), version, &self.reservation.to_string(), None, at);
        NewEvent { traceparent: Some(format!("00-{TRACE_ID}-00f067aa0ba902b7-01")), ..event }
    }
}

fn won(amount: i64) -> proto::google::r#type::Money {
    Money::from_minor(amount, Currency::KRW).into()
}

fn stay() -> Stay {
    Stay { check_in_date: Some(first_day().into()), check_out_date: Some(first_day().plus(2).into()) }
}

fn first_day() -> Day {
    Day::from_number(20_000)
}
