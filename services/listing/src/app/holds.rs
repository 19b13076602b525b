//! Placing, committing and ending holds.

use std::collections::HashMap;

use mesh::crash_point;
use mesh::outbox;
use mesh::store::{Conn, Id, Micros, StoreError};

use super::{ATTEMPTS, App};
use crate::NAME;
use crate::announce::{self, Origin};
use crate::domain::{Error, Hold, HoldRequest, HoldState, Offer};
use crate::store::holds::Found;
use crate::store::{holds, listings, nights};

impl App {
    /// Takes the units on every day of the slot, or none. A repeat answers the first hold, whatever has happened to the listing since.
    ///
    /// # Errors
    /// [`Error::HoldReleased`], [`Error::ListingNotFound`] and those of [`Offer::grant`].
    ///
    /// # Cancel safety
    /// A dropped call has placed the hold or not; the repeat tells.
    pub async fn place_hold(&self, request: HoldRequest) -> Result<Hold, Error> {
        for _ in 0..ATTEMPTS {
            let now = Micros::now();
            let offer = match self.look(&request).await? {
                Look::Answered(hold) => return Ok(hold),
                Look::Offer(offer) => offer,
            };
            let hold = offer.grant(request.clone(), &self.platform, now)?;
            match self.store.write(place(offer, hold, Origin::call(now))).await {
                Err(Refusal::Stale) => {}
                Err(Refusal::Error(error)) => return Err(error),
                Ok(hold) => {
                    crash_point!("listing.hold.committed");
                    return Ok(hold);
                }
            }
        }
        Err(Error::Contended)
    }

    /// Reads without a lock: most of those who come too late are answered here. The hold is read last: were it read first, the days could
    /// already be full of this reservation's own units, stored by a twin of this call.
    async fn look(&self, request: &HoldRequest) -> Result<Look, Error> {
        let (reservation, listing, days) = (request.reservation, request.listing, request.slot.days());
        self.store
            .read(move |conn| {
                let days = nights::find(conn, listing, &days)?;
                let found = listings::find(conn, listing)?;
                match (holds::find(conn, reservation)?, found) {
                    (Some(stored), _) => answer(reservation, stored).map(Look::Answered),
                    (None, Some(listing)) => Ok(Look::Offer(Offer { listing, days })),
                    (None, None) => Err(Error::ListingNotFound(listing)),
                }
            })
            .await
    }

    /// Gives a reservation's places back, once; answers the hold as it ended, `None` if there never was one. From then on none can be placed.
    ///
    /// # Errors
    /// [`Error::Store`].
    ///
    /// # Cancel safety
    /// A dropped call has released the hold or not; repeating it is harmless.
    pub async fn release_hold(&self, reservation: Id) -> Result<Option<Hold>, Error> {
        let origin = Origin::call(Micros::now());
        let released = self.store.write(move |conn| {
            let origins = HashMap::from([(reservation, origin.clone())]);
            if let Some(released) = end(conn, &origins, HoldState::Released, origin.at)?.pop() {
                crash_point!("listing.release.uncommitted");
                return Ok(Some(released));
            }
            Ok::<_, Error>(match holds::find(conn, reservation)? {
                Some(Found::Hold(hold)) => Some(*hold),
                Some(Found::Tombstone) | None => None,
            })
        });
        let released = released.await?;
        crash_point!("listing.release.committed");
        Ok(released)
    }
}

enum Look {
    Answered(Hold),
    Offer(Offer),
}

fn answer(reservation: Id, stored: Found) -> Result<Hold, Error> {
    match stored {
        Found::Hold(hold) if hold.state.is_live() => Ok(*hold),
        Found::Hold(_) | Found::Tombstone => Err(Error::HoldReleased(reservation)),
    }
}

/// Why a hold was not stored.
enum Refusal {
    /// The listing has changed since the offer was read.
    Stale,
    Error(Error),
}

impl<E: Into<Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// The write of a hold: its row first, which settles who of two twins is the first, then the listing, then its days in date order.
fn place(offer: Offer, hold: Hold, origin: Origin) -> impl FnOnce(&mut Conn) -> Result<Hold, Refusal> + Send + 'static {
    let event = announce::hold(&origin, &hold);
    move |conn| {
        if !holds::insert(conn, &hold)? {
            let stored = holds::find(conn, hold.reservation)?.ok_or(diesel::result::Error::NotFound)?;
            return Ok(answer(hold.reservation, stored)?);
        }
        if !listings::share(conn, offer.listing.id, offer.listing.version)? {
            return Err(Refusal::Stale);
        }
        nights::hold(conn, &hold, offer.listing.default_capacity).map_err(|error| {
            if nights::is_refused(&error) { Refusal::Error(Error::NoAvailability(hold.listing)) } else { error.into() }
        })?;
        outbox::push(conn, NAME, &event)?;
        crash_point!("listing.hold.uncommitted");
        Ok(hold)
    }
}

/// Commits the holds of reservations, each for its own reason; those that are not held stay as they are.
pub(crate) fn commit(conn: &mut Conn, origins: &HashMap<Id, Origin>, at: Micros) -> Result<(), StoreError> {
    let reservations: Vec<Id> = origins.keys().copied().collect();
    let committed = holds::commit(conn, &reservations, at)?;
    tell(conn, origins, &committed)
}

/// Ends the holds of reservations, released or completed, each for its own reason; answers those that were live.
pub(crate) fn end(
    conn: &mut Conn,
    origins: &HashMap<Id, Origin>,
    to: HoldState,
    at: Micros,
) -> Result<Vec<Hold>, StoreError> {
    let mut reservations: Vec<Id> = origins.keys().copied().collect();
    reservations.sort_unstable();
    let ended = holds::end(conn, &reservations, to, at)?;
    tell(conn, origins, &ended)?;
    Ok(ended)
}

fn tell(conn: &mut Conn, origins: &HashMap<Id, Origin>, changed: &[Hold]) -> Result<(), StoreError> {
    let events: Vec<_> =
        changed.iter().filter_map(|hold| Some(announce::hold(origins.get(&hold.reservation)?, hold))).collect();
    if events.is_empty() { Ok(()) } else { Ok(outbox::push_all(conn, NAME, &events)?) }
}
