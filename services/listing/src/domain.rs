//! What listing decides: which listings, holds and reviews can be, and who may change them. Pure: no clock, no SQL, no protobuf.

mod error;
mod hold;
mod listing;
mod review;
mod stay;

pub use error::{Error, Violation};
pub use hold::{Hold, HoldRequest, HoldState, Offer, quote};
pub use listing::{Draft, Field, Kind, Listing, ListingState, Mileage, Night, Policy};
pub use review::{Review, check_content};
pub use stay::{AVAILABILITY_NIGHTS_MAX, STAY_NIGHTS_MAX, Stay};
