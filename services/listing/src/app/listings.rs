//! Registering, changing and deleting listings, their capacity.

use mesh::requests::{self, Claim};
use mesh::store::{Id, Micros};
use mesh::value::{Page, check_etag};

use super::{ATTEMPTS, App, Attempt, Request};
use crate::announce::{self, ListingFact, Origin};
use crate::domain::{Draft, Error, Field, Listing, Night, Stay};
use crate::store::{listings, nights};

/// A change that a host wants.
#[derive(Clone, Debug)]
pub struct Change {
    /// What to change.
    pub listing: Id,
    /// The new values.
    pub draft: Draft,
    /// Those that count.
    pub fields: Vec<Field>,
    /// The etag it is based on; empty for whatever is there.
    pub etag: String,
}

impl App {
    /// Registers a listing of `host`; a repeat answers the first one, as it is now.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::RequestIdReused`].
    ///
    /// # Cancel safety
    /// A dropped call has registered the listing or not; a repeat with the same request id tells.
    pub async fn create_listing(&self, host: &str, draft: Draft, request: Request) -> Result<Listing, Error> {
        let now = Micros::now();
        let listing = draft.register(Id::generate(), host, now).map_err(Error::Invalid)?;
        let origin = Origin::call(now);
        self.store
            .write(move |conn| match requests::claim(conn, &request.key, request.fingerprint, listing.id, now)? {
                Claim::New => {
                    listings::insert(conn, &listing)?;
                    announce::listing(conn, &origin, ListingFact::Registered, &listing)?;
                    Ok(listing)
                }
                Claim::Repeat { resource, .. } => {
                    listings::find(conn, resource)?.ok_or(Error::ListingNotFound(resource))
                }
                Claim::Reused => Err(Error::RequestIdReused),
            })
            .await
    }

    /// The listing, deleted or not.
    ///
    /// # Errors
    /// [`Error::ListingNotFound`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn get_listing(&self, id: Id) -> Result<Listing, Error> {
        self.store
            .read(move |conn| Ok(listings::find(conn, id)?))
            .await
            .and_then(|found| found.ok_or(Error::ListingNotFound(id)))
    }

    /// Active listings, newest first: a page and, if there are more, one.
    ///
    /// # Errors
    /// [`Error::Store`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn list_listings(&self, page: Page) -> Result<Vec<Listing>, Error> {
        self.store.read(move |conn| Ok(listings::page(conn, &page)?)).await
    }

    /// Changes a listing of `host`. Reservations keep the deal they were made under; nights from today on that have no capacity of their own
    /// follow the default.
    ///
    /// # Errors
    /// [`Error::ListingNotFound`], also for another's; [`Error::ListingDeleted`], [`Error::EtagMismatch`], [`Error::Invalid`],
    /// [`Error::CapacityBelowHolds`].
    ///
    /// # Cancel safety
    /// A dropped call has changed the listing or not; the repeat changes nothing more.
    pub async fn update_listing(&self, host: &str, change: Change) -> Result<Listing, Error> {
        for _ in 0..ATTEMPTS {
            let seen = self.own_listing(change.listing, host).await?;
            if !seen.is_active() {
                return Err(Error::ListingDeleted(seen.id));
            }
            check_etag(&change.etag, seen.version).map_err(|_| Error::EtagMismatch)?;
            let now = Micros::now();
            let changed = seen.modify(&change.draft, &change.fields, now).map_err(Error::Invalid)?;
            if changed == seen {
                return Ok(seen);
            }
            if let Attempt::Done(stored) = self.store_change(seen, changed, now).await? {
                return Ok(stored);
            }
        }
        Err(Error::Contended)
    }

    async fn store_change(&self, seen: Listing, changed: Listing, now: Micros) -> Result<Attempt<Listing>, Error> {
        let origin = Origin::call(now);
        self.store
            .write(move |conn| {
                listings::take(conn, seen.id)?;
                let Some(stored) = listings::replace(conn, &changed)? else { return Ok(Attempt::Lost) };
                if stored.default_capacity != seen.default_capacity {
                    nights::apply_default(conn, stored.id, stored.today(now), stored.default_capacity)
                        .map_err(|error| below_holds(error, stored.id))?;
                }
                announce::listing(conn, &origin, ListingFact::Modified, &stored)?;
                Ok(Attempt::Done(stored))
            })
            .await
    }

    /// Deletes a listing of `host`, unless a reservation holds a place in it: a hold not committed yet, or a committed one whose stay is not
    /// over at the listing. Deleting it again answers the deleted listing.
    ///
    /// # Errors
    /// [`Error::ListingNotFound`], also for another's; [`Error::EtagMismatch`], [`Error::ListingHasHolds`].
    ///
    /// # Cancel safety
    /// A dropped call has deleted the listing or not; the repeat changes nothing more.
    pub async fn delete_listing(&self, host: &str, id: Id, etag: &str) -> Result<Listing, Error> {
        for _ in 0..ATTEMPTS {
            let seen = self.own_listing(id, host).await?;
            if !seen.is_active() {
                return Ok(seen);
            }
            check_etag(etag, seen.version).map_err(|_| Error::EtagMismatch)?;
            if let Attempt::Done(deleted) = self.store_deletion(seen).await? {
                return Ok(deleted);
            }
        }
        Err(Error::Contended)
    }

    async fn store_deletion(&self, seen: Listing) -> Result<Attempt<Listing>, Error> {
        let now = Micros::now();
        let origin = Origin::call(now);
        self.store
            .write(move |conn| {
                listings::take(conn, seen.id)?;
                if let Some(deleted) = listings::delete(conn, seen.id, seen.version, seen.today(now), now)? {
                    announce::listing(conn, &origin, ListingFact::Deleted, &deleted)?;
                    return Ok(Attempt::Done(deleted));
                }
                // Nothing was written; what kept the listing tells which answer is right.
                match listings::find(conn, seen.id)? {
                    Some(present) if present.is_active() && present.version == seen.version => {
                        Err(Error::ListingHasHolds(seen.id))
                    }
                    _ => Ok(Attempt::Lost),
                }
            })
            .await
    }

    /// Sets the capacity of each night of a range; answers the nights.
    ///
    /// # Errors
    /// [`Error::ListingNotFound`], also for another's; [`Error::ListingDeleted`], [`Error::CapacityBelowHolds`].
    ///
    /// # Cancel safety
    /// A dropped call has set all nights or none; the repeat changes nothing more.
    pub async fn set_capacity(&self, host: &str, id: Id, range: Stay, capacity: i32) -> Result<Vec<Night>, Error> {
        let listing = self.own_listing(id, host).await?;
        if !listing.is_active() {
            return Err(Error::ListingDeleted(id));
        }
        let (_, nights) = self.query_availability(id, range).await?;
        if nights.iter().all(|night| night.pinned && night.capacity == capacity) {
            return Ok(nights);
        }
        let origin = Origin::call(Micros::now());
        self.store
            .write(move |conn| {
                let version = listings::touch(conn, id, origin.at)?.ok_or(Error::ListingDeleted(id))?;
                nights::pin(conn, id, &range, capacity).map_err(|error| below_holds(error, id))?;
                announce::capacity(conn, &origin, id, version, &range, capacity)?;
                Ok(nights::find(conn, id, &range)?)
            })
            .await
    }

    /// The listing, and every night of a range.
    ///
    /// # Errors
    /// [`Error::ListingNotFound`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn query_availability(&self, id: Id, range: Stay) -> Result<(Listing, Vec<Night>), Error> {
        self.store
            .read(move |conn| {
                let listing = listings::find(conn, id)?.ok_or(Error::ListingNotFound(id))?;
                let mut recorded = nights::find(conn, id, &range)?.into_iter().peekable();
                let capacity = listing.default_capacity;
                let nights = range
                    .nights()
                    .map(|date| {
                        recorded.next_if(|night| night.date == date).unwrap_or(Night {
                            date,
                            held: 0,
                            capacity,
                            pinned: false,
                        })
                    })
                    .collect();
                Ok((listing, nights))
            })
            .await
    }

    /// Another's listing is answered as if it did not exist.
    async fn own_listing(&self, id: Id, host: &str) -> Result<Listing, Error> {
        self.get_listing(id)
            .await
            .and_then(|listing| if listing.host == host { Ok(listing) } else { Err(Error::ListingNotFound(id)) })
    }
}

fn below_holds(error: diesel::result::Error, listing: Id) -> Error {
    if nights::is_refused(&error) { Error::CapacityBelowHolds(listing) } else { error.into() }
}
