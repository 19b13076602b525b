//! What callers may see.

use diesel::QueryResult;
use mesh::identity::Principal;
use mesh::store::{Conn, Id, Store, StoreError};
use mesh::value::format_user;
use proto::contract::Role;

use crate::projection::{Entry, Trip};
use crate::store::{self, ListingQuery, ListingView, Order, Owner, TripQuery};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No reservation event has come, or the trip is not the caller's: one answer, so that nobody learns which.
    #[error("the trip {0} does not exist")]
    TripNotFound(Id),
    /// No event of the listing has come.
    #[error("the listing view {0} does not exist")]
    ListingViewNotFound(Id),
    /// More would watch than may.
    #[error("{0} trips are being watched already")]
    TooManyWatchers(usize),
    /// The rows cannot be read.
    #[error("the views cannot be read")]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Whose trips a caller sees: all of them, or those they made and those on their listings, by their roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Viewer {
    operator: bool,
    customer: Option<String>,
    host: Option<String>,
}

impl Viewer {
    pub(crate) fn of(caller: &Principal) -> Self {
        let user = |role| caller.user_id().filter(|_| caller.has_role(role)).map(format_user);
        Self { operator: caller.has_role(Role::Operator), customer: user(Role::Customer), host: user(Role::Host) }
    }

    fn sees(&self, trip: &Trip) -> bool {
        let own = |mine: &Option<String>, theirs: &str| mine.as_deref() == Some(theirs);
        trip.reservation
            .get()
            .is_some_and(|told| self.operator || own(&self.customer, &told.customer) || own(&self.host, &told.host))
    }

    /// What a page token is bound to.
    pub(crate) fn key(&self) -> [&str; 3] {
        if self.operator {
            return ["*", "", ""];
        }
        ["", self.customer.as_deref().unwrap_or_default(), self.host.as_deref().unwrap_or_default()]
    }
}

/// A page of the viewer's trips, with one more when there is another page.
///
/// # Errors
/// [`Error::Store`].
pub(crate) async fn list_trips(store: &Store, viewer: Viewer, query: TripQuery) -> Result<Vec<(Id, Trip)>, Error> {
    store.read(move |conn| load_trips(conn, &viewer, &query).map_err(Error::from)).await
}

fn load_trips(conn: &mut Conn, viewer: &Viewer, query: &TripQuery) -> QueryResult<Vec<(Id, Trip)>> {
    if viewer.operator {
        return store::list_trips(conn, Owner::Anybody, query);
    }
    let customer = viewer.customer.as_deref().map(Owner::Customer);
    let host = viewer.host.as_deref().map(Owner::Host);
    let mut trips = Vec::new();
    for owner in customer.into_iter().chain(host) {
        trips.extend(store::list_trips(conn, owner, query)?);
    }
    // Each list is complete down to the page's end, so what they make together is; a host may have reserved a place of their own.
    trips.sort_unstable_by_key(|(id, _)| *id);
    trips.dedup_by_key(|(id, _)| *id);
    if query.order == Order::NewestFirst {
        trips.reverse();
    }
    Ok(trips)
}

/// One trip that the viewer sees.
///
/// # Errors
/// [`Error::TripNotFound`], [`Error::Store`].
pub(crate) async fn get_trip(store: &Store, viewer: &Viewer, id: Id) -> Result<Trip, Error> {
    let found = store.read(move |conn| store::find_trip(conn, id).map_err(Error::from)).await?;
    found.map(|(_, trip)| trip).filter(|trip| viewer.sees(trip)).ok_or(Error::TripNotFound(id))
}

/// What happened to a trip that the viewer sees, in order of time.
///
/// # Errors
/// [`Error::TripNotFound`], [`Error::Store`].
pub(crate) async fn timeline(store: &Store, viewer: &Viewer, id: Id) -> Result<Vec<Entry>, Error> {
    get_trip(store, viewer, id).await?;
    store.read(move |conn| store::timeline_of(conn, id).map_err(Error::from)).await
}

/// A page of listings, with one more when there is another page.
///
/// # Errors
/// [`Error::Store`].
pub(crate) async fn list_listings(store: &Store, query: ListingQuery) -> Result<Vec<ListingView>, Error> {
    store.read(move |conn| store::list_listings(conn, &query).map_err(Error::from)).await
}

/// One listing.
///
/// # Errors
/// [`Error::ListingViewNotFound`], [`Error::Store`].
pub(crate) async fn get_listing(store: &Store, id: Id) -> Result<ListingView, Error> {
    let found = store.read(move |conn| store::find_listing(conn, id).map_err(Error::from)).await?;
    found.ok_or(Error::ListingViewNotFound(id))
}
