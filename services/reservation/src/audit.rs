//! What the operator's audit compares with the other services. Reads only.

use mesh::store::{Id, Micros, Store, StoreError};

use crate::{domain::Reservation, store};

/// Everything reservation knows.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Every reservation, the refused ones too.
    pub reservations: Vec<Reservation>,
    /// Sagas that still run, and since when.
    pub sagas: Vec<(Id, Micros)>,
}

/// Reads it.
///
/// # Errors
/// When the database cannot be read.
pub async fn read(db: &Store) -> Result<Audit, StoreError> {
    db.read(|conn| Ok(Audit { reservations: store::all(conn)?, sagas: store::running(conn)? })).await
}
