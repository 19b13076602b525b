//! Trips that are being watched.
//!
//! A watcher is woken by the commits of this process that change its trip, and reads the trip when its caller can take it. So there is no
//! queue: whatever has changed meanwhile is told once, as it then is. Where other processes write to the same database, it looks by itself as
//! well.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use mesh::store::{ChangeWatch, Id, Store};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::{self, Error, Viewer};
use crate::projection::Trip;

/// What another process has changed is told this much later at most.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// All watchers of this process.
#[derive(Clone)]
pub(crate) struct Watchers {
    store: Store,
    /// Whether no other process writes to the database.
    alone: bool,
    places: Arc<Semaphore>,
    max: usize,
}

impl Watchers {
    pub(crate) fn new(store: Store, alone: bool, max: usize) -> Self {
        Self { store, alone, places: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))), max }
    }

    /// A trip that the viewer sees: now, and after each change. The stream has no end; drop it to give its place back.
    ///
    /// # Errors
    /// [`Error::TooManyWatchers`], [`Error::TripNotFound`], [`Error::Store`]; the stream ends with the last if a later look fails.
    pub(crate) async fn watch(
        &self,
        viewer: Viewer,
        id: Id,
    ) -> Result<impl Stream<Item = Result<Trip, Error>> + Send + use<>, Error> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Error::TooManyWatchers(self.max))?;
        // Before the first look, so that no change falls between.
        let changes = self.store.committed().subscribe_to(id);
        let first = app::get_trip(&self.store, &viewer, id).await?;
        let (store, alone) = (self.store.clone(), self.alone);
        let watcher = Watcher { store, viewer, id, changes, alone, told: None, _place: place };
        Ok(stream::try_unfold((watcher, Some(first)), |(mut watcher, first)| async move {
            let trip = watcher.next(first).await?;
            Ok(Some((trip, (watcher, None))))
        }))
    }
}

struct Watcher {
    store: Store,
    viewer: Viewer,
    id: Id,
    changes: ChangeWatch,
    alone: bool,
    /// What the caller knows.
    told: Option<Trip>,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// The trip as soon as it is not what was told last.
    async fn next(&mut self, mut seen: Option<Trip>) -> Result<Trip, Error> {
        loop {
            if let Some(trip) = seen.filter(|trip| self.told.as_ref() != Some(trip)) {
                self.told = Some(trip.clone());
                return Ok(trip);
            }
            // Each arm only waits: nothing is lost when the other wins.
            tokio::select! {
                () = self.changes.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY), if !self.alone => {}
            }
            seen = Some(app::get_trip(&self.store, &self.viewer, self.id).await?);
        }
    }
}
