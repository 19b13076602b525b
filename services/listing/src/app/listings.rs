//! Registering, changing and deleting listings, their capacity.

use mesh::requests::{self, Claim};
use mesh::store::{Id, Micros};
use mesh::value::{Page, check_etag};
use prost::Message as _;

use super::{ATTEMPTS, Answer, App, Attempt, Request};
use crate::announce::{self, ListingFact, Origin};
use crate::domain::{Availability, Capacity, Days, Draft, Error, Field, Listing, Platform, Registration};
use crate::store::{listings, nights};
use crate::wire;

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
    /// Registers a listing of `host`; a repeat is answered like the first call.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::RequestIdReused`].
    ///
    /// # Cancel safety
    /// A dropped call has registered the listing or not; a repeat with the same request id tells.
    pub async fn create_listing(&self, host: &str, draft: Draft, request: Request) -> Result<Answer<Listing>, Error> {
        let now = Micros::now();
        let Registration { listing, dates } = draft.register(Id::generate(), host, now).map_err(Error::Invalid)?;
        let (origin, platform) = (Origin::call(now), self.platform);
        self.store
            .write(move |conn| match requests::claim(conn, &request.key, request.fingerprint, listing.id, now)? {
                Claim::New => {
                    listings::insert(conn, &listing)?;
                    nights::pin(conn, listing.id, dates)?;
                    announce::listing(conn, &origin, ListingFact::Registered, &listing)?;
                    let answer = wire::listing_under(&platform, &listing).encode_to_vec();
                    requests::complete(conn, &request.key, &answer)?;
                    Ok(Answer::New(listing))
                }
                Claim::Repeat { answer: Some(answer), .. } => Ok(Answer::First(answer)),
                // Of a release that kept no answers: the listing as it is now.
                Claim::Repeat { answer: None, resource } => {
                    let found = listings::find(conn, resource)?.ok_or(Error::ListingNotFound(resource))?;
                    Ok(Answer::New(found))
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

    /// Changes a listing of `host`. Reservations keep the deal they were made under; days from today on that have no capacity of their own
    /// follow the default.
    ///
    /// # Errors
    /// [`Error::ListingNotFound`], also for another's; [`Error::ListingDeleted`], [`Error::EtagMismatch`], [`Error::Invalid`],
    /// [`Error::CapacityBelowHolds`], [`Error::RequestIdReused`].
    ///
    /// # Cancel safety
    /// A dropped call has changed the listing or not; the repeat changes nothing more.
    pub async fn update_listing(
        &self,
        host: &str,
        change: Change,
        request: Option<Request>,
    ) -> Result<Answer<Listing>, Error> {
        self.answered(request, self.try_update(host, change, request)).await
    }

    async fn try_update(&self, host: &str, change: Change, request: Option<Request>) -> Result<Answer<Listing>, Error> {
        for _ in 0..ATTEMPTS {
            let seen = self.own_listing(change.listing, host).await?;
            if !seen.is_active() {
                return Err(Error::ListingDeleted(seen.id));
            }
            check_etag(&change.etag, seen.version).map_err(|_| Error::EtagMismatch)?;
            let now = Micros::now();
            let changed = seen.modify(&change.draft, &change.fields, &self.platform, now).map_err(Error::Invalid)?;
            if let Attempt::Done(answer) = self.store_change(seen, changed, now, request).await? {
                return Ok(answer);
            }
        }
        Err(Error::Contended)
    }

    async fn store_change(
        &self,
        seen: Listing,
        changed: Listing,
        now: Micros,
        request: Option<Request>,
    ) -> Result<Attempt<Answer<Listing>>, Error> {
        let origin = Origin::call(now);
        self.once(request, seen.id, wire::listing_under, move |conn| {
            if changed == seen {
                return Ok(Attempt::Done(seen));
            }
            listings::take(conn, seen.id)?;
            let Some(stored) = listings::replace(conn, &changed)? else { return Ok(Attempt::Lost) };
            if stored.default_capacity != seen.default_capacity {
                nights::apply_default(conn, stored.id, stored.first_open(now), stored.default_capacity)
                    .map_err(|error| below_holds(error, stored.id))?;
            }
            announce::listing(conn, &origin, ListingFact::Modified, &stored)?;
            Ok(Attempt::Done(stored))
        })
        .await
    }

    /// Deletes a listing of `host`. A hold placed at the same time is stored before the deletion, and then known to whoever hears of it, or
    /// refused. Deleting it again answers the deleted listing.
    ///
    /// # Errors
    /// [`Error::ListingNotFound`], also for another's; [`Error::EtagMismatch`], [`Error::RequestIdReused`].
    ///
    /// # Cancel safety
    /// A dropped call has deleted the listing or not; the repeat changes nothing more.
    pub async fn delete_listing(
        &self,
        host: &str,
        id: Id,
        etag: &str,
        request: Option<Request>,
    ) -> Result<Answer<Listing>, Error> {
        self.answered(request, self.try_delete(host, id, etag, request)).await
    }

    async fn try_delete(
        &self,
        host: &str,
        id: Id,
        etag: &str,
        request: Option<Request>,
    ) -> Result<Answer<Listing>, Error> {
        for _ in 0..ATTEMPTS {
            let seen = self.own_listing(id, host).await?;
            if seen.is_active() {
                check_etag(etag, seen.version).map_err(|_| Error::EtagMismatch)?;
            }
            if let Attempt::Done(answer) = self.store_deletion(seen, request).await? {
                return Ok(answer);
            }
        }
        Err(Error::Contended)
    }

    async fn store_deletion(&self, seen: Listing, request: Option<Request>) -> Result<Attempt<Answer<Listing>>, Error> {
        let origin = Origin::call(Micros::now());
        self.once(request, seen.id, wire::listing_under, move |conn| {
            if !seen.is_active() {
                return Ok(Attempt::Done(seen));
            }
            listings::take(conn, seen.id)?;
            let Some(deleted) = listings::delete(conn, seen.id, seen.version, origin.at)? else {
                return Ok(Attempt::Lost);
            };
            announce::listing(conn, &origin, ListingFact::Deleted, &deleted)?;
            Ok(Attempt::Done(deleted))
        })
        .await
    }

    /// Sets the capacity of each of some dates, or of a stock, which has nothing but its default; answers what is offered and taken then.
    ///
    /// # Errors
    /// [`Error::ListingNotFound`], also for another's; [`Error::ListingDeleted`], [`Error::CapacityBelowHolds`]; [`Error::Invalid`] for dates
    /// of a stock, or none of anything else; [`Error::RequestIdReused`].
    ///
    /// # Cancel safety
    /// A dropped call has set all or none; the repeat changes nothing more.
    pub async fn set_capacity(
        &self,
        host: &str,
        id: Id,
        dates: Option<Days>,
        capacity: i32,
        request: Option<Request>,
    ) -> Result<Answer<Vec<Availability>>, Error> {
        self.answered(request, self.try_set_capacity(host, id, dates, capacity, request)).await
    }

    async fn try_set_capacity(
        &self,
        host: &str,
        id: Id,
        dates: Option<Days>,
        capacity: i32,
        request: Option<Request>,
    ) -> Result<Answer<Vec<Availability>>, Error> {
        let mut listing = self.own_listing(id, host).await?;
        if !listing.is_active() {
            return Err(Error::ListingDeleted(id));
        }
        let (_, present) = self.query_availability(id, dates).await?;
        let is_stock = listing.policy.capacity() == Capacity::Stock;
        let is_set = present.iter().all(|day| (day.pinned || is_stock) && day.capacity == capacity);
        let days = listing.days(dates)?;
        let origin = Origin::call(Micros::now());
        let show = |_: &Platform, set: &Vec<Availability>| wire::availabilities(set);
        let set = self.once(request, id, show, move |conn| {
            if is_set {
                return Ok(Attempt::Done(present));
            }
            if is_stock {
                listings::take(conn, id)?;
                nights::apply_default(conn, id, days.first(), capacity).map_err(|error| below_holds(error, id))?;
                let stored = listings::set_default(conn, id, capacity, origin.at)?;
                listing = stored.ok_or(Error::ListingDeleted(id))?;
                announce::listing(conn, &origin, ListingFact::Modified, &listing)?;
            } else {
                let version = listings::touch(conn, id, origin.at)?;
                let dates = days.iter().map(|day| (day, capacity));
                nights::pin(conn, id, dates).map_err(|error| below_holds(error, id))?;
                announce::capacity(conn, &origin, id, version.ok_or(Error::ListingDeleted(id))?, days, capacity)?;
            }
            Ok(Attempt::Done(listing.availabilities(&days, nights::find(conn, id, &days)?)))
        });
        match set.await? {
            Attempt::Done(answer) => Ok(answer),
            Attempt::Lost => Err(Error::Contended),
        }
    }

    /// The listing, and what is offered and taken on each of some dates, or of a stock.
    ///
    /// # Errors
    /// [`Error::ListingNotFound`]; [`Error::Invalid`] for dates of a stock, or none of anything else.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn query_availability(&self, id: Id, dates: Option<Days>) -> Result<(Listing, Vec<Availability>), Error> {
        self.store
            .read(move |conn| {
                let listing = listings::find(conn, id)?.ok_or(Error::ListingNotFound(id))?;
                let days = listing.days(dates)?;
                let recorded = nights::find(conn, id, &days)?;
                let availabilities = listing.availabilities(&days, recorded);
                Ok((listing, availabilities))
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
