//! What all services have stored, in memory, as the rules need it.

use std::collections::{BTreeMap, HashMap, HashSet};

use listing::audit::HoldRecord;
use mesh::store::{Id, Micros};
use mileage::audit::EntryRow;
use payment::audit::{Balance, PaymentRow};
use payment::provider::simulator::Entry;
use reservation::domain::Reservation;

use crate::service::Service;

/// One reading of all databases.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// What last changed earlier is not on its way any more.
    pub(super) settled_before: Micros,
    pub(super) reservations: HashMap<Id, Reservation>,
    /// Sagas, and since when each is due, which may be to come.
    pub(super) sagas: Vec<(Id, Micros)>,
    /// Listings that were deleted.
    pub(super) deleted: HashSet<Id>,
    /// By reservation.
    pub(super) holds: HashMap<Id, HoldRecord>,
    pub(super) payments: Vec<PaymentRow>,
    /// Payments beside their entries.
    pub(super) balances: Vec<Balance>,
    /// The payment simulator's own.
    pub(super) books: Vec<Entry>,
    pub(super) miles: Vec<EntryRow>,
    pub(super) messages: Vec<message::audit::Entry>,
    pub(super) vouchers: Vec<voucher::audit::Entry>,
    /// By reservation.
    pub(super) trips: HashMap<Id, view::audit::Trip>,
    /// Confirmed reservations by listing, as the view counts them.
    pub(super) confirmed: BTreeMap<Id, i64>,
    pub(super) listing_rules: Vec<String>,
    pub(super) reservation_rules: Vec<String>,
    pub(super) payment_rules: Vec<String>,
    pub(super) mileage_rules: Vec<String>,
    pub(super) message_rules: Vec<String>,
    pub(super) view_rules: Vec<String>,
    pub(super) voucher_rules: Vec<String>,
    pub(super) unsent: Vec<Unsent>,
}

/// Events that the broker has not acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Unsent {
    pub(super) service: Service,
    pub(super) count: i64,
    pub(super) oldest: Option<Micros>,
}
