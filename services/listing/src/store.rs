//! The rows of listing and the statements over them. Rows never leave this module: it takes and gives the domain's types.
//!
//! Every write is one transaction that holds state and events together. It first writes what decides a race (a hold's row, a guarded version,
//! a counter) and is undone as a whole when it lost.

use diesel::QueryResult;

use crate::domain::HoldState;

mod codes;
pub(crate) mod holds;
pub(crate) mod listings;
pub(crate) mod nights;
pub(crate) mod reviews;

/// A hold's state as it is written in the database.
pub(crate) fn hold_state(code: &str) -> QueryResult<HoldState> {
    codes::Code::decode(code)
}
