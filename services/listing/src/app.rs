//! The use cases: load, decide, commit.
//!
//! What is loaded may have changed until it is stored. Each write is therefore conditional on what was seen; one that lost loads and decides
//! again, a bounded number of times.

pub(crate) mod holds;
mod listings;
mod reviews;

pub use listings::Change;
pub use reviews::ReviewKey;

use mesh::requests::RequestKey;
use mesh::store::Store;

use crate::domain::Platform;

/// Attempts of one use case against others that change the same thing.
const ATTEMPTS: usize = 8;

/// The use cases over one database. Cheap to clone.
#[derive(Clone)]
pub struct App {
    store: Store,
    platform: Platform,
}

impl App {
    /// The use cases over this database, under what the platform decides.
    #[must_use]
    pub const fn new(store: Store, platform: Platform) -> Self {
        Self { store, platform }
    }

    /// What the platform decides.
    #[must_use]
    pub const fn platform(&self) -> &Platform {
        &self.platform
    }
}

/// A command that answers a repeat like the first time.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Who sent which request id to which method.
    pub key: RequestKey,
    /// SHA-256 of the rest of the request.
    pub fingerprint: [u8; 32],
}

/// What came of one attempt at a write.
enum Attempt<T> {
    Done(T),
    /// Something has changed since it was read: nothing was stored.
    Lost,
}
